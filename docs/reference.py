"""The settings' models and the comments of config.example.toml, to docs/settings.md: `make docs`.

A model says what there is, what would be accepted and what is taken by default; the comment says what it is for. So
nothing is said in two places, and the tests see when the page is older than either.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from inspect import get_annotations
from pathlib import Path
from typing import Final, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from docs.example import Comments, comments_in
from mirrord.feed_settings import BY_FORMAT, Asked, Compared, Feed
from mirrord.feed_values import A_POINTER
from mirrord.setting_values import A_DURATION, A_FEED_URL, A_SIZE, A_URL, Section
from mirrord.settings import DirectorySource, Mirror, Settings

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "docs" / "settings.md"
EXAMPLE: Final = ROOT / "config.example.toml"

SOURCE: Final = "mirror.source"
WORDS: Final[Mapping[str, str]] = {
    "a duration": A_DURATION,
    "a size": A_SIZE,
    "a feed's URL": A_FEED_URL,
    "a URL": A_URL,
    "a JSON pointer": A_POINTER,
}
"""What is said once at the top of the page, and in its tables by these names."""
TOP: Final = """\
# Settings

<!-- Made by `make docs` from the models in mirrord/ and the comments in config.example.toml: edit those. -->

Every setting there is. [`config.example.toml`](../config.example.toml) has them all with their defaults, to start from;
[feeds.md](feeds.md) says which feed to choose.

A value is looked for in this order: the command line, the environment (`MIRRORD_KODO__ACCESS_KEY`: prefix `MIRRORD_`,
`__` between levels), a systemd credential (`secret-key` alone), the TOML file (`-c FILE`, else `$MIRRORD_CONFIG`, else
`/etc/mirrord/config.toml`), the default. Unknown names are errors; `mirrord check` names every mistake at once, with
its file, its key, what it got and what would do. Which of them a reload takes at once:
[operating.md](operating.md#reload).
"""
BETWEEN: Final = """\
# Feeds

Instead of a directory, or besides it: then both are `[[mirror.source]]`, with two brackets. A feed has
`kind = "feed"` and a `format`, and what the first table has for all of them.
"""
_KIND: Final = ("kind", "format")
_LONELY = re.compile(r"^(?:required|unset)(?:[,;] *|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row."""

    table: str
    """Where it is in the file, dotted."""
    name: str
    takes: str
    default: str
    """As it would be typed, or "required", or "unset"."""
    means: str = ""
    form: str = ""
    """The one format of feeds that has it like this; "": it is not about formats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One heading, and what is below it."""

    title: str
    means: str
    settings: tuple[Setting, ...]


def page() -> str:
    """The whole page, as it should be."""
    parts = [TOP, _legend(), *map(_drawn, own_tables()), BETWEEN, *map(_drawn, feed_tables())]
    return "\n".join(parts)


def own_tables() -> Iterator[Table]:
    """All but those of feeds."""
    return _own(comments_in(EXAMPLE.read_text("utf-8")))


def feed_tables() -> Iterator[Table]:
    return _of_feeds(comments_in(EXAMPLE.read_text("utf-8")))


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), "utf-8")


def _own(comments: Comments) -> Iterator[Table]:
    for table, section in _sections("", Settings):
        if table:
            yield _table(f"`[{table}]`", table, section, comments)
        if section is Mirror:
            yield _table(f'`[{SOURCE}]`, `kind = "directory"`', SOURCE, DirectorySource, comments)


def _of_feeds(comments: Comments) -> Iterator[Table]:
    everyone = {name: each for section in (Asked, Compared) for name, each in section.model_fields.items()}
    yield Table(
        title="Every feed",
        means="Where a format does not have one of them, that is said.",
        settings=tuple(_shared(name, each, comments) for name, each in everyone.items() if name not in _KIND),
    )
    inner: dict[type[Section], str] = {each: f"{SOURCE}.{name}" for name, each in _below(everyone)}
    for form, feed in BY_FORMAT.items():
        own = {name: each for name, each in feed.model_fields.items() if not _is_shared(feed, name)}
        inner.update({each: f"{SOURCE}.{name}" for name, each in _below(own)})
        rows = (_setting(SOURCE, name, each, _of_format(form, name, each, comments)) for name, each in own.items())
        means = comments.get((form, ""), "")
        settings = tuple(replace(row, form=form) for row in rows if row.name not in {*_KIND, "pointers"})
        yield Table(title=f'`format = "{form}"`', means=means, settings=settings)
    for section, table in inner.items():
        yield _table(f"`[{table}]`", table, section, comments)


def _is_shared(section: type[Section], name: str) -> bool:
    """Whether a format has the setting from what feeds have in common, unchanged."""
    owner = next(each for each in section.__mro__ if name in get_annotations(each))
    return owner in {Feed, Asked, Compared}


def _shared(name: str, field: FieldInfo, comments: Comments) -> Setting:
    having = [form for form, section in BY_FORMAT.items() if name in section.model_fields and _is_shared(section, name)]
    without = [form for form in BY_FORMAT if form not in having]
    means = next((comments[form, name] for form in BY_FORMAT if (form, name) in comments), "")
    limited = f"not {', '.join(without)}" if without else ""
    return _setting(SOURCE, name, field, "; ".join(filter(None, (_without_choices(means, field), limited))))


def _of_format(form: str, name: str, field: FieldInfo, comments: Comments) -> str:
    if len(_choices(field)) == 1:
        return ""  # the one value there is needs no explanation
    found = next((comments[each, name] for each in (form, "jsonl", "couchdb") if (each, name) in comments), "")
    return _without_choices(found, field)


def _sections(table: str, section: type[Section]) -> Iterator[tuple[str, type[Section]]]:
    """The section and those in it, by where they are in the file; what a source may be is not among them."""
    yield table, section
    for name, below in _below(section.model_fields):
        if below is not DirectorySource:
            yield from _sections(f"{table}.{name}".removeprefix("."), below)


def _below(fields: Mapping[str, FieldInfo]) -> Iterator[tuple[str, type[Section]]]:
    for name, field in fields.items():
        if section := _section_of(field.annotation):
            yield name, section


def _section_of(annotation: object) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(_section_of, get_args(annotation))), None)


def _table(title: str, table: str, section: type[Section], comments: Comments) -> Table:
    rows = []
    for name, field in section.model_fields.items():
        below = _section_of(field.annotation)
        if below is None or _is_inline(field):
            means = _without_choices(comments.get((table, name), ""), field)
            rows.append(_setting(table, name, field, means))
    parent, _, name = table.rpartition(".")
    means = comments.get((table, ""), "") or comments.get((parent, name), "")
    return Table(title=title, means=_LONELY.sub("", means).rstrip(":"), settings=tuple(rows))


def _is_inline(field: FieldInfo) -> bool:
    """Whether a table is written in one line, so that it is a setting of its own, too."""
    return field.default is None or type(field.default).__name__ in {"RemovalLimit", "Limits"}


def _setting(table: str, name: str, field: FieldInfo, means: str) -> Setting:
    return Setting(table=table, name=name, takes=_takes(field), default=_default(field), means=_LONELY.sub("", means))


def _without_choices(means: str, field: FieldInfo) -> str:
    """Nothing, where the comment only lists what would be accepted."""
    choices = {f'"{each}"' for each in _choices(field)} | {str(each) for each in _choices(field)}
    return "" if choices and all(word.strip() in choices for word in means.split("|")) else means


def _choices(field: FieldInfo) -> tuple[object, ...]:
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()


def _takes(field: FieldInfo) -> str:
    if below := _section_of(field.annotation):
        return f"a table of {', '.join(f'`{name}`' for name in below.model_fields)}"
    sentence = field.description or ""
    if not sentence:
        *others, last = (f"`{_typed(each)}`" for each in _choices(field))
        return f"{', '.join(others)} or {last}"
    for word, meaning in WORDS.items():
        if sentence.startswith(meaning):
            return word + sentence.removeprefix(meaning)
    return sentence


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is None:
        return "`false`" if (field.description or "").endswith("false: it is nowhere") else "unset"
    is_size = (field.description or "").startswith(A_SIZE)
    return f"`{_size(field.default) if is_size and isinstance(field.default, int) else _typed(field.default)}`"


def _typed(value: object) -> str:
    """As TOML."""
    match value:
        case Section():
            pairs = ((name, _default(each).strip("`")) for name, each in type(value).model_fields.items())
            return f"{{ {', '.join(f'{name} = {each}' for name, each in pairs)} }}"
        case timedelta():
            return _duration(value)
        case re.Pattern():
            return json.dumps(value.pattern)
        case tuple():
            return f"[{', '.join(map(_typed, value))}]"
        case _:
            return json.dumps(value, ensure_ascii=False)


def _duration(value: timedelta) -> str:
    """In the largest unit that divides it."""
    count = value // timedelta(milliseconds=1)
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if count and count % size == 0:
            return f'"{count // size}{unit}"'
    return f'"{count}ms"' if count else "0"


def _size(value: int) -> str:
    power, unit = next(
        each for each in ((30, "GiB"), (20, "MiB"), (10, "KiB"), (0, "B")) if value % (1 << each[0]) == 0
    )
    return f'"{value >> power}{unit}"'


def _legend() -> str:
    lines = [f"* *{word}*: {re.sub('^(a URL |[^:]{1,20}: )', '', meaning)}" for word, meaning in WORDS.items()]
    return "\n".join(["Words of the tables below:", "", *lines, ""])


def _drawn(table: Table) -> str:
    has_means = any(row.means for row in table.settings)
    heading = ["setting", "takes", "default", *(["means"] if has_means else [])]
    lines = [f"## {table.title}", ""]
    if table.means:
        lines += [table.means, ""]
    if not table.settings:
        return "\n".join(lines)
    lines += [_row(heading), "|" + "---|" * len(heading)]
    for row in table.settings:
        cells = [f"`{row.name}`", row.takes, row.default, *([row.means] if has_means else [])]
        lines.append(_row(cells))
    return "\n".join([*lines, ""])


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("(?P<", "(?P&lt;") for cell in cells) + " |"


if __name__ == "__main__":
    main()
