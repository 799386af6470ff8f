"""Successes to what the bucket really holds: collected, asked about in batches, held against the local files."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog

from mirrord.attempts import Ended
from mirrord.decisions.verdict import ADVICE
from mirrord.decisions.verification import Expected, Unverified, Verification, Verified, compare, is_of_content
from mirrord.model.attempt import Operation, Reply, Silence
from mirrord.model.fingerprint import Fingerprint, size_of
from mirrord.sources.contract import HashOf

log = structlog.get_logger()

BATCH_MOST = 1000
"""Keys asked about together: what one batch may carry."""
STATS_MOST = 2
"""Batches asked at once; a batch waits for the store, not for the network."""
VERIFICATION_MOST = timedelta(minutes=10)
"""The longest a claim may wait for its verification; long enough to read 300 GB from a disk."""
SETTLE_WITHIN = timedelta(seconds=15)
"""A verification ends so long before its claim's lease does."""
STOPPING_S = 0.05
"""How long a success waits for others while the service stops."""
SMALL_BYTES = 8 * 2**20
"""Larger files are read one by one, after the others have been handed back."""

HandBack = Callable[[Sequence[Ended]], None]


class Kodo(Protocol):
    """The part of the client that a verifier needs."""

    async def stat_all(self, bucket: str, keys: Sequence[str]) -> tuple[Reply, list[Reply]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a success waits for others, and for an answer. Seconds."""

    batch_s: float = 1.0
    answer_s: float = 30.0
    pauses_s: tuple[float, ...] = (1.0, 2.0, 4.0)
    """Before a batch that failed is asked again; after the last its keys go back unverified."""


class Verifier:
    """One mirror's. Nothing that it took is kept: every success comes back with a verification, whatever happens."""

    def __init__(
        self,
        *,
        mirror: str,
        bucket: str,
        kodo: Kodo,
        hash_of: HashOf,
        now: Callable[[], datetime],
        patience: Patience = Patience(),
    ) -> None:
        self._mirror = mirror
        self._bucket = bucket
        self._kodo = kodo
        self._hash_of = hash_of
        self._now = now
        self._patience = patience
        self._collected: list[Ended] = []
        self._due_at = 0.0
        self._news = asyncio.Event()
        self._asking = asyncio.Semaphore(STATS_MOST)
        self._limits: set[asyncio.Timeout] = set()
        self._hurried = asyncio.Event()
        self._cut = False
        self._closed = False

    # -- what the dispatcher says ------------------------------------------------------------------------

    def take(self, end: Ended) -> None:
        """Verify this success, soon, together with others."""
        self._collected.append(end)
        if len(self._collected) == 1:
            wait_s = STOPPING_S if self._hurried.is_set() else self._patience.batch_s
            self._due_at = asyncio.get_running_loop().time() + wait_s
            self._news.set()
        elif len(self._collected) >= BATCH_MOST:
            self._news.set()

    def ask_within(self, seconds: float) -> None:
        """No others will come for now: wait no longer than this for them."""
        due_at = asyncio.get_running_loop().time() + seconds
        if self._collected and due_at < self._due_at:
            self._due_at = due_at
            self._news.set()

    def hurry(self) -> None:
        """The service stops: ask at once, and nothing twice."""
        self._hurried.set()
        self.ask_within(0)

    def cut_short(self) -> None:
        """The service stops now: hand back unverified what is not yet verified."""
        self._cut = True
        self.hurry()
        for limit in self._limits:
            limit.reschedule(asyncio.get_running_loop().time())

    def close(self) -> None:
        """Nothing more will come: `run` returns."""
        self._closed = True
        self._news.set()

    # -- batches -----------------------------------------------------------------------------------------

    async def run(self, hand_back: HandBack) -> None:
        """Until `close`. `hand_back` gets what is verified, in any order."""
        async with asyncio.TaskGroup() as batches:
            while await self._is_due():
                batch, self._collected = self._collected[:BATCH_MOST], self._collected[BATCH_MOST:]
                batches.create_task(self._verify(batch, hand_back), name=f"verify {self._mirror}")

    async def _is_due(self) -> bool:
        """Wait for the next batch; False when none will come."""
        loop = asyncio.get_running_loop()
        while not self._closed:
            self._news.clear()
            wait_s = self._due_at - loop.time() if self._collected else None
            if wait_s is not None and (len(self._collected) >= BATCH_MOST or wait_s <= 0):
                return True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._news.wait()
        return False

    async def _verify(self, batch: Sequence[Ended], hand_back: HandBack) -> None:
        left = {end.claim.row.key: end for end in batch}

        def settle(verified: Mapping[str, Verification]) -> None:
            now = self._now()
            hand_back([replace(left.pop(key), at=now, verification=each) for key, each in verified.items()])

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._seconds_left(batch)) as limit:
                self._limits.add(limit)
                try:
                    await self._verify_each(left, settle)
                finally:
                    self._limits.discard(limit)
        if left:
            why = "the service stopped" if self._hurried.is_set() else "there was no time to read the file"
            settle(dict.fromkeys(list(left), Unverified(why)))

    def _seconds_left(self, batch: Sequence[Ended]) -> float:
        now = self._now()
        ends_at = min(end.claim.row.lease_until or now for end in batch) - SETTLE_WITHIN
        return 0.0 if self._cut else max(0.0, (ends_at - now).total_seconds())

    async def _verify_each(
        self, left: Mapping[str, Ended], settle: Callable[[Mapping[str, Verification]], None]
    ) -> None:
        ends = dict(left)
        found = {key: reply for key, end in ends.items() if (reply := _own_word(end)) is not None}
        small = [key for key, end in ends.items() if (size_of(end.claim.version) or 0) <= SMALL_BYTES]
        async with asyncio.TaskGroup() as both:
            hashing = both.create_task(self._hash_of(small), name=f"hash {self._mirror}")
            both.create_task(self._stat([key for key in ends if key not in found], found), name=f"stat {self._mirror}")
        settle(self._compared(small, ends, found, hashing.result()))
        for key in [key for key in ends if (size_of(ends[key].claim.version) or 0) > SMALL_BYTES]:
            hashes: dict[str, tuple[Fingerprint, str]] = {}
            by_size = compare(_expected(ends[key], None), found[key])
            if isinstance(by_size, Verified) and is_of_content(found[key].hash):
                hashes = await self._hash_of([key])
            settle(self._compared([key], ends, found, hashes))

    def _compared(
        self,
        keys: Iterable[str],
        ends: Mapping[str, Ended],
        found: Mapping[str, Reply],
        hashes: Mapping[str, tuple[Fingerprint, str]],
    ) -> dict[str, Verification]:
        return {key: compare(_expected(ends[key], hashes.get(key)), found[key]) for key in keys}

    # -- asking ------------------------------------------------------------------------------------------

    async def _stat(self, keys: Sequence[str], found: dict[str, Reply]) -> None:
        """Ask until every key has an answer, or no patience is left; `found` gets the last ones, good or bad."""
        if not keys:
            return
        for pause_s in (*self._patience.pauses_s, None):
            async with self._asking:
                found |= zip(keys, await self._stat_once(keys), strict=True)
            keys = [key for key in keys if found[key].status not in {200, 612}]
            if not keys:
                return
            refused = any(found[key].status in ADVICE for key in keys)
            if pause_s is None or refused or await self._is_hurried_within(pause_s):
                break
        self._say_postponed(keys, found[keys[0]])

    async def _stat_once(self, keys: Sequence[str]) -> Sequence[Reply]:
        """An answer for every key, that of the whole batch when it failed as one."""
        try:
            async with asyncio.timeout(self._patience.answer_s):
                whole, replies = await self._kodo.stat_all(self._bucket, keys)
        except TimeoutError:
            error = f"no answer to a batch of stats within {self._patience.answer_s:g} s"
            whole, replies = Reply(status=None, silence=Silence.TIMED_OUT, error=error), []
        if len(replies) == len(keys):
            return replies
        if whole.status in {200, 298}:
            error = f"the answer to a batch of {len(keys)} stats has {len(replies)}: it may not be Kodo's"
            whole = replace(whole, status=None, silence=Silence.BROKEN, error=error)
        return [whole] * len(keys)

    async def _is_hurried_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurried.wait()
        return self._hurried.is_set()

    def _say_postponed(self, keys: Sequence[str], reply: Reply) -> None:
        fields: dict[str, Any] = {
            "mirror": self._mirror,
            "bucket": self._bucket,
            "keys": len(keys),
            "key": keys[0],
            "status": reply.status,
            "reqid": reply.reqid,
            "error": reply.error,
        }
        if reply.status == 403:
            action = f'{ADVICE[403]}; where stat is not allowed: verify = "off"'
            log.error("verification.postponed", **fields, action=action)
        else:  # an account that is refused is told by the next pull
            log.warning("verification.postponed", **fields)


def _own_word(end: Ended) -> Reply | None:
    """What the call's own reply says of the object it stored; None when that is not enough."""
    if end.asked is None or end.asked.reply.hash is None:
        return None
    reply = end.asked.reply
    if end.asked.operation is Operation.GLB_FETCH:
        return replace(reply, size_bytes=None)  # its documented reply has none, and a stat may know the key otherwise
    # an empty object's fsize is left out, so that 0 may also mean that the reply names none
    return reply if reply.size_bytes or not size_of(end.claim.version) else None


def _expected(end: Ended, hashed: tuple[Fingerprint, str] | None) -> Expected:
    version = end.claim.version
    return Expected(size_bytes=size_of(version), hash=hashed[1] if hashed and hashed[0] == version else None)
