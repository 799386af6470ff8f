"""A server whose limit nobody told `mirrord run`: how soon it finds it, how well it uses it, how much is refused."""

import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.config import write_config
from bench.plot import Panel, chart, svg
from bench.process import BenchFailed, module, running
from bench.report import RESULTS, Report, Target
from bench.stub import Limits, Stub, answers, recording_stub
from bench.tree import plant

PER_SECOND = (20, 100, 400)
STATUSES = {573: "573", 429: "429 + Retry-After: 1"}
LATENCY_S = 0.025
SECONDS = 40
SETTLED_S = 15
"""From when on the limit should be known."""
MARGIN_S = 10
"""So much longer the stale keys would last."""
PATIENCE_S = 30.0
"""Until the first call."""
REFUSED_PERCENT = 2.0
USED_PERCENT = 85.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlottedReport(Report):
    """With what was called each second, as pictures."""

    panels: list[Panel]

    def show(self) -> None:
        Report.show(self)
        for panel in self.panels:
            print(f"\n{chart(panel)}")

    def save(self) -> Path:
        RESULTS.mkdir(exist_ok=True)
        title = f"mirrord run against servers that refuse what is too much, {LATENCY_S * 1000:.0f} ms away"
        (RESULTS / f"{self.name}.svg").write_text(svg(title, self.panels, columns=len(STATUSES)))
        return Report.save(self)


def run() -> Report:
    panels = {
        (status, per_second): panel
        for status in STATUSES
        for per_second, panel in zip(PER_SECOND, _panels(status), strict=True)
    }
    return _report([panels[status, per_second] for per_second in PER_SECOND for status in STATUSES])


def _panels(status: int) -> list[Panel]:
    """One for each limit, measured at the same time: they take a fraction of a processor."""
    with tempfile.TemporaryDirectory(prefix="mirrord-bench-") as directory, ExitStack() as stack:
        stubs = [
            stack.enter_context(recording_stub(Limits(per_second=limit, latency_s=LATENCY_S, status=status)))
            for limit in PER_SECOND
        ]
        logs = []
        for limit, stub in zip(PER_SECOND, stubs, strict=True):
            work = Path(directory) / str(limit)
            work.mkdir()
            plant(work / "tree", limit * (SECONDS + MARGIN_S))
            config = write_config(
                work / "config.toml",
                tree=work / "tree",
                journal=work / "journal.db",
                url=stub.url,
                first_run="refresh",
            )
            logs.append(work / "log")
            stack.enter_context(running(module("mirrord", "run", "-c", str(config)), stderr=logs[-1]))
        for stub, log in zip(stubs, logs, strict=True):
            _wait_for_first_call(stub, log)
        time.sleep(SECONDS + 0.5)
        return [_panel(status, limit, stub) for limit, stub in zip(PER_SECOND, stubs, strict=True)]


def _wait_for_first_call(stub: Stub, log: Path) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not _prefetches(stub):
        if time.monotonic() > give_up:
            raise BenchFailed(f"mirrord made no call within {PATIENCE_S:.0f} s:\n{log.read_text()[-1000:]}")
        time.sleep(0.2)


def _prefetches(stub: Stub) -> list[tuple[float, int]]:
    """Arrival and status; what else is asked at the start is no part of this."""
    return [(at, status) for path, at, status in answers(stub) if path.startswith("/prefetch/")]


def _panel(status: int, limit: int, stub: Stub) -> Panel:
    accepted, refused = [0] * SECONDS, [0] * SECONDS
    prefetches = _prefetches(stub)
    first_at, _ = prefetches[0]
    for at, said in prefetches:
        if at - first_at < SECONDS:
            (accepted if said == 200 else refused)[int(at - first_at)] += 1
    if sum(accepted) >= limit * (SECONDS + MARGIN_S):
        raise BenchFailed(f"all keys were refreshed before the {SECONDS} s were over")
    name = f"{limit} calls/s allowed, else {STATUSES[status]}"
    return Panel(name=name, limit=limit, accepted=accepted, refused=refused, settled_s=SETTLED_S)


def _report(panels: list[Panel]) -> Report:
    targets: list[Target] = []
    for panel in panels:
        for what, value, bound, at_least in (
            ("used", _used(panel), USED_PERCENT, True),
            ("refused", _refused(panel), REFUSED_PERCENT, False),
        ):
            targets.append(Target(what=f"{panel.name}: {what}", value=value, bound=bound, unit="%", at_least=at_least))
    return PlottedReport(
        name="throttle",
        about=f"more stale keys than {SECONDS} s suffice for; the server is {LATENCY_S * 1000:.0f} ms away and keeps"
        " its limit to itself",
        columns=["", "accepted/s", "used", "refused", f"refused, first {SETTLED_S} s", "found after"],
        rows=[_row(panel) for panel in panels],
        targets=targets,
        notes=[
            f"used and refused: from {SETTLED_S} s after the first call on",
            "found after: the first second from which on five seconds' calls use as much of the limit as the target",
            "each server saves up what a tenth of a second allows, and each has a process of mirrord to itself",
        ],
        panels=panels,
    )


def _row(panel: Panel) -> list[str]:
    settled = panel.accepted[SETTLED_S:]
    found_s = _found_s(panel)
    return [
        panel.name,
        f"{sum(settled) / len(settled):.1f}",
        f"{_used(panel):.1f} %",
        f"{_refused(panel):.2f} %",
        f"{sum(panel.refused[:SETTLED_S])}",
        "never" if found_s is None else f"{found_s} s",
    ]


def _used(panel: Panel) -> float:
    settled = panel.accepted[SETTLED_S:]
    return 100 * sum(settled) / len(settled) / panel.limit


def _refused(panel: Panel) -> float:
    refused, accepted = sum(panel.refused[SETTLED_S:]), sum(panel.accepted[SETTLED_S:])
    return 100 * refused / (refused + accepted or 1)


def _found_s(panel: Panel) -> int | None:
    enough = 5 * panel.limit * USED_PERCENT / 100
    return next((second for second in range(SECONDS - 4) if sum(panel.accepted[second : second + 5]) >= enough), None)
