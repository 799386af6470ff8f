from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirrord.sources.feed.times import parse_time

NOON = datetime(2026, 11, 5, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        pytest.param("2026-11-05T12:00:00Z", NOON, id="Z"),
        pytest.param("2026-11-05t12:00:00z", NOON, id="lower case"),
        pytest.param("2026-11-05 12:00:00Z", NOON, id="space"),
        pytest.param(" 2026-11-05T12:00:00Z\n", NOON, id="white space around"),
        pytest.param("2026-11-05T20:00:00+08:00", NOON, id="east"),
        pytest.param("2026-11-05T08:30:00-0330", NOON, id="offset without colon"),
        pytest.param("2026-11-05T20:00:00+08", NOON, id="offset of hours"),
        pytest.param("2026-11-05T12:00:00-00:00", NOON, id="unknown offset"),
        pytest.param("2026-11-05T12:00:00", NOON, id="naive is UTC"),
        pytest.param("2026-11-05T12:00Z", NOON, id="minutes"),
        pytest.param("2026-11-05", NOON.replace(hour=0), id="date alone"),
        pytest.param("2026-11-05T12:00:00.5Z", NOON.replace(microsecond=500_000), id="one digit"),
        pytest.param("2026-11-05T12:00:00.000001Z", NOON.replace(microsecond=1), id="microseconds"),
        pytest.param("2026-11-05T12:00:00.123456789+00:00", NOON.replace(microsecond=123_456), id="nanoseconds"),
        pytest.param("2026-11-05T12:00:00,25Z", NOON.replace(microsecond=250_000), id="comma"),
        pytest.param("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC), id="leap second"),
    ],
)
def test_rfc_3339_is_read_as_utc(text: str, time: datetime) -> None:
    read = parse_time(text)

    assert read == time
    assert read is not None
    assert read.tzinfo is UTC


@pytest.mark.parametrize(
    ("number", "time"),
    [
        pytest.param(0, datetime(1970, 1, 1, tzinfo=UTC), id="zero"),
        pytest.param(1_793_880_000, NOON, id="seconds"),
        pytest.param(1_793_880_000.5, NOON.replace(microsecond=500_000), id="seconds with a fraction"),
        pytest.param(1_793_880_000_250, NOON.replace(microsecond=250_000), id="milliseconds"),
        pytest.param(-86_400, datetime(1969, 12, 31, tzinfo=UTC), id="before 1970"),
    ],
)
def test_numbers_count_from_1970(number: float, time: datetime) -> None:
    assert parse_time(number) == time


@pytest.mark.parametrize(
    "nothing",
    [
        None,
        True,
        [],
        {},
        b"2026-11-05T12:00:00Z",
        "",
        "yesterday",
        "2026-02-30T12:00:00Z",
        "2026-11-05T25:00:00Z",
        "2026-11-05T12:00:00+99:00",
        "2026-11-05T12:00:00Zz",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:60Z",
        "２０２６-11-05T12:00:00Z",
        "\ud800",
        "20261105",
        float("nan"),
        float("inf"),
        10**400,
        253_402_300_800_000,
    ],
    ids=repr,
)
def test_what_is_no_time_is_none(nothing: object) -> None:
    assert parse_time(nothing) is None


@settings(max_examples=150, deadline=None)
@given(
    st.datetimes(
        min_value=datetime(2, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
        max_value=datetime(9998, 1, 1),  # noqa: DTZ001
        timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
    )
)
def test_every_time_that_is_written_is_read_back(moment: datetime) -> None:
    assert parse_time(moment.isoformat()) == moment


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.text(),
        st.from_regex(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9:.,]*([Zz]|[+-][0-9:]*)?)?\Z"),
        st.integers(),
        st.floats(),
        st.binary(),
    )
)
def test_nothing_raises(anything: object) -> None:
    read = parse_time(anything)

    assert read is None or read.tzinfo is UTC
