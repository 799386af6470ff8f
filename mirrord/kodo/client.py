"""One question to Kodo, signed now, asked once; the answer is always a Reply."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal

from mirrord.kodo import auth, protocol
from mirrord.kodo.exchange import Answer, NoAnswer, Sender
from mirrord.kodo.hosts import Hosts
from mirrord.kodo.protocol import FORM, ListPage, Request
from mirrord.model.attempt import Reply

Scheme = Literal["qbox", "qiniu"]


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

    async def ask(self, bucket: str, request: Request) -> Reply:
        """One attempt at `request`."""
        answer = await self._exchange(bucket, request)
        return answer if isinstance(answer, Reply) else _reply(answer)

    async def stat_all(self, bucket: str, keys: Sequence[str]) -> tuple[Reply, list[Reply]]:
        """What the bucket holds under each of up to 1,000 keys: the batch's own Reply, and one per key.

        The second is empty when the batch as a whole failed.
        """
        answer = await self._exchange(bucket, protocol.batch_stat(bucket, keys))
        if isinstance(answer, Reply):
            return answer, []
        whole = _reply(answer)
        return whole, protocol.read_batch(whole, answer.headers, answer.body)

    async def list_page(self, bucket: str, prefix: str, marker: str) -> tuple[Reply, ListPage | None]:
        """Up to 1,000 of the bucket's objects below `prefix`; None when there is no page to read."""
        answer = await self._exchange(bucket, protocol.list_objects(bucket, prefix, marker))
        if isinstance(answer, Reply):
            return answer, None
        reply = _reply(answer)
        return reply, protocol.read_list(reply, answer.headers, answer.body)

    async def close(self) -> None:
        await self._wire.close()

    async def _exchange(self, bucket: str, request: Request) -> Answer | Reply:
        base = await self._hosts.base(request.host, bucket)
        if isinstance(base, Reply):
            return base
        headers = {"User-Agent": self._user_agent, "Content-Type": FORM}
        if request.signed:
            headers["Authorization"] = self._authorization(base.authority, request, headers)
        answer = await self._wire.send(request.method, base, request.target, headers, request.body)
        if isinstance(answer, NoAnswer):
            return Reply(status=None, silence=answer.silence, error=answer.error, duration_s=answer.duration_s)
        return answer

    def _authorization(self, authority: str, request: Request, headers: dict[str, str]) -> str:
        if self._scheme == "qbox":
            return auth.qbox(self._credentials, request.target, request.body, FORM)
        headers["X-Qiniu-Date"] = auth.qiniu_date(self._now())
        return auth.qiniu(self._credentials, request.method, request.target, authority, headers, request.body)


def _reply(answer: Answer) -> Reply:
    return protocol.read_reply(answer.status, answer.headers, answer.body, answer.duration_s)
