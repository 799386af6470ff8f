"""Files of profiled statistics to tables: where each thread's processor time goes, by package and by function."""

import pstats
from collections import Counter
from pathlib import Path
from typing import Any, cast

from bench.process import ROOT

LINES = 40
IDLE_S = 0.05
"""Threads that did less are left out."""


def show_profiles(directory: Path) -> None:
    """Print what `bench.profiled` wrote there, the busiest thread first."""
    threads = [(_seconds(stats), name, stats) for name, stats in map(_read, directory.glob("*.prof"))]
    for seconds, name, stats in sorted(threads, key=lambda thread: thread[0], reverse=True):
        if seconds < IDLE_S:
            continue
        print(f"\n== thread {name}: {seconds:.2f} s of processor time under the profiler\n")
        for package, spent in _by_package(stats).most_common(12):
            print(f"  {spent:8.3f} s  {spent / seconds:4.0%}  {package}")
        print()
        stats.strip_dirs().sort_stats("tottime").print_stats(LINES)


def _read(file: Path) -> tuple[str, pstats.Stats]:
    return file.stem.partition(" ")[2], pstats.Stats(str(file))


def _seconds(stats: pstats.Stats) -> float:
    return float(cast(Any, stats).total_tt)  # typeshed does not know it


def _by_package(stats: pstats.Stats) -> Counter[str]:
    spent: Counter[str] = Counter()
    for (file, _, name), (_, _, own_s, _, _) in cast(Any, stats).stats.items():
        spent[_package(file, name)] += own_s
    return spent


def _package(file: str, name: str) -> str:
    if file == "~":
        return "built-in: sqlite3" if "sqlite3" in name else "built-in"
    if file.startswith(str(ROOT / "mirrord")):
        return str(Path(file).relative_to(ROOT))
    _, installed, path = file.rpartition("/site-packages/")
    return path.partition("/")[0] if installed else "standard library"
