"""What a ResourceSync document says of itself and names, to which one to read next, until the lists are found.

The way down is: description (`/.well-known/resourcesync`) → capability list → resource list, change list. Whoever
begins at a list goes up to its capability list first. Reading is somebody else's.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urljoin, urlsplit

from mirrord.sources.feed.dialect import Unreadable
from mirrord.sources.feed.xml_entries import About, Entry

_MOST_DOCUMENTS: Final = 1000
_WELL_KNOWN: Final = "/.well-known/resourcesync"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """How far the search has come. All URLs are absolute, none comes twice."""

    resource_lists: tuple[str, ...] = ()
    """Each a `urlset`, or a `sitemapindex` of them."""
    change_lists: tuple[str, ...] = ()
    read_next: tuple[str, ...] = ()
    """Empty: the search is over."""
    seen: frozenset[str] = frozenset()
    """What was ever to be read, so that links in a circle come to an end."""


def well_known(origin_url: str) -> str:
    """Where an origin describes itself."""
    return urljoin(origin_url, _WELL_KNOWN)


def search(url: str) -> Found:
    """Begin at a description, a capability list, a resource list or a change list."""
    return Found(read_next=(url,), seen=frozenset({url}))


def names_documents(about: About) -> bool:
    """Whether `after` wants the document's entries; of other documents it is enough to read to the first entry."""
    return about.capability in {"description", "capabilitylist"}


def after(found: Found, url: str, about: About, entries: Iterable[Entry] = ()) -> Found:
    """What is known once `url`, one of `read_next`, has been read. Raises Unreadable."""
    rest = replace(found, read_next=tuple(each for each in found.read_next if each != url))
    match about.capability:
        case "description":
            wanted = {"capabilitylist", None}
            return _reading(rest, url, (entry.loc for entry in entries if entry.capability in wanted))
        case "capabilitylist" if about.kind == "sitemapindex":
            return _reading(rest, url, (entry.loc for entry in entries))
        case "capabilitylist":
            return _listed(rest, url, list(entries))
        case "resourcelist" | "changelist" if (index := about.link("index")) and absolute(url, index) not in rest.seen:
            return _reading(rest, url, [index])  # a part only: nobody would hear of the next one
        case "resourcelist" | None:
            lists = _with(rest.resource_lists, [url])
            return _reading(replace(rest, resource_lists=lists), url, [about.link("up")])
        case "changelist":
            lists = _with(rest.change_lists, [url])
            return _reading(replace(rest, change_lists=lists), url, [about.link("up")])
        case other:
            raise Unreadable(f"is a {other[:40]!a}, not a list of resources or changes, nor of such lists")


def absolute(base: str, reference: str) -> str | None:
    """None: it is not in the web."""
    try:
        url = urljoin(base, reference)
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme in {"http", "https"} and parts.netloc else None


def _listed(found: Found, url: str, entries: list[Entry]) -> Found:
    def named(capability: str) -> list[str]:
        urls = (absolute(url, entry.loc) for entry in entries if entry.capability == capability)
        return [each for each in urls if each is not None]

    return replace(
        found,
        resource_lists=_with(found.resource_lists, named("resourcelist")),
        change_lists=_with(found.change_lists, named("changelist")),
    )


def _reading(found: Found, url: str, references: Iterable[str | None]) -> Found:
    urls = (absolute(url, each) for each in references if each is not None)
    new = tuple(dict.fromkeys(each for each in urls if each is not None and each not in found.seen))
    if len(found.seen) + len(new) > _MOST_DOCUMENTS:
        raise Unreadable(f"leads to more than {_MOST_DOCUMENTS} documents")
    return replace(found, read_next=(*found.read_next, *new), seen=found.seen | frozenset(new))


def _with(urls: tuple[str, ...], more: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*urls, *more)))
