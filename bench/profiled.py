"""`python -m bench.profiled DIR -- ARGUMENTS`: mirrord under cProfile, one file of statistics per thread.

cProfile by itself sees the main thread alone, and mirrord scans and writes its journal in others. Clocks
count the thread's own processor time, so waiting costs nothing. From Python 3.12 on there can be only one
profiler: then it is the main thread's.
"""

import cProfile
import runpy
import sys
import threading
import time
from pathlib import Path
from types import FrameType

_profiles: list[tuple[str, cProfile.Profile]] = []


def _profile_this_thread(_frame: FrameType, _event: str, _argument: object) -> None:
    """The first event of a new thread: from here on the thread's own profiler takes over."""
    profile = cProfile.Profile(time.thread_time)
    _profiles.append((threading.current_thread().name, profile))
    profile.enable()


def main(results: Path, arguments: list[str]) -> None:
    if sys.version_info < (3, 12):
        threading.setprofile(_profile_this_thread)
    sys.argv = ["mirrord", *arguments]
    profile = cProfile.Profile(time.thread_time)
    try:
        profile.runcall(runpy.run_module, "mirrord", run_name="__main__", alter_sys=True)
    finally:
        threading.setprofile(None)
        for number, (name, each) in enumerate([("MainThread", profile), *_profiles]):
            each.dump_stats(results / f"{number:02} {name.replace('/', '-')}.prof")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[3:])
