import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Literal
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirrord.model.change import Rejection
from mirrord.model.mention import Mention
from mirrord.sources.feed.couchdb import CouchDb
from mirrord.sources.feed.dialect import Ask, Dialect, End, Head, Limits, Reset, Unreadable

Mode = Literal["poll", "longpoll", "stream"]
Heard = tuple[list[Mention], list[Rejection], str | None, End]

BEAT = timedelta(seconds=30)
SMALL = Limits(document=2000, line=60)
JSON = {"content-type": "application/json"}


def couch(mode: Mode = "longpoll", *, url: str = "https://couch.test/db", page: int = 2, **more: Limits) -> CouchDb:
    return CouchDb(url, page=page, mode=mode, heartbeat=BEAT, limits=more.get("limits", Limits()))


def hear(
    dialect: Dialect, chunks: Sequence[bytes], cursor: str | None = None, *, wait: bool = False, widen: int = 1
) -> Heard:
    reading = dialect.read(Head(status=200, headers=JSON, url="https://couch.test/"), cursor, wait=wait, widen=widen)
    batches = [batch for chunk in chunks for batch in reading.receive(chunk)]
    last, end = reading.end()
    batches.append(last)
    mentions = [mention for batch in batches for mention in batch.mentions]
    bad = [rejection for batch in batches for rejection in batch.bad]
    cursors = [batch.cursor for batch in batches if batch.cursor is not None]
    return mentions, bad, cursors[-1] if cursors else None, end


def row(seq: object, name: object = "a", **more: object) -> dict[str, object]:
    return {"seq": seq, "id": name, "changes": [{"rev": "1-x"}], **more}


def page(*rows: object, **more: object) -> bytes:
    return json.dumps({"results": rows, **more}).encode()


def lines(*rows: object) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in rows)


def query(ask: Ask) -> dict[str, list[str]]:
    return parse_qs(urlsplit(ask.url).query, keep_blank_values=True)


# -- what is asked -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        pytest.param("https://couch.test/db", "https://couch.test/db/_changes?", id="database"),
        pytest.param("https://couch.test/db/", "https://couch.test/db/_changes?", id="trailing slash"),
        pytest.param("https://couch.test/db/_changes", "https://couch.test/db/_changes?", id="its changes"),
        pytest.param("https://couch.test/db/_changes/", "https://couch.test/db/_changes?", id="its changes, slash"),
        pytest.param("https://npm.test/registry/_changes", "https://npm.test/registry/_changes?", id="npm"),
        pytest.param("https://npm.test", "https://npm.test/_changes?", id="host alone"),
        pytest.param("https://couch.test/my_changes", "https://couch.test/my_changes/_changes?", id="a name like it"),
        pytest.param("https://couch.test/a%2Fb#top", "https://couch.test/a%2Fb/_changes?", id="escapes and fragment"),
        pytest.param(
            "https://couch.test/db?filter=app%2Fimages&x",
            "https://couch.test/db/_changes?filter=app%2Fimages&x&",
            id="query",
        ),
        pytest.param(
            "https://couch.test/db/_changes?since=5&limit=9&feed=eventsource&heartbeat=1&timeout=1&style=main_only",
            "https://couch.test/db/_changes?style=main_only&",
            id="query that is ours",
        ),
    ],
)
def test_the_address_is_a_databases_or_its_changes(url: str, asked: str) -> None:
    ask = couch(url=url).ask(None, wait=False)

    assert ask.url.startswith(asked + "feed=normal&since=0&limit=2")


@pytest.mark.parametrize(
    ("mode", "wait", "asked"),
    [
        pytest.param("poll", False, {"feed": ["normal"], "limit": ["2"]}, id="poll"),
        pytest.param("poll", True, {"feed": ["normal"], "limit": ["2"]}, id="poll waiting"),
        pytest.param("longpoll", False, {"feed": ["normal"], "limit": ["2"]}, id="longpoll catching up"),
        pytest.param(
            "longpoll",
            True,
            {"feed": ["longpoll"], "limit": ["2"], "timeout": ["60000"], "heartbeat": ["30000"]},
            id="longpoll waiting",
        ),
        pytest.param("stream", False, {"feed": ["normal"], "limit": ["2"]}, id="stream catching up"),
        pytest.param("stream", True, {"feed": ["continuous"], "heartbeat": ["30000"]}, id="stream waiting"),
    ],
)
def test_how_it_is_asked(mode: Mode, wait: bool, asked: dict[str, list[str]]) -> None:
    ask = couch(mode).ask('"5-x"', wait=wait)

    held_back = wait and mode != "poll"
    assert query(ask) == {**asked, "since": ["5-x"]}
    assert (ask.waits, ask.idle) == (held_back, 2 * BEAT if held_back else None)
    assert not ask.conditional


def test_a_page_that_did_not_get_further_is_asked_for_larger() -> None:
    assert query(couch(page=500).ask("7", wait=False, widen=4))["limit"] == ["2000"]


@pytest.mark.parametrize(
    ("cursor", "since"),
    [
        pytest.param("12", "12", id="number"),
        pytest.param("12.5", "12.5", id="fraction"),
        pytest.param('"12"', "12", id="number as text"),
        pytest.param('"12-g1AAA/+=&"', "12-g1AAA/+=&", id="text"),
        pytest.param('[1,"x y"]', '[1,"x y"]', id="list"),
        pytest.param(CouchDb.now_cursor, "now", id="now"),
        pytest.param(r'"\"q\""', '"q"', id="text with quotes"),
    ],
)
def test_a_cursor_is_given_back_as_the_server_gave_it(cursor: str, since: str) -> None:
    assert query(couch().ask(cursor, wait=False))["since"] == [since]


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.integers(-(2**63), 2**63 - 1) | st.text() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=6,
    ),
    st.booleans(),
)
def test_every_sequence_comes_back_unchanged(seq: object, streams: bool) -> None:
    dialect = couch("stream")
    body = lines(row(seq)) if streams else page(row(seq))

    _, _, cursor, _ = hear(dialect, [body], wait=streams)

    assert cursor is not None
    assert orjson.dumps(json.loads(cursor)) == orjson.dumps(seq)
    since = query(dialect.ask(cursor, wait=False))["since"]
    assert since == [seq if isinstance(seq, str) else cursor]


@pytest.mark.parametrize("seq", [r'"\ud800"', '"\udcff"'], ids=["half a pair", "not UTF-8"])
def test_a_sequence_that_is_no_text_still_makes_a_request(seq: str) -> None:
    body = f'{{"results":[{{"seq":{seq},"id":"a"}}]}}'.encode("utf-8", "surrogateescape")

    _, _, cursor, _ = hear(couch(), [body])

    assert cursor is not None
    assert cursor.isascii()
    assert couch().ask(cursor, wait=False).url.isascii()


# -- pages ---------------------------------------------------------------------------------------------


def test_a_page_names_what_changed_and_where_to_go_on() -> None:
    body = page(
        row("1-a", "img/a b.jpg"),
        row("2-b", "图.png", changes=[{"rev": "3-w"}, {"rev": "3-a"}], deleted=True),
        last_seq="2-b",
        pending=5,
    )

    mentions, bad, cursor, end = hear(couch(), [body])

    assert mentions == [
        Mention(name="img/a b.jpg", token="1-x"),
        Mention(name="图.png", removed=True, token="3-w"),
    ]
    assert (bad, cursor, end) == ([], '"2-b"', End(caught_up=False))


COUCHDB = (
    b'{"results":[\n{"seq":"1-g1AA","id":"a.txt","changes":[{"rev":"1-967a"}]},\n'
    b'{"seq":"2-g1AB","id":"b.txt","changes":[{"rev":"2-7051"}],"deleted":true}\n],\n"last_seq":"2-g1AB","pending":0}\n'
)
POUCHDB = (
    b'{"results":[{"seq":1,"id":"a.txt","changes":[{"rev":"1-967a"}]},'
    b'{"id":"b.txt","changes":[{"rev":"2-7051"}],"seq":2,"deleted":true}],"last_seq":2}'
)
CNPMCORE = (
    b'{"results":[{"seq":1,"type":"PACKAGE_VERSION_ADDED","id":"a.txt","changes":[{"rev":"1-967a"}]},'
    b'{"seq":2,"type":"PACKAGE_UNPUBLISHED","id":"b.txt","changes":[{"rev":"2-7051"}],"deleted":true}]}'
)
PRETTY = json.dumps(json.loads(COUCHDB), indent=2, sort_keys=True).encode()
LONGPOLL = COUCHDB.replace(b"],\n", b"],\n\n\n\n").join((b"\n\n", b"\n"))


@pytest.mark.parametrize("wait", [False, True], ids=["asked", "waiting"])
@pytest.mark.parametrize("mode", ["poll", "longpoll", "stream"])
@pytest.mark.parametrize(
    ("body", "cursor"),
    [
        pytest.param(COUCHDB, '"2-g1AB"', id="CouchDB"),
        pytest.param(POUCHDB, "2", id="PouchDB"),
        pytest.param(CNPMCORE, "2", id="cnpmcore"),
        pytest.param(PRETTY, '"2-g1AB"', id="pretty"),
        pytest.param(LONGPOLL, '"2-g1AB"', id="with heartbeats"),
    ],
)
def test_a_document_is_read_whatever_was_asked_for(mode: Mode, wait: bool, body: bytes, cursor: str) -> None:
    mentions, bad, got, end = hear(couch(mode, page=3), [body], wait=wait)

    assert [(each.name, each.removed, each.token) for each in mentions] == [
        ("a.txt", False, "1-967a"),
        ("b.txt", True, "2-7051"),
    ]
    assert (bad, got, end) == ([], cursor, End(caught_up=True))


@pytest.mark.parametrize(
    ("rows", "more", "widen", "caught_up"),
    [
        pytest.param(2, {}, 1, False, id="full page"),
        pytest.param(1, {}, 1, True, id="shorter page"),
        pytest.param(0, {}, 1, True, id="no rows"),
        pytest.param(2, {"pending": 0}, 1, True, id="full and none pending"),
        pytest.param(1, {"pending": 4}, 1, False, id="shorter and some pending"),
        pytest.param(1, {"pending": None}, 1, True, id="pending not said"),
        pytest.param(2, {"pending": False}, 1, False, id="pending is no number"),
        pytest.param(3, {}, 2, True, id="wider page, not full"),
        pytest.param(4, {}, 2, False, id="wider page, full"),
    ],
)
def test_when_a_page_is_the_last(rows: int, more: dict[str, object], widen: int, caught_up: bool) -> None:
    *_, end = hear(couch(), [page(*[row(7)] * rows, **more)], "7", widen=widen)

    assert end == End(caught_up=caught_up)


def test_a_document_instead_of_a_stream_is_everything_there_is() -> None:
    *_, end = hear(couch("stream"), [page(*[row(7)] * 50, last_seq=7)], wait=True)

    assert end == End(caught_up=True)


@pytest.mark.parametrize(
    ("body", "cursor"),
    [
        pytest.param(page(row(1), row(2), last_seq=5), "5", id="last_seq"),
        pytest.param(page(row(1), row(2)), "2", id="last row"),
        pytest.param(page(row(1), row(2), last_seq=None), "2", id="last_seq is null"),
        pytest.param(page(row(1), row(None)), "1", id="last row's is null"),
        pytest.param(page(last_seq=0), "0", id="zero"),
        pytest.param(page(), None, id="none at all"),
        pytest.param(page(row(1), {"seq": 2}), "2", id="of a bad row"),
        pytest.param(page(row(1), row(2, "_design/x")), "2", id="of a design document"),
        pytest.param(b'{"results":[{"seq":1,"id":"a"},{"seq":' + b"[" * 400 + b"]" * 400 + b"}]}", "1", id="too deep"),
    ],
)
def test_where_a_page_leads(body: bytes, cursor: str | None) -> None:
    assert hear(couch(), [body])[2] == cursor


def test_internal_documents_are_passed_over() -> None:
    body = page(row(1, "_design/app"), row(2, "_local/checkpoint"), row(3, "_designs"), row(4, "a/_local/b"))

    mentions, bad, cursor, _ = hear(couch(), [body])

    assert [each.name for each in mentions] == ["_designs", "a/_local/b"]
    assert (bad, cursor) == ([], "4")


@pytest.mark.parametrize(
    "changes",
    [None, [], {}, "1-x", [None], ["1-x"], [{}], [{"rev": 1}], [{"dist-tag": "latest"}]],
    ids=repr,
)
def test_a_row_without_a_revision_is_another_version_each_time(changes: object) -> None:
    mentions, bad, _, _ = hear(couch(), [page({"seq": 1, "id": "a", "changes": changes}, {"seq": 2, "id": "b"})])

    assert mentions == [Mention(name="a"), Mention(name="b")]
    assert bad == []


@pytest.mark.parametrize("deleted", [False, None, "true", 1], ids=repr)
def test_only_true_means_deleted(deleted: object) -> None:
    mentions, *_ = hear(couch(), [page(row(1, deleted=deleted))])

    assert not mentions[0].removed


BAD: list[object] = [
    None,
    7,
    "text",
    [],
    {},
    {"seq": 1},
    {"seq": 1, "id": None},
    {"seq": 1, "id": 5},
    {"seq": 1, "id": ["a"]},
]


@pytest.mark.parametrize("bad", BAD, ids=repr)
@pytest.mark.parametrize("streams", [False, True], ids=["page", "stream"])
def test_what_is_no_change_is_told_and_blocks_nothing(bad: object, streams: bool) -> None:
    rows = [row(1, "before"), bad, row(2, "after")]

    mentions, told, cursor, _ = hear(couch("stream"), [lines(*rows) if streams else page(*rows)], wait=streams)

    assert [each.name for each in mentions] == ["before", "after"]
    assert [each.reason for each in told] == ["is not a change: it has no id"]
    assert told[0].name.isprintable()
    assert cursor == "2"


def test_a_name_that_is_not_utf_8_loses_no_other() -> None:
    body = page(row(1, "a"), row(2, "b?")).replace(b"?", b"\xff")

    mentions, *_ = hear(couch(), [body])

    assert [each.name for each in mentions] == ["a", "b\udcff"]


@pytest.mark.parametrize("mode", ["poll", "stream"])
@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param(
            b'{"error":"not_found","reason":"no_db_file"}\n', "answers with an error: not_found: no_db_file", id="error"
        ),
        pytest.param(b'{"error":"not_found"}', "answers with an error: not_found", id="error without a line end"),
        pytest.param(b'{"ok":true}\n', "it begins with", id="something else"),
        pytest.param(b'{"results":{}}', "a list of results", id="results are no list"),
        pytest.param(b"[]", "it begins with|list of results", id="list"),
        pytest.param(b"<!doctype html>\n<html></html>\n", "it begins with '<!doctype html>", id="page without a type"),
        pytest.param(b"<html>login</html>", "it begins with '<html>", id="page of one line without its end"),
        pytest.param(COUCHDB[:-60], r"cut off\?", id="cut off"),
        pytest.param(POUCHDB[:60], r"cut off\?", id="cut off in its first line"),
        pytest.param(COUCHDB[:20], r"cut off\?", id="cut off early"),
    ],
)
def test_what_is_no_changes_feed_is_unreadable(mode: Mode, body: bytes, says: str) -> None:
    with pytest.raises(Unreadable, match=says):
        hear(couch(mode), [body], wait=mode == "stream")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\n\n", id="heartbeats"),
        pytest.param(lines({"last_seq": 5, "pending": 0}), id="no results"),
        pytest.param(lines({"id": "5", "name": "a package"}), id="some document"),
    ],
)
def test_a_page_must_have_results(body: bytes) -> None:
    with pytest.raises(Unreadable):
        hear(couch("longpoll"), [body], wait=True)


def test_a_page_for_people_is_unreadable() -> None:
    head = Head(status=200, headers={"content-type": "text/html; charset=utf-8"}, url="https://couch.test/")

    with pytest.raises(Unreadable, match="is a page"):
        couch().read(head, None, wait=False)


def test_a_document_that_is_too_long_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="longer than 2000 bytes"):
        hear(couch(limits=SMALL), [page(*[row(1)] * 100)])


# -- streams -------------------------------------------------------------------------------------------


def test_each_chunk_of_a_stream_can_be_recorded_at_once() -> None:
    reading = couch("stream").read(Head(status=200, headers=JSON, url=""), '"0"', wait=True)
    body = lines(row("1-a", "a"), row("2-b", "b"))

    batches = [list(reading.receive(chunk)) for chunk in (b"\n", body, b"\n", lines(row("3-c", "c"))[:9], b"", b"\n")]

    assert [[(len(each.mentions), each.cursor) for each in part] for part in batches] == [
        [],
        [(2, '"2-b"')],
        [],
        [],
        [],
        [(0, None)],
    ]


def test_a_stream_that_ends_has_said_everything() -> None:
    body = lines(row(6, "a"), row(7, "b", deleted=True)) + b"\n" + lines({"last_seq": 9, "pending": 0})

    mentions, bad, cursor, end = hear(couch("stream"), [body], "5", wait=True)

    assert mentions == [Mention(name="a", token="1-x"), Mention(name="b", token="1-x", removed=True)]
    assert (bad, cursor, end) == ([], "9", End(caught_up=True))


def test_a_stream_that_was_asked_for_has_ended_whatever_is_pending() -> None:
    *_, end = hear(couch("stream"), [lines(row(6), row(7), {"last_seq": 7, "pending": 4})], wait=True)

    assert end == End(caught_up=True)


def test_a_stream_with_nothing_but_a_bad_row_gets_past_it() -> None:
    mentions, bad, cursor, _ = hear(couch("stream"), [lines({"seq": 8})], wait=True)

    assert (mentions, len(bad), cursor) == ([], 1, "8")


def test_a_stream_of_heartbeats_is_nothing_new() -> None:
    assert hear(couch("stream"), [b"\n", b"\r\n", b"\n"], "5", wait=True) == ([], [], None, End(caught_up=True))


@pytest.mark.parametrize("mode", ["poll", "longpoll"])
def test_lines_instead_of_a_document_are_read_too(mode: Mode) -> None:
    body = lines(row(6, "a"), row(7, "b"), {"last_seq": 7, "pending": 3})

    mentions, bad, cursor, end = hear(couch(mode), [body], "5", wait=True)

    assert [each.name for each in mentions] == ["a", "b"]
    assert (bad, cursor, end) == ([], "7", End(caught_up=False))


def test_lines_instead_of_a_document_end_like_a_page() -> None:
    full = hear(couch("longpoll"), [lines(row(6), row(7))], wait=True)
    last = hear(couch("longpoll"), [lines(row(6), {"last_seq": 7})], wait=True)

    assert (full[3], last[3]) == (End(caught_up=False), End(caught_up=True))


STREAM = lines(row(6, "a"), row(7, "b"), {"last_seq": 7, "pending": 0})


@pytest.mark.parametrize("at", range(len(STREAM) + 1))
def test_a_stream_that_is_cut_anywhere_has_said_what_its_whole_lines_say(at: int) -> None:
    mentions, bad, cursor, end = hear(couch("stream"), [STREAM[:at]], "5", wait=True)

    ends = [len(lines(row(6, "a"))) - 1, len(lines(row(6, "a"), row(7, "b"))) - 1]
    whole = sum(at >= each for each in ends)
    assert [each.name for each in mentions] == ["a", "b"][:whole]
    assert (bad, cursor, end) == ([], [None, "6", "7"][whole], End(caught_up=True))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param(b"what?\n", "is not JSON", id="not JSON"),
        pytest.param(b'{"seq":2,"id":"cut\n', "is not JSON", id="cut off"),
        pytest.param(b'{"seq":2,"id":"' + b"x" * 100 + b'"}\n', "is longer than 60 bytes", id="too long"),
        pytest.param(b"[" * 59 + b"\n", "is not JSON", id="deep"),
    ],
)
@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
def test_a_line_that_cannot_be_used_is_told_and_blocks_nothing(line: bytes, reason: str, first: bool) -> None:
    good = lines({"seq": 1, "id": "good"})
    body = line + good if first else good + line

    mentions, bad, cursor, _ = hear(couch("stream", limits=SMALL), [body], wait=True)

    assert [each.name for each in mentions] == ["good"]
    assert [each.reason for each in bad] == [reason]
    assert bad[0].name.isprintable()
    assert cursor == "1"


def test_an_error_within_a_stream_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="answers with an error: shutdown: bye"):
        hear(couch("stream"), [lines(row(1), {"error": "shutdown", "reason": "bye"})], wait=True)


def test_a_document_whose_only_line_is_longer_than_lines_may_be_is_still_a_document() -> None:
    body = page(*[row(1)] * 20)

    mentions, bad, _, _ = hear(couch("stream", limits=SMALL), [body[:100], body[100:]], wait=True)

    assert (len(mentions), bad) == (20, [])


@pytest.mark.parametrize("at", [62, 72, 80])
def test_a_long_first_line_is_judged_by_its_beginning_however_it_is_cut(at: int) -> None:
    body = b"{" + b" " * 70 + b"x\n" + lines({"seq": 1, "id": "good"})

    cut = outcome(couch("stream", limits=SMALL), [body[:at], body[at:]], None, wait=True)

    assert cut == outcome(couch("stream", limits=SMALL), [body], None, wait=True)


# -- going back ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "to"),
    [
        pytest.param(page(row(2), row(3)), 3, id="last row"),
        pytest.param(page(last_seq=0), 0, id="last_seq"),
        pytest.param(lines(row(3)), 3, id="line"),
        pytest.param(lines(row(58), row(4)), 4, id="later line"),
        pytest.param(lines({"last_seq": 1, "pending": 0}), 1, id="last line"),
    ],
)
def test_a_sequence_that_went_back_is_a_reset(body: bytes, to: int) -> None:
    with pytest.raises(Reset, match=f"its sequence went back from 57 to {to}") as caught:
        hear(couch("stream"), [body], "57", wait=True)

    assert not caught.value.gap


@pytest.mark.parametrize(
    ("cursor", "seq"),
    [
        pytest.param("57", 57, id="the same"),
        pytest.param('"57-a"', "3-a", id="texts"),
        pytest.param('"57"', 3, id="text, then number"),
        pytest.param("57", "3", id="number, then text"),
        pytest.param("57", False, id="no number"),
        pytest.param("true", 0, id="asked for no number"),
        pytest.param("57.5", 3, id="fraction"),
        pytest.param('[57,"a"]', [3, "a"], id="lists"),
        pytest.param(CouchDb.now_cursor, 3, id="now"),
        pytest.param(None, 0, id="from the beginning"),
    ],
)
@pytest.mark.parametrize("streams", [False, True], ids=["page", "stream"])
def test_other_sequences_are_never_compared(cursor: str | None, seq: object, streams: bool) -> None:
    body = lines(row(seq)) if streams else page(row(seq), last_seq=seq)

    mentions, *_ = hear(couch("stream"), [body], cursor, wait=streams)

    assert len(mentions) == 1


def test_rows_that_come_again_are_no_fault() -> None:
    body = page(row("3-a", "a"), row("2-b", "b"), row("3-a", "a"), last_seq="3-a")

    mentions, bad, cursor, _ = hear(couch(), [body], '"3-a"')

    assert [each.name for each in mentions] == ["a", "b", "a"]
    assert (bad, cursor) == ([], '"3-a"')


# -- whatever comes ------------------------------------------------------------------------------------

PIECES = [
    b'{"results":[',
    b'{"seq":5,"id":"a","changes":[{"rev":"1-x"}]}',
    b'{"seq":"6-y","id":"b","deleted":true}',
    b'{"seq":[7,"z"],"id":"\xff"}',
    b'{"seq":8}',
    b'{"id":5}',
    b'{"last_seq":9,"pending":0}',
    b'],"last_seq":9}',
    b"]}",
    b'{"error":"x"}',
    b"{",
    b'"results"',
    b" " * 70,
    b"x" * 70,
    b",",
    b"\n",
    b"\n",
    b"\r\n",
    b"null",
    b"\xef\xbb\xbf",
    b"1e999",
]
BODIES = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join))
WHOLE = st.lists(
    st.sampled_from([row(5), row("6-y", "b"), row([7, "z"], "c"), row(None, "d"), {"seq": 8}, {"id": "e"}, 7, {}]),
    max_size=6,
).flatmap(lambda rows: st.sampled_from([page(*rows), page(*rows, last_seq=9), lines(*rows), b"\n" + lines(*rows)]))


def outcome(dialect: Dialect, chunks: Sequence[bytes], cursor: str | None, *, wait: bool) -> Heard | str:
    try:
        return hear(dialect, chunks, cursor, wait=wait)
    except (Unreadable, Reset) as exc:
        return f"{type(exc).__name__} {exc}"


@settings(max_examples=200, deadline=None)
@given(
    body=BODIES | WHOLE,
    mode=st.sampled_from(["poll", "longpoll", "stream"]),
    wait=st.booleans(),
    limits=st.sampled_from([Limits(), SMALL, Limits(document=40, line=10)]),
    cursor=st.sampled_from([None, "5", '"5-x"']),
    data=st.data(),
)
def test_however_it_is_cut_it_says_the_same(
    body: bytes, mode: Mode, wait: bool, limits: Limits, cursor: str | None, data: st.DataObject
) -> None:
    places = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    cut = [body[a:b] for a, b in zip([0, *places], [*places, len(body)], strict=True)]
    dialect = couch(mode, limits=limits)

    at_once = outcome(dialect, [body], cursor, wait=wait)

    assert outcome(dialect, cut, cursor, wait=wait) == at_once
    assert outcome(dialect, [bytes([byte]) for byte in body], cursor, wait=wait) == at_once
