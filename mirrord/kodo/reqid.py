"""An X-Reqid to when Kodo was asked: it is made of a process id and nanoseconds (kodo.md, "Response headers")."""

from base64 import b64decode
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BYTES = 12
_CHARACTERS = 16
_PLAUSIBLE_YEARS = range(2010, 2101)


def asked_at(reqid: str) -> datetime | None:
    """By Kodo's clock, to the microsecond; None for what is no id of that form. Best effort: nobody promised it."""
    encoded = reqid.rpartition(".")[2]  # a dotted one says first where it came through
    if len(encoded) != _CHARACTERS or "+" in encoded or "/" in encoded:  # the decoder takes the ordinary alphabet
        return None
    try:
        raw = b64decode(encoded, altchars=b"-_", validate=True)
    except ValueError:
        return None
    if len(raw) != _BYTES:
        return None
    found = _EPOCH + timedelta(microseconds=int.from_bytes(raw[4:], "little", signed=True) // 1000)
    return found if found.year in _PLAUSIBLE_YEARS else None
