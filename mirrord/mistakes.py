"""A mistake that pydantic found, and what was typed, to where it is, what there is and what would be accepted."""

import difflib
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from mirrord.feed_settings import BY_FORMAT, Feed
from mirrord.setting_values import Loc
from mirrord.settings import SECTIONS, DirectorySource, Mirror, Settings

NOT_SHOWN: Final = re.compile(r"secret|token|passw|credential|header|auth|access_key", re.IGNORECASE)

_SOURCES = Mirror.model_fields["sources"]


def explain(error: ErrorDetails, values: Mapping[str, Any]) -> tuple[Loc, str, str] | None:
    """Where, got, expected; `values` are what was typed. None: it may be no mistake once another is corrected."""
    loc, owner, known = _place(error["loc"], values)
    if known is None:
        unknown = _unknown(str(loc[-1]), owner)
        return unknown and (loc, *unknown)
    section = _section(known.annotation)
    typed: Any = values  # pydantic may have made it something else before it found the mistake
    try:
        for part in loc:
            typed = typed[part]
    except (LookupError, TypeError):
        typed = None if error["type"] == "missing" else error["input"]
    got = shown(loc, typed, hidden=bool(section))
    if error["type"] == "value_error":
        return loc, got, str(error["ctx"]["error"])
    choices = " or ".join(f'"{choice}"' for choice in get_args(known.annotation))
    table = f"a table with {', '.join(_names(section))}" if section else ""
    return loc, got, known.description or table or choices


def _unknown(name: str, owner: type[BaseModel]) -> tuple[str, str] | None:
    others = [key for key, section in SECTIONS.items() if owner in SECTIONS.values() and name in _names(section)]
    if owner is Feed and others not in ([], ["directory"]):  # whether it is right there its format will tell
        return None
    if others:
        return "a name of other sources", f"{_whose(others, owner)} for {name}"
    names = {*_names(owner)}.union(*map(_names, BY_FORMAT.values() if owner is Feed else ()))
    near = difflib.get_close_matches(name.lower(), sorted(names), n=1)
    expected = f"one of {', '.join(sorted(names))}" + "".join(f"; did you mean {each}?" for each in near)
    return "an unknown name", expected


def _whose(others: list[str], owner: type[BaseModel]) -> str:
    if owner is DirectorySource:
        return 'kind = "feed"'
    return " or ".join('kind = "directory"' if each == "directory" else f'format = "{each}"' for each in others)


def _place(loc: Loc, typed: Any) -> tuple[Loc, type[BaseModel], FieldInfo | None]:
    """Where people see `loc`, the table that it is in and its field there, None when the table knows no such name."""
    owner: type[BaseModel] = Settings
    known: FieldInfo | None = None
    chosen: type[BaseModel] | None = None
    seen: list[int | str] = []
    for part in loc:
        if isinstance(part, str) and known is _SOURCES and chosen is None:
            chosen = SECTIONS[part]  # pydantic says which of the sections it took
            continue
        if isinstance(part, str):
            owner = chosen or (known and _section(known.annotation)) or owner
            known, chosen = _names(owner).get(part), None
        elif isinstance(typed, Mapping):
            continue  # one table, in the place of a list of them
        seen.append(part)
        typed = _below(typed, part)
    return tuple(seen), owner, known


def _below(typed: Any, part: int | str) -> Any:
    try:
        return typed[part]
    except (LookupError, TypeError):
        return None


def _names(section: type[BaseModel]) -> dict[str, FieldInfo]:
    """Its fields, as they are called in the file."""
    return {known.alias or name: known for name, known in section.model_fields.items()}


def _section(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section, get_args(annotation))), None)


def shown(loc: Loc, value: object, *, hidden: bool = False) -> str:
    """`value` on one short line; never a secret, nor what tables hold."""
    if value is None or value == "":
        return "nothing" if value is None else "an empty text"
    if isinstance(value, Mapping | list | tuple):
        return "a table" if isinstance(value, Mapping) else "a list"
    if hidden or any(NOT_SHOWN.search(str(part)) for part in loc):
        return "a value that is not shown"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        value = f"{value.total_seconds():g}s"
    if isinstance(value, str) and ("@" in value or "://" in value or loc[-1:] == ("url",)):
        value = re.sub(r"(\w+://)?.*@|[?#].*", r"\1***", value, flags=re.DOTALL)  # a URL's user, password and query
    text = hex(value) if isinstance(value, int) and abs(value) > 2**64 else repr(value)  # repr stops at 4300 digits
    return text if len(text) <= 60 else f"{text[:59]}…"
