"""A web server of a few documents that a test may change at any moment, and that notes what it was asked for."""

import gzip
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from aiohttp import web

from mirrord.sources.feed.fetching import Access, Fetcher
from tests.servers import running_app

PACKED_FROM = "gz"


@dataclass
class Site:
    """Answers with ETags, and with 304 to whoever has the document already."""

    url: str = ""
    documents: dict[str, bytes] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """Paths, without the slash they begin with."""
    answered: list[tuple[str, int]] = field(default_factory=list)
    before: Callable[[str], None] = lambda _: None
    """Called with each path before it is looked at, in the server's thread."""

    def put(self, path: str, body: str | bytes) -> None:
        content = body.encode() if isinstance(body, str) else body
        self.documents[path] = gzip.compress(content) if path.endswith(PACKED_FROM) else content

    def put_sitemap(self, path: str, entries: Mapping[str, str | None]) -> None:
        """Of keys, each with its `lastmod`."""
        self.put(path, sitemap(self.url, entries))

    def put_index(self, path: str, *children: str) -> None:
        self.put(path, index(*(f"{self.url}/{child}" for child in children)))

    def unchanged(self) -> list[str]:
        """What was answered with 304."""
        return [path for path, status in self.answered if status == 304]

    def forget(self) -> None:
        self.asked.clear()
        self.answered.clear()

    def application(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.get("/{path:.*}", self._serve)])
        return app

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        path = request.raw_path.removeprefix("/")
        self.asked.append(path)
        self.before(path)
        answer = self._answer(path, request.headers.get("If-None-Match"))
        self.answered.append((path, answer.status))
        return answer

    def _answer(self, path: str, known: str | None) -> web.Response:
        status, body = self.statuses.get(path, 200), self.documents.get(path)
        if status != 200 or body is None:
            return web.Response(status=404 if status == 200 else status, text="not here")
        headers = {"ETag": f'"{hashlib.md5(body).hexdigest()}"'} | self.headers.get(path, {})
        if known is not None and known == headers["ETag"]:
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, headers={"Content-Type": "application/xml"} | headers)


@contextmanager
def running_site() -> Iterator[Site]:
    site = Site()
    with running_app(site.application) as url:
        site.url = url
        yield site


def fetcher() -> Fetcher:
    return Fetcher(Access(user_agent="mirrord/1 (test)"))


def sitemap(origin: str, entries: Mapping[str, str | None], remark: str = "") -> str:
    lines = (
        f"<url><loc>{origin}/{key}</loc>{'' if lastmod is None else f'<lastmod>{lastmod}</lastmod>'}</url>"
        for key, lastmod in entries.items()
    )
    return f"{remark}<urlset xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'>{''.join(lines)}</urlset>"


def index(*urls: str) -> str:
    children = "".join(f"<sitemap><loc>{url}</loc></sitemap>" for url in urls)
    return f"<sitemapindex xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'>{children}</sitemapindex>"


def resourcesync(
    capability: str,
    *entries: str,
    up: str | None = None,
    kind: str = "urlset",
    links: Mapping[str, str] | None = None,
    **about: datetime | str,
) -> str:
    """A document of that capability; `entries` as `entry` makes them."""
    said = "".join(f" {name.rstrip('_')}='{_text(value)}'" for name, value in about.items())
    leading = ({} if up is None else {"up": up}) | dict(links or {})
    head = "".join(f"<rs:ln rel='{rel}' href='{href}'/>" for rel, href in leading.items())
    return (
        f"<{kind} xmlns='http://www.sitemaps.org/schemas/sitemap/0.9' xmlns:rs='http://www.openarchives.org/rs/terms/'>"
        f"{head}<rs:md capability='{capability}'{said}/>{''.join(entries)}</{kind}>"
    )


def entry(loc: str, lastmod: datetime | str | None = None, tag: str = "url", **said: datetime | str) -> str:
    """`said` of its `rs:md`; `from_` is `from`."""
    text = "".join(f" {name.rstrip('_')}='{_text(value)}'" for name, value in said.items())
    modified = "" if lastmod is None else f"<lastmod>{_text(lastmod)}</lastmod>"
    return f"<{tag}><loc>{loc}</loc>{modified}{f'<rs:md{text}/>' if text else ''}</{tag}>"


def _text(value: datetime | str) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else value
