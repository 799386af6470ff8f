"""What ended in each minute to a drawing of the last hours: inline SVG without a style, and the same as a table.

Sideways everything is in percent, so that it fits any width and its letters stay as large as they are.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from markupsafe import Markup

from mirrord.decisions.explaining import moment
from mirrord.status.recent import HOURS, Minute, taken_together

STEP_MIN = 5
"""Minutes that one bar stands for."""
BARS = HOURS * 60 // STEP_MIN

_UP, _BASE, _DOWN = 12.0, 82.0, 106.0
"""Where refreshes end, where they and failures begin, and where these end; pixels from the top, as all here."""
_HOURS_AT = 122.0
_LAG_TOP, _LAG_BASE, _HEIGHT = 142.0, 202.0, 206
_MARKS = ((1.0, "1 s"), (60.0, "1 min"), (3600.0, "1 h"), (86400.0, "1 d"))
_LAG_LEAST_S, _LAG_MOST_S = 0.1, 3600.0
_ROUND = (10, 15, 20, 30, 40, 50, 60, 80, 100)
_GAP = 0.18
"""Of a bar's place, what stays empty."""


@dataclass(frozen=True, slots=True)
class _Scale:
    """How many are as high as the drawing has room."""

    refreshed: int
    failed: int
    lag_s: float

    def up(self, count: int) -> float:
        return _high(count, self.refreshed, _BASE - _UP)

    def down(self, count: int) -> float:
        return _high(count, self.failed, _DOWN - _BASE)

    def lag_at(self, seconds: float) -> float:
        """Logarithmic: what takes an hour must not hide what takes seconds."""
        least = math.log(_LAG_LEAST_S)
        part = (math.log(min(max(seconds, _LAG_LEAST_S), self.lag_s)) - least) / (math.log(self.lag_s) - least)
        return _LAG_BASE - part * (_LAG_BASE - _LAG_TOP)


def drawn(minutes: Sequence[Minute], now: datetime, *, since: datetime, of: str) -> Markup:
    """The HOURS before `now`, the newest at the right; nothing is known of what was before `since`. `of`: whose."""
    last = int(now.timestamp()) // 60 // STEP_MIN
    bars = [each for each in _bars(minutes) if last - BARS < each.number <= last]
    scale = _Scale(
        refreshed=_round_up(max((each.refreshed for each in bars), default=0)),
        failed=_round_up(max((each.failed for each in bars), default=0)),
        lag_s=max([_LAG_MOST_S, *(each.worst_lag_s for each in bars if each.worst_lag_s is not None)]),
    )
    title = f"{of}: refreshes, failures and lag of the last {HOURS} hours, {STEP_MIN} minutes each"
    plot = (*_ground(last, since, scale), *(each for bar in bars for each in _bar(bar, last, scale)))
    return Markup(
        '<div class="chart"><svg class="axis" width="44" height="{height}" aria-hidden="true">{axis}</svg>'
        '<svg class="plot" width="100%" height="{height}" role="img" aria-labelledby="chart-title chart-desc">'
        '<title id="chart-title">{title}</title><desc id="chart-desc">{desc}</desc>{plot}</svg></div>{table}'
    ).format(
        height=_HEIGHT,
        axis=Markup("".join(_axis(scale))),  # noqa: S704 - numbers and words of our own
        title=title,
        desc=_in_words(bars),
        plot=Markup("".join(plot)),  # noqa: S704 - the same
        table=_table(bars, now),
    )


def _bars(minutes: Sequence[Minute]) -> list[Minute]:
    """Several minutes as if they were one."""
    return taken_together(
        Minute(
            number=each.number // STEP_MIN,
            refreshed=each.refreshed,
            failed=each.failed,
            lag_s=each.lag_s,
            worst_lag_s=each.worst_lag_s,
        )
        for each in minutes
    )


def _in_words(bars: Sequence[Minute]) -> str:
    if not bars:
        return "Nothing was asked for."
    refreshed, failed = sum(each.refreshed for each in bars), sum(each.failed for each in bars)
    worst = [each.worst_lag_s for each in bars if each.worst_lag_s is not None]
    lag = f", the worst lag {seconds_in_words(max(worst))}" if worst else ""
    return f"{refreshed} refreshed, {failed} failed{lag}."


def seconds_in_words(seconds: float) -> str:
    """Two digits that matter, at most, in the largest unit that leaves something before the point."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{_digits(seconds / size)} {unit}"
    return f"{_digits(seconds)} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}".removesuffix(".0")


# -- marks ---------------------------------------------------------------------------------------------


def _axis(scale: _Scale) -> Iterator[str]:
    yield _text("38", _UP + 4, str(scale.refreshed), "end")
    yield _text("38", _BASE + 4, "0", "end")
    yield _text("38", _DOWN + 4, str(scale.failed), "end")
    for seconds, name in _lag_marks(scale):
        yield _text("38", scale.lag_at(seconds) + 4, name, "end")


def _ground(last: int, since: datetime, scale: _Scale) -> Iterator[str]:
    """What is behind the bars: the time that nothing is known of, lines to measure by, and the hours."""
    known = _left(since.timestamp() / 60 / STEP_MIN, last)
    if known > 0:
        yield _rect("unknown", 0, _UP, min(known, 100.0), _LAG_BASE - _UP)
    for y in (_UP, _DOWN, *(scale.lag_at(seconds) for seconds, _ in _lag_marks(scale))):
        yield _line("grid", "0", "100%", y, y)
    yield _line("base", "0", "100%", _BASE, _BASE)
    yield _line("base", "0", "100%", _LAG_BASE, _LAG_BASE)
    for number in range(last - BARS + 2, last):
        if number % (60 // STEP_MIN) == 0:
            at, left = datetime.fromtimestamp(number * STEP_MIN * 60, UTC), _left(number, last)
            x = f"{left:.2f}%"
            yield _line("grid", x, x, _UP, _LAG_BASE)
            if 2 < left < 98:  # nearer to an end there is no room
                yield _text(x, _HOURS_AT, f"{at:%H:%M}", "middle")


def _bar(bar: Minute, last: int, scale: _Scale) -> Iterator[str]:
    left, whole = _left(bar.number, last), 100 / BARS
    x, width = left + whole * _GAP / 2, whole * (1 - _GAP)
    yield f"<g><title>{_told(bar)}</title>"
    yield _rect("hit", left, _UP, whole, _LAG_BASE - _UP)
    if bar.refreshed:
        high = scale.up(bar.refreshed)
        yield _rect("refreshed", x, _BASE - high, width, high)
    if bar.failed:
        yield _rect("failed", x, _BASE, width, scale.down(bar.failed))
    if bar.lag_s is not None and bar.worst_lag_s is not None:
        top, middle = scale.lag_at(bar.worst_lag_s), scale.lag_at(bar.lag_s)
        yield _rect("worst", x + width / 3, top, width / 3, middle - top)
        yield _rect("median", x, middle - 1, width, 2.0)
    yield "</g>"


def _told(bar: Minute) -> str:
    begin = datetime.fromtimestamp(bar.number * STEP_MIN * 60, UTC)
    lag = ""
    if bar.lag_s is not None and bar.worst_lag_s is not None:
        lag = f"; lag {seconds_in_words(bar.lag_s)}, at worst {seconds_in_words(bar.worst_lag_s)}"
    end = begin + timedelta(minutes=STEP_MIN)
    return f"{begin:%H:%M} to {end:%H:%M} UTC: {bar.refreshed} refreshed, {bar.failed} failed{lag}"


def _table(bars: Sequence[Minute], now: datetime) -> Markup:
    if not bars:
        return Markup()
    rows = "".join(
        f"<tr><th scope=row>{moment(datetime.fromtimestamp(each.number * STEP_MIN * 60, UTC), now)}"
        f"<td>{each.refreshed}<td>{each.failed}<td>{_lag(each.lag_s)}<td>{_lag(each.worst_lag_s)}"
        for each in reversed(bars)
    )
    return Markup(
        '<details class="numbers"><summary>The same in numbers</summary><table><thead><tr><th scope=col>from'
        "<th scope=col>refreshed<th scope=col>failed<th scope=col>lag<th scope=col>worst lag<tbody>{}</table></details>"
    ).format(Markup(rows))  # noqa: S704 - numbers


def _lag(seconds: float | None) -> str:
    return "" if seconds is None else seconds_in_words(seconds)


def _rect(kind: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x:.2f}%" y="{y:.1f}" width="{width:.2f}%" height="{height:.1f}"/>'


def _line(kind: str, x1: str, x2: str, y1: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1}" x2="{x2}" y1="{y1:.1f}" y2="{y2:.1f}"/>'


def _text(x: str, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def _lag_marks(scale: _Scale) -> Iterator[tuple[float, str]]:
    return ((seconds, name) for seconds, name in _MARKS if seconds <= scale.lag_s)


def _left(number: float, last: int) -> float:
    """Where a bar's place begins, in percent."""
    return (number - (last - BARS + 1)) * 100 / BARS


def _high(count: int, most: int, room: float) -> float:
    """At least two pixels: one of ten thousand is to be seen."""
    return max(2.0, count / most * room) if count else 0.0


def _round_up(most: int) -> int:
    """A round number that is not less; 1 for 0."""
    if most <= 1:
        return 1
    size: int = 10 ** (len(str(most)) - 1)
    return next(size * tenths // 10 for tenths in _ROUND if size * tenths >= 10 * most and size * tenths % 10 == 0)
