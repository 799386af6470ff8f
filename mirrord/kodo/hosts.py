"""Which servers answer for a bucket: pinned by the settings, or found by asking Qiniu and kept up to date."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import structlog

from mirrord.kodo.exchange import Answer, Base, NoAnswer, Sender, base_of
from mirrord.kodo.freezes import Freezes
from mirrord.kodo.protocol import Host, query_hosts
from mirrord.kodo.region import Region, read_region
from mirrord.kodo.replies import read_json, read_reply
from mirrord.model.attempt import Content, Reply, Silence

UC = ("https://uc.qiniuapi.com", "https://kodo-config.qiniuapi.com", "https://uc.qbox.me")
"""The hosts that need no discovery, in the order of Qiniu's own clients (Go SDK, http_client.go; Python SDK)."""
FUSION = "https://fusion.qiniuapi.com"
"""The one host of all CDNs; it has nothing to do with a bucket's region (Go SDK, cdn/api.go)."""
UC_ANSWER_S = 6.0
"""For connection and answer, of each: three together stay below what a lease has to spare."""
PINNED = "pinned"
"""The region of a bucket whose hosts are."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0

_LEAST_WAIT_S = 1.0
_NO_SUCH_BUCKET = 631
_PASSED_ON = frozenset({401, 403, 419, 429, 500, 502, 503, 509, 571, 573, 599, _NO_SUCH_BUCKET})
"""What means the same of a key that was never asked for; a 404 would say that its origin lacks it."""
_LAST_WORD = frozenset({401, 403, 419, _NO_SUCH_BUCKET})
"""What the next host would only repeat."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Found:
    region: Region
    bases: Mapping[Host, tuple[Base, ...]]
    at: float  # by the clock, in seconds

    @property
    def refresh_at(self) -> float:
        """Halfway to the end, as Qiniu's Go SDK does: a failure then leaves time to try again."""
        return self.at + self.region.ttl_s / 2

    @property
    def good_until(self) -> float:
        return self.at + self.region.ttl_s


@dataclass(slots=True)
class _Bucket:
    found: _Found | None = None
    failure: Reply | None = None  # of the latest discovery; None: it succeeded, or there was none
    pause_s: float = 0.0
    ask_again_at: float = float("-inf")
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


class Hosts:
    """One answer of `/v4/query` per bucket.

    It is refreshed after half of the time it is good for (`keep_fresh`), and asked for again by whoever needs it
    when it is over. While that fails the old answer goes on being used, however old: hosts outlive their ttl.
    """

    def __init__(
        self, *, wire: Sender, access_key: str, pinned: Mapping[Host, str], user_agent: str, clock: Callable[[], float]
    ) -> None:
        self._wire = wire
        self._access_key = access_key
        self._pinned = {host: base_of(url) for host, url in pinned.items()}
        self._uc = (self._pinned[Host.UC],) if Host.UC in self._pinned else tuple(base_of(url) for url in UC)
        self._headers = {"User-Agent": user_agent}
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._freezes = Freezes(clock)
        self._news = asyncio.Event()

    async def bases(self, host: Host, bucket: str) -> Sequence[Base] | Reply:
        """Where to ask `host` for `bucket`, in the order to try; the Reply says why that is not known.

        A Reply without a status means that Qiniu did not say. After a failure nobody is asked for a while:
        until then everyone gets the same Reply.
        """
        pinned = self._pinned.get(host)
        if pinned is not None:
            return (pinned,)
        if host is Host.UC:
            return self._freezes.in_turn(self._uc)
        if host is Host.FUSION:
            return (base_of(FUSION),)
        found = await self._of(bucket)
        if isinstance(found, Reply):
            return found
        bases = found.bases.get(host)
        if bases is None:
            return _unknown(f"Qiniu names no {host.value} host for bucket {bucket}; pin one in [kodo.hosts]")
        return self._freezes.in_turn(bases)

    def failed(self, base: Base, error: str) -> None:
        """`base` could not be reached, or ended the connection without an answer."""
        self._freezes.failed(base, error)

    def answered(self, base: Base, duration_s: float) -> None:
        """`base` answered, whatever it said, so long after it was asked."""
        self._freezes.answered(base, duration_s)

    async def region(self, bucket: str) -> str | Reply:
        """The name of the bucket's region, "" when it has none; `PINNED` when what a mirror needs of it is pinned."""
        if Host.IO in self._pinned and Host.RS in self._pinned:
            return PINNED
        found = await self._of(bucket)
        return found if isinstance(found, Reply) else found.region.name

    async def keep_fresh(self) -> None:
        """Refresh every answer after half of its time, until cancelled."""
        while True:
            self._news.clear()
            for name, bucket in list(self._buckets.items()):
                if _due(bucket) <= self._clock():
                    await self._refresh(name, bucket, lambda found: found.refresh_at)
            due = min(map(_due, self._buckets.values()), default=float("inf"))
            wait_s = None if due == float("inf") else max(due - self._clock(), _LEAST_WAIT_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._news.wait()

    async def _of(self, name: str) -> _Found | Reply:
        bucket = self._buckets.setdefault(name, _Bucket())
        found = bucket.found
        if found is None or (found.good_until <= self._clock() and not bucket.asking.locked()):
            await self._refresh(name, bucket, lambda found: found.good_until)
        known = bucket.found or bucket.failure
        assert known is not None  # either is set by whoever asked
        return known

    async def _refresh(self, name: str, bucket: _Bucket, end: Callable[[_Found], float]) -> None:
        """Ask, unless somebody else has meanwhile, or it is too soon after a failure."""
        async with bucket.asking:
            now = self._clock()
            if now < bucket.ask_again_at or (bucket.found is not None and now < end(bucket.found)):
                return
            found = await self._discover(name)
            if isinstance(found, Reply):
                self._note_failure(name, bucket, found)
            else:
                self._note_success(name, bucket, found)

    def _note_failure(self, name: str, bucket: _Bucket, failure: Reply) -> None:
        bucket.pause_s = min(max(bucket.pause_s * 2, FIRST_PAUSE_S), LONGEST_PAUSE_S)
        bucket.ask_again_at = self._clock() + bucket.pause_s
        if bucket.failure is None:
            action = _action(failure, known=bucket.found is not None)
            log.warning("region.unknown", bucket=name, error=failure.error, reqid=failure.reqid, action=action)
        bucket.failure = failure

    def _note_success(self, name: str, bucket: _Bucket, found: _Found) -> None:
        told = bucket.failure is None and bucket.found is not None and bucket.found.bases == found.bases
        bucket.found, bucket.failure = found, None
        bucket.pause_s, bucket.ask_again_at = 0.0, float("-inf")
        self._news.set()
        if not told:
            io = [str(base) for base in found.bases.get(Host.IO, ())]
            log.info("region.discovered", bucket=name, region=found.region.name, io=io, ttl_s=found.region.ttl_s)

    async def _discover(self, bucket: str) -> _Found | Reply:
        """Ask one host after the other, until one of them knows, or says that there is nothing to know."""
        failure: Reply | None = None
        for uc in self._freezes.in_turn(self._uc):
            found = await self._ask(uc, bucket)
            if not isinstance(found, Reply) or found.status in _LAST_WORD:
                return found
            if failure is None or (failure.status is None and found.status is not None):
                failure = found
        assert failure is not None  # `in_turn` gives at least one
        return failure

    async def _ask(self, uc: Base, bucket: str) -> _Found | Reply:
        unasked = f"the region of bucket {bucket} could not be asked of {uc}"
        answer = await self._send(uc, bucket)
        if isinstance(answer, NoAnswer):
            self.failed(uc, answer.error)
            return _unknown(f"{unasked}: {answer.error}")
        self.answered(uc, answer.duration_s)
        reply = read_reply(answer.status, answer.headers, answer.body, answer.duration_s)
        if answer.status != 200:
            return _refusal(reply, unasked)
        region = read_region(read_json(answer.headers, answer.body))
        if region is None:
            return _unknown(f"{unasked}: the answer names no hosts", reply.reqid)
        bases = {host: tuple(Base(uc.scheme, name) for name in names) for host, names in region.domains.items()}
        return _Found(region, bases, self._clock())

    async def _send(self, uc: Base, bucket: str) -> Answer | NoAnswer:
        request = query_hosts(self._access_key, bucket)
        try:
            async with asyncio.timeout(UC_ANSWER_S):
                return await self._wire.send(request.method, uc, request.target, self._headers)
        except TimeoutError:
            return NoAnswer(Silence.TIMED_OUT, f"no answer within {UC_ANSWER_S:g} s", UC_ANSWER_S)


def _due(bucket: _Bucket) -> float:
    """When to refresh; never, where nothing is known yet: whoever needs that asks."""
    return float("inf") if bucket.found is None else max(bucket.found.refresh_at, bucket.ask_again_at)


def _refusal(reply: Reply, unasked: str) -> Reply:
    """The status is told where it is Qiniu's own, and cannot be mistaken for an answer about a key.

    612 would be one: of a delete it means success. Of a region it says that there is no such bucket.
    """
    status = _NO_SUCH_BUCKET if reply.status == 612 else reply.status
    is_qiniu = (reply.reqid is not None or reply.xlog is not None) and reply.content is not Content.FOREIGN
    if not is_qiniu or status not in _PASSED_ON:
        return _unknown(f"{unasked}: status {reply.status}: {reply.error}", reply.reqid)
    # JSON, whatever the body was: a 401 of a pull that says nothing would be taken for an origin's
    return replace(reply, status=status, error=f"{unasked}: {reply.error}", content=Content.JSON, duration_s=0.0)


def _unknown(error: str, reqid: str | None = None) -> Reply:
    return Reply(status=None, silence=Silence.CONNECT_FAILED, reqid=reqid, error=error)


def _action(failure: Reply, *, known: bool) -> str:
    if failure.status in _LAST_WORD:
        return "check the bucket's name and the key pair"
    if known:
        return "none: the hosts of the last answer are used until it can be asked again"
    return "none, it is asked again by itself; to do without, pin io, rs and rsf in [kodo.hosts]"
