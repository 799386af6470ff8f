"""Where the next page is: a `Link` header or what a document's pointer leads to in, a URL or a value to ask out."""

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote_plus

from mirrord.sources.feed.dialect import Head, Unreadable
from mirrord.sources.feed.origins import Astray, follow, origin_of, parse_url

_LINK = re.compile(r'[\s,]*<([^>]*)>((?:\s*;\s*[^\s=;,"<]+\s*(?:=\s*(?:"(?:[^"\\]|\\.)*"|[^\s;,"]*))?)*)\s*(?=,|$)')
_PARAMETER = re.compile(r';\s*([^\s=;,"<]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*)))?')
_ABSOLUTE = ("http://", "https://")


def is_url(page: object) -> bool:
    """Whether a page that `linked` or `pointed` gave is to be asked for as it is."""
    return isinstance(page, str) and page.startswith(_ABSOLUTE)


def linked(head: Head, home: str) -> str | None:
    """The URL of `rel=next` in the `Link` header (RFC 8288). Raises Unreadable if it leads elsewhere than home."""
    header, at = head.headers.get("link", ""), 0
    while link := _LINK.match(header, at):
        at = link.end()
        parameters: dict[str, str] = {}
        for name, quoted, plain in _PARAMETER.findall(link[2]):
            parameters.setdefault(name.lower(), quoted or plain)  # of several, the first counts
        if "next" in parameters.get("rel", "").lower().split() and "anchor" not in parameters:
            return _resolved(link[1], head, home)
    return None


def pointed(said: object, head: Head, home: str) -> object:
    """A URL, or any other value to ask `since`; None: there is no next page. Raises Unreadable as `linked` does."""
    if said is None or said is False or said == "":
        return None
    if isinstance(said, str) and said.startswith((*_ABSOLUTE, "/", "?")):
        return _resolved(said, head, home)
    return said


def with_query(url: str, query: Mapping[str, str]) -> str:
    """The URL with these parameters in place of its own of the same names."""
    url = url.partition("#")[0]
    if not query:
        return url
    address, _, own = url.partition("?")
    kept = [pair for pair in own.split("&") if pair and unquote_plus(pair.partition("=")[0]) not in query]
    ours = [f"{quote(name, safe='')}={quote(value, safe='', errors='surrogatepass')}" for name, value in query.items()]
    return f"{address}?{'&'.join([*kept, *ours])}"


def _resolved(link: str, head: Head, home: str) -> str:
    try:
        return str(follow(parse_url(head.url), link, home=origin_of(parse_url(home)), allowed=frozenset()))
    except Astray as exc:
        raise Unreadable(f"its next page is out of reach: {exc}") from None
