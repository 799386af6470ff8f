from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirrord.sources.feed.bookmarks import Mark, earlier, mark_of
from mirrord.sources.feed.times import parse_time

MINUTE = timedelta(minutes=1)
JSON = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.lists(st.integers(), max_size=3)


@pytest.mark.parametrize(
    ("seq", "before"),
    [
        ("2026-11-20T20:15:00Z", "2026-11-20T20:14:00Z"),
        ("2026-11-20t20:15:00z", "2026-11-20t20:14:00z"),
        ("2026-11-20 20:15:00", "2026-11-20 20:14:00"),
        ("2026-11-20T20:15:00.250Z", "2026-11-20T20:14:00.250Z"),
        ("2026-11-20T20:15:00.1234567Z", "2026-11-20T20:14:00.123456Z"),
        ("2026-11-20T00:00:30+08:00", "2026-11-19T23:59:30+08:00"),
        ("2026-11-20", "2026-11-19"),
        (1_700_000_000, 1_699_999_940),
        (1_700_000_000_000, 1_699_999_940_000),
        (1_700_000_000.5, 1_699_999_940.5),
        ("no time", "no time"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        (None, None),
        (True, True),
        ([1], [1]),
    ],
)
def test_a_time_stays_in_the_form_that_the_feed_uses(seq: object, before: object) -> None:
    assert earlier(seq, MINUTE) == before
    assert type(earlier(seq, MINUTE)) is type(seq)


@given(
    st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2100, 1, 1)),  # noqa: DTZ001 - hypothesis wants so
    st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
    st.sampled_from(["seconds", "milliseconds", "microseconds"]),
    st.timedeltas(timedelta(seconds=1), timedelta(days=2)),
)
@settings(max_examples=100)
def test_what_is_asked_is_never_later_and_less_than_its_unit_earlier(
    moment: datetime, zone: timezone, unit: str, overlap: timedelta
) -> None:
    text = moment.replace(tzinfo=UTC).astimezone(zone).isoformat(timespec=unit)
    at = parse_time(text)

    asked = parse_time(earlier(text, overlap))

    assert at is not None
    assert asked is not None
    assert timedelta(0) <= (at - overlap) - asked < timedelta(seconds=1)


@given(JSON, JSON, JSON, JSON, st.booleans())
def test_a_mark_survives_being_written(seq: object, page: object, first: object, stamp: object, probe: bool) -> None:
    mark = Mark(seq=seq, next=page, first=first, stamp=stamp, probe=probe)

    assert mark_of(mark.text()) == mark


@given(st.text())
def test_any_cursor_is_some_mark(cursor: str) -> None:
    assert isinstance(mark_of(cursor), Mark)
