"""One question to Kodo, signed now, asked once; the answer is always a Reply."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from mirrord.kodo import auth, protocol, replies
from mirrord.kodo.exchange import Answer, Base, Sender
from mirrord.kodo.hosts import Hosts
from mirrord.kodo.protocol import Request, Scheme
from mirrord.kodo.replies import BucketInfo, ListPage
from mirrord.model.attempt import Reply, Silence
from mirrord.model.purge import PurgeAnswer

ANOTHER_HOST_WITHIN = timedelta(seconds=10)
"""After that the next ask has to try the next host: one ask must not outlive its lease."""


PURGE_MOST = timedelta(seconds=30)
"""How long an answer may take that has nothing to do with how large anything is."""

CLOCK_READ_EVERY = timedelta(seconds=1)


class KodoClient:
    """Never follows a redirect, never repeats a signature, never raises for what a server or a network does."""

    def __init__(
        self,
        *,
        wire: Sender,
        hosts: Hosts,
        credentials: auth.Credentials,
        scheme: Scheme,
        user_agent: str,
        now: Callable[[], datetime],
    ) -> None:
        self._wire = wire
        self._hosts = hosts
        self._credentials = credentials
        self._scheme = scheme
        self._user_agent = user_agent
        self._now = now
        self._clock_read: datetime | None = None

    async def ask(self, bucket: str, request: Request, *, read: timedelta | None = None) -> Reply:
        """One attempt at `request`. `read` is how long the answer may take; None: what the settings say."""
        reply, _ = await self._exchange(bucket, request, read)
        return reply

    async def stat_all(self, bucket: str, keys: Sequence[str]) -> tuple[Reply, list[Reply]]:
        """What the bucket holds under each of up to 1,000 keys: the batch's own Reply, and one per key.

        The second is empty when the batch as a whole failed.
        """
        reply, answer = await self._exchange(bucket, protocol.batch_stat(bucket, keys))
        return reply, replies.read_batch(reply, answer.headers, answer.body) if answer else []

    async def list_page(self, bucket: str, prefix: str, marker: str) -> tuple[Reply, ListPage | None]:
        """Up to 1,000 of the bucket's objects below `prefix`; None when there is no page to read."""
        reply, answer = await self._exchange(bucket, protocol.list_objects(bucket, prefix, marker))
        return reply, replies.read_list(reply, answer.headers, answer.body) if answer else None

    async def bucket_info(self, bucket: str) -> tuple[Reply, BucketInfo | None]:
        """What the bucket is set to; None when there is nothing to read."""
        reply, answer = await self._exchange(bucket, protocol.bucket_info(bucket))
        return reply, replies.read_bucket_info(reply, answer.headers, answer.body) if answer else None

    async def purge(self, bucket: str, urls: Sequence[str]) -> tuple[Reply, PurgeAnswer | None]:
        """Tell the CDN that what it has of `urls` is out of date; None when the answer has no code."""
        reply, answer = await self._exchange(bucket, protocol.purge(urls), PURGE_MOST)
        return reply, replies.read_purge(answer.headers, answer.body) if answer else None

    async def region(self, bucket: str) -> str | Reply:
        """The name of the bucket's region, `hosts.PINNED` when nobody needs it, or why it is not known."""
        return await self._hosts.region(bucket)

    async def keep_fresh(self) -> None:
        """Keep the hosts of every bucket up to date, until cancelled."""
        await self._hosts.keep_fresh()

    async def close(self) -> None:
        await self._wire.close()

    async def _exchange(
        self, bucket: str, request: Request, read: timedelta | None = None
    ) -> tuple[Reply, Answer | None]:
        """The Reply, and the answer it was read from. The next host is asked only if nothing was asked of the last."""
        bases = await self._hosts.bases(request.host, bucket)
        if isinstance(bases, Reply):
            return bases, None
        errors, spent_s, silence = list[str](), 0.0, Silence.CONNECT_FAILED
        for base in bases:
            sent_at = self._now()
            headers = self._headers(base, request, sent_at)
            answer = await self._wire.send(request.method, base, request.target, headers, request.body, read=read)
            if isinstance(answer, Answer):
                self._hosts.answered(base, answer.duration_s)
                return self._reply(answer, sent_at), answer
            if answer.silence is not Silence.TIMED_OUT:
                self._hosts.failed(base, answer.error)
            errors.append(answer.error)
            spent_s += answer.duration_s
            silence = answer.silence
            if silence is not Silence.CONNECT_FAILED or spent_s >= ANOTHER_HOST_WITHIN.total_seconds():
                break
        return Reply(status=None, silence=silence, error="; ".join(errors), duration_s=spent_s), None

    def _reply(self, answer: Answer, sent_at: datetime) -> Reply:
        """Kodo's clock is read now and then, and where it may be what is wrong."""
        came_at: datetime | None = None
        if answer.status != 200 or not self._clock_read or abs(sent_at - self._clock_read) > CLOCK_READ_EVERY:
            came_at, self._clock_read = sent_at + timedelta(seconds=answer.duration_s), sent_at
        return replies.read_reply(answer.status, answer.headers, answer.body, answer.duration_s, now=came_at)

    def _headers(self, base: Base, request: Request, now: datetime) -> dict[str, str]:
        headers = {"User-Agent": self._user_agent, "Content-Type": request.content_type}
        if request.signed:
            headers["Authorization"] = self._authorization(base.authority, request, headers, now)
        return headers

    def _authorization(self, authority: str, request: Request, headers: dict[str, str], now: datetime) -> str:
        if (request.scheme or self._scheme) == "qbox":
            return auth.qbox(self._credentials, request.target, request.body, request.content_type)
        headers["X-Qiniu-Date"] = auth.qiniu_date(now)
        return auth.qiniu(self._credentials, request.method, request.target, authority, headers, request.body)
