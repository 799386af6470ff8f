"""A claim to whether its call may go: not before the origin's public address shows what is to be pulled."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import structlog

from mirrord.attempts import Claim
from mirrord.decisions.confirming import Shown, can_never_be_seen, is_confirmed, next_look, says_anything
from mirrord.kodo.entry import origin_url
from mirrord.kodo.exchange import Answer, NoAnswer, Sender, base_of

log = structlog.get_logger()

HEAD_MOST = timedelta(seconds=10)


class Confirmation:
    """One mirror's. Asks the origin as a stranger: without authorization, and past caches where they listen."""

    def __init__(
        self,
        *,
        mirror: str,
        origin: str,
        most: timedelta,
        wire: Sender,
        user_agent: str,
        now: Callable[[], datetime],
    ) -> None:
        """`most`: after so long a key is asked for although its version was not seen."""
        self._mirror = mirror
        self._origin = origin
        self._most = most
        self._wire = wire
        self._user_agent = user_agent
        self._now = now
        self._silent = False
        """Whether the last HEAD had no answer: then one at a time is enough to find out whether the next one has."""
        self._looking = 0

    async def pause(self, claim: Claim) -> timedelta | None:
        """How long the key has to wait still; None: it may be asked for now."""
        row = claim.row
        if not says_anything(row.wanted):
            return None
        shown = await self._look(row.key)
        if is_confirmed(row.wanted, shown):
            return None
        waited = self._now() - (row.wanted_at or self._now())
        pause = None if can_never_be_seen(row.wanted, shown) else next_look(waited, self._most)
        fields = {
            "mirror": self._mirror,
            "key": row.key,
            "wanted": row.wanted,
            "status": shown.status,
            "etag": shown.etag,
            "modified": shown.modified,
            "size_bytes": shown.size_bytes,
            "waited_s": round(waited.total_seconds(), 3),
        }
        if pause is None:
            log.warning("origin.unconfirmed", **fields)
        else:
            log.info("origin.awaited", **fields, retry_in_s=round(pause.total_seconds(), 3))
        return pause

    async def _look(self, key: str) -> Shown:
        """Keys that need no confirmation wait behind these, so that an origin that hangs must not hold up many."""
        if self._silent and self._looking:
            return Shown(status=None)
        self._looking += 1
        try:
            shown = await self._head(key)
        finally:
            self._looking -= 1
        self._silent = shown.status is None
        return shown

    async def _head(self, key: str) -> Shown:
        url = origin_url(self._origin, key)
        headers = {"User-Agent": self._user_agent, "Accept-Encoding": "identity", "Cache-Control": "no-cache"}
        with suppress(TimeoutError):
            async with asyncio.timeout(HEAD_MOST.total_seconds()):
                return _shown(await self._wire.send("HEAD", base_of(url), urlsplit(url).path, headers))
        return Shown(status=None)


def _shown(answer: Answer | NoAnswer) -> Shown:
    if isinstance(answer, NoAnswer):
        return Shown(status=None)
    etag, size = answer.headers.get("etag"), answer.headers.get("content-length", "")
    return Shown(
        status=answer.status,
        etag=None if etag is None else etag.removeprefix("W/").strip('"'),
        modified=_modified(answer.headers),
        size_bytes=int(size) if size.isdecimal() and len(size) < 20 else None,
    )


def _modified(headers: Mapping[str, str]) -> datetime | None:
    with suppress(ValueError):
        modified = parsedate_to_datetime(headers.get("last-modified", ""))
        return modified if modified.tzinfo is not None else None
    return None
