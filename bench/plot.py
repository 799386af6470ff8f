"""Counts a second to pictures: a chart of characters for a terminal, an SVG for a browser."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

ROWS = 6
"""Of a chart of characters, each of which shows eighths."""
EIGHTHS = " ▁▂▃▄▅▆▇█"

WIDTH, HEIGHT = 420, 230
"""Of one panel, in SVG units, with its labels."""
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 34, 40
"""Its margins, around the axes."""
HEAD = 62
"""Above all panels: the title and the legend."""
STYLE = """\
  text { font: 12px sans-serif; fill: #24292f; }
  .title { font-size: 16px; font-weight: bold; } .name { font-weight: bold; } .axis { fill: #57606a; }
  .ground { fill: #ffffff; } .grid { stroke: #d8dee4; } .frame { stroke: #57606a; }
  .accepted { fill: #2f81b7; } .refused { fill: #d1570a; } .cut { fill: #d1570a; font-size: 11px; }
  .limit { stroke: #24292f; stroke-width: 1.5; stroke-dasharray: 5 3; }
  .settled { stroke: #57606a; stroke-dasharray: 2 2; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .axis { fill: #9da7b1; }
    .ground { fill: #0d1117; } .grid { stroke: #2b3138; } .frame { stroke: #9da7b1; }
    .accepted { fill: #4a9fd8; } .refused { fill: #f0883e; } .cut { fill: #f0883e; }
    .limit { stroke: #e6edf3; } .settled { stroke: #9da7b1; }
  }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One server's calls, second by second."""

    name: str
    limit: float
    """What it allows a second."""
    accepted: Sequence[int]
    refused: Sequence[int]
    settled_s: int
    """From which second on the client should know the limit."""

    @property
    def top(self) -> int:
        """Where the axis of counts ends: a round number with room above the limit. What is higher is cut off."""
        step = _step(1.4 * self.limit)
        return step * math.ceil(1.4 * self.limit / step)


def chart(panel: Panel) -> str:
    """A column a second: full blocks are accepted calls, `x` above them the refused ones; the limit is a line."""
    per_row = panel.top / ROWS
    limit_row = int(panel.limit / per_row)
    lines = [f"{panel.name}: calls/s over {len(panel.accepted)} s (█ accepted, x refused, ╌ limit)"]
    for row in reversed(range(ROWS)):
        cells = "".join(
            _cell(panel, second, row, "╌" if row == limit_row else " ") for second in range(len(panel.accepted))
        )
        label = f"{panel.limit:g}" if row == limit_row else f"{panel.top}" if row == ROWS - 1 else ""
        lines.append(f"  {label:>5} ┤{cells}".rstrip())
    lines.append("      0 └" + "".join("┴" if second % 10 == 9 else "─" for second in range(len(panel.accepted))))
    return "\n".join(lines)


def _cell(panel: Panel, second: int, row: int, empty: str) -> str:
    per_row = panel.top / ROWS
    accepted, refused = panel.accepted[second], panel.refused[second]
    eighths = min(8, max(0, round(8 * (accepted / per_row - row))))
    if eighths:
        return EIGHTHS[eighths]
    # one refused call in a thousand is still to be seen
    from_row = math.ceil(accepted / per_row - 0.0625)
    to_row = max(from_row + 1, round((accepted + refused) / per_row)) if refused else from_row
    return "x" if from_row <= row < to_row else empty


def svg(title: str, panels: Sequence[Panel], *, columns: int) -> str:
    """A whole picture, the panels in rows of `columns`. It brings its own ground, light or dark as the browser is."""
    width, height = columns * WIDTH, HEAD + math.ceil(len(panels) / columns) * HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{STYLE}</style>",
        f'<rect class="ground" width="{width}" height="{height}"/>',
        f'<text class="title" x="16" y="26">{escape(title)}</text>',
        _legend(16, 46),
    ]
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        parts.append(f'<g transform="translate({column * WIDTH} {HEAD + row * HEIGHT})">')
        parts += _panel(panel)
        parts.append("</g>")
    return "\n".join([*filter(None, parts), "</svg>"]) + "\n"


def _legend(x: float, y: float) -> str:
    return (
        f'<rect class="accepted" x="{x}" y="{y - 9}" width="10" height="10"/>'
        f'<text x="{x + 15}" y="{y}">accepted</text>'
        f'<rect class="refused" x="{x + 85}" y="{y - 9}" width="10" height="10"/>'
        f'<text x="{x + 100}" y="{y}">refused (on top)</text>'
        f"{_line('limit', x + 210, y - 4, x + 235, y - 4)}"
        f'<text x="{x + 241}" y="{y}">what the server allows</text>'
        f"{_line('settled', x + 390, y - 11, x + 390, y + 2)}"
        f'<text x="{x + 398}" y="{y}">measured from here on</text>'
    )


def _panel(panel: Panel) -> list[str]:
    """The axes, the bars in front of them, the lines in front of both."""
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    limit = bottom - panel.limit * (bottom - TOP) / panel.top
    settled = LEFT + panel.settled_s * (right - LEFT) / len(panel.accepted)
    return [
        f'<text class="name" x="{LEFT}" y="{TOP - 18}">{escape(panel.name)}</text>',
        *_axes(panel),
        *_bars(panel),
        _line("settled", settled, TOP, settled, bottom),
        _line("limit", LEFT, limit, right, limit),
        f'<path class="frame" d="M{LEFT} {TOP}V{bottom}H{right}" fill="none"/>',
    ]


def _axes(panel: Panel) -> Iterator[str]:
    seconds, right, bottom = len(panel.accepted), WIDTH - RIGHT, HEIGHT - BOTTOM
    column, unit = (right - LEFT) / seconds, (bottom - TOP) / panel.top
    for count in range(0, panel.top + 1, _step(panel.top)):
        y = bottom - count * unit
        yield _line("grid", LEFT, y, right, y)
        yield f'<text class="axis" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{count}</text>'
    for second in range(0, seconds + 1, 10):
        x = LEFT + second * column
        yield _line("frame", x, bottom, x, bottom + 4)
        yield f'<text class="axis" x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{second}</text>'
    at = f'x="{(LEFT + right) / 2}" y="{bottom + 32}"'
    yield f'<text class="axis" {at} text-anchor="middle">seconds since the first call</text>'
    at = f'transform="translate(13 {(TOP + bottom) / 2}) rotate(-90)"'
    yield f'<text class="axis" {at} text-anchor="middle">calls per second</text>'


def _bars(panel: Panel) -> Iterator[str]:
    bottom = HEIGHT - BOTTOM
    column, unit = (WIDTH - RIGHT - LEFT) / len(panel.accepted), (bottom - TOP) / panel.top
    worst: int | None = max(panel.refused)
    for second, (accepted, refused) in enumerate(zip(panel.accepted, panel.refused, strict=True)):
        x, middle, top = LEFT + second * column, bottom - accepted * unit, bottom - (accepted + refused) * unit
        yield _bar("accepted", x, column, middle, bottom)
        # a single refused call is still to be seen
        yield _bar("refused", x, column, min(top, middle - 1.5) if refused else top, middle)
        if accepted + refused > panel.top and refused == worst:  # one label, or they would hide each other
            worst = None
            yield f'<text class="cut" x="{x:.1f}" y="{TOP - 4}">↑ {refused} refused</text>'


def _bar(kind: str, x: float, width: float, top: float, bottom: float) -> str:
    """One bar, cut off at the end of the axis; nothing when nothing of it is to be seen."""
    top, bottom = max(TOP, top), max(TOP, bottom)
    if bottom <= top:
        return ""
    return f'<rect class="{kind}" x="{x:.1f}" y="{top:.1f}" width="{width - 0.8:.1f}" height="{bottom - top:.1f}"/>'


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _step(most: float) -> int:
    """A round number of which about four or five make `most`."""
    power = 10 ** math.floor(math.log10(most / 4))
    return max(1, int(next(power * digit for digit in (1, 2, 5, 10) if power * digit >= most / 5)))
