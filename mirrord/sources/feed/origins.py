"""Where a feed may send us, and who is told its secrets: URLs in, a URL or the reason against it out. Pure."""

import re
from dataclasses import dataclass

import httpx

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[\w-]+(\.[\w-]+)*\.?|[0-9a-f:]*:[0-9a-f:.]*", re.ASCII | re.IGNORECASE)


class Astray(Exception):
    """We do not go there; the sentence says where that would have been, without anything secret."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Whom a URL names."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def parse_url(text: str) -> httpx.URL:
    """A URL that can be asked, percent-encoded, as it is written. Raises Astray."""
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError, TypeError):
        raise Astray(f"{shown_url(text)} is not a URL") from None
    host, port = url.raw_host.decode(), url.port
    if url.scheme not in _PORTS or not _HOST.fullmatch(host) or (port is not None and not 0 < port < 2**16):
        raise Astray(f"{shown_url(text)} is not a URL of http or https")
    return url


def origin_of(url: httpx.URL) -> Origin:
    """Of what `parse_url` gave."""
    return Origin(url.scheme, url.raw_host.decode().lower(), url.port or _PORTS[url.scheme])


def follow(at: httpx.URL, location: str, *, home: Origin, allowed: frozenset[str]) -> httpx.URL:
    """Where `location`, named by the answer of `at`, leads; without userinfo and fragment. Raises Astray.

    To `home` and to where we are, to either over https instead of http, and to the hosts that are `allowed`; never
    from https to http.
    """
    try:
        joined = str(at.join(location).copy_with(userinfo=b"", fragment=None))
    except (httpx.InvalidURL, ValueError):
        raise Astray("the feed sends us to what is not a URL") from None
    url = parse_url(joined)
    here, there = origin_of(at), origin_of(url)
    if here.scheme == "https" and there.scheme == "http":
        raise Astray(f"the feed sends us from https to http, at {there}")
    if not any(leads(one, there) for one in (here, home)) and not is_allowed(there, allowed):
        raise Astray(f"the feed sends us to {there}, which allow_redirects_to does not name")
    return url


def leads(here: Origin, there: Origin) -> bool:
    """Whether `there` is `here`, or the same host over https instead of http."""
    return here == there or (here.scheme == "http" and there.scheme == "https" and here.host == there.host)


def is_allowed(there: Origin, allowed: frozenset[str]) -> bool:
    """A name without a port allows all of its ports."""
    host = str(Origin(there.scheme, there.host, _PORTS[there.scheme]))
    return not allowed.isdisjoint({host, f"{host}:{there.port}"})


def is_told(home: Origin, there: Origin) -> bool:
    """Whether `there` may see what is meant for `home`: it is that, or its upgrade from port 80 to 443."""
    upgraded = Origin("https", home.host, 443)
    return there == home or (home == Origin("http", home.host, 80) and there == upgraded)


def shown_url(url: str) -> str:
    """For log lines: without query, fragment and userinfo, where secrets are."""
    shown = url.partition("#")[0].partition("?")[0]
    scheme, slashes, rest = shown.partition("//")
    authority, slash, path = rest.partition("/")
    shown = f"{scheme}{slashes}{authority.rpartition('@')[2]}{slash}{path}" if slashes else shown.rpartition("@")[2]
    return "".join(each if each.isprintable() else "?" for each in shown)
