"""`python -m bench [NAME…]`: run the benchmarks, print their tables, keep the figures in bench/results/.

Exit status 0 when all was measured or skipped aloud, whether targets were met or not; 1 when one failed.
"""

import argparse
import signal
import sys

from bench import calls, feeds, latency, million, scan, soak, throttle
from bench.process import BenchFailed, Skipped
from bench.report import RESULTS, machine

BENCHMARKS = {
    "calls": calls,
    "latency": latency,
    "scan": scan,
    "million": million,
    "throttle": throttle,
    "feeds": feeds,
    "soak": soak,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure mirrord beside what else there is.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all without one")
    parser.add_argument(
        "--profile", action="store_true", help="instead, show where the time of calls, scan or feeds goes"
    )
    chosen = parser.parse_args()
    names = chosen.names or list(BENCHMARKS)
    if unknown := set(names) - set(BENCHMARKS):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started and made is cleaned up
    here = machine()
    print(f"{here['cores']} cores, load {here['load']}, Python {here['python']}, {here['system']}")
    failed, missed, measured = [], 0, 0
    for name in names:
        try:
            if chosen.profile:
                _profile(name)
                continue
            report = BENCHMARKS[name].run()
        except Skipped as exc:
            print(f"\n{name}: SKIPPED, {exc}")
        except BenchFailed as exc:
            print(f"\n{name}: FAILED, {exc}")
            failed.append(name)
        else:
            report.show()
            report.save()
            measured += len(report.targets)
            missed += sum(not target.met for target in report.targets)
    if not chosen.profile:
        print(f"\n{measured - missed} of {measured} targets met; figures in {RESULTS.parent.name}/{RESULTS.name}/")
    return 1 if failed else 0


def _profile(name: str) -> None:
    match name:
        case "calls":
            calls.profile()
        case "feeds":
            feeds.profile()
        case "scan":
            scan.profile()
        case _:
            print(f"\n{name}: has no profile")


if __name__ == "__main__":
    sys.exit(main())
