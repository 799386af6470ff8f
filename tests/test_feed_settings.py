"""What people type of feeds: taken with its defaults, or refused by key, with what would be accepted."""

import base64
import json
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mirrord.config import Loaded, Problem, SettingsError, load, source_problems
from mirrord.feed_settings import (
    BY_FORMAT,
    CouchDbFeed,
    JsonLinesFeed,
    ResourceSyncFeed,
    SitemapFeed,
    SseFeed,
    WebhookFeed,
)
from mirrord.feed_values import KeyFrom
from mirrord.feed_values import Limits as LimitSettings
from mirrord.feed_values import Pointers as PointerSettings
from mirrord.settings import DirectorySource
from mirrord.sources.feed.cloudevents import REMOVED_TYPES
from mirrord.sources.feed.dialect import Limits
from mirrord.sources.feed.pointers import REMOVED, Pointers, steps_of

KODO = '[kodo]\naccess_key = "AK"\nsecret_key = "kodo-secret"\n'
MIRROR = '[[mirror]]\nname = "docs"\nbucket = "newdocs"\n'
ORIGIN = 'origin_url = "https://origin.example.com"\n'
DIRECTORY = '[[mirror.source]]\nkind = "directory"\npath = "/srv/www"\n'
URL = 'url = "https://feed.example.com/changes?filter=web"\n'

Write = Callable[[str], Path]


def feed(form: str, text: str = URL, *, mirror: str = "", table: str = "[mirror.source]") -> str:
    return f'{KODO}{MIRROR}{mirror}{table}\nkind = "feed"\nformat = "{form}"\n{text}'


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Makes a config file of this text, readable by its owner alone."""

    def write(text: str) -> Path:
        path = tmp_path / "config.toml"
        path.write_text(text)
        path.chmod(0o600)
        return path

    return write


def read(path: Path, *, need_secret: bool = True) -> Loaded:
    return load(path, environ={}, need_secret=need_secret)


def refused(path: Path) -> dict[str, Problem]:
    with pytest.raises(SettingsError) as caught:
        load(path, environ={})
    problems = {problem.key.removeprefix("mirror[0]."): problem for problem in caught.value.problems}
    assert len(problems) == len(caught.value.problems)
    return problems


# One source, or two


def test_one_table_is_the_feed_and_there_is_no_directory(write: Write) -> None:
    (mirror,) = read(write(feed("couchdb"))).settings.mirror

    assert isinstance(mirror.feed, CouchDbFeed)
    assert mirror.sources == (mirror.feed,)
    assert mirror.directory is None
    with pytest.raises(LookupError, match="docs has no directory"):
        _ = mirror.source


@pytest.mark.parametrize("directory_first", [True, False])
def test_a_directory_and_a_feed_fill_one_mirror(write: Write, directory_first: bool) -> None:
    tables = [DIRECTORY, f'[[mirror.source]]\nkind = "feed"\nformat = "couchdb"\n{URL}']
    text = KODO + MIRROR + 'first_run = "verify"\n' + "".join(tables if directory_first else tables[::-1])

    (mirror,) = read(write(text)).settings.mirror

    assert isinstance(mirror.directory, DirectorySource)
    assert isinstance(mirror.feed, CouchDbFeed)
    assert mirror.source is mirror.directory
    assert mirror.sources == ((mirror.directory, mirror.feed) if directory_first else (mirror.feed, mirror.directory))


@pytest.mark.parametrize(("text", "kind"), [(DIRECTORY, "directory"), (URL, "feed")])
def test_two_of_a_kind_are_one_too_many(write: Write, text: str, kind: str) -> None:
    table = text if kind == "directory" else f'[[mirror.source]]\nkind = "feed"\nformat = "sse"\n{URL}'

    problems = refused(write(KODO + MIRROR + table + table))

    assert {key: problem.got for key, problem in problems.items()} == {"source[1].kind": f"a second {kind}"}


def test_kinds_that_are_no_texts_are_told_one_by_one(write: Write) -> None:
    problems = refused(write(f'{KODO}{MIRROR}source = [{{ kind = [], path = "/" }}, {{ kind = [], path = "/" }}]\n'))

    assert [*problems] == ["source[0].kind", "source[1].kind"]


@pytest.mark.parametrize(("source", "key"), [("[]", "source"), ("3", "source"), ("[3]", "source[0]")])
def test_what_is_no_source_is_told_what_is_one(write: Write, source: str, key: str) -> None:
    problems = refused(write(f"{KODO}{MIRROR}source = {source}\n"))

    assert list(problems) == [key]
    assert 'kind = "directory", or one with kind = "feed"' in problems[key].expected


def test_a_mistake_in_a_list_is_told_with_its_place_there(write: Write) -> None:
    text = KODO + MIRROR + DIRECTORY.replace("/srv", "srv") + f'[[mirror.source]]\nkind = "feed"\nformat = "sse"\n{URL}'

    problems = refused(write(text + "poll_every = 0\n"))

    assert [*problems] == ["source[0].path", "source[1].poll_every"]
    assert problems["source[1].poll_every"].mirror == "docs"


def test_only_the_directory_is_looked_at_before_the_start(write: Write, tmp_path: Path) -> None:
    gone = DIRECTORY.replace("/srv", str(tmp_path))
    both = KODO + MIRROR + f'[[mirror.source]]\nkind = "feed"\nformat = "sse"\n{URL}' + gone

    assert [problem.key for problem in source_problems(read(write(both)).settings)] == ["mirror[0].source[1].path"]
    assert source_problems(read(write(feed("sse"))).settings) == ()


# Formats


@pytest.mark.parametrize("form", [form for form in BY_FORMAT if form != "webhook"])
def test_a_format_and_a_url_are_enough(write: Write, form: str) -> None:
    loaded = read(write(feed(form, mirror=ORIGIN)))

    found = loaded.settings.mirror[0].feed
    assert isinstance(found, BY_FORMAT[form])
    assert not isinstance(found, WebhookFeed)
    assert found.url == "https://feed.example.com/changes?filter=web"
    assert (found.mode, found.poll_every, found.start) == ("auto", timedelta(seconds=10), "beginning")
    assert (found.silent_after, found.confirm_origin, found.key_from) == ("auto", False, None)


def test_defaults_are_those_of_the_parts_that_are_told_them() -> None:
    limits, pointers = Limits(), Pointers()

    for name in ("document", "line", "entries"):
        assert getattr(LimitSettings(), name) == getattr(limits, name)
    for name in PointerSettings.model_fields:
        assert getattr(PointerSettings(), name) == getattr(pointers, name)
    for section in (JsonLinesFeed, SseFeed):
        assert frozenset(section.model_fields["removed"].default) == REMOVED
    assert WebhookFeed.model_fields["removed_types"].default.pattern == REMOVED_TYPES.pattern
    assert ResourceSyncFeed.model_fields["overlap"].default == timedelta(seconds=2)


MODES = {
    "couchdb": {"auto", "poll", "longpoll", "stream"},
    "http-feeds": {"auto", "poll", "longpoll"},
    "jsonl": {"auto", "poll"},
    "sitemap": {"auto", "poll"},
    "resourcesync": {"auto", "poll"},
    "sse": {"auto", "stream"},
}


@pytest.mark.parametrize("mode", ["auto", "poll", "longpoll", "stream"])
@pytest.mark.parametrize("form", MODES)
def test_each_format_has_its_own_modes(write: Write, form: str, mode: str) -> None:
    path = write(feed(form, f'{URL}mode = "{mode}"\n', mirror=ORIGIN))

    if mode in MODES[form]:
        assert getattr(read(path).settings.mirror[0].feed, "mode", None) == mode
    else:
        problem = refused(path)["source.mode"]
        assert problem.got == repr(mode)
        assert all(f'"{each}"' in problem.expected for each in MODES[form])


@pytest.mark.parametrize("more", ['wait_param = "timeout"', 'preset = "syncthing"'])
def test_json_lines_wait_where_the_server_is_told_to(write: Write, more: str) -> None:
    loaded = read(write(feed("jsonl", f'{URL}mode = "longpoll"\n{more}\n')))

    assert isinstance(found := loaded.settings.mirror[0].feed, JsonLinesFeed)
    assert found.mode == "longpoll"


@pytest.mark.parametrize(
    ("form", "name", "whose"),
    [
        ("couchdb", "pointers", 'format = "jsonl" or format = "sse"'),
        ("couchdb", "path", 'kind = "directory"'),
        ("couchdb", "watch", 'kind = "directory"'),
        ("http-feeds", "page", 'format = "couchdb" or format = "jsonl"'),
        ("sitemap", "heartbeat", 'format = "couchdb"'),
        ("sitemap", "snapshot", 'format = "resourcesync"'),
        ("sse", "overlap", 'format = "jsonl" or format = "resourcesync"'),
        ("jsonl", "hmac_secret", 'format = "webhook"'),
        ("couchdb", "hmac_secret_file", 'format = "webhook"'),
        ("webhook", "url", 'format = "sse"'),
        ("webhook", "mode", 'format = "sse"'),
        ("webhook", "password_file", 'format = "sse"'),
    ],
)
def test_a_setting_of_another_source_says_whose_it_is(write: Write, form: str, name: str, whose: str) -> None:
    text = 'token = "t0ken"\n' if form == "webhook" else URL
    problems = refused(write(feed(form, f'{text}{name} = "x"\n', mirror=ORIGIN)))

    assert list(problems) == [f"source.{name}"]
    assert problems[f"source.{name}"].got == "a name of other sources"
    assert whose in problems[f"source.{name}"].expected


def test_a_directory_has_no_settings_of_feeds(write: Write) -> None:
    problems = refused(write(KODO + MIRROR + DIRECTORY + URL + 'token_file = "nowhere"\n'))

    assert {key: problem.expected for key, problem in problems.items()} == {
        "source[0].url": 'kind = "feed" for url',
        "source[0].token_file": 'kind = "feed" for token_file',
    }


@pytest.mark.parametrize(
    ("head", "key", "expected"),
    [
        ('kind = "feed"\nformat = "cuchdb"\n', "source.format", '"couchdb", "http-feeds"'),
        ('kind = "feed"\n', "source.format", '"couchdb", "http-feeds"'),
        ('kind = "feed"\nformat = ["sse"]\n', "source.format", '"couchdb", "http-feeds"'),
        ('kind = "fed"\nformat = "couchdb"\n', "source.kind", '"directory" or "feed"'),
        ('format = "couchdb"\n', "source.kind", '"directory" or "feed"'),
    ],
)
def test_a_wrong_kind_or_format_hides_no_other_mistake(write: Write, head: str, key: str, expected: str) -> None:
    text = f'{KODO}{MIRROR}[mirror.source]\n{head}{URL}page = 5\nconfirm_most = "x"\npol_every = 1\n'

    problems = refused(write(text))

    assert {*problems} == {key, "source.confirm_most", "source.pol_every"}
    assert expected in problems[key].expected
    assert "did you mean poll_every?" in problems["source.pol_every"].expected


# Every mistake


@pytest.mark.parametrize(
    ("form", "text", "key", "got", "expected"),
    [
        ("couchdb", "", "url", "nothing", "a URL"),
        ("couchdb", 'url = "ftp://h/"', "url", "'ftp://h/'", "a URL"),
        ("couchdb", 'url = "https://h/#a"', "url", "'https://h/***'", "fragment"),
        ("couchdb", 'url = "https://u:p@h/"', "url", "'https://***h/'", "without user"),
        ("couchdb", URL + 'poll_every = "99ms"', "poll_every", "'99ms'", 'at least "100ms"'),
        ("couchdb", URL + "heartbeat = 0", "heartbeat", "0", "above 0"),
        ("couchdb", URL + "page = 0", "page", "0", "1 to 100000"),
        ("couchdb", URL + "page = 100001", "page", "100001", "1 to 100000"),
        ("couchdb", URL + 'start = "end"', "start", "'end'", '"beginning" or "now"'),
        ("sitemap", URL + 'start = "now"', "start", "'now'", '"beginning": this'),
        ("webhook", 'token = "t0ken"\nstart = "now"', "start", "'now'", '"beginning": this'),
        ("couchdb", URL + 'silent_after = "never"', "silent_after", "'never'", 'or "off"'),
        ("couchdb", URL + "silent_after = 0", "silent_after", "0", 'or "off"'),
        ("couchdb", URL + "confirm_most = 0", "confirm_most", "0", "above 0"),
        ("couchdb", URL + 'allow_redirects_to = ["https://h/"]', "allow_redirects_to[0]", "'https://h/'", "hosts"),
        ("couchdb", URL + 'allow_redirects_to = "h"', "allow_redirects_to", "'h'", "a list of hosts"),
        ("couchdb", URL + 'headers = { "a b" = "c" }', "headers", "a table", "HTTP headers"),
        ("couchdb", URL + 'headers = { a = "b\\nc" }', "headers", "a table", "printable ASCII"),
        ("couchdb", URL + "headers = { a = 1 }", "headers", "a table", "printable ASCII"),
        ("couchdb", URL + 'headers = "a: b"', "headers", "not shown", "a table of HTTP headers"),
        ("couchdb", URL + 'token = "a b"', "token", "not shown", "no blanks"),
        ("couchdb", URL + 'token = "t"\nusername = "u"\npassword = "p"', "username", "'u'", "there is a token"),
        ("couchdb", URL + 'username = "u"', "password", "nothing", "together"),
        ("couchdb", URL + 'password = "p"', "password", "not shown", "together"),
        ("couchdb", URL + 'username = "u:v"\npassword = "p"', "username", "'u:v'", "without colons"),
        ("couchdb", URL + 'token = "t"\nheaders.AUTHORIZATION = "b"', "token", "not shown", "have an Authorization"),
        ("couchdb", URL + "limits = { line = 0 }", "limits.line", "0", "above 0"),
        ("couchdb", URL + "limits = { entries = 0 }", "limits.entries", "0", "1 or more"),
        ("couchdb", URL + "limits = { lines = 1 }", "limits.lines", "an unknown name", "did you mean line?"),
        ("couchdb", URL + "limits = 5", "limits", "not shown", "a table with document, line"),
        ("couchdb", URL + 'key_from = { pattern = "(", key = "a" }', "key_from.pattern", "'('", "a regular expression"),
        ("couchdb", URL + 'key_from = { pattern = "(?P<a>.)", key = "{b}" }', "key_from.key", "'{b}'", "groups are a"),
        ("couchdb", URL + 'key_from = { pattern = "(.)", key = "{0}" }', "key_from.key", "'{0}'", "groups are none"),
        ("couchdb", URL + 'key_from = { pattern = "(.)", key = "{}" }', "key_from.key", "'{}'", "text with groups"),
        ("couchdb", URL + 'key_from = { pattern = "(?P<a>.)", key = "{a!r}" }', "key_from.key", "'{a!r}'", "groups"),
        ("couchdb", URL + 'key_from = { pattern = "(?P<a>.)", key = "{a:9}" }', "key_from.key", "'{a:9}'", "groups"),
        ("couchdb", URL + 'key_from = { pattern = "(?P<a>.)", key = "{a" }', "key_from.key", "'{a'", "a brace"),
        ("couchdb", URL + 'key_from = { pattern = ".", key = "" }', "key_from.key", "an empty text", "text with"),
        ("couchdb", URL + 'key_from = { pattern = ".", key = "k", others = "x" }', "key_from.others", "'x'", '"skip"'),
        ("couchdb", URL + 'snapshot = { url = "https://h" }', "snapshot.format", "nothing", '"sitemap" or'),
        ("couchdb", URL + 'snapshot = { format = "jsonl" }', "snapshot.url", "nothing", "a URL"),
        (
            "couchdb",
            URL + 'snapshot = { format = "resourcesync", url = "https://h", pointers = {} }',
            "snapshot.pointers",
            "a table",
            'for format = "jsonl"',
        ),
        (
            "couchdb",
            URL + 'snapshot = { format = "jsonl", url = "https://h", pointers = { key = "a" } }',
            "snapshot.pointers.key",
            "'a'",
            "a JSON pointer",
        ),
        ("jsonl", URL + "pointers = { key = false }", "pointers.key", "false", "a JSON pointer"),
        ("jsonl", URL + 'pointers = { op = "op" }', "pointers.op", "'op'", "or false"),
        ("sse", URL + 'pointers = { op = "/a~b" }', "pointers.op", "'/a~b'", '"~" in a name is "~0"'),
        ("sse", URL + "pointers = { op = true }", "pointers.op", "true", "or false"),
        ("sse", URL + 'pointers = { opp = "" }', "pointers.opp", "an unknown name", "did you mean op?"),
        ("sse", URL + 'removed = ["a", []]', "removed[1]", "a list", "a list of texts"),
        ("sse", URL + 'written = "a"', "written", "'a'", "a list of texts"),
        ("sse", URL + 'only = { a = "b" }', "only", "a table", "JSON pointers"),
        ("sse", URL + 'only = { "/a" = { b = 1 } }', "only", "a table", "JSON pointers"),
        ("sse", URL + "only = 5", "only", "5", "JSON pointers"),
        ("jsonl", URL + 'since_param = "a=b"', "since_param", "'a=b'", "a query's parameter"),
        ("jsonl", URL + 'limit_param = ""', "limit_param", "an empty text", "a query's parameter"),
        ("jsonl", URL + 'preset = "x"', "preset", "'x'", '"syncthing"'),
        ("jsonl", URL + 'preset = "syncthing"\nonly = { "/a" = 1 }', "preset", "'syncthing'", "there is only"),
        ("jsonl", URL + 'folder = "abc"', "preset", "'plain'", "a folder"),
        ("sse", URL + "events = [1]", "events[0]", "1", "types of events"),
        ("webhook", "", "token", "nothing", 'or auth = "none"'),
        ("webhook", 'token = "t0ken"\nauth = "no"', "auth", "not shown", '"none"'),
        ("webhook", 'token = "t0ken"\nlisten = "9478"', "listen", "'9478'", "host:port"),
        ("webhook", 'token = "t0ken"\nbody = 0', "body", "0", "above 0"),
        ("webhook", 'token = "t0ken"\nremoved_types = "("', "removed_types", "'('", "a regular expression"),
        ("webhook", 'token = "t0ken"\nsignature_header = "a b"', "signature_header", "not shown", "HTTP header"),
    ],
)
def test_a_mistake_is_told_by_key_value_and_what_would_do(
    write: Write, form: str, text: str, key: str, got: str, expected: str
) -> None:
    problems = refused(write(feed(form, text + "\n", mirror=ORIGIN)))

    assert list(problems) == [f"source.{key}"]
    assert got in problems[f"source.{key}"].got
    assert expected in problems[f"source.{key}"].expected
    assert "\n" not in str(problems[f"source.{key}"])


def test_all_mistakes_come_at_once(write: Write) -> None:
    text = 'url = 5\nmode = "x"\ntoken_file = "none"\npath = "/"\nlimits = { line = 0 }\nconfirm_origin = true\n'
    snapshot = 'snapshot = { format = "sitemap" }\n'

    problems = refused(write(feed("http-feeds", text + snapshot, mirror='first_run = "verify"\n')))

    assert {*problems} == {
        *("first_run", "origin_url", "source.url", "source.mode", "source.token_file", "source.path"),
        *("source.limits.line", "source.snapshot.url", "source.confirm_origin"),
    }


# What belongs together


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("sitemap", URL),
        ("resourcesync", URL),
        ("couchdb", URL + 'snapshot = { format = "sitemap", url = "https://h/sitemap.xml" }\n'),
    ],
)
def test_names_that_are_urls_need_an_origin_to_be_below(write: Write, form: str, text: str) -> None:
    problem = refused(write(feed(form, text)))["origin_url"]

    assert problem.got == "nothing"
    assert "names URLs, and a key is what comes below" in problem.expected
    assert read(write(feed(form, text, mirror=ORIGIN))).settings.mirror[0].feed is not None


def test_an_origin_is_asked_for_once_where_two_need_it(write: Write) -> None:
    problems = refused(write(feed("sitemap", mirror='operation = "fetch"\n')))

    assert list(problems) == ["origin_url"]


def test_looking_at_the_origin_needs_its_url(write: Write) -> None:
    text = URL + "confirm_origin = true\n"

    problems = refused(write(feed("sse", text)))

    assert list(problems) == ["source.confirm_origin"]
    assert "origin_url" in problems["source.confirm_origin"].expected
    assert read(write(feed("sse", text, mirror=ORIGIN))).settings.mirror[0].feed is not None


def test_files_cannot_be_hashed_where_there_are_none(write: Write) -> None:
    problems = refused(write(feed("sse", mirror='first_run = "verify"\n')))

    assert list(problems) == ["first_run"]


@pytest.mark.parametrize(("listen", "usable"), [("", False), ('listen = ""\n', False), ('listen = "[::1]:80"\n', True)])
def test_a_hook_needs_something_that_listens(write: Write, listen: str, usable: bool) -> None:
    path = write('[status]\nlisten = ""\n' + feed("webhook", f'auth = "none"\n{listen}'))

    if usable:
        assert read(path).settings.mirror[0].feed is not None
    else:
        problems = refused(path)
        assert {key: problem.got for key, problem in problems.items()} == {
            "source.listen": "an empty text" if listen else "nothing"
        }


@pytest.mark.parametrize(
    "text", ['token = "t0ken"', 'hmac_secret = "a b"', 'auth = "none"', 'token="t"\nhmac_secret="h"']
)
def test_a_hook_is_told_who_may_post(write: Write, text: str) -> None:
    assert isinstance(read(write(feed("webhook", text + "\n"))).settings.mirror[0].feed, WebhookFeed)


# Values


def test_pointers_lead_somewhere_or_are_switched_off(write: Write) -> None:
    text = URL + 'pointers = { key = "", op = false, next = "/a~0b/~1/0" }\nonly = { "/t" = ["a", 1], "" = true }\n'

    loaded = read(write(feed("jsonl", text + 'removed = [1, true, "x"]\n')))

    assert isinstance(found := loaded.settings.mirror[0].feed, JsonLinesFeed)
    assert (found.pointers.key, found.pointers.op, found.pointers.next) == ("", None, "/a~0b/~1/0")
    assert found.only == {"/t": ("a", 1), "": True}
    assert [(type(one), one) for one in found.removed] == [(int, 1), (bool, True), (str, "x")]
    assert found.written is None


@given(pointer=st.text("/~01ab", max_size=12))
@settings(max_examples=200)
def test_settings_and_dialects_agree_on_what_is_a_pointer(pointer: str) -> None:
    try:
        steps_of(pointer)
        usable = True
    except ValueError:
        usable = False

    try:
        taken = PointerSettings.model_validate({"key": pointer}).key == pointer
    except ValueError:
        taken = False

    assert taken == usable


def test_hosts_are_compared_in_small_letters(write: Write) -> None:
    hosts = ["CDN.example.com", "other.example.com:8443", "[::1]", "[::1]:80"]

    loaded = read(write(feed("couchdb", f"{URL}allow_redirects_to = {json.dumps(hosts)}\n")))

    found = loaded.settings.mirror[0].feed
    assert found is not None
    assert found.allow_redirects_to == tuple(host.lower() for host in hosts)


def test_an_at_sign_in_a_path_is_no_user(write: Write) -> None:
    loaded = read(write(feed("couchdb", 'url = "https://registry.example.com/@scope/_changes"\n')))

    assert isinstance(found := loaded.settings.mirror[0].feed, CouchDbFeed)
    assert found.url.endswith("/@scope/_changes")


@pytest.mark.parametrize(
    ("pattern", "key", "name", "path"),
    [
        (r"(?P<name>[^@]+)@(?P<version>.+)", "{name}/-/{name}-{version}.tgz", "a@1.0", "a/-/a-1.0.tgz"),
        (r"(?P<x>.)", r"{{\1\g<x>}}/{x}", "a", r"{\1\g<x>}/a"),
        (r".*", "index.json", "a", "index.json"),
        (r"(?P<x>a)?(?P<y>.)", "{x}{y}", "b", "b"),
    ],
)
def test_a_key_rule_is_what_a_match_expands(pattern: str, key: str, name: str, path: str) -> None:
    rule = KeyFrom.model_validate({"pattern": pattern, "key": key})

    found = rule.pattern.fullmatch(name)

    assert found is not None
    assert found.expand(rule.expansion) == path


# Secrets


def test_a_secret_comes_from_a_file_beside_the_settings(write: Write, tmp_path: Path) -> None:
    for name, secret in {"token": "t0ken\n", "hmac": "with blanks\n"}.items():
        (tmp_path / name).write_text(secret)
        (tmp_path / name).chmod(0o600)

    loaded = read(write(feed("webhook", 'token_file = "token"\nhmac_secret_file = "hmac"\n')))

    assert isinstance(found := loaded.settings.mirror[0].feed, WebhookFeed)
    assert found.token is not None
    assert found.hmac_secret is not None
    assert found.token.get_secret_value() == "t0ken"
    assert found.hmac_secret.get_secret_value() == "with blanks"
    assert loaded.warnings == ()


def test_a_secret_in_the_second_source_is_read_too(write: Write, tmp_path: Path) -> None:
    (tmp_path / "pass").write_text("pässword\n")
    source = f'[[mirror.source]]\nkind = "feed"\nformat = "sitemap"\n{URL}username = "u"\npassword_file = "pass"\n'

    loaded = read(write(KODO + MIRROR + ORIGIN + DIRECTORY + source))

    assert isinstance(found := loaded.settings.mirror[0].feed, SitemapFeed)
    assert found.authorization == "Basic " + base64.b64encode("u:pässword".encode()).decode()
    assert loaded.warnings == (
        f"{tmp_path / 'pass'}: holds the feed's password and others can read it; chmod 600 {tmp_path / 'pass'}",
    )


def test_a_secret_and_its_file_are_one_too_many(write: Write) -> None:
    problems = refused(write(feed("couchdb", URL + 'token = "t0ken"\ntoken_file = "nowhere"\n')))

    assert {key: (problem.got, problem.expected) for key, problem in problems.items()} == {
        "source.token_file": ("token as well", "one of the two")
    }


@pytest.mark.parametrize(("name", "shows"), [("/nowhere/token", True), ("s3cret", False)])
def test_a_secret_s_file_that_is_not_there_is_one_problem(write: Write, name: str, shows: bool) -> None:
    problems = refused(write(feed("webhook", f'token_file = "{name}"\n')))

    assert list(problems) == ["source.token_file"]
    assert (name in str(problems["source.token_file"])) == shows
    assert problems["source.token_file"].expected.startswith("the path of a file that holds the feed's token")


def test_what_a_file_holds_is_blamed_on_that_file(write: Write, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("two words")
    (tmp_path / "token").chmod(0o600)

    problem = refused(write(feed("sse", URL + 'token_file = "token"\n')))["source.token"]

    assert (problem.file, problem.got) == (str(tmp_path / "token"), "a value that is not shown")


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("webhook", 'token_file = "/nowhere/token"\n'),
        ("sse", f'{URL}token_file = "/nowhere/token"\n'),
        ("sse", f'{URL}username = "u"\npassword_file = "/nowhere/password"\n'),
    ],
)
def test_who_needs_no_secrets_reads_no_files(write: Write, form: str, text: str) -> None:
    loaded = read(write(feed(form, text)), need_secret=False)

    assert loaded.settings.mirror[0].feed is not None
    assert loaded.settings.secrets == ()


def test_what_a_file_holds_is_not_put_into_what_the_caller_gave(write: Write, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t0ken")
    source = {"kind": "feed", "format": "webhook", "token_file": "token"}
    overrides = {"mirror": [{"name": "docs", "bucket": "newdocs", "source": source}]}

    loaded = load(write(KODO), overrides, {})

    assert "t0ken" in loaded.settings.secrets
    assert source == {"kind": "feed", "format": "webhook", "token_file": "token"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('token = "t0ken"', True),
        ('headers = { X-Api-Key = "k" }', False),
        ('headers = { Authorization = "k" }', True),
        ('headers = { npm-replication-opt-in = "true" }', False),
        ('username = "u"\npassword = "p"', True),
    ],
)
def test_settings_with_a_feed_s_secrets_that_others_can_read_are_a_warning(write: Write, text: str, told: bool) -> None:
    path = write(feed("couchdb", f"{URL}{text}\n").replace('secret_key = "kodo-secret"\n', ""))
    path.chmod(0o644)

    loaded = load(path, {"kodo": {"secret_key": "s3cret"}}, {})

    assert loaded.warnings == ((f"{path}: holds secrets of feeds and others can read it; chmod o-r {path}",) * told)


def test_everything_that_the_log_has_to_cover_is_named(write: Write) -> None:
    first = feed(
        "couchdb",
        'url = "https://h/?api_key=k%20ey&filter=web"\nusername = "reader"\npassword = "passw0rd"\n'
        'headers = { X-Api-Key = "apikey", npm-replication-opt-in = "true", X-Trace = "0123456789abcdef" }\n'
        'snapshot = { format = "jsonl", url = "https://h/all?token=s5ap" }\n',
    )
    second = '[[mirror]]\nname = "b"\nbucket = "bbb"\n[mirror.source]\nkind = "feed"\nformat = "webhook"\n'
    third = '[[mirror]]\nname = "c"\nbucket = "ccc"\n[mirror.source]\nkind = "feed"\nformat = "sse"\n'

    loaded = read(
        write(first + second + 'token = "hookt0ken"\nhmac_secret = "hm ac"\n' + third + URL + 'token = "sse1"\n')
    )

    basic = base64.b64encode(b"reader:passw0rd").decode()
    assert {*loaded.settings.secrets} == {
        *("kodo-secret", "apikey", "0123456789abcdef", "k%20ey", "k ey", "s5ap", "passw0rd", basic, f"Basic {basic}"),
        *("hookt0ken", "hm ac", "sse1", "Bearer sse1"),
    }


LEAKY = [
    pytest.param("couchdb", URL + 'token = "SECRET and"\nheaders = { "SECRET" = 1 }\n', id="wrong"),
    pytest.param("couchdb", URL + 'token = ["SECRET"]\npassword = { SECRET = "SECRET" }\n', id="lists and tables"),
    pytest.param("couchdb", URL + 'headers = { "Authorization: SECRET" = "SECRET" }\n', id="a header for its name"),
    pytest.param("couchdb", URL + 'headers = ["Authorization: SECRET"]\n', id="a list of headers"),
    pytest.param("couchdb", URL + 'tokn = "SECRET"\nhedaers = { a = "SECRET" }\n', id="under mistyped names"),
    pytest.param("couchdb", 'url = "https://u:SECRET@h/"\n', id="in the URL"),
    pytest.param("couchdb", 'url = "h/?token=SECRET"\n', id="in what is no URL"),
    pytest.param("couchdb", URL + 'snapshot = { format = "jsonl", url = "/all?token=SECRET" }\n', id="below"),
    pytest.param("couchdb", URL + 'token = "SECRET"\nusername = "u"\n', id="two ways"),
    pytest.param("webhook", 'hmac_secret = "SECRET\\n"\nauth = "SECRET"\n', id="in a hook"),
    pytest.param("webhook", 'token_file = "SECRET"\npassword = "SECRET"\n', id="for a path, and of another source"),
    pytest.param("x", 'token = "SECRET"\nurl = "SECRET"\n', id="in no known format"),
]


@pytest.mark.parametrize(("form", "text"), LEAKY)
@given(secret=st.text("abcdefghijkmnpqrstuvwxyzABCDEFGHJK23456789-_", min_size=16, max_size=40))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_mistake_shows_a_secret(write: Write, form: str, text: str, secret: str) -> None:
    path = write(feed(form, text.replace("SECRET", secret)))

    with pytest.raises(SettingsError) as caught:
        load(path, environ={})

    assert secret not in str(caught.value)
    assert secret not in repr(caught.value.problems)


SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=12, max_size=60).map("~{}~".format)
"""Never something that stands in settings anyway: hypothesis tries words of the code, such as "secret_key_f"."""


@given(secret=SECRETS)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_secret_arrives_whole_and_is_never_printed(write: Write, secret: str) -> None:
    text = f"{URL}token = {json.dumps(secret)}\nheaders = {{ X-Key = {json.dumps(secret)} }}\n"

    loaded = read(write(feed("couchdb", text)))

    found = loaded.settings.mirror[0].feed
    assert found is not None
    assert found.authorization == f"Bearer {secret}"
    assert found.plain_headers == {"X-Key": secret}
    assert secret in loaded.settings.secrets
    assert secret not in repr(loaded)
    assert json.dumps(secret) not in loaded.settings.model_dump_json()


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=2),
    st.dictionaries(st.sampled_from(["key", "url", "format", "x", "pattern"]), st.text(max_size=3), max_size=2),
)  # fmt: skip
NAMES = sorted({name for section in BY_FORMAT.values() for name in section.model_fields} | {"path", "settle", "zzz"})


@given(
    source=st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6),
    form=st.sampled_from([*BY_FORMAT, "other"]),
    listed=st.booleans(),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_typed_is_taken_or_told(write: Write, source: Mapping[str, Any], form: str, listed: bool) -> None:
    typed = {"kind": "feed", **source, "format": form}
    mirror = {"name": "docs", "bucket": "newdocs", "source": [typed] if listed else typed}

    try:
        loaded = load(write(KODO), {"mirror": [mirror]}, {})
    except SettingsError as exc:
        for problem in exc.problems:
            assert re.match(r"mirror\[0\]\.(source|origin_url)", problem.key)
            assert problem.got
            assert problem.expected
            assert not re.search(r"\.(couchdb|jsonl|feed|sse|webhook|directory)\b", problem.key)
            if problem.key.startswith("mirror[0].source"):
                assert problem.key.startswith("mirror[0].source[0]") == listed
    else:
        assert loaded.settings.mirror[0].feed is not None
