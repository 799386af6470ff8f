"""What a benchmark measured to a table for a person and JSON for a program."""

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bench.process import Cost

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One number that was promised."""

    what: str
    value: float
    bound: float
    unit: str
    at_least: bool = False
    """Whether `bound` is the least that will do, instead of the most."""
    spread: tuple[float, float] | None = None
    """The lowest and highest of the rounds."""

    @property
    def met(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def __str__(self) -> str:
        between = f"  (rounds {self.spread[0]:.2f} to {self.spread[1]:.2f})" if self.spread else ""
        limit = f"{'>=' if self.at_least else '<='} {self.bound:g} {self.unit}"
        return f"  {'pass' if self.met else 'MISS'}  {self.what}: {self.value:.2f} {self.unit}, target {limit}{between}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    name: str
    about: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    targets: Sequence[Target]
    notes: Sequence[str] = ()
    measured: dict[str, object] = field(default_factory=dict)
    """Every round's raw figures, for the JSON alone."""

    def show(self) -> None:
        print(f"\n{self.name}: {self.about}\n")
        widths = [max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]
        for first, *others in (self.columns, *self.rows):
            cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
            print("  " + "   ".join([first.ljust(widths[0]), *cells]))
        print()
        for target in self.targets:
            print(target)
        for note in self.notes:
            print(f"  note: {note}")

    def save(self) -> Path:
        """Write the JSON; returns its path."""
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.name}.json"
        document = asdict(self) | {
            "at": datetime.now(UTC).isoformat(),
            "machine": machine(),
            "targets": [asdict(target) | {"met": target.met} for target in self.targets],
        }
        path.write_text(json.dumps(document, indent=1) + "\n")
        return path


def rounds_of(costs: Sequence[Cost]) -> list[dict[str, object]]:
    """Raw figures for the JSON."""
    return [{"wall_s": cost.wall_s, "cpu_s": cost.cpu_s, "peak_bytes": cost.peak_bytes} for cost in costs]


def machine() -> dict[str, object]:
    return {
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def ratio(what: str, over: Sequence[float], under: Sequence[float], bound: float, *, at_least: bool = False) -> Target:
    """The median of `over` / `under` round by round: what disturbs a round disturbs both."""
    ratios = [a / b for a, b in zip(over, under, strict=True)]
    return Target(
        what=what,
        value=statistics.median(ratios),
        bound=bound,
        unit="x",
        at_least=at_least,
        spread=(min(ratios), max(ratios)),
    )
