"""Keys per second of `mirrord once`, beside the official SDK on threads and a bare aiohttp loop."""

import json
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from bench.config import CONCURRENCY, write_config
from bench.process import BenchFailed, Cost, measure, module
from bench.profiles import show_profiles
from bench.report import Report, Target, ratio
from bench.stub import Stub, fastest_stub
from bench.tree import plant

KEYS = 6_000
ROUNDS = 5
OVER_SDK = 2.5
OVER_AIOHTTP = 0.4
MIRRORD, SDK, AIOHTTP = "mirrord once", "the qiniu SDK, 64 threads", "bare aiohttp, 64 tasks"


@dataclass(frozen=True, slots=True)
class Round:
    """One process: `loop_s` is what its calls took, without start and end of the process."""

    loop_s: float
    wall_s: float
    cpu_s: float
    peak_bytes: int


def run() -> Report:
    with _set_up() as (work, stub):
        return _report(stub, _rounds(work, stub))


def profile() -> None:
    """One `once` under the profiler; prints where every thread's time goes."""
    with _set_up() as (work, stub):
        config = _config(work, stub, "profile")
        measure(module("bench.profiled", str(work), "--", "once", "-c", str(config)), stderr=work / "log")
        print(f"\ncalls: {KEYS:,} keys against {stub.kind}")
        show_profiles(work)


@contextmanager
def _set_up() -> Iterator[tuple[Path, Stub]]:
    with tempfile.TemporaryDirectory(prefix="mirrord-bench-") as directory:
        work = Path(directory)
        work.chmod(0o755)  # nginx's worker may be another user
        plant(work / "tree", KEYS)
        with fastest_stub(work) as stub:
            yield work, stub


def _rounds(work: Path, stub: Stub) -> dict[str, list[Round]]:
    contestants: dict[str, Callable[[int], Round]] = {
        MIRRORD: lambda number: _mirrord(work, stub, number),
        SDK: lambda _: _other("bench.sdk_caller", stub),
        AIOHTTP: lambda _: _other("bench.aiohttp_caller", stub),
    }
    if find_spec("qiniu") is None:
        del contestants[SDK]
    rounds: dict[str, list[Round]] = {name: [] for name in contestants}
    for number in range(ROUNDS):
        for name, contestant in contestants.items():
            rounds[name].append(contestant(number))
    return rounds


def _mirrord(work: Path, stub: Stub, number: int) -> Round:
    log = work / f"log-{number}"
    cost = measure(module("mirrord", "once", "-c", str(_config(work, stub, str(number)))), stderr=log)
    return _round(cost, _span(log))


def _config(work: Path, stub: Stub, name: str) -> Path:
    return write_config(
        work / f"{name}.toml", tree=work / "tree", journal=work / f"{name}.db", url=stub.url, first_run="refresh"
    )


def _span(log: Path) -> float:
    """Seconds from the first call to the last settled one: a line is written when its key is settled."""
    began: list[float] = []
    ended: list[float] = []
    keys: set[str] = set()
    for text in log.read_text().splitlines():
        line = json.loads(text)
        if line["event"] == "refresh.attempted" and line["outcome"] == "refreshed":
            at = datetime.fromisoformat(line["timestamp"]).timestamp()
            began.append(at - line["duration_s"])
            ended.append(at)
            keys.add(line["key"])
    if len(keys) != KEYS:
        raise BenchFailed(f"mirrord refreshed {len(keys)} of {KEYS} keys; see its log:\n{log.read_text()[-1000:]}")
    return max(ended) - min(began)


def _other(name: str, stub: Stub) -> Round:
    cost = measure(module(name, stub.url, str(KEYS), str(CONCURRENCY)))
    said = json.loads(cost.stdout)
    if said["good"] != KEYS:
        raise BenchFailed(f"{name}: {said['good']} of {KEYS} calls were answered well")
    return _round(cost, said["loop_s"])


def _round(cost: Cost, loop_s: float) -> Round:
    return Round(loop_s, cost.wall_s, cost.cpu_s, cost.peak_bytes)


def _report(stub: Stub, rounds: dict[str, list[Round]]) -> Report:
    notes = [
        "keys/s counts the calls: mirrord's from the first sent to the last settled (its log), the others' their loop",
    ]
    targets: list[Target] = []
    for other, bound in ((SDK, OVER_SDK), (AIOHTTP, OVER_AIOHTTP)):
        if other not in rounds:
            notes.append(f"SKIPPED {other}: it is not installed")
            continue
        ours, theirs = rounds[MIRRORD], rounds[other]
        targets.append(_ratio(f"mirrord over {other}", "loop_s", ours, theirs, bound))
        whole = _ratio("", "wall_s", ours, theirs, bound).value
        cpu = _ratio("", "cpu_s", ours, theirs, bound).value
        notes.append(f"whole processes: {whole:.2f} x {other} by the clock, {cpu:.2f} x by processor time")
    return Report(
        name="calls",
        about=f"{KEYS:,} empty files, prefetched {CONCURRENCY} at a time from {stub.kind}; median of {ROUNDS} rounds",
        columns=["", "keys/s", "rounds", "keys/s, whole process", "cpu us/key", "peak MB"],
        rows=[_row(name, each) for name, each in rounds.items()],
        targets=targets,
        notes=notes,
        measured={name: [asdict(one) for one in each] for name, each in rounds.items()},
    )


def _ratio(what: str, seconds: str, ours: list[Round], theirs: list[Round], bound: float) -> Target:
    """Our keys per second over theirs, counted by one of Round's clocks."""
    over, under = ([KEYS / getattr(each, seconds) for each in rounds] for rounds in (ours, theirs))
    return ratio(what, over, under, bound, at_least=True)


def _row(name: str, rounds: list[Round]) -> list[str]:
    loop = [KEYS / each.loop_s for each in rounds]
    return [
        name,
        f"{statistics.median(loop):,.0f}",
        f"{min(loop):,.0f} to {max(loop):,.0f}",
        f"{statistics.median(KEYS / each.wall_s for each in rounds):,.0f}",
        f"{statistics.median(each.cpu_s for each in rounds) / KEYS * 1e6:,.0f}",
        f"{max(each.peak_bytes for each in rounds) / 1e6:,.0f}",
    ]
