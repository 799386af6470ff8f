"""What is typed in feed sections, apart from the formats: headers, hosts, pointers, key rules, limits, snapshots."""

import re
from collections.abc import Mapping
from datetime import timedelta
from string import Formatter
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, PlainValidator, SecretStr, ValidationInfo, field_validator

from mirrord.setting_values import (
    A_DURATION,
    A_FEED_URL,
    A_SIZE,
    PORT,
    Duration,
    FeedUrl,
    Section,
    Size,
    Whole,
    duration,
    need,
)

A_POINTER: Final = (
    'a JSON pointer: "" for all of it, or one such as "/data/path"; a "~" in a name is "~0", a "/" is "~1"'
)
POINTER_OR_NOT: Final = f"{A_POINTER}; or false: it is nowhere"
HEADERS: Final = "a table of HTTP headers: names of letters, digits and hyphens, values of printable ASCII"
HOSTS: Final = 'a list of hosts such as ["cdn.example.com", "other.example.com:8443"]'
VALUES: Final = 'a list of texts, numbers, true or false, such as ["removed", true]'
ONLY: Final = 'a table of JSON pointers with what they must lead to, such as { "/type" = ["file", "link"] }'
A_PATTERN: Final = "a regular expression (Python's `re`) for a whole name, with named groups: (?P<name>…)"
A_TEMPLATE: Final = 'text with groups of the pattern in it, such as "{name}/-/{name}-{version}.tgz"'
ONE_WORD: Final = "a token: not empty, ASCII, no blanks or line breaks"
ONE_LINE: Final = "text without control characters, not empty"
A_USER: Final = "text without colons and control characters"
SILENCE: Final = f'{A_DURATION}; or "auto": by its own habit; or "off"'
A_FILE: Final = "the path of a file that holds the {} alone"

Scalar = str | int | float | bool

FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_FIELD_VALUE = re.compile(r"([!-~]([ -~]*[!-~])?)?")
_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)*")
"""RFC 6901."""
_HOST = re.compile(rf"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:{PORT})?")


def _pointer(value: object) -> str | None:
    if value is None or value is False:
        return None
    if not isinstance(value, str) or not _POINTER.fullmatch(value):
        raise ValueError(POINTER_OR_NOT)
    return value


def _to_key(value: str) -> str:
    if not _POINTER.fullmatch(value):
        raise ValueError(A_POINTER)
    return value


def _scalar(value: object) -> Scalar:
    if not isinstance(value, Scalar):
        raise ValueError(VALUES)  # noqa: TRY004 - pydantic takes no TypeError for a mistake in the file
    return value


def _only(value: object) -> Mapping[str, Scalar | tuple[Scalar, ...]]:
    if not isinstance(value, Mapping):
        raise ValueError(ONLY)  # noqa: TRY004
    only = {pointer: tuple(wanted) if isinstance(wanted, list) else wanted for pointer, wanted in value.items()}
    for pointer, wanted in only.items():
        if not (_POINTER.fullmatch(pointer) and all(isinstance(one, Scalar) for one in _each(wanted))):
            raise ValueError(ONLY)
    return only


def _each(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else (value,)


def _headers(value: object) -> object:
    for name, text in value.items() if isinstance(value, Mapping) else [("", None)]:
        plain = text.get_secret_value() if isinstance(text, SecretStr) else text
        if not (FIELD_NAME.fullmatch(name) and isinstance(plain, str) and _FIELD_VALUE.fullmatch(plain)):
            raise ValueError(HEADERS)
    return value


def _host(value: str) -> str:
    if not _HOST.fullmatch(value):
        raise ValueError(HOSTS)
    return value.lower()


def _silence(value: object) -> object:
    if value in ("auto", "off"):
        return value
    try:
        after = duration(value)
    except ValueError:
        after = timedelta(0)
    if not after:
        raise ValueError(SILENCE)
    return after


def _word(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]+", value.get_secret_value()):
        raise ValueError(ONE_WORD)
    return value


def _user(value: str) -> str:
    if not re.fullmatch(r"[^:\x00-\x1f\x7f]+", value):
        raise ValueError(A_USER)
    return value


def _text(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[^\x00-\x1f\x7f]+", value.get_secret_value()):
        raise ValueError(ONE_LINE)
    return value


Pointer = Annotated[str | None, BeforeValidator(_pointer)]
Values = tuple[Annotated[Scalar, PlainValidator(_scalar)], ...]
Only = Annotated[Mapping[str, Scalar | tuple[Scalar, ...]], PlainValidator(_only)]
Hosts = tuple[Annotated[str, AfterValidator(_host)], ...]
Silence = Annotated[Literal["auto", "off"] | timedelta, BeforeValidator(_silence)]
Headers = Annotated[dict[str, SecretStr], BeforeValidator(_headers)]
User = Annotated[str, AfterValidator(_user)]
Token = Annotated[SecretStr, AfterValidator(_word)]
Secret = Annotated[SecretStr, AfterValidator(_text)]


class KeyFrom(Section):
    """How a feed's names become keys."""

    pattern: re.Pattern[str] = need(A_PATTERN)
    key: str = need(A_TEMPLATE)
    others: Literal["reject", "skip"] = "reject"  # what becomes of names that do not match

    @property
    def expansion(self) -> str:
        """`key` as `re.Match.expand` takes it."""
        parts = Formatter().parse(self.key)
        return "".join(text.replace("\\", r"\\") + (f"\\g<{group}>" if group else "") for text, group, _, _ in parts)

    @field_validator("key")
    @classmethod
    def _made_of_groups(cls, value: str, others: ValidationInfo) -> str:
        pattern = others.data.get("pattern")
        try:
            parts = list(Formatter().parse(value))
        except ValueError:  # a brace without its other half
            raise ValueError(f"{A_TEMPLATE}; a brace of its own is written {{{{ or }}}}") from None
        for _, group, form, conversion in parts:
            if group is None:
                continue
            if form or conversion or (pattern and group not in pattern.groupindex):
                groups = ", ".join(pattern.groupindex) if pattern else ""
                raise ValueError(f"{A_TEMPLATE}; the groups are {groups or 'none'}")
        if not value:
            raise ValueError(A_TEMPLATE)
        return value


class Pointers(Section):
    """Where an entry has what; None: nowhere."""

    items: Pointer = need(POINTER_OR_NOT, None)
    key: Annotated[str, AfterValidator(_to_key)] = need(A_POINTER, "/key")
    op: Pointer = need(POINTER_OR_NOT, "/op")
    version: Pointer = need(POINTER_OR_NOT, "/version")
    time: Pointer = need(POINTER_OR_NOT, "/time")
    seq: Pointer = need(POINTER_OR_NOT, "/seq")
    next: Pointer = need(POINTER_OR_NOT, None)
    size: Pointer = need(POINTER_OR_NOT, "/size")
    etag: Pointer = need(POINTER_OR_NOT, "/etag")
    modified: Pointer = need(POINTER_OR_NOT, "/modified")


class Limits(Section):
    """Sizes are of what is unpacked."""

    document: Size = need(f"{A_SIZE}; above 0", 64 * 2**20, gt=0)
    line: Size = need(f"{A_SIZE}; above 0", 2**20, gt=0)
    unpacked: Size = need(f"{A_SIZE}; above 0", 2 * 2**30, gt=0)
    entries: Whole = need("a whole number, 1 or more", 10_000_000, ge=1)


class Snapshot(Section):
    """What names every key there is."""

    format: Literal["sitemap", "resourcesync", "jsonl"]
    url: FeedUrl = need(A_FEED_URL)
    every: Duration = timedelta(days=1)  # 0: only when it is needed
    pointers: Pointers = Pointers()

    @field_validator("pointers")
    @classmethod
    def _of_json_lines(cls, value: Pointers, others: ValidationInfo) -> Pointers:
        if others.data.get("format") in {"sitemap", "resourcesync"}:
            raise ValueError('nothing: pointers are for format = "jsonl"')
        return value
