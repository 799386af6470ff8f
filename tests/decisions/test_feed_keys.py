"""Which key a feed's entry is of, which version it means, and which entries can never be used."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mirrord.decisions.feed_keys import ORDER_MOST, SHOWN_MOST, FeedKeys, KeyFrom
from mirrord.decisions.keymap import MAX_KEY_BYTES, Selection
from mirrord.model.change import Change, Rejection
from mirrord.model.fingerprint import of_token
from mirrord.model.mention import Mention

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ORIGIN = "https://origin.example.com/base"
ALL = Selection(exclude=())
NUMBERED = KeyFrom(pattern=re.compile(r"(?P<id>\d+):(\w+)?"), template=r"by-id/\g<id>/\2", skip_others=False)


def keys(
    origin_url: str | None = ORIGIN,
    *,
    key_prefix: str = "",
    selection: Selection = ALL,
    key_from: KeyFrom | None = None,
) -> FeedKeys:
    return FeedKeys(origin_url=origin_url, key_prefix=key_prefix, selection=selection, key_from=key_from)


def made(rules: FeedKeys, name: str) -> Change | Rejection | None:
    return rules.change(Mention(name=name, token="1"), NOW, stamp="s")


def key_of(rules: FeedKeys, name: str) -> str:
    change = made(rules, name)
    assert isinstance(change, Change), change
    return change.key


def reason_of(rules: FeedKeys, name: str) -> str:
    rejection = made(rules, name)
    assert isinstance(rejection, Rejection), rejection
    return rejection.reason


# -- paths ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "key"),
    [
        pytest.param("a/b.txt", "a/b.txt", id="as-it-is"),
        pytest.param("/a/b.txt", "a/b.txt", id="one-slash-goes"),
        pytest.param("//a", "/a", id="but-one"),
        pytest.param("a//b", "a//b", id="an-empty-segment-stays"),
        pytest.param("a%20b+c?d#e", "a%20b+c?d#e", id="nothing-is-decoded"),
        pytest.param("A\u0308/中😀", "A\u0308/中😀", id="nothing-is-folded"),
        pytest.param("...", "...", id="three-dots"),
        pytest.param("a/.b/..c/d..", "a/.b/..c/d..", id="dots-in-names"),
        pytest.param("a/b://c", "a/b://c", id="no-scheme-has-a-slash"),
        pytest.param("1http://x", "1http://x", id="no-scheme-begins-with-a-digit"),
        pytest.param("://x", "://x", id="no-scheme-is-empty"),
        pytest.param("mailto:a", "mailto:a", id="no-host"),
        pytest.param(" a\n", " a\n", id="white-space-is-part-of-it"),
    ],
)
@pytest.mark.parametrize("origin_url", [None, ORIGIN], ids=["no-origin", "origin"])
def test_a_path_is_taken_exactly(origin_url: str | None, name: str, key: str) -> None:
    assert key_of(keys(origin_url), name) == key
    assert key_of(keys(origin_url, key_prefix="p/"), name) == "p/" + key


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("", "empty", id="empty"),
        pytest.param("/", "empty", id="the-root"),
        pytest.param("a/b/", "directory", id="directory"),
        pytest.param(".", "segment", id="dot"),
        pytest.param("..", "segment", id="dot-dot"),
        pytest.param("./a", "segment", id="dot-first"),
        pytest.param("/../a", "segment", id="dot-dot-after-the-slash"),
        pytest.param("a/./b", "segment", id="dot-between"),
        pytest.param("a/..", "segment", id="dot-dot-last"),
        pytest.param("a/../../etc/passwd", "segment", id="dot-dot-between"),
        pytest.param("a\0b", "NUL", id="nul"),
        pytest.param("a\udcffb", "not UTF-8", id="a-byte-that-is-not-utf-8"),
        pytest.param("a\ud800b", "not UTF-8", id="a-lone-surrogate"),
        pytest.param("\udfff\udcff", "not UTF-8", id="both"),
        pytest.param("a" * (MAX_KEY_BYTES + 1), "bytes", id="too-long"),
        pytest.param("中" * (MAX_KEY_BYTES // 3 + 1), "bytes", id="too-many-bytes"),
    ],
)
def test_what_can_be_no_key_is_rejected(name: str, reason: str) -> None:
    assert reason in reason_of(keys(), name)
    if name:
        path = quote(name.removeprefix("/"), errors="surrogatepass")
        assert reason in reason_of(keys(), f"{ORIGIN}/{path}")


def test_the_prefix_counts_for_the_length() -> None:
    rules = keys(key_prefix="p/")

    assert key_of(rules, "a" * (MAX_KEY_BYTES - 2))
    assert "bytes" in reason_of(rules, "a" * (MAX_KEY_BYTES - 1))


# -- URLs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "name", "key"),
    [
        pytest.param(ORIGIN, f"{ORIGIN}/a/b.txt", "a/b.txt", id="below"),
        pytest.param(ORIGIN, "HTTPS://Origin.EXAMPLE.com/base/a", "a", id="case-of-scheme-and-host"),
        pytest.param(ORIGIN, "https://origin.example.com:443/base/a", "a", id="default-port"),
        pytest.param(ORIGIN, "https://origin.example.com:/base/a", "a", id="empty-port"),
        pytest.param("http://o:80", "http://o/a", "a", id="default-port-in-the-settings"),
        pytest.param("http://o:8080", "http://o:8080/a", "a", id="port"),
        pytest.param("http://o", "http://o/base/a", "base/a", id="no-path"),
        pytest.param("http://o/", "http://o/a", "a", id="slash"),
        pytest.param("http://o/b/", "http://o/b/a", "a", id="slash-after-a-path"),
        pytest.param("http://[::1]:81", "http://[::1]:81/a", "a", id="ipv6"),
        pytest.param("http://xn--fiqs8s.example", "http://中国.example/a", "a", id="idna"),
        pytest.param("http://o/%7Eme", "http://o/~me/a", "a", id="the-same-path-otherwise-written"),
        pytest.param("http://o/中", "http://o/%e4%b8%ad/a", "a", id="the-same-path-not-ascii"),
        pytest.param(ORIGIN, f"{ORIGIN}/a%20b", "a b", id="decoded"),
        pytest.param(ORIGIN, f"{ORIGIN}/a%2520b", "a%20b", id="decoded-once"),
        pytest.param(ORIGIN, f"{ORIGIN}/%E4%B8%AD", "中", id="utf-8"),
        pytest.param(ORIGIN, f"{ORIGIN}/中%20", "中 ", id="not-encoded"),
        pytest.param(ORIGIN, f"{ORIGIN}/a+b", "a+b", id="a-plus-is-a-plus"),
        pytest.param(ORIGIN, f"{ORIGIN}/100%", "100%", id="no-escape"),
        pytest.param(ORIGIN, f"{ORIGIN}/a%3Fb%23c", "a?b#c", id="escaped-query"),
        pytest.param(ORIGIN, f"{ORIGIN}/a%2Fb", "a/b", id="escaped-slash"),
        pytest.param(ORIGIN, f"{ORIGIN}//a", "/a", id="two-slashes"),
    ],
)
def test_a_url_below_the_origin_is_its_path_decoded(origin: str, name: str, key: str) -> None:
    assert key_of(keys(origin), name) == key
    assert key_of(keys(origin), name) == key


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("http://origin.example.com/base/a", id="scheme"),
        pytest.param("ftp://origin.example.com/base/a", id="another-scheme"),
        pytest.param("https://origin.example.com.evil.example/base/a", id="longer-host"),
        pytest.param("https://example.com/base/a", id="host"),
        pytest.param("https:///base/a", id="no-host"),
        pytest.param("https://origin.example.com:8443/base/a", id="port"),
        pytest.param("https://origin.example.com:99999/base/a", id="impossible-port"),
        pytest.param("https://[origin.example.com/base/a", id="open-bracket"),
        pytest.param("https://origin.example.com@evil.example/base/a", id="as-a-user"),
        pytest.param("https://me:pw@origin.example.com/base/a", id="with-a-user"),
        pytest.param("https://ori\tgin.example.com/base/a", id="tab-in-the-host"),
        pytest.param("https://origin\ud800.example.com/base/a", id="surrogate-in-the-host"),
        pytest.param(f"https://{'é' * 64}.example/base/a", id="no-host-has-such-a-name"),
        pytest.param("https://origin.example.com", id="no-path"),
        pytest.param("https://origin.example.com/", id="above"),
        pytest.param(ORIGIN, id="itself"),
        pytest.param("https://origin.example.com/basement/a", id="path"),
        pytest.param("https://origin.example.com/BASE/a", id="case-of-the-path"),
        pytest.param("https://origin.example.com//base/a", id="a-slash-more"),
        pytest.param("https://origin.example.com/base%2Fa", id="an-escaped-slash-parts-nothing"),
        pytest.param("https://origin.example.com/x/../base/a", id="dots"),
        pytest.param("https://origin.example.com?/base/a", id="in-the-query"),
        pytest.param("https://origin.example.com\\@evil.example/base/a", id="backslash"),
    ],
)
def test_a_url_that_is_not_below_the_origin_is_rejected(name: str) -> None:
    rules = keys()

    assert reason_of(rules, name) == reason_of(rules, name) == f"is not below {ORIGIN}"


@pytest.mark.parametrize("tail", ["?", "?v=1", "#", "#top", "?a#b", "?a/b.txt"])
def test_a_url_with_a_query_or_a_fragment_is_rejected(tail: str) -> None:
    assert "query or a fragment" in reason_of(keys(), f"{ORIGIN}/a{tail}")


@pytest.mark.parametrize(
    "name", [f"{ORIGIN}/", f"{ORIGIN}/a/", f"{ORIGIN}/%2e%2E/a", f"{ORIGIN}/a%2F..%2Fb", f"{ORIGIN}/%00"]
)
def test_a_url_can_name_what_is_no_file(name: str) -> None:
    assert isinstance(made(keys(), name), Rejection)


def test_without_an_origin_url_no_url_is_of_a_file() -> None:
    assert "no origin_url" in reason_of(keys(None), f"{ORIGIN}/a")


def test_a_url_of_which_nothing_can_be_taken_is_shown_without_what_may_be_secret() -> None:
    rejections = [
        made(keys(), f"{ORIGIN}/a?signature=secret"),
        made(keys(), "https://me:secret@origin.example.com/base/a#secret"),
        made(keys(None), "https://secret@host/a?secret"),
    ]

    assert [each.name if isinstance(each, Rejection) else each for each in rejections] == [
        f"{ORIGIN}/a?…",
        "https://…@origin.example.com/base/a#…",
        "https://…@host/a?…",
    ]


paths = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).filter(
    lambda path: "\0" not in path and not {".", ".."} & set(path.split("/")) and path[-1] != "/" and path[0] != "/"
)


@given(paths)
@example("a%2Fb")
@example("%")
def test_a_path_and_its_url_are_the_same_key(path: str) -> None:
    rules = keys()

    assert key_of(rules, f"{ORIGIN}/{quote(path)}") == key_of(rules, "/" + path) == path


# -- names that are neither ----------------------------------------------------------------------------


def test_a_pattern_makes_a_path_of_a_name() -> None:
    rules = keys(key_from=NUMBERED, key_prefix="p/")

    assert key_of(rules, "17:a") == "p/by-id/17/a"


def test_a_group_that_took_no_part_is_empty() -> None:
    assert "directory" in reason_of(keys(key_from=NUMBERED), "17:")


@pytest.mark.parametrize("name", ["x17:a", "17:a!", "17:a\n", f"{ORIGIN}/a", "a/b.txt", ""])
def test_a_name_that_the_pattern_does_not_match_as_a_whole_is_rejected_or_skipped(name: str) -> None:
    skipping = replace(NUMBERED, skip_others=True)

    assert reason_of(keys(key_from=NUMBERED), name) == "the name does not match key_from"
    assert made(keys(key_from=skipping), name) is None


@pytest.mark.parametrize(("name", "reason"), [("../a", "segment"), ("a\0", "NUL"), ("\ud800", "not UTF-8")])
def test_what_a_pattern_makes_is_no_more_trusted(name: str, reason: str) -> None:
    whole = KeyFrom(pattern=re.compile(r"(?s)(.*)"), template=r"\1", skip_others=True)

    assert reason in reason_of(keys(key_from=whole), name)
    assert key_of(keys(key_from=whole), "/a%20?b") == "/a%20?b"


@pytest.mark.parametrize("template", [r"\3", r"\g<name>", r"\g<", "\\"])
def test_a_template_that_does_not_fit_its_pattern_is_refused_at_once(template: str) -> None:
    with pytest.raises(re.error):
        KeyFrom(pattern=NUMBERED.pattern, template=template, skip_others=False)


# -- what the settings leave out -----------------------------------------------------------------------


def test_what_the_settings_leave_out_is_nothing() -> None:
    rules = keys(selection=Selection(include=["*.html"], exclude=["drafts/", "*.tmp"]))

    assert made(rules, "drafts/a.html") is None
    assert made(rules, "a.txt") is None
    assert made(rules, f"{ORIGIN}/x/drafts/y/a.html") is None
    assert key_of(rules, "x/a.html") == "x/a.html"


parts = st.sampled_from(["a", "b", "drafts", "x.tmp", ".git", "", "中"])
patterns = st.lists(st.sampled_from(["a", "/a", "b/", "a/b", "*.tmp", "drafts/", "!a/b", "**/b", "中"]), max_size=3)


@settings(max_examples=200)
@given(exclude=patterns, include=patterns, paths=st.lists(st.lists(parts, min_size=1, max_size=4), max_size=12))
def test_exactly_what_the_selection_takes_is_taken(
    exclude: list[str], include: list[str], paths: list[list[str]]
) -> None:
    selection = Selection(include=include, exclude=exclude)
    names = [f"{'/'.join(path)}/x" for path in paths]
    rules = keys(selection=selection)

    changes, rejections = rules.changes([Mention(name=f"/{name}") for name in names], NOW, stamp="s")

    assert [change.key for change in changes] == [name for name in names if selection.takes(name)]
    assert rejections == []


def test_more_directories_than_are_remembered_are_told_apart() -> None:
    rules = keys(selection=Selection(exclude=["7/"]))
    mentions = [Mention(name=f"{number % 10}/{number}/a") for number in range(10_000)]

    for _ in range(2):
        changes, _ = rules.changes(mentions, NOW, stamp="s")

        assert len(changes) == 9000


# -- versions, orders, times ---------------------------------------------------------------------------


def test_all_that_a_feed_says_of_a_version_is_kept() -> None:
    mention = Mention(name="a", token="t", size_bytes=5, etag="e", modified=NOW, at=NOW, order="7")

    change = keys().change(mention, NOW, as_of=NOW - timedelta(1), stamp="s")

    assert change == Change(
        key="a",
        version=of_token("t", size_bytes=5, etag="e", modified=NOW),
        seen_at=NOW,
        as_of=NOW - timedelta(1),
        order="7",
    )


def test_a_removal_has_no_version_and_keeps_its_order() -> None:
    mention = Mention(name="a", removed=True, token="t", order="7")

    assert keys().change(mention, NOW, stamp="s") == Change(key="a", version=None, seen_at=NOW, order="7")


def test_without_a_token_every_mention_is_another_version() -> None:
    mention, known = Mention(name="a"), Mention(name="a", token="t")
    rules = keys()

    first, _ = rules.changes([mention, known, mention, known], NOW, stamp="s")
    second, _ = rules.changes([mention, known], NOW, stamp="other")

    assert first[1].version == first[3].version == second[1].version == of_token("t")
    assert len({first[0].version, first[2].version, second[0].version}) == 3
    assert rules.changes([mention], NOW, stamp="s")[0][0] == first[0]  # read again, it is what it was


@pytest.mark.parametrize("order", ["a\ud800", "a\0", "a" * (ORDER_MOST + 1)], ids=["surrogate", "nul", "too-long"])
def test_an_order_that_cannot_be_kept_is_rejected(order: str) -> None:
    rejection = keys().change(Mention(name="a", order=order), NOW, stamp="s")

    assert isinstance(rejection, Rejection)
    assert (rejection.name, "order" in rejection.reason) == ("a", True)


# -- many at once --------------------------------------------------------------------------------------


def test_what_cannot_be_used_holds_back_no_other() -> None:
    rules = keys(selection=Selection(exclude=["left-out"]))
    names = ["a", "../b", "left-out", "https://elsewhere/c", "d"]

    changes, rejections = rules.changes([Mention(name=name) for name in names], NOW, NOW, stamp="s")

    assert [(change.key, change.as_of) for change in changes] == [("a", NOW), ("d", NOW)]
    assert [rejection.name for rejection in rejections] == ["../b", "https://elsewhere/c"]


@settings(max_examples=200)
@given(st.text(st.characters(), max_size=20) | st.text("a/.:%?#@\0\ud800\udcff中", max_size=20), st.booleans())
def test_whatever_a_feed_says_is_a_key_or_a_printable_rejection(name: str, below: bool) -> None:
    change = made(keys(), f"{ORIGIN}/{name}" if below else name)

    if isinstance(change, Rejection):
        assert change.name.isprintable()
        change.name.encode()
    else:
        assert change is not None
        assert 0 < len(change.key.encode()) <= MAX_KEY_BYTES
        assert not {".", ".."} & set(change.key.split("/"))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        pytest.param("\udcffa", r"\xffa", id="a-byte"),
        pytest.param("\ud800a", r"\xed\xa0\x80a", id="a-surrogate"),
        pytest.param("a\0\x1b\n\u2028中", r"a\x00\x1b\n\u2028中", id="what-would-move-a-terminal"),
        pytest.param("a" * 10**6, "a" * SHOWN_MOST + "…", id="what-would-fill-a-memory"),
    ],
)
def test_a_rejected_name_is_printable_and_short(name: str, shown: str) -> None:
    rejection = made(keys(), f"{name}/")

    assert isinstance(rejection, Rejection)
    assert rejection.name.removesuffix("/") == shown
