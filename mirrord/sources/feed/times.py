"""A time as feeds write it to an aware UTC datetime; what is no time is None."""

import re
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_FROM_HERE_MILLISECONDS = 10**11
"""As seconds this is the year 5138, as milliseconds 1973: no feed means either by the other."""

_RFC_3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d(?::\d\d)?)(?:[.,](\d{1,6})\d*)?\s?([Zz]|[+-]\d\d(?::?\d\d)?)?)?", re.ASCII
)


def parse_time(text: object) -> datetime | None:
    """RFC 3339, or a number of seconds or milliseconds since 1970; None for everything else, never an exception.

    Without an offset it is UTC, a date alone is its midnight, and digits past microseconds are dropped.
    """
    try:
        if isinstance(text, str):
            return _from_text(text)
        if isinstance(text, int | float) and not isinstance(text, bool):
            return _from_number(text)
    except (ValueError, OverflowError):  # the 30th of February, or a time that no calendar reaches
        return None
    return None


def _from_text(text: str) -> datetime | None:
    found = _RFC_3339.fullmatch(text.strip())
    if not found:
        return None
    day, clock, fraction, offset = found.groups()
    leap = clock is not None and clock.endswith(":60")  # RFC 3339 allows the leap second, datetime does not
    moment = datetime.fromisoformat(f"{day}T{clock[:-2] + '59' if leap else clock or '00:00'}{_zone(offset)}")
    return moment.astimezone(UTC) + timedelta(seconds=leap, microseconds=int((fraction or "0").ljust(6, "0")))


def _zone(offset: str | None) -> str:
    return "+00:00" if offset is None or offset in "Zz" else offset


def _from_number(number: float) -> datetime:
    if abs(number) >= _FROM_HERE_MILLISECONDS:
        return _EPOCH + timedelta(milliseconds=number)
    return _EPOCH + timedelta(seconds=number)
