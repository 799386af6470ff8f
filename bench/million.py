"""A million files: what the first look records a second, and that memory does not grow with the tree."""

import os
import tempfile
from pathlib import Path

from bench.config import write_config
from bench.process import BenchFailed, Cost, Skipped, measure, module
from bench.report import Report, Target, rounds_of
from bench.tree import PER_DIRECTORY, plant

FILES = 1_000_000
RECORDED = 25_000.0
PEAK_MB = 150.0
ROOM_BYTES = 4 * 2**30
MEMORY = Path("/dev/shm")
NOWHERE = "http://127.0.0.1:9"
"""Discard: a run that calls fails, and none should."""


def run() -> Report:
    with tempfile.TemporaryDirectory(prefix="mirrord-bench-", dir=_place()) as directory:
        work = Path(directory)
        plant(work / "tree", FILES)
        config = write_config(
            work / "config.toml", tree=work / "tree", journal=work / "journal.db", url=NOWHERE, first_run="adopt"
        )
        costs = {what: _once(config, work / "log") for what in ("first look (adopt)", "nothing changed")}
    return _report(costs)


def _once(config: Path, log: Path) -> Cost:
    cost = measure(module("mirrord", "once", "-c", str(config)), stderr=log)
    if f"{FILES} fresh" not in cost.stdout:
        raise BenchFailed(f"mirrord does not hold all {FILES} keys as fresh: {cost.stdout.strip()}")
    return cost


def _place() -> Path:
    if not MEMORY.is_dir():
        raise Skipped(f"there is no {MEMORY}, and a million files are too slow to make on a disk")
    room = os.statvfs(MEMORY)
    if room.f_bavail * room.f_frsize < ROOM_BYTES or (room.f_files and room.f_favail < 2 * FILES):
        raise Skipped(f"{MEMORY} has no room for {FILES:,} files")
    return MEMORY


def _report(costs: dict[str, Cost]) -> Report:
    first, again = costs.values()
    return Report(
        name="million",
        about=f"{FILES:,} empty files in {FILES // PER_DIRECTORY:,} directories below {MEMORY}; whole processes",
        columns=["mirrord once", "seconds", "files/s", "peak MB"],
        rows=[
            [what, f"{cost.wall_s:.2f}", f"{FILES / cost.wall_s:,.0f}", f"{cost.peak_bytes / 1e6:,.0f}"]
            for what, cost in costs.items()
        ],
        targets=[
            Target(what="recorded first", value=FILES / first.wall_s, bound=RECORDED, unit="keys/s", at_least=True),
            Target(what="peak memory, first look", value=first.peak_bytes / 1e6, bound=PEAK_MB, unit="MB"),
            Target(what="peak memory, nothing changed", value=again.peak_bytes / 1e6, bound=PEAK_MB, unit="MB"),
        ],
        notes=[],
        measured={what: rounds_of([cost]) for what, cost in costs.items()},
    )
