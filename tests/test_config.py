"""What people type, from every place at once, into Settings or into a report of all that is wrong."""

import json
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from sqlalchemy import make_url

from mirrord.config import Loaded, Problem, SettingsError, load, source_problems
from mirrord.feed_settings import BY_FORMAT, Feed
from mirrord.feed_values import KeyFrom, Limits, Pointers, Snapshot
from mirrord.setting_values import Section, duration, size
from mirrord.settings import (
    Cdn,
    DirectorySource,
    Hosts,
    Journal,
    Kodo,
    Log,
    Mirror,
    Pace,
    RemovalLimit,
    Retry,
    Status,
    Timeouts,
)

EXAMPLE = Path(__file__).parent.parent / "config.example.toml"
KODO = '[kodo]\naccess_key = "AK"\nsecret_key = "file-secret"\n'
MIRROR = '[[mirror]]\nname = "docs"\nbucket = "newdocs"\n'
SOURCE = '[mirror.source]\nkind = "directory"\npath = "/srv/www"\n'

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Makes a config file of this text, readable by its owner alone."""

    def write(text: str) -> Path:
        path = tmp_path / "config.toml"
        path.write_text(text)
        path.chmod(0o600)
        return path

    return write


def read(path: Path, overrides: Mapping[str, Any] = {}, /, **environ: str) -> Loaded:
    return load(path, overrides, environ)


def refused(path: Path, overrides: Mapping[str, Any] = {}, /, **environ: str) -> tuple[Problem, ...]:
    with pytest.raises(SettingsError) as caught:
        load(path, overrides, environ)
    return caught.value.problems


def the_problem(path: Path, **environ: str) -> Problem:
    (problem,) = refused(path, **environ)
    return problem


# Defaults and the example


def test_a_short_file_gives_every_default(write: Write) -> None:
    path = write(KODO + MIRROR + SOURCE)

    loaded = read(path)

    assert loaded.path == path
    assert loaded.warnings == ()
    (mirror,) = loaded.settings.mirror
    assert mirror.sources == (mirror.directory,)
    assert mirror.feed is None
    assert mirror.source.settle == timedelta(milliseconds=500)
    assert mirror.source.settle_limit == timedelta(seconds=60)
    assert mirror.source.rescan_every == timedelta(hours=1)
    assert mirror.source.watch == "auto"
    assert mirror.exclude is None
    assert mirror.pace == Pace(concurrency=64, per_second=0)
    assert mirror.retry == Retry(first_delay=timedelta(seconds=1), max_delay=timedelta(minutes=10), max_attempts=12)
    assert loaded.settings.kodo.timeouts.read == timedelta(seconds=300)
    assert loaded.settings.status.listen == "127.0.0.1:9478"


def test_the_example_loads_once_there_is_a_secret() -> None:
    loaded = read(EXAMPLE, MIRRORD_KODO__SECRET_KEY="s3cret")

    assert loaded.settings.kodo.secret.get_secret_value() == "s3cret"
    assert loaded.settings.mirror[0].name == "docs"


SECTIONS: dict[str, type[Section]] = {
    "kodo": Kodo,
    "kodo.hosts": Hosts,
    "kodo.timeouts": Timeouts,
    "journal": Journal,
    "log": Log,
    "status": Status,
    "mirror": Mirror,
    "mirror.source": DirectorySource,
    "mirror.pace": Pace,
    "mirror.retry": Retry,
    "mirror.cdn": Cdn,
}
ONLY_EXAMPLES = {"origin_url", "exclude", "token", "token_file", *Hosts.model_fields}


def settings_and_feeds() -> tuple[str, str]:
    """The example up to its feeds, and those with one `# ` less."""
    text, heading, feeds = EXAMPLE.read_text().partition("\n# [[mirror]]")
    return text, "\n".join(line.removeprefix("# ") for line in (heading + feeds).splitlines())


def documented(text: str) -> Iterator[tuple[str, str, Any]]:
    """Table, name and value of every commented-out line; a feed's table is its format, or its own below it."""
    table = ""
    for line in text.splitlines():
        if line.startswith("["):
            table = line.strip("[]").split("]")[0]
        elif line.startswith("format = "):
            table = tomllib.loads(line)["format"]
        elif line.startswith("# ") and " = " in line:
            ((name, value),) = tomllib.loads(line.removeprefix("# ")).items()
            yield table, name, value


@pytest.mark.parametrize(("table", "name", "value"), list(documented(settings_and_feeds()[0])))
def test_a_documented_default_is_the_default(table: str, name: str, value: Any) -> None:
    field = SECTIONS[table].model_fields[name]

    default = field.default

    if name in ONLY_EXAMPLES:
        assert default is None
    elif isinstance(default, timedelta):
        assert duration(value) == default
    elif name == "async_above":
        assert size(value) == default
    elif isinstance(default, RemovalLimit):
        assert RemovalLimit(**value) == default
    else:
        assert (tuple(value) if isinstance(value, list) else value) == default


def test_the_example_names_every_setting() -> None:
    names = {(table, name) for table, name, _ in documented(settings_and_feeds()[0])}
    names |= {("kodo", "access_key"), ("kodo", "secret_key"), ("kodo", "secret_key_file"), ("mirror", "name")}
    names |= {("mirror", "bucket"), ("mirror.source", "kind"), ("mirror.source", "path")}

    known = {
        (table, name)
        for table, section in SECTIONS.items()
        for name in (field.alias or name for name, field in section.model_fields.items())
        if f"{table}.{name}" not in SECTIONS
    }

    assert known == names


def test_the_example_s_feeds_load_once_a_hash_is_taken_off(write: Write) -> None:
    text, feeds = settings_and_feeds()

    loaded = load(write(text + feeds), environ={}, need_secret=False)

    found = [mirror.feed for mirror in loaded.settings.mirror]
    assert [feed and feed.format for feed in found] == [None, *BY_FORMAT]


def test_the_example_names_every_setting_of_every_feed() -> None:
    feeds = {
        mirror["source"]["format"]: mirror["source"] for mirror in tomllib.loads(settings_and_feeds()[1])["mirror"]
    }
    names = {form: {*feed} for form, feed in feeds.items()}
    for table, name, _ in documented(settings_and_feeds()[1]):
        names.setdefault(table, set()).add(name)
    shared = {"sse": names["jsonl"]}

    missing = {
        form: {*section.model_fields} - names[form] - names["couchdb"] - shared.get(form, set())
        for form, section in BY_FORMAT.items()
    }

    assert missing == {form: set() for form in BY_FORMAT}
    assert names["mirror.source.pointers"] == {*Pointers.model_fields}
    assert all("mode" in names[form] for form, section in BY_FORMAT.items() if "mode" in section.model_fields)


@pytest.mark.parametrize(("table", "name", "value"), list(documented(settings_and_feeds()[1])))
def test_a_feed_s_documented_default_is_the_default(table: str, name: str, value: Any) -> None:
    section: type[Section] = Pointers if table == "mirror.source.pointers" else BY_FORMAT[table]
    field = section.model_fields[name]

    default = field.default

    match default:
        case None if table == "mirror.source.pointers":
            assert value is False
        case None:  # an example
            assert name not in {"key_from", "snapshot"} or {"key_from": KeyFrom, "snapshot": Snapshot}[name](**value)
        case timedelta():
            assert duration(value) == default
        case int() if isinstance(value, str):
            assert size(value) == default
        case Limits():
            assert Limits(**value) == default
        case re.Pattern():
            assert value == default.pattern
        case _:
            assert (tuple(value) if isinstance(value, list) else value) == default


def test_every_field_can_say_what_it_accepts() -> None:
    feeds: list[type[Section]] = [*BY_FORMAT.values(), Feed, KeyFrom, Limits, Pointers, Snapshot]
    sections: list[type[Section]] = [*SECTIONS.values(), RemovalLimit, *feeds]

    for section in sections:
        for name, field in section.model_fields.items():
            is_table = any(
                isinstance(each, type) and issubclass(each, BaseModel)
                for each in (field.annotation, *get_args(field.annotation))
            )
            assert field.description or is_table or "Literal" in str(field.annotation), f"{section.__name__}.{name}"


# Precedence


def test_each_place_wins_over_the_next(write: Write, tmp_path: Path) -> None:
    path = write(KODO + '[log]\nlevel = "error"\nformat = "json"\n' + MIRROR + SOURCE)
    (tmp_path / "secret-key").write_text("credential-secret\n")
    credential = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    environment = {"MIRRORD_LOG__LEVEL": "debug", "MIRRORD_KODO__SECRET_KEY": "environment-secret"}
    flags = {"log": {"level": "warning"}, "kodo": {"secret_key": "flag-secret"}}

    steps = [
        read(path),
        read(path, **credential),
        read(path, **credential, **environment),
        read(path, flags, **credential, **environment),
    ]

    assert [step.settings.kodo.secret.get_secret_value() for step in steps] == [
        "file-secret",
        "credential-secret",
        "environment-secret",
        "flag-secret",
    ]
    assert [step.secret_from for step in steps] == ["settings file", "credential", "environment", "command line"]
    assert [step.settings.log.level for step in steps] == ["error", "error", "debug", "warning"]
    assert {step.settings.log.format for step in steps} == {"json"}


def test_the_environment_names_the_file_and_an_argument_wins_over_it(write: Write, tmp_path: Path) -> None:
    path = write(KODO + MIRROR + SOURCE)

    assert load(None, environ={"MIRRORD_CONFIG": str(path)}).path == path
    assert load(path, environ={"MIRRORD_CONFIG": str(tmp_path / "other")}).path == path


def test_the_short_names_of_log_settings_give_way_to_the_long_ones(write: Write) -> None:
    path = write(KODO + MIRROR + SOURCE)

    short = read(path, MIRRORD_LOG_LEVEL="debug", MIRRORD_LOG_FORMAT="json")
    both = read(path, MIRRORD_LOG_LEVEL="debug", MIRRORD_LOG__LEVEL="error")

    assert (short.settings.log.level, short.settings.log.format, short.warnings) == ("debug", "json", ())
    assert both.settings.log.level == "error"


def test_mirrors_from_the_environment_replace_those_of_the_file(write: Write) -> None:
    mirrors = [{"name": "a", "bucket": "aaa", "source": {"kind": "directory", "path": "/a"}}]

    loaded = read(write(KODO + MIRROR + SOURCE), MIRRORD_MIRROR=json.dumps(mirrors))

    assert [mirror.name for mirror in loaded.settings.mirror] == ["a"]


def test_the_environment_fills_in_below_a_table_that_it_gives_as_json(write: Write) -> None:
    path = write(KODO + MIRROR + SOURCE)

    loaded = read(path, MIRRORD_KODO__TIMEOUTS='{"read": 20}', MIRRORD_KODO__TIMEOUTS__CONNECT="3")

    assert loaded.settings.kodo.timeouts == Timeouts(read=timedelta(seconds=20), connect=timedelta(seconds=3))


def test_an_unknown_variable_is_a_warning(write: Write) -> None:
    loaded = read(write(KODO + MIRROR + SOURCE), MIRRORD_LOGLEVEL="debug", MIRRORD_CONFIG="x", PATH="y")

    assert loaded.warnings == ("environment 'MIRRORD_LOGLEVEL': no such setting, so it is ignored",)


# The secret key


def with_key_file(value: str) -> str:
    return f'[kodo]\naccess_key = "AK"\nsecret_key_file = {json.dumps(value)}\n' + MIRROR + SOURCE


def test_a_secret_file_is_found_beside_the_settings_and_loses_one_newline(write: Write, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    (tmp_path / "key").chmod(0o600)

    loaded = read(write(with_key_file("key")))

    assert loaded.settings.kodo.secret.get_secret_value() == "s3cret"
    assert (loaded.secret_from, loaded.warnings) == ("secret key file", ())


def test_a_variable_wins_over_a_secret_file_that_is_not_there(write: Write) -> None:
    loaded = read(write(with_key_file("/nowhere/key")), MIRRORD_KODO__SECRET_KEY="s3cret")

    assert loaded.settings.kodo.secret.get_secret_value() == "s3cret"


def test_a_secret_file_that_others_can_read_is_a_warning(write: Write, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("s3cret")
    key.chmod(0o640)

    loaded = read(write(with_key_file(str(key))))

    (warning,) = loaded.warnings
    assert f"chmod 600 {key}" in warning


def test_settings_that_hold_the_secret_and_that_others_can_read_are_a_warning(write: Write) -> None:
    path = write(KODO + MIRROR + SOURCE)
    path.chmod(0o644)

    loaded = read(path)

    (warning,) = loaded.warnings
    assert f"chmod o-r {path}" in warning


@pytest.mark.parametrize("content", ["", "\n", "two words", "two\nlines\n", "s3cret\n\n", "schlüssel"])
def test_a_secret_file_must_hold_one_word(write: Write, tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content)

    problem = the_problem(write(with_key_file("key")))

    assert (problem.file, problem.key) == (str(tmp_path / "key"), "kodo.secret_key")
    assert "not empty" in problem.expected


@pytest.mark.parametrize("value", ["/nowhere/key", "nowhere", "nul\0", "."])
def test_a_secret_file_that_cannot_be_read_is_one_problem(write: Write, value: str) -> None:
    problem = the_problem(write(with_key_file(value)))

    assert problem.key == "kodo.secret_key_file"
    assert ("/nowhere/key" in problem.got) == (value == "/nowhere/key")


def test_a_secret_in_place_of_a_path_is_not_shown_when_the_settings_are_named_from_here(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write(with_key_file("s3cret")).parent)

    problem = the_problem(Path("config.toml"))

    assert "s3cret" not in str(problem)


def test_no_secret_at_all_is_one_problem_that_names_every_way(write: Write) -> None:
    problem = the_problem(write('[kodo]\naccess_key = "AK"\n' + MIRROR + SOURCE))

    assert (problem.key, problem.got) == ("kodo.secret_key", "nothing")
    for way in ("kodo.secret_key_file", "kodo.secret_key ", "MIRRORD_KODO__SECRET_KEY", "credential"):
        assert way in problem.expected


def test_two_secrets_in_the_file_are_a_problem(write: Write) -> None:
    problem = the_problem(write(KODO + 'secret_key_file = "key"\n' + MIRROR + SOURCE))

    assert (problem.key, problem.got) == ("kodo.secret_key_file", "secret_key as well")


def test_a_credential_that_cannot_be_read_is_a_problem(write: Write, tmp_path: Path) -> None:
    (tmp_path / "secret-key").mkdir()

    problem = the_problem(write(KODO + MIRROR + SOURCE), CREDENTIALS_DIRECTORY=str(tmp_path))

    assert (problem.file, problem.key) == ("credential", "kodo.secret_key")


def test_an_empty_credential_is_blamed_on_the_credential(write: Write, tmp_path: Path) -> None:
    (tmp_path / "secret-key").write_text("")

    problem = the_problem(write(KODO + MIRROR + SOURCE), CREDENTIALS_DIRECTORY=str(tmp_path))

    assert (problem.file, problem.key, problem.got) == ("credential", "kodo.secret_key", "an empty text")


def test_credentials_for_something_else_are_none_of_ours(write: Write, tmp_path: Path) -> None:
    loaded = read(write(KODO + MIRROR + SOURCE), CREDENTIALS_DIRECTORY=str(tmp_path))

    assert loaded.secret_from == "settings file"


# The file itself


@pytest.mark.parametrize(
    ("content", "got"),
    [
        pytest.param(b"[kodo\n", "line 1, column 6", id="not TOML"),
        pytest.param(b"a = 1\na = 2\n", "line 2", id="twice"),
        pytest.param(b"a = " + b"9" * 5000, "not TOML", id="a number too long to read"),
        pytest.param(b"a = " + b"[" * 5000, "not TOML", id="too deep"),
        pytest.param(b"[kodo]\nx = '\xff'\n", "not UTF-8 in line 2", id="not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_understood_is_one_problem(tmp_path: Path, content: bytes, got: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)

    problem = the_problem(path)

    assert (problem.file, problem.key) == (str(path), "")
    assert got in problem.got


def test_a_missing_file_is_a_problem_that_says_how_to_name_another(tmp_path: Path) -> None:
    problem = the_problem(tmp_path / "none.toml")

    assert str(problem).startswith(f"{tmp_path}/none.toml: got No such file or directory; expected a TOML file")
    assert "--config" in problem.expected


def test_a_directory_in_place_of_the_file_is_a_problem(tmp_path: Path) -> None:
    assert the_problem(tmp_path).got == "Is a directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_a_problem(write: Write) -> None:
    path = write(KODO)
    path.chmod(0)

    assert the_problem(path).got == "Permission denied"


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf" + (KODO + MIRROR + SOURCE).replace("\n", "\r\n").encode())
    path.chmod(0o600)

    assert read(path).settings.kodo.access_key == "AK"


# What stands in the file


@pytest.mark.parametrize(
    ("text", "key", "got", "expected"),
    [
        (KODO + 'scheme = "v2"\n' + MIRROR + SOURCE, "kodo.scheme", "'v2'", '"qbox" or "qiniu"'),
        (KODO + 'hosts = "x"\n' + MIRROR + SOURCE, "kodo.hosts", "not shown", "a table with uc, io"),
        (KODO + 'hosts = { rs = "rs.example" }\n' + MIRROR + SOURCE, "kodo.hosts.rs", "'rs.example'", "a URL"),
        (KODO + "hosts = { io = 5 }\n" + MIRROR + SOURCE, "kodo.hosts.io", "5", "a URL"),
        (KODO + 'hosts = { io = "http://a:99999" }\n' + MIRROR + SOURCE, "kodo.hosts.io", "99999", "a URL"),
        (KODO + 'timeouts = { read = "5 min" }\n' + MIRROR + SOURCE, "kodo.timeouts.read", "'5 min'", '"15m"'),
        (KODO + "timeouts = { read = true }\n" + MIRROR + SOURCE, "kodo.timeouts.read", "true", "a duration"),
        (KODO + "timeouts = { read = 0 }\n" + MIRROR + SOURCE, "kodo.timeouts.read", "0", "above 0"),
        (KODO + "timeouts = { connect = -1 }\n" + MIRROR + SOURCE, "kodo.timeouts.connect", "-1", "neither negative"),
        (KODO + '[journal]\nurl = "mysql://h/db"\n' + MIRROR + SOURCE, "journal.url", "mysql", "only sqlite"),
        (KODO + '[journal]\nurl = "sqlite:///rel.db"\n' + MIRROR + SOURCE, "journal.url", "rel.db", "sqlite:////absol"),
        (KODO + '[journal]\nurl = "sqlite://"\n' + MIRROR + SOURCE, "journal.url", "sqlite://", "sqlite:////absol"),
        (KODO + '[log]\nlevel = "loud"\n' + MIRROR + SOURCE, "log.level", "'loud'", '"info" or "warning"'),
        (KODO + '[log]\nlevl = "info"\n' + MIRROR + SOURCE, "log.levl", "an unknown name", "did you mean level?"),
        (KODO + "[log]\nzzz = 1\n" + MIRROR + SOURCE, "log.zzz", "an unknown name", "one of format, level"),
        (
            KODO + "[logs]\n" + MIRROR + SOURCE,
            "logs",
            "an unknown name",
            "did you mean log?",
        ),
        (KODO + '[status]\nlisten = "9478"\n' + MIRROR + SOURCE, "status.listen", "'9478'", "host:port"),
        (KODO + '[status]\nlisten = "a:65536"\n' + MIRROR + SOURCE, "status.listen", "65536", "host:port"),
        (KODO, "mirror", "nothing", "at least one"),
        (KODO + f"[[mirror]]\nname = 0x{'f' * 5000}\nbucket = 'bbb'\n" + SOURCE, "mirror[0].name", "0xfff", "a word"),
        ("mirror = []\n" + KODO, "mirror", "a list", "at least one"),
        ("mirror = 3\n" + KODO, "mirror", "not shown", "at least one"),
        ("mirror = [3]\n" + KODO, "mirror[0]", "not shown", "at least one"),
        (KODO + "[mirror]\nname = 'a'\n", "mirror", "a table", "at least one"),
        (KODO + '[[mirror]]\nname = "a"\n' + SOURCE, "mirror[0].bucket", "nothing", "3 to 63"),
        (KODO + '[[mirror]]\nname = "a b"\nbucket = "bbb"\n' + SOURCE, "mirror[0].name", "'a b'", "a word"),
        (KODO + '[[mirror]]\nname = ""\nbucket = "bbb"\n' + SOURCE, "mirror[0].name", "an empty text", "a word"),
        (KODO + '[[mirror]]\nname = "a"\nbucket = "b:b"\n' + SOURCE, "mirror[0].bucket", "'b:b'", "3 to 63"),
        (KODO + MIRROR + 'operation = "fetch"\n' + SOURCE, "mirror[0].origin_url", "nothing", '"fetch" needs one'),
        (KODO + MIRROR + 'operation = "glb-fetch"\n' + SOURCE, "mirror[0].origin_url", "nothing", "needs one"),
        (KODO + MIRROR + 'operation = "push"\n' + SOURCE, "mirror[0].operation", "'push'", '"prefetch" or "fetch"'),
        (KODO + MIRROR + 'origin_url = "ftp://h/"\n' + SOURCE, "mirror[0].origin_url", "'ftp://h/'", "a URL"),
        (KODO + MIRROR + 'async_above = "much"\n' + SOURCE, "mirror[0].async_above", "'much'", '; or "off"'),
        (KODO + MIRROR + 'key_prefix = "a\\nb"\n' + SOURCE, "mirror[0].key_prefix", r"'a\nb'", "control characters"),
        (KODO + MIRROR + 'include = "*.html"\n' + SOURCE, "mirror[0].include", "'*.html'", "a list of gitignore"),
        (KODO + MIRROR + 'include = ["ok", 5]\n' + SOURCE, "mirror[0].include[1]", "5", "a list of gitignore"),
        (KODO + MIRROR + 'exclude = ["ok", "!"]\n' + SOURCE, "mirror[0].exclude[1]", "'!'", "can match"),
        (KODO + MIRROR + 'exclude = ["[a"]\n' + SOURCE, "mirror[0].exclude[0]", "'[a'", "can match"),
        (KODO + MIRROR + 'exclude = ["[z-a]"]\n' + SOURCE, "mirror[0].exclude[0]", "'[z-a]'", "can match"),
        (KODO + MIRROR + 'on_removed = "drop"\n' + SOURCE, "mirror[0].on_removed", "'drop'", '"keep" or "delete"'),
        (KODO + MIRROR + "removal_limit = 5\n" + SOURCE, "mirror[0].removal_limit", "not shown", "count, fraction"),
        (
            KODO + MIRROR + "removal_limit.fraction = 1.5\n" + SOURCE,
            "mirror[0].removal_limit.fraction",
            "1.5",
            "0 to 1",
        ),
        (
            KODO + MIRROR + "removal_limit.fraction = nan\n" + SOURCE,
            "mirror[0].removal_limit.fraction",
            "nan",
            "0 to 1",
        ),
        (KODO + MIRROR + "removal_limit.count = -1\n" + SOURCE, "mirror[0].removal_limit.count", "-1", "0 or more"),
        (KODO + MIRROR, "mirror[0].source", "nothing", 'a table with kind = "dir'),
        (KODO + MIRROR + '[mirror.source]\npath = "/a"\n', "mirror[0].source.kind", "nothing", '"directory"'),
        (KODO + MIRROR + SOURCE.replace("/srv", "srv"), "mirror[0].source.path", "'srv/www'", "an absolute path"),
        (KODO + MIRROR + SOURCE + 'rescan_every = "1ms"\n', "mirror[0].source.rescan_every", "'1ms'", 'at least "1s"'),
        (KODO + MIRROR + SOURCE + "follow_symlinks = 7\n", "mirror[0].source.follow_symlinks", "7", "true or false"),
        (
            KODO + MIRROR + '[mirror.source]\nkind = "feed"\nformat = "sse"\ntoken = "t"\n',
            "mirror[0].source.url",
            "nothing",
            "a URL",
        ),
        (KODO + MIRROR + SOURCE + "[mirror.pace]\nconcurrency = 0\n", "mirror[0].pace.concurrency", "0", "1 to 1024"),
        (KODO + MIRROR + SOURCE + "[mirror.pace]\nconcurrency = true\n", "mirror[0].pace.concurrency", "true", "1024"),
        (KODO + MIRROR + SOURCE + "[mirror.pace]\nconcurrency = 1.5\n", "mirror[0].pace.concurrency", "1.5", "1024"),
        (
            KODO + MIRROR + SOURCE + f"[mirror.pace]\nconcurrency = 0x{'f' * 5000}\n",
            "mirror[0].pace.concurrency",
            "0xfff",
            "1 to 1024",
        ),
        (KODO + MIRROR + SOURCE + "[mirror.pace]\nper_second = inf\n", "mirror[0].pace.per_second", "inf", "a number"),
        (
            KODO + MIRROR + SOURCE + "[mirror.retry]\nmax_attempts = 0\n",
            "mirror[0].retry.max_attempts",
            "0",
            "1 or more",
        ),
        (
            KODO + MIRROR + SOURCE + '[mirror.retry]\nfirst_delay = "20m"\n',
            "mirror[0].retry.max_delay",
            "600s",
            "not below first_delay",
        ),
    ],
)
def test_a_mistake_is_told_by_key_value_and_what_would_do(
    write: Write, text: str, key: str, got: str, expected: str
) -> None:
    path = write(text)

    problem = the_problem(path)

    assert (problem.file, problem.key) == (str(path), key)
    assert got in problem.got
    assert expected in problem.expected
    assert "\n" not in str(problem)


def test_all_mistakes_come_at_once_one_line_each(write: Write) -> None:
    path = write(
        '[kodo]\nscheme = "v2"\n[log]\nlevel = "loud"\n'
        '[[mirror]]\nname = "docs"\nbucket = "b"\noperation = "fetch"\n'
        '[mirror.source]\nkind = "directory"\npath = "www"\nsetle = 1\n[mirror.pace]\nconcurrency = 0\n'
        + MIRROR
        + SOURCE
    )

    with pytest.raises(SettingsError) as caught:
        load(path, environ={"MIRRORD_STATUS__LISTEN": "here", "MIRRORD_JOURNAL": "{"})

    keys = [problem.key for problem in caught.value.problems]
    assert sorted(keys) == sorted(
        [
            "journal",
            "kodo.access_key",
            "kodo.secret_key",
            "kodo.scheme",
            "log.level",
            "mirror[0].bucket",
            "mirror[0].origin_url",
            "mirror[0].pace.concurrency",
            "mirror[0].source.path",
            "mirror[0].source.setle",
            "mirror[1].name",
            "status.listen",
        ]
    )
    assert len(str(caught.value).splitlines()) == len(keys)
    assert f"{path}: mirror[0].source.path (docs): got 'www'; expected an absolute path" in str(caught.value)
    assert "environment MIRRORD_STATUS__LISTEN: status.listen: got 'here'; expected host:port" in str(caught.value)


def test_json_that_is_none_is_told_by_variable_and_place(write: Write) -> None:
    problem = the_problem(write(KODO), MIRRORD_MIRROR='[{"name": ]')

    assert (problem.file, problem.key) == ("environment MIRRORD_MIRROR", "mirror")
    assert "line 1 column 11" in problem.expected


def test_mistakes_are_blamed_on_the_place_they_came_from(write: Write) -> None:
    path = write(KODO + "[log]\nlevel = 'loud'\n" + MIRROR + SOURCE)

    problems = refused(
        path, {"log": {"format": "xml"}}, MIRRORD_KODO__SCHEME="v2", MIRRORD_KODO__SHCEME="v2", MIRRORD_MIRROR="[{}]"
    )

    assert {(problem.file, problem.key) for problem in problems} == {
        (str(path), "log.level"),
        ("command line", "log.format"),
        ("environment MIRRORD_KODO__SCHEME", "kodo.scheme"),
        ("environment MIRRORD_KODO__SHCEME", "kodo.shceme"),
        ("environment MIRRORD_MIRROR", "mirror[0].name"),
        ("environment MIRRORD_MIRROR", "mirror[0].bucket"),
        ("environment MIRRORD_MIRROR", "mirror[0].source"),
    }


@pytest.mark.parametrize(
    ("second", "keys"),
    [
        ('name = "docs"\nbucket = "other"\n', ["mirror[1].name"]),
        ('name = "b"\nbucket = "newdocs"\n', ["mirror[1].bucket"]),
        ('name = "b"\nbucket = "newdocs"\nkey_prefix = ""\n', ["mirror[1].bucket"]),
        ('name = "b"\nbucket = "newdocs"\nkey_prefix = "b/"\n', []),
    ],
)
def test_two_mirrors_share_neither_name_nor_target(write: Write, second: str, keys: list[str]) -> None:
    path = write(KODO + MIRROR + SOURCE + "[[mirror]]\n" + second + SOURCE)

    if keys:
        assert [problem.key for problem in refused(path)] == keys
    else:
        assert len(read(path).settings.mirror) == 2


@pytest.mark.parametrize("listen", ["", "127.0.0.1:0", "[::1]:9478", "localhost:65535"])
def test_an_address_to_listen_on(write: Write, listen: str) -> None:
    assert read(write(KODO + MIRROR + SOURCE), MIRRORD_STATUS__LISTEN=listen).settings.status.listen == listen


@pytest.mark.parametrize("listen", ["0.0.0.0:80", "[::]:9478", "mirrord.example.com:80", "192.0.2.1:9478"])
def test_where_strangers_can_come_a_token_is_needed(write: Write, listen: str) -> None:
    path = write(KODO + MIRROR + SOURCE)

    with pytest.raises(SettingsError, match=r"status.token: got nothing; expected a word .* is not loopback"):
        read(path, MIRRORD_STATUS__LISTEN=listen)
    loaded = read(path, MIRRORD_STATUS__LISTEN=listen, MIRRORD_STATUS__TOKEN="open-sesame")

    assert loaded.settings.status.listen == listen


def test_the_page_s_token_may_be_in_a_file(write: Write, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("open-sesame\n")
    (tmp_path / "token").chmod(0o600)

    loaded = read(write(KODO + '[status]\ntoken_file = "token"\n' + MIRROR + SOURCE))

    assert loaded.settings.status.token is not None
    assert loaded.settings.status.token.get_secret_value() == "open-sesame"
    assert "open-sesame" in loaded.settings.secrets


@pytest.mark.parametrize(
    ("status", "key", "expected"),
    [
        ('token = ""', "status.token", "not empty"),
        ('token = "a b"', "status.token", "no blanks"),
        ('token = "a"\ntoken_file = "b"', "status.token_file", "one of the two"),
        ('token_file = "nowhere"', "status.token_file", "a file that holds the page's token"),
    ],
    ids=["empty", "blank", "both", "no file"],
)
def test_a_token_that_cannot_be_one(write: Write, status: str, key: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(write(KODO + f"[status]\n{status}\n" + MIRROR + SOURCE))

    assert [problem.key for problem in caught.value.problems] == [key]
    assert expected in str(caught.value)


def test_a_cdn_is_told_only_of_what_is_verified(write: Write) -> None:
    cdn = '[mirror.cdn]\nurls = ["https://cdn.example.com/"]\n'

    loaded = read(write(KODO + MIRROR + SOURCE + cdn))
    with pytest.raises(SettingsError, match='beside verify = "off"'):
        read(write(KODO + MIRROR + 'verify = "off"\n' + SOURCE + cdn))

    assert loaded.settings.mirror[0].cdn.urls == ("https://cdn.example.com",)


def test_urls_lose_their_trailing_slash(write: Write) -> None:
    path = write(
        KODO + 'hosts = { rs = "http://127.0.0.1:9471/" }\n' + MIRROR + 'origin_url = "https://h/a/"\n' + SOURCE
    )

    loaded = read(path)

    assert loaded.settings.kodo.hosts.rs == "http://127.0.0.1:9471"
    assert loaded.settings.mirror[0].origin_url == "https://h/a"


def test_sqlalchemy_reads_the_journal_url_as_we_do() -> None:
    url = make_url(Journal().url)

    assert (url.get_backend_name(), url.database) == ("sqlite", "/var/lib/mirrord/journal.db")


# Durations and sizes


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("500ms", 0.5), ("30s", 30), ("15m", 900), ("1h", 3600), ("7d", 604800), ("1h30m", 5400), ("1m500ms", 60.5),
        (0, 0), (30, 30), (0.25, 0.25), ("30", 30), ("0.5", 0.5), (timedelta(seconds=3), 3),
    ],
)  # fmt: skip
def test_durations(value: object, seconds: float) -> None:
    assert duration(value) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "value",
    [
        "", "s", "-1s", "1 h", "1H", "1w", "30m1h", "1h1h", "1.5h", "٣s", "9" * 30 + "d", "9999999d", -1, -0.1, 1e300,
        float("nan"), float("inf"), 10**5000, True, False, None, [], {},
    ],
    ids=lambda value: ascii(value)[:12] if not isinstance(value, int) else hex(value)[:12],
)  # fmt: skip
def test_what_is_no_duration(value: object) -> None:
    with pytest.raises(ValueError, match="a duration"):
        duration(value)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        ("4MiB", 4 * 2**20), ("10MB", 10**7), ("1GiB", 2**30), ("1kB", 1000), ("1KB", 1000), ("1KiB", 1024),
        ("1 TiB", 2**40), ("7", 7), ("7B", 7), (0, 0), (123, 123),
    ],
)  # fmt: skip
def test_sizes(value: object, count: int) -> None:
    assert size(value) == count


@pytest.mark.parametrize("value", ["", "MiB", "-1", -1, 1.5, True, None, "1.5MB", "4mib", "4M", "9" * 30, "1 EiB"])
def test_what_is_no_size(value: object) -> None:
    with pytest.raises(ValueError, match="a size"):
        size(value)


# Secrets


FEED = '[mirror.source]\nkind = "feed"\ntoken = "SECRET"\npassword = 1\nheaders = { Authorization = "SECRET" }\n'
LEAKY = [
    pytest.param('[kodo]\nsecret_key = "SECRET with blanks"\nscheme = 1\n', {}, id="a secret that is wrong"),
    pytest.param('[kodo]\nsecret_key = { SECRET = "SECRET" }\n', {}, id="a table for a secret"),
    pytest.param('[kodo]\nsecret_key = ["SECRET"]\n', {}, id="a list for a secret"),
    pytest.param('[kodo]\nsecret_key_file = "SECRET"\n', {}, id="the secret for its file's path"),
    pytest.param('[kodo]\nsecret_key_file = ["SECRET"]\n', {}, id="a list for the path"),
    pytest.param('[kodo]\nsercet_key = "SECRET"\n', {}, id="a mistyped name"),
    pytest.param('kodo = "SECRET"\n', {}, id="the secret for the whole table"),
    pytest.param('[kodo]\naccess_key = "AK:SECRET"\n', {}, id="both keys in one"),
    pytest.param('[kodo]\ntimeouts = { secret = "SECRET" }\nhosts = "SECRET"\n', {}, id="below other tables"),
    pytest.param('[kodo]\nhosts = { io = "http://u:SECRET@h/", rs = "http://h/?t=SECRET" }\n', {}, id="in URLs"),
    pytest.param('[kodo]\nhosts = { io = "http:/u:SECRET@h/", rs = "http://h/#SECRET" }\n', {}, id="in worse URLs"),
    pytest.param('[journal]\nurl = "postgresql://u:SECRET@h/db"\n', {}, id="in the journal's URL"),
    pytest.param('mirror = "SECRET"\n', {}, id="for the mirrors"),
    pytest.param(MIRROR + FEED, {}, id="in a feed"),
    pytest.param((MIRROR + 'key_prefix = { token = "SECRET" }\n') * 2, {}, id="where mirrors are compared"),
    pytest.param(MIRROR + FEED.replace("feed", "directory"), {}, id="in a directory"),
    pytest.param(MIRROR + 'source = "SECRET"\n', {}, id="for a source"),
    pytest.param(MIRROR + 'origin_url = "https://u:SECRET@h/"\n' + SOURCE, {}, id="in an origin's URL"),
    pytest.param('[kodo]\nsecret_key = "SECRET\n', {}, id="in broken TOML"),
    pytest.param("[kodo]\nsecret_key = SECRET\n", {}, id="without quotes"),
    pytest.param("", {"MIRRORD_KODO__SECRET_KEY": "SECRET and"}, id="in the environment"),
    pytest.param("", {"MIRRORD_KODO": '{"secret_key": "SECRET"'}, id="in broken JSON"),
    pytest.param("", {"MIRRORD_KODO": "SECRET"}, id="in a variable for a table"),
    pytest.param("", {"MIRRORD_SECRET_KEY": "SECRET"}, id="in an unknown variable"),
    pytest.param("", {"MIRRORD_MIRROR": '[{"source": {"kind": "feed", "token": "SECRET"}}]'}, id="in JSON"),
]


@pytest.mark.parametrize(("text", "environ"), LEAKY)
@given(secret=st.text("abcdefghijkmnpqrstuvwxyzABCDEFGHJK23456789-_", min_size=16, max_size=40))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_mistake_shows_a_secret(write: Write, text: str, environ: Mapping[str, str], secret: str) -> None:
    path = write(text.replace("SECRET", secret))

    with pytest.raises(SettingsError) as caught:
        load(path, environ={name: value.replace("SECRET", secret) for name, value in environ.items()})

    assert secret not in str(caught.value)
    assert secret not in repr(caught.value.problems)
    assert caught.value.__context__ is None or secret not in str(caught.value.__context__)


SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=12, max_size=60).map("~{}~".format)
"""Never something that stands in settings anyway: hypothesis tries words of the code, such as "secret_key_f"."""


@given(secret=SECRETS)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_secret_arrives_whole_and_is_never_printed(write: Write, secret: str) -> None:
    path = write(f"[kodo]\naccess_key = 'AK'\nsecret_key = {json.dumps(secret)}\n" + MIRROR + SOURCE)

    loaded = load(path, environ={})

    assert loaded.settings.kodo.secret.get_secret_value() == secret
    assert secret not in repr(loaded)
    assert secret not in loaded.settings.model_dump_json()


# Sources


def test_sources_that_cannot_be_read_do_not_stop_loading_and_check_names_them(write: Write, tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    (tmp_path / "file").touch()
    mirrors = "".join(
        f'[[mirror]]\nname = "{name}"\nbucket = "{name}-b"\n'
        f'[mirror.source]\nkind = "directory"\npath = "{tmp_path / name}"\n'
        for name in ("www", "gone", "file")
    )

    loaded = read(write(KODO + mirrors))
    problems = source_problems(loaded.settings, "config.toml")

    assert [(problem.mirror, problem.key) for problem in problems] == [
        ("gone", "mirror[1].source.path"),
        ("file", "mirror[2].source.path"),
    ]
    assert "No such file" in problems[0].got
    assert "not a directory" in problems[1].got
    assert str(problems[0]).startswith("config.toml: mirror[1].source.path (gone): got ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_source_without_permission_is_named_by_check(write: Write, tmp_path: Path) -> None:
    (tmp_path / "www").mkdir(mode=0)

    loaded = read(write(KODO + MIRROR + SOURCE.replace("/srv", str(tmp_path))))

    assert "may not read or search" in source_problems(loaded.settings)[0].got


# Speed


def test_a_typical_file_loads_in_under_60_ms(write: Write) -> None:
    path = write(KODO + MIRROR + SOURCE)

    def once() -> float:
        began = time.perf_counter()
        read(path)
        return time.perf_counter() - began

    quickest = min(once() for _ in range(5))

    assert quickest < 0.06


def test_importing_the_settings_brings_in_no_client_and_no_database() -> None:
    heavy = ("sqlalchemy", "httpx", "aiohttp", "watchdog", "rich")

    code = f"import sys, mirrord.config; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
