"""A claim to what is asked of Kodo under it: a delete, a pull that is waited for, one that is not, or only a look."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from mirrord.attempts import Claim
from mirrord.decisions import pulling
from mirrord.decisions.pulling import Look
from mirrord.kodo import protocol
from mirrord.kodo.entry import origin_url
from mirrord.kodo.protocol import Request
from mirrord.model.attempt import Operation, Reply
from mirrord.model.fingerprint import size_of
from mirrord.model.pending import Pending
from mirrord.model.row import ObjectRow
from mirrord.sources.contract import HashOf
from mirrord.target import Target

LOOK_MOST = timedelta(seconds=10)
"""How long a look waits for each answer: what it asks for is known at once, and a stop must not wait for it."""


class Kodo(Protocol):
    """The part of the client that asks."""

    async def ask(self, bucket: str, request: Request, *, read: timedelta | None = None) -> Reply: ...


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at the bucket showed of a pull that was begun earlier."""

    look: Look
    pending: Pending
    """As it is after this look."""
    reply: Reply
    """What the bucket holds."""


class Pulls:
    """One mirror's calls. `hash_of` reads local files; None: the origin is elsewhere."""

    def __init__(
        self,
        target: Target,
        kodo: Kodo,
        *,
        hash_of: HashOf | None,
        now: Callable[[], datetime],
        wall: Callable[[], datetime],
    ) -> None:
        self._target = target
        self._kodo = kodo
        self._hash_of = hash_of
        self._now = now
        self._wall = wall
        self._skew = timedelta(0)
        """How far Kodo's clock is ahead of the wall's, as its last answer showed."""

    # -- asking ----------------------------------------------------------------------------------------

    async def ask(self, claim: Claim) -> tuple[Operation, Reply]:
        """One call that changes something, and its answer. Whoever calls has made sure that no pull is running."""
        row, size_bytes = claim.row, size_of(claim.row.wanted)
        operation = self._operation_for(row, size_bytes)
        read = pulling.read_timeout(self._target.read_timeout, size_bytes) if size_bytes else None
        if operation is Operation.ASYNC_FETCH:
            url, etag = origin_url(self._target.origin_url or "", row.key), await self._local_hash(claim)
            request, read = protocol.async_fetch(url, self._target.bucket, row.key, etag=etag), None
        else:
            request = self._request(operation, row)
        reply = await self._kodo.ask(self._target.bucket, request, read=read)
        if reply.skew_s is not None:
            self._skew = timedelta(seconds=reply.skew_s)
        return operation, reply

    def pending_after(self, claim: Claim, operation: Operation, reply: Reply, began_at: datetime) -> Pending | None:
        """What of this call may still be running."""
        row = claim.row
        if operation is Operation.DELETE or not (reply.task or pulling.leaves_running(reply)):
            return None
        now = self._now()
        pending = pulling.pending_after(
            reply,
            operation=operation,
            began_at=began_at,
            now=now,
            skew=self._skew + (self._wall() - now),
            size_bytes=size_of(row.wanted),
            hash_before=row.bucket_hash,
            before=row.pending,
        )
        return replace(pending, generation=row.generation)

    def operation_for(self, row: ObjectRow) -> Operation:
        """What will be asked for this row."""
        return self._operation_for(row, size_of(row.wanted))

    def _operation_for(self, row: ObjectRow, size_bytes: int | None) -> Operation:
        if row.wanted is None:
            return Operation.DELETE
        above = self._target.async_above
        if above is not None and pulling.is_asynchronous(size_bytes, above=above, before=row.pending):
            return Operation.ASYNC_FETCH
        return self._target.operation

    def _request(self, operation: Operation, row: ObjectRow) -> Request:
        bucket, key = self._target.bucket, row.key
        match operation:
            case Operation.DELETE:
                return protocol.delete(bucket, key, row.bucket_hash)
            case Operation.PREFETCH:
                return protocol.prefetch(bucket, key)
            case Operation.GLB_FETCH:
                return protocol.glb_fetch(origin_url(self._target.origin_url or "", key), bucket, key)
            case _:
                return protocol.fetch(origin_url(self._target.origin_url or "", key), bucket, key)

    async def _local_hash(self, claim: Claim) -> str | None:
        """With it Kodo refuses to store anything else."""
        if self._hash_of is None:
            return None
        found = (await self._hash_of([claim.row.key])).get(claim.row.key)
        return found[1] if found and found[0] == claim.version and found[1] else None

    # -- looking ---------------------------------------------------------------------------------------

    async def look(self, key: str, pending: Pending) -> Seen:
        """Whether a pull that was begun earlier has ended, by what the bucket holds now."""
        bucket, waiting = self._target.bucket, None
        if pending.task is not None:
            state = await self._kodo.ask(bucket, protocol.async_state(pending.task), read=LOOK_MOST)
            waiting = state.waiting if state.status == 200 else None
        found = await self._kodo.ask(bucket, protocol.stat(bucket, key), read=LOOK_MOST)
        now = self._now()
        look = pulling.judge_look(pending, found, now)
        return Seen(look, pulling.looked(pending, now, waiting=waiting), found)
