"""Whether the origin's public address already shows what a feed says of a key; a cache may still have the old copy."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from mirrord.model.fingerprint import Fingerprint, parse_token

FIRST_PAUSE = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(seconds=30)
_ABSENT = frozenset({404, 410})
_NO_HEAD = frozenset({405, 501})


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a HEAD of the public address brought; `status` None: no answer."""

    status: int | None
    etag: str | None = None
    """Without quotes and `W/`."""
    modified: datetime | None = None
    size_bytes: int | None = None


def is_confirmed(wanted: Fingerprint | None, shown: Shown) -> bool:
    """Whether `shown` is the version that is wanted, as far as the two can be compared."""
    if wanted is None:
        return shown.status in _ABSENT
    if shown.status != 200:
        return False
    version = parse_token(wanted)
    if version is None:
        return True
    signs = list[bool]()
    if version.etag is not None and shown.etag is not None:
        signs.append(version.etag == shown.etag)
    if version.modified is not None and shown.modified is not None:
        signs.append(shown.modified >= version.modified)
    if signs:
        return any(signs)
    return None in (version.size_bytes, shown.size_bytes) or version.size_bytes == shown.size_bytes


def can_never_be_seen(wanted: Fingerprint | None, shown: Shown) -> bool:
    """Whether to wait is no use, because the origin does not answer such questions. A removal waits all the same."""
    return wanted is not None and shown.status in _NO_HEAD


def says_anything(wanted: Fingerprint | None) -> bool:
    """Whether the feed said anything of this version that a HEAD could show."""
    version = None if wanted is None else parse_token(wanted)
    if version is None:
        return wanted is None
    return any(part is not None for part in (version.etag, version.modified, version.size_bytes))


def next_look(waited: timedelta, most: timedelta) -> timedelta | None:
    """How long until the next look at a key that is not confirmed; None: it has been waited for long enough."""
    if waited >= most:
        return None
    return min(max(FIRST_PAUSE, waited / 2), LONGEST_PAUSE, max(most - waited, FIRST_PAUSE))
