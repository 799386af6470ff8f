"""A body that only makes sense as a whole: collected up to a limit, then JSON."""

import contextlib
import json
from typing import Any

import orjson

from mirrord.sources.feed.dialect import Head, Unreadable

_SHOWN = 60
_SENTENCE = 200
_FORGIVEN = ("surrogate", "UTF-8", "infinity")
"""What orjson refuses a whole body for: names that are no text, a byte order mark, a number like 1e999."""


class Document:
    """The bytes of one body, at most `most` of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._bytes = bytearray()

    def receive(self, chunk: bytes) -> None:
        """Raises Unreadable once it is too long."""
        if len(self._bytes) + len(chunk) > self._most:
            raise Unreadable(f"the answer is longer than {self._most} bytes")
        self._bytes += chunk

    def json(self) -> Any:
        """What the body says. Raises Unreadable."""
        return parse_json(self._bytes)


def parse_json(text: bytes | bytearray) -> Any:
    """Raises Unreadable with one line that says what came instead.

    Names that are not UTF-8 come as text with surrogates, so that only their own entries are lost.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        if any(word in exc.msg for word in _FORGIVEN):
            with contextlib.suppress(ValueError, RecursionError):
                return json.loads(text.decode("utf-8-sig", "surrogateescape"))
        cut = " (cut off?)" if exc.pos >= len(exc.doc) > 0 else ""
        raise Unreadable(f"is not JSON{cut}: {exc.msg}; it begins with {shown(text)}") from None


def refuse_page(head: Head, *expected: str) -> None:
    """Raise Unreadable when an answer is certainly a page for people, such as a login or an error with status 200.

    `expected`: content types, lower-case, that such a feed has; an answer without a type may be anything.
    """
    kind = head.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in {"text/html", "application/xhtml+xml"} and kind not in expected:
        raise Unreadable(f"is a page ({kind}), not a feed")


def shown(text: bytes | bytearray) -> str:
    """How something begins, printable, for a log line."""
    began = bytes(text[:_SHOWN]).decode("utf-8", "backslashreplace")
    more = "…" if len(text) > _SHOWN else ""
    return ascii(began) + more if began else "nothing"


def shown_value(value: object) -> str:
    """How a JSON value that was parsed already begins."""
    try:
        return shown(orjson.dumps(value))
    except TypeError:  # nested hundreds deep, or text that is not UTF-8
        return f"a {type(value).__name__}"


def complaint(said: object, expected: str) -> str:
    """What is wrong with a JSON body that does not hold what was `expected`: its own words, where it has some."""
    if isinstance(said, dict):
        words = [said[name] for name in ("error", "reason", "title", "detail", "message") if name in said]
        sentence = ": ".join(" ".join(word.split()) for word in words if isinstance(word, str))
        if sentence:
            return "answers with an error: " + "".join(c if c.isprintable() else "?" for c in sentence[:_SENTENCE])
    return f"does not hold {expected}; it begins with {shown_value(said)}"
