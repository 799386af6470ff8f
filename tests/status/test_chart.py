"""The drawing is whole XML, says in words what it shows, has no style of its own, and fits any numbers."""

import xml.etree.ElementTree as ET
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.status.chart import BARS, STEP_MIN, drawn, seconds_in_words
from mirrord.status.recent import HOURS, Minute
from tests.journal.ledger import at

NOW = at(60_000)  # 16:40
NUMBER = int(NOW.timestamp()) // 60
LONG_AGO = at(0)

counts = st.integers(0, 10**7)
lags = st.none() | st.lists(st.floats(0, 1e9), min_size=2, max_size=2).map(sorted)


def _minute(number: int, refreshed: int, failed: int, lag: list[float] | None) -> Minute:
    lag_s, worst_lag_s = lag or (None, None)
    return Minute(number=number, refreshed=refreshed, failed=failed, lag_s=lag_s, worst_lag_s=worst_lag_s)


def _svg(html: str) -> ET.Element:
    plot = html[html.index('<svg class="plot"') :]
    return ET.fromstring(plot[: plot.index("</svg>") + 6])


def _texts(found: ET.Element, kind: str) -> list[str]:
    return ["".join(each.itertext()) for each in found.iter(kind)]


def test_every_bar_says_what_it_stands_for() -> None:
    minutes = [
        Minute(number=NUMBER - 8, refreshed=4, failed=1, lag_s=2.0, worst_lag_s=90.0),
        Minute(number=NUMBER - 7, refreshed=2, lag_s=1.0, worst_lag_s=3.0),
        Minute(number=NUMBER, failed=3),
    ]

    titles = _texts(_svg(drawn(minutes, NOW, since=LONG_AGO, of="docs")), "title")

    assert titles == [
        "docs: refreshes, failures and lag of the last 6 hours, 5 minutes each",
        "16:30 to 16:35 UTC: 6 refreshed, 1 failed; lag 2 s, at worst 1.5 min",
        "16:40 to 16:45 UTC: 0 refreshed, 3 failed",
    ]


def test_the_whole_is_told_in_a_sentence_and_as_a_table() -> None:
    minutes = [Minute(number=NUMBER, refreshed=4, failed=1, lag_s=2.0, worst_lag_s=90.0)]

    html = drawn(minutes, NOW, since=LONG_AGO, of="docs")

    assert _texts(_svg(html), "desc") == ["4 refreshed, 1 failed, the worst lag 1.5 min."]
    assert "<tr><th scope=row>16:40:00Z<td>4<td>1<td>2 s<td>1.5 min" in html


def test_where_nothing_was_asked_for_the_drawing_says_so() -> None:
    html = drawn([], NOW, since=LONG_AGO, of="docs")

    assert _texts(_svg(html), "desc") == ["Nothing was asked for."]
    assert "<table" not in html


def test_the_hours_stand_below_in_utc() -> None:
    hours = _texts(_svg(drawn([], NOW, since=LONG_AGO, of="docs")), "text")

    assert hours == ["11:00", "12:00", "13:00", "14:00", "15:00", "16:00"]


def test_the_time_before_the_start_is_marked_as_unknown() -> None:
    early = _svg(drawn([], NOW, since=NOW - timedelta(hours=HOURS / 2), of="docs"))
    whole = _svg(drawn([], NOW, since=LONG_AGO, of="docs"))

    (unknown,) = [each for each in early.iter("rect") if each.get("class") == "unknown"]
    assert float(str(unknown.get("width")).rstrip("%")) == pytest.approx(50, abs=2)
    assert not [each for each in whole.iter("rect") if each.get("class") == "unknown"]


def test_one_failure_beside_ten_thousand_is_still_to_be_seen() -> None:
    minutes = [Minute(number=NUMBER, failed=1), Minute(number=NUMBER - 10, failed=10_000)]

    heights = [
        float(str(each.get("height")))
        for each in _svg(drawn(minutes, NOW, since=LONG_AGO, of="docs")).iter("rect")
        if each.get("class") == "failed"
    ]

    assert min(heights) >= 2


def test_a_name_cannot_leave_its_place() -> None:
    html = drawn([], NOW, since=LONG_AGO, of="</title><script>")

    assert "<script" not in html


@given(st.lists(st.builds(_minute, st.integers(NUMBER - 500, NUMBER), counts, counts, lags), max_size=8))
def test_all_of_it_stays_within_the_drawing_and_has_no_style(minutes: list[Minute]) -> None:
    svg = _svg(drawn(minutes, NOW, since=LONG_AGO, of="docs"))

    for each in svg.iter("rect"):
        left, width = (float(str(each.get(name)).rstrip("%")) for name in ("x", "width"))
        top, height = float(str(each.get("y"))), float(str(each.get("height")))
        assert left >= 0
        assert left + width <= 100.05
        assert height >= 0
        assert top >= 0
        assert top + height <= float(str(svg.get("height")))
    assert not [each for each in svg.iter() if each.get("style") is not None]
    assert len(list(svg.iter("g"))) <= BARS


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0004, "0 ms"),
        (0.25, "250 ms"),
        (1, "1 s"),
        (9.94, "9.9 s"),
        (59.9, "60 s"),
        (90, "1.5 min"),
        (3600 * STEP_MIN, "5 h"),
        (86400 * 12.4, "12 d"),
    ],
)
def test_seconds_are_told_in_the_unit_that_fits(seconds: float, words: str) -> None:
    assert seconds_in_words(seconds) == words
