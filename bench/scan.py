"""A look at a large tree in which nothing changed: `mirrord once` beside `rsync -an` on the same files."""

import os
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

from bench.config import write_config
from bench.process import BenchFailed, Cost, Skipped, measure, module
from bench.profiles import show_profiles
from bench.report import Report, Target, ratio, rounds_of
from bench.tree import PER_DIRECTORY, plant

FILES = 300_000
ROUNDS = 5
OVER_RSYNC = 2.0
PEAK_MB = 150.0
ROOM_BYTES = 2 * 2**30
"""What two trees may take in memory."""
NOWHERE = "http://127.0.0.1:9"
"""Discard: a run that calls fails, and none should."""


def run() -> Report:
    rsync = shutil.which("rsync")
    if rsync is None:
        raise Skipped("rsync is not installed")
    with tempfile.TemporaryDirectory(prefix="mirrord-bench-", dir=_place()) as directory:
        work = Path(directory)
        tree, copy = work / "tree", work / "copy"
        plant(tree, FILES)
        subprocess.run(["cp", "-a", str(tree), str(copy)], check=True, timeout=120)
        config = _config(work)
        adopted = measure(module("mirrord", "once", "-c", str(config)), stderr=work / "adopt.log")
        _check(adopted)
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(measure(module("mirrord", "once", "-c", str(config)), stderr=work / "once.log"))
            _check(ours[-1])
            theirs.append(measure([rsync, "-an", f"{tree}/", f"{copy}/"]))
        return _report(adopted, ours, theirs, _start_and_end_s(work), str(_place() or tempfile.gettempdir()))


def profile() -> None:
    """A first `once` and one that finds nothing, both under the profiler."""
    with tempfile.TemporaryDirectory(prefix="mirrord-bench-", dir=_place()) as directory:
        work = Path(directory)
        plant(work / "tree", FILES)
        config = _config(work)
        for what in ("adopt", "nothing changed"):
            results = work / what
            results.mkdir()
            measure(module("bench.profiled", str(results), "--", "once", "-c", str(config)), stderr=work / "log")
            print(f"\nscan, {what}: {FILES:,} files")
            show_profiles(results)


def _place() -> str | None:
    """Memory where there is room: both then measure themselves rather than the disk."""
    try:
        room = os.statvfs("/dev/shm")
    except OSError:
        return None
    enough = room.f_bavail * room.f_frsize > ROOM_BYTES and (not room.f_files or room.f_favail > 3 * FILES)
    return "/dev/shm" if enough and os.access("/dev/shm", os.W_OK) else None


def _config(work: Path) -> Path:
    return write_config(
        work / "config.toml", tree=work / "tree", journal=work / "journal.db", url=NOWHERE, first_run="adopt"
    )


def _start_and_end_s(work: Path) -> float:
    """What a `once` takes that finds nothing to look at."""
    (work / "empty").mkdir()
    config = write_config(
        work / "empty.toml", tree=work / "empty", journal=work / "empty.db", url=NOWHERE, first_run="adopt"
    )
    return statistics.median(measure(module("mirrord", "once", "-c", str(config))).wall_s for _ in range(3))


def _check(cost: Cost) -> None:
    if f"{FILES} fresh" not in cost.stdout:
        raise BenchFailed(f"mirrord does not hold all {FILES} keys as fresh: {cost.stdout.strip()}")


def _report(adopted: Cost, ours: list[Cost], theirs: list[Cost], empty_s: float, place: str) -> Report:
    names = ["mirrord once, nothing changed", "rsync -an, nothing changed", "mirrord once, first look (adopt)"]
    rows = [_row(name, costs) for name, costs in zip(names, (ours, theirs, [adopted]), strict=True)]
    cpu = ratio("", [c.cpu_s for c in ours], [c.cpu_s for c in theirs], OVER_RSYNC).value
    return Report(
        name="scan",
        about=f"{FILES:,} empty files in {FILES // PER_DIRECTORY:,} directories below {place};"
        f" whole processes, median of {ROUNDS} rounds",
        columns=["", "seconds", "rounds", "files/s", "cpu s", "peak MB"],
        rows=rows,
        targets=[
            ratio("mirrord's time over rsync's", [c.wall_s for c in ours], [c.wall_s for c in theirs], OVER_RSYNC),
            Target(
                what="mirrord's peak memory, nothing changed",
                value=max(c.peak_bytes for c in ours) / 1e6,
                bound=PEAK_MB,
                unit="MB",
            ),
        ],
        notes=[
            "rsync compares with a copy of the same times, in two processes at once; its peak is the larger one's",
            f"of mirrord's seconds {empty_s:.2f} go into start and end: that long takes an empty tree",
            f"by processor time, which other work on the machine disturbs less: {cpu:.2f} x",
        ],
        measured={name: rounds_of(costs) for name, costs in zip(names, (ours, theirs, [adopted]), strict=True)},
    )


def _row(name: str, costs: list[Cost]) -> list[str]:
    seconds = [cost.wall_s for cost in costs]
    return [
        name,
        f"{statistics.median(seconds):.2f}",
        f"{min(seconds):.2f} to {max(seconds):.2f}",
        f"{FILES / statistics.median(seconds):,.0f}",
        f"{statistics.median(cost.cpu_s for cost in costs):.2f}",
        f"{max(cost.peak_bytes for cost in costs) / 1e6:,.0f}",
    ]
