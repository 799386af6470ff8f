"""A URL to bytes in a draft, the way Kodo's spider asks an origin for them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from mirrord.sandbox.reply import Refused
from mirrord.sandbox.store import Draft

USER_AGENT = "z0-qiniu-imgstg-spider-1.0"
_OCTETS = "application/octet-stream"


class Spider:
    """Asks origins. Follows no redirect: whatever is neither 200 nor 404 is the origin's trouble."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def pull(self, url: str, draft: Draft, host: str | None = None) -> str:
        """Write what is at `url` to the draft and return its MIME type. `host` replaces the Host header.

        Raises Refused: 404 as the origin said, 478 for everything else that is not a whole 200.
        """
        try:
            async with self._session.get(
                URL(url, encoded=True), allow_redirects=False, headers={"Host": host} if host else None
            ) as answer:
                if answer.status != 200:
                    status = 404 if answer.status == 404 else 478
                    raise Refused(status, f"httpGet url failed: E{answer.status}")
                async for chunk in answer.content.iter_any():
                    draft.write(chunk)
                return answer.headers.get("Content-Type", _OCTETS)
        except TimeoutError as exc:
            raise Refused(478, "httpGet url failed: E504") from exc
        except (aiohttp.ClientError, ValueError) as exc:  # ValueError: what was to be fetched is no URL
            raise Refused(478, "httpGet url failed: E502") from exc


@asynccontextmanager
async def spider(timeout_s: float = 60.0) -> AsyncIterator[Spider]:
    """A Spider that gives an origin `timeout_s` to be reached, and again from one byte to the next."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeout_s, sock_read=timeout_s),
        auto_decompress=False,  # what is stored is what the origin sent
    ) as session:
        yield Spider(session)
