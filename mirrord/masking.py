"""Encoded lines in, the same lines out with `***` over every secret."""

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import orjson

_MASK = "***"
_SECRET_NAME = re.compile(
    r"(?:^|_|up)(?:authorization|token|cookie|credentials?|passw(?:or)?d|secret|(?:api|private|secret)_?key)$"
)
_FREE_TEXT = frozenset({"error", "event", "exception", "stack", "url"})  # a key is never altered by a pattern
_CREDENTIALS = re.compile(
    r"(?P<scheme>\b(?:QBox|Qiniu|UpToken) +)[^\s\"',:]+:[^\s\"',]+"
    r"|(?P<http>\b(?:Basic|Bearer|basic|bearer) +)(?=[^\s\"',]*(?:\d|[a-z][A-Z]))[^\s\"',]{8,}"
    r"|(?P<header>(?i:authorization)[\"']?\s*[:=]\s*b?[\"']?)[^\"'\n]+"
    r"|(?P<name>(?i:passw(?:or)?d|secret_?key|token)(?:[\"']?\s*=|[\"']\s*:)\s*b?[\"']?)[^\s\"'&,]+"
    r"|(?P<user>://[^\s/@:]+:)[^\s/@]+(?=@)"
)
# In small letters: a line without any of these has nothing for the two patterns, but for a URL's password.
_MARKS = (
    *(b"authorization", b"token", b"cookie", b"credential", b"passw", b"secret", b"private"),
    *(b"api_key", b"apikey", b"api-key", b"qbox ", b"qiniu ", b"basic ", b"bearer "),
)


class Cover:
    """Puts `***` over every secret."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        whole = [printable_text(secret) for secret in secrets if secret]
        forms = {form for text in whole for form in (text, repr(text)[1:-1], quote(text, safe=""))}
        self._forms = sorted(forms, key=len, reverse=True)
        self._marks = (*(orjson.dumps(form)[1:-1].lower() for form in self._forms), *_MARKS)

    def over(self, line: bytes) -> bytes:
        """The JSON line with its newline; `timestamp` and `level`, which are the pipeline's own, stay as they are."""
        lowered = line.lower()
        for mark in self._marks:  # any() over a generator costs more, on every line
            if mark in lowered:
                break
        else:
            if not (b"@" in lowered and b"://" in lowered):
                return line
        fields = orjson.loads(line)
        covered = self.over_fields(fields)
        covered.update(timestamp=fields["timestamp"], level=fields["level"])
        return orjson.dumps(covered, option=orjson.OPT_APPEND_NEWLINE)

    def over_fields(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The same of fields as JSON reads them."""
        return {name: self._covered(value, name) for name, value in fields.items()}

    def _covered(self, value: Any, name: str) -> Any:
        match value:
            case None:
                return None
            case _ if _SECRET_NAME.search(name.lower().replace("-", "_")):
                return _MASK
            case dict():
                return {self._without_secrets(key): self._covered(item, key) for key, item in value.items()}
            case list():
                return [self._covered(item, name) for item in value]
            case str():
                text = self._without_secrets(value)
                return _CREDENTIALS.sub(_mask_credential, text) if name in _FREE_TEXT else text
            case _:
                return value

    def _without_secrets(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, _MASK)
        return text


def printable_text(text: str) -> str:
    """`text` as lines have it, secret or not: UTF-8 can hold all of it.

    Bytes that were not UTF-8, as `os.fsdecode` leaves them, stand as `\\xNN`; other halves as `\\uNNNN`.
    """
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()


def _mask_credential(found: re.Match[str]) -> str:
    return f"{found[found.lastgroup or 0]}{_MASK}"
