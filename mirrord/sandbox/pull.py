"""A URL to a stored object, the way Kodo's spider asks an origin for it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from yarl import URL

from mirrord.sandbox.reply import Refused
from mirrord.sandbox.store import Draft, Store, Stored

USER_AGENT = "z0-qiniu-imgstg-spider-1.0"
_OCTETS = "application/octet-stream"


class Spider:
    """Asks origins. Follows no redirect: whatever is neither 200 nor 404 is the origin's trouble.

    With `pass_through` the caller is told of that trouble in the origin's own words instead of 478: the
    seed documents say both.
    """

    def __init__(self, session: aiohttp.ClientSession, *, pass_through: bool = False) -> None:
        self._session = session
        self._pass_through = pass_through

    async def pull(self, url: str, draft: Draft, host: str | None = None) -> str:
        """Write what is at `url` to the draft and return its MIME type. `host` replaces the Host header.

        Raises Refused: 404 as the origin said, 478 for everything else that is not a whole 200.
        """
        try:
            async with self._session.get(
                URL(url, encoded=True), allow_redirects=False, headers={"Host": host} if host else None
            ) as answer:
                if answer.status != 200:
                    raise await self._refused(answer)
                async for chunk in answer.content.iter_any():
                    draft.write(chunk)
                return answer.headers.get("Content-Type", _OCTETS)
        except TimeoutError as exc:
            raise Refused(478, "httpGet url failed: E504") from exc
        except (aiohttp.ClientError, ValueError) as exc:  # ValueError: what was to be fetched is no URL
            raise Refused(478, "httpGet url failed: E502") from exc

    async def _refused(self, answer: aiohttp.ClientResponse) -> Refused:
        status, error = answer.status, f"httpGet url failed: E{answer.status}"
        if status == 404:
            return Refused(404, error)
        if not self._pass_through or status < 300:
            return Refused(478, error)
        is_page = answer.headers.get("Content-Type", "").startswith("text/html")
        page = await answer.read() if is_page else b""
        headers = {name: answer.headers[name] for name in ("Location", "Retry-After") if name in answer.headers}
        return Refused(status, error, headers=headers, page=page, log=f"QINIUPROXY:3/{status};IO:4/{status}")


@asynccontextmanager
async def spider(timeout_s: float = 60.0, *, pass_through: bool = False) -> AsyncIterator[Spider]:
    """A Spider that gives an origin `timeout_s` to be reached, and again from one byte to the next."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeout_s, sock_read=timeout_s),
        auto_decompress=False,  # what is stored is what the origin sent
    ) as session:
        yield Spider(session, pass_through=pass_through)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One pull: what is to become which object."""

    bucket: str
    key: str | None
    """None: the content's hash."""
    urls: Sequence[str]
    """The first that gives a whole 200 counts."""
    host: str | None = None
    md5: str | None = None
    """Hex; other content is not stored."""
    etag: str | None = None
    """The qetag; other content is not stored."""
    stale: bool = False
    hold_s: float = 0.0
    """See mirrord.sandbox.faults, for both."""


class Pulls:
    """Wanted objects to stored ones."""

    def __init__(self, store: Store, spider: Spider) -> None:
        self._store = store
        self._spider = spider

    async def pull(self, wanted: Wanted) -> Stored:
        """Raises Refused, and then nothing was stored: the last URL's trouble, or 406 for other content."""
        *others, last = wanted.urls
        for url in others:
            try:
                return await self._pull(wanted, url)
            except Refused:
                continue
        return await self._pull(wanted, last)

    async def _pull(self, wanted: Wanted, url: str) -> Stored:
        with self._store.draft() as draft:
            mime_type = await self._spider.pull(url, draft, wanted.host)
            await asyncio.sleep(wanted.hold_s)
            if wanted.etag not in {None, draft.etag.value()} or wanted.md5 not in {None, draft.md5()}:
                raise Refused(406)
            # Looked up only now: the last pull to finish wins, as in Kodo.
            old = None if wanted.key is None else self._store.find(wanted.bucket, wanted.key)
            if wanted.stale and old is not None:
                return self._store.touch(old)
            return self._store.keep(wanted.bucket, wanted.key, draft, mime_type)
