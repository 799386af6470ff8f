"""From the close of a file to the arrival of its prefetch: `mirrord run` while another process publishes."""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import unquote

from bench.config import BUCKET, write_config
from bench.process import BenchFailed, Skipped, measure, module, running
from bench.report import Report, Target
from bench.stub import Stub, arrivals, recording_stub
from bench.tree import plant
from mirrord.kodo.entry import decode_entry

PER_SECOND = 20
SECONDS = 15
CHANGES = PER_SECOND * SECONDS
KNOWN = CHANGES // 2
"""Files that are there before; half of the changes overwrite one, half make a new one."""
SETTLE = "100ms"
P50_MS = 150.0
P99_MS = 400.0


def run() -> Report:
    if sys.platform != "linux":
        raise Skipped("without inotify there is nothing to measure but the interval of polling")
    with tempfile.TemporaryDirectory(prefix="mirrord-bench-") as directory, recording_stub() as stub:
        work = Path(directory)
        tree, log = work / "tree", work / "log"
        _plant(tree)
        config = write_config(
            work / "config.toml",
            tree=tree,
            journal=work / "journal.db",
            url=stub.url,
            first_run="adopt",
            settle=SETTLE,
        )
        with running(module("mirrord", "run", "-c", str(config)), stderr=log):
            _wait_until_complete(log)
            written = measure(module("bench.writer", str(tree), str(CHANGES), str(PER_SECOND)))
            closed = dict(map(json.loads, written.stdout.splitlines()))
            arrived, calls = _wait_for_calls(stub, set(closed))
        return _report(sorted(1000 * (arrived[key] - closed[key]) for key in closed), calls, stub)


def _plant(tree: Path) -> None:
    plant(tree, CHANGES)
    for file in sorted(tree.glob("*/*"))[KNOWN:]:
        file.unlink()  # their directories stay: a new one would take a scan of its own


def _wait_until_complete(log: Path) -> None:
    """Wait until the service listens and has looked at the whole tree."""
    for _ in range(300):
        events = {
            json.loads(line)["event"] for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")
        }
        if {"service.started", "scan.finished"} <= events:
            time.sleep(1)  # what the first scan found is recorded after it says so
            return
        time.sleep(0.1)
    raise BenchFailed(f"the service did not start:\n{log.read_text()[-1000:]}")


def _wait_for_calls(stub: Stub, keys: set[str]) -> tuple[dict[str, float], int]:
    """The first arrival of every key, and how many calls there were in all."""
    for _ in range(100):
        time.sleep(0.1)
        arrived: dict[str, float] = {}
        seen = [(path, at) for path, at in arrivals(stub) if path.startswith("/prefetch/")]
        for path, at in seen:
            _, operation, entry = unquote(path).split("/", 2)
            bucket, key = decode_entry(entry)
            assert (operation, bucket) == ("prefetch", BUCKET)
            if key is not None:
                arrived.setdefault(key, at)
        if keys <= arrived.keys():
            return arrived, len(seen)
    raise BenchFailed(f"{len(keys - arrived.keys())} of {len(keys)} changes were not called for within 10 s")


def _report(latencies_ms: list[float], calls: int, stub: Stub) -> Report:
    percent = statistics.quantiles(latencies_ms, n=100, method="inclusive")
    p50, p90, p99 = percent[49], percent[89], percent[98]
    figures = {"p50": p50, "p90": p90, "p99": p99, "max": latencies_ms[-1]}
    return Report(
        name="latency",
        about=f"{CHANGES} files closed, {PER_SECOND} a second, settle {SETTLE}; until its prefetch reaches {stub.kind}",
        columns=["", *figures],
        rows=[["close to call, ms", *(f"{ms:.0f}" for ms in figures.values())]],
        targets=[
            Target(what="median, settle included", value=p50, bound=P50_MS, unit="ms"),
            Target(what="99th percentile, settle included", value=p99, bound=P99_MS, unit="ms"),
        ],
        notes=[f"half of the files were new, half overwritten; {calls} calls for {CHANGES} changes"],
        measured={"latencies_ms": [round(ms, 3) for ms in latencies_ms]},
    )
