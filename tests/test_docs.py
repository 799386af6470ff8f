"""What the documentation says is so: its examples load, and whatever it names is there."""

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.core import TyperCommand, TyperGroup

from docs import reference
from mirrord.cli import app
from mirrord.config import load
from mirrord.feed_settings import BY_FORMAT
from mirrord.settings import Settings
from tests.log_calls import Said, Unreadable, said_below, said_in

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
EXAMPLES = [
    pytest.param(text, id=f"{page.name}-{number}")
    for page in PAGES
    for number, text in enumerate(re.findall(r"^```toml\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE))
]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


# Settings


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_is_valid(tmp_path: Path, text: str) -> None:
    assert _loaded(tmp_path, tomllib.loads(text)).mirror


def test_the_settings_reference_is_up_to_date() -> None:
    assert reference.PAGE.read_text("utf-8") == reference.page(), "run `make docs`"


def test_defaults_are_written_as_they_can_be_typed(tmp_path: Path) -> None:
    rows = [row for table in reference.own_tables() for row in table.settings]

    typed = _loaded(tmp_path, tomllib.loads(_as_toml(rows)))

    assert typed == _loaded(tmp_path, {})


@pytest.mark.parametrize("form", BY_FORMAT)
def test_a_feed_s_defaults_are_written_as_they_can_be_typed(tmp_path: Path, form: str) -> None:
    known = BY_FORMAT[form].model_fields
    rows = [row for table in reference.feed_tables() for row in table.settings]
    mine = [row for row in rows if row.table == "mirror.source" and row.name in known and row.form in ("", form)]
    feed = {"kind": "feed", "format": form} | ({"auth": "none"} if form == "webhook" else {"url": "http://localhost/"})

    typed = tomllib.loads(_as_toml(mine)).get("mirror", {}).get("source", {})

    assert _loaded(tmp_path, {"mirror": {"source": typed | feed}}) == _loaded(tmp_path, {"mirror": {"source": feed}})
    assert known.keys() - {row.name for row in mine} <= {"kind", "format", "pointers"}


def _as_toml(rows: list[reference.Setting]) -> str:
    tables = defaultdict[str, dict[str, str]](dict)
    for row in rows:
        if row.default.startswith("`") and row.table != "mirror.removal_limit":  # that one is in its own row, too
            tables[row.table][row.name] = row.default.strip("`")  # what a format has of its own comes last
    lines = ((f"[{table}]", *(f"{name} = {value}" for name, value in pairs.items())) for table, pairs in tables.items())
    return "\n".join(line for table in lines for line in table)


def _loaded(directory: Path, typed: dict[str, Any]) -> Settings:
    """A part of the settings, with what it needs to be whole."""
    mirrors = typed.get("mirror", {})
    for number, mirror in enumerate(mirrors if isinstance(mirrors, list) else [mirrors]):
        mirror.setdefault("name", f"mirror-{number}")
        mirror.setdefault("bucket", "a-bucket")
        mirror.setdefault("origin_url", "https://origin.example.com")
        source = mirror.setdefault("source", {"kind": "directory"})
        if isinstance(source, dict) and source.setdefault("kind", "directory") == "directory":
            source.setdefault("path", "/srv/www")
        typed["mirror"] = mirrors if isinstance(mirrors, list) else [mirror]
    typed["kodo"] = {"access_key": "an-access-key"} | typed.get("kodo", {})
    file = directory / "config.toml"
    file.touch()
    return load(file, typed, environ={}, need_secret=False).settings


# Events


def test_every_event_is_explained_with_its_levels() -> None:
    said = defaultdict[str, set[str | None]](set)
    for each in _said():
        said[each.event].add(each.level)

    explained = {event: levels for event, levels, _ in _explained()}

    assert sorted(said) == sorted(explained)
    for event, levels in said.items():
        certain = {level for level in levels if level is not None}
        assert certain <= explained[event], event
        assert None in levels or certain == explained[event], event


def test_an_event_s_fields_are_those_that_it_is_logged_with() -> None:
    sources = defaultdict[str, str](str)
    for each in _said():
        sources[each.event] += (ROOT / each.place.partition(":")[0]).read_text("utf-8")

    missing = {
        f"{event}: {field}"
        for event, _, fields in _explained()
        for field in fields
        if not re.search(rf"\b{field}\b", sources[event])
    }

    assert missing == set()


def test_an_event_has_one_row() -> None:
    events = [event for event, _, _ in _explained()]

    assert len(events) == len(set(events))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        pytest.param('log.info("a.b", key=1)', [("a.b", "info")], id="plain"),
        pytest.param('log.warning("a.b" if x else "a.c")', [("a.b", "warning"), ("a.c", "warning")], id="one of two"),
        pytest.param('event = "a.b" if x else "a.c"\nlog.info(event)', [("a.b", "info"), ("a.c", "info")], id="name"),
        pytest.param(
            'tell = log.error if x else log.info\ntell("a.b")', [("a.b", "error"), ("a.b", "info")], id="alias"
        ),
        pytest.param(
            '(log.error if x else log.info)("a.b")', [("a.b", "error"), ("a.b", "info")], id="one of two levels"
        ),
        pytest.param('getattr(log, level)("a.b")', [("a.b", None)], id="level decided late"),
        pytest.param('structlog.get_logger().error("a.b")', [("a.b", "error")], id="logger asked for on the spot"),
        pytest.param('def _say(event):\n log.info(event)\n_say("a.b")', [("a.b", "info")], id="parameter"),
        pytest.param('put({"event": "a.b"})', [("a.b", None)], id="put together by hand"),
        pytest.param('screen.info("a.b")', [], id="no log"),
    ],
)
def test_events_are_found_in_the_source(source: str, said: list[tuple[str, str | None]]) -> None:
    found = {(each.event, each.level) for each in said_in(source, "here.py")}

    assert found == set(said)


def test_an_event_that_only_running_tells_is_a_mistake() -> None:
    with pytest.raises(Unreadable, match=r"here\.py:1"):
        list[Said](said_in('log.info(f"{noun}.done")', "here.py"))


@cache
def _said() -> tuple[Said, ...]:
    return tuple(said_below(ROOT / "mirrord"))


def _explained() -> Iterator[tuple[str, set[str], list[str]]]:
    """Event, levels and fields of every row."""
    for line in (DOCS / "events.md").read_text("utf-8").splitlines():
        if row := re.match(r"\| `([a-z_.]+)` \| ([a-z, ]+) \|.*\|([^|]*)\|$", line):
            yield row[1], set(row[2].split(", ")), re.findall(r"`(\w+)`", row[3])


# What is named


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))

    broken = [link for link in links if "://" not in link and not _leads_somewhere(page, link)]

    assert broken == []


def _leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not anchor or anchor in _anchors(target.read_text("utf-8")))


def _anchors(text: str) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_every_file_of_this_tree_is_there(page: Path) -> None:
    named = re.findall(
        r"(?<![\w./@<-])((?:mirrord|docs|systemd|tests|bench|monitoring)/[\w./@-]+)", page.read_text("utf-8")
    )

    missing = [path for path in named if not (ROOT / path.rstrip(".")).exists()]

    assert missing == []


@every_page
def test_every_name_with_a_dot_is_a_setting_or_an_event(page: Path) -> None:
    tables = [*reference.own_tables(), *reference.feed_tables()]
    settings = {name for table in tables for row in table.settings for name in (row.table, f"{row.table}.{row.name}")}
    known = settings | {name.removeprefix("mirror.") for name in settings} | {each.event for each in _said()}

    named = set(re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)`", page.read_text("utf-8")))

    elsewhere = re.compile(r"^fs\.inotify\.|\.(md|toml|py|service|conf|db|json|xml|yml)$")
    assert {name for name in named - known if not elsewhere.search(name)} == set()


@every_page
def test_every_command_is_there_with_its_options(page: Path) -> None:
    program = typer.main.get_command(app)

    unknown = [call for call in _calls(page.read_text("utf-8")) if not _is_known(program, call.split())]

    assert unknown == []


def _calls(text: str) -> Iterator[str]:
    """What follows `mirrord` where it is called: in code, and in what is typed."""
    spans = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)
    typed = [
        line for block in re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE) for line in [block]
    ]
    for code in [*spans, *typed]:
        joined = re.sub(r"\\\n\s*|\\(?=\|)", " ", code)
        yield from re.findall(r"(?:^|(?<=[ /\n]))(?<!-u )(?<!/lib/)mirrord +((?!mirrord)[a-z-][^&;#\n]*)", joined)


def _is_known(command: TyperCommand | TyperGroup, words: list[str]) -> bool:
    if isinstance(command, TyperGroup) and words and not words[0].startswith("-"):
        return words[0] in command.commands and _is_known(command.commands[words[0]], words[1:])
    options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)} | {"-h", "--help"}
    return all(word.partition("=")[0].strip("[]") in options for word in words if word.startswith(("-", "[-")))
