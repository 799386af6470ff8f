import json
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirrord.model.change import Rejection
from mirrord.sources.feed.dialect import Dialect, End, Head, Limits, Reset, Unreadable
from mirrord.sources.feed.pointers import Pointers
from mirrord.sources.feed.sse import Sse

URL = "https://feed.test/events"
BEAT = timedelta(seconds=20)
STREAM = {"content-type": "text/event-stream; charset=utf-8"}
PLAIN = Sse(URL, pointers=Pointers(), heartbeat=BEAT, limits=Limits())
SMALL = Sse(URL, pointers=Pointers(), heartbeat=BEAT, limits=Limits(line=40))
MERCURE = Sse(URL, pointers=Pointers(), heartbeat=BEAT, earliest=True, since_param=None, limits=Limits())
NAMED = Sse(URL, pointers=Pointers(), events=frozenset({"change"}), heartbeat=BEAT, limits=Limits())
Heard = tuple[list[str], list[Rejection], str | None, End]


def head(**headers: str) -> Head:
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    return Head(status=200, headers=STREAM | said, url=URL)


def hear(body: bytes | Sequence[bytes], cursor: str | None = None, *, of: Dialect = PLAIN) -> Heard:
    """Names ("-" before one that is removed), what is bad, the last cursor, and the end."""
    reading = of.read(head(), cursor, wait=True)
    chunks = [body] if isinstance(body, bytes) else body
    batches = [batch for chunk in chunks for batch in reading.receive(chunk)]
    last, end = reading.end()
    batches.append(last)
    names = [f"-{one.name}" if one.removed else one.name for batch in batches for one in batch.mentions]
    cursors = [batch.cursor for batch in batches if batch.cursor is not None]
    return names, [one for batch in batches for one in batch.bad], cursors[-1] if cursors else None, end


def tokens(body: bytes) -> list[str | None]:
    return [one.token for batch in PLAIN.read(head(), None, wait=True).receive(body) for one in batch.mentions]


def event(key: str = "a", *, id_: str | None = None, name: str | None = None, **more: object) -> bytes:
    fields = [f"id: {id_}"] if id_ is not None else []
    fields += [f"event: {name}"] if name is not None else []
    return "\n".join([*fields, f"data: {json.dumps({'key': key, **more})}", "", ""]).encode()


# -- what is asked -------------------------------------------------------------------------------------


def test_a_stream_is_asked_for_after_the_last_event() -> None:
    ask = PLAIN.ask("evt 7", wait=False)

    assert ask.headers == {"accept": "text/event-stream", "last-event-id": "evt 7"}
    assert ask.url == f"{URL}?since=evt%207"
    assert ask.waits
    assert ask.idle == 2 * BEAT
    assert not ask.conditional


@pytest.mark.parametrize(
    ("feed", "cursor", "asked"),
    [
        pytest.param(PLAIN, None, None, id="the beginning"),
        pytest.param(PLAIN, "", None, id="from now on"),
        pytest.param(MERCURE, None, "earliest", id="Mercure's beginning"),
        pytest.param(MERCURE, "", None, id="Mercure from now on"),
        pytest.param(MERCURE, "urn:uuid:1", "urn:uuid:1", id="an id, and no parameter for it"),
    ],
)
def test_the_address_stays_as_it_is_where_there_is_nothing_to_ask_since(
    feed: Sse, cursor: str | None, asked: str | None
) -> None:
    ask = feed.ask(cursor, wait=False)

    assert ask.headers.get("last-event-id") == asked
    assert ask.url == URL


@given(st.text(max_size=40))
@settings(max_examples=200)
def test_no_id_can_smuggle_anything_into_a_request(cursor: str) -> None:
    ask = PLAIN.ask(cursor, wait=True)

    assert all(value.isascii() and value.isprintable() for value in ask.headers.values())
    assert ask.url.isascii()
    httpx.Request("GET", ask.url, headers=dict(ask.headers))


# -- the stream ----------------------------------------------------------------------------------------


def test_events_become_mentions_and_the_last_id_the_cursor() -> None:
    body = event("a", id_="1") + event("b", id_="2", op="remove") + b": a comment\n\n" + event("c")

    assert hear(body) == (["a", "-b", "c"], [], "2", End(caught_up=True))


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_lines_end_in_three_ways(end: str) -> None:
    body = b"\xef\xbb\xbf" + b'id: 1\ndata: {"key":\ndata: "a"}\n\n'.replace(b"\n", end.encode()) * 2

    assert hear([body[at : at + 1] for at in range(len(body))])[:3] == (["a", "a"], [], "1")


def test_a_chunk_is_a_batch_with_the_cursor_after_it() -> None:
    reading = PLAIN.read(head(), None, wait=True)
    body = event("a", id_="1") + event("b", id_="2")

    first = reading.receive(body + b"id: 3\nda")
    second = reading.receive(b'ta: {"key": "c"}\n\n')
    third = reading.receive(b": beat\n\n")

    assert [([one.name for one in batch.mentions], batch.cursor) for batch in (*first, *second)] == [
        (["a", "b"], "2"),
        (["c"], "3"),
    ]
    assert third == ()


def test_data_of_several_lines_is_one_document() -> None:
    assert hear(b'data: {"key":\ndata:"a"\ndata\ndata:}\n\n')[0] == ["a"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b": beat\n\n", id="a comment"),
        pytest.param(b"data:\n\n", id="no data"),
        pytest.param(b"event: change\n\n", id="a name alone"),
        pytest.param(b"event: ping\ndata: 2026-11-20 20:15:00\n\n", id="a ping that is no JSON"),
        pytest.param(b"event: ping\ndata: 7\n\n", id="a ping that is a number"),
        pytest.param(b'data: {"key":"cut"}\n', id="an event that does not end"),
        pytest.param(b"unknown: field\n\n", id="a field that nobody knows"),
    ],
)
def test_what_says_nothing_is_passed_over_in_silence(body: bytes) -> None:
    assert hear(body, "5") == ([], [], None, End(caught_up=True))


def test_the_id_of_an_event_that_says_nothing_counts() -> None:
    assert hear(event("a", id_="1") + b"id: 2\n\n" + b"id: 3\n: not yet\n")[2] == "2"


@pytest.mark.parametrize("id_line", [b"id: a\0b", b"id:", b"id", b"id: " + b"x" * 5000])
def test_an_id_that_cannot_be_asked_after_leaves_the_cursor(id_line: bytes) -> None:
    body = event("a", id_="1") + id_line + b"\n" + event("b")

    assert hear(body)[:3] == (["a", "b"], [], "1")


@pytest.mark.parametrize(
    ("line", "pause"),
    [
        (b"retry: 1500", timedelta(milliseconds=1500)),
        (b"retry:0", timedelta(0)),
        (b"retry: " + b"9" * 5000, timedelta(days=1)),
        (b"retry: 1.5", None),
        (b"retry: -1", None),
        (b"retry: \xc2\xb2", None),
        (b"retry", None),
    ],
)
def test_a_pause_is_taken_from_digits_alone(line: bytes, pause: timedelta | None) -> None:
    assert hear(line + b"\n\n")[3] == End(caught_up=True, pause=pause)


def test_only_events_of_the_names_asked_for_are_read() -> None:
    body = event("a", id_="1", name="change") + event("b", id_="2", name="other") + event("c", id_="3")

    assert hear(body, of=NAMED)[:3] == (["a"], [], "3")


def test_data_that_is_no_entry_is_told_alone() -> None:
    names, bad, cursor, _ = hear(b"data: oops\n\ndata: 7\n\n" + event("a", id_="1") + b'data: {"key":"\xff"}\n\n')

    assert (names, cursor) == (["a", "\udcff"], "1")
    assert [each.name for each in bad] == ["'oops'", "'7'"]


def test_an_event_that_is_too_long_is_told_once_and_its_id_counts() -> None:
    long_line = b"id: 1\ndata: " + b"x" * 99 + b"\ndata: y\n\n"
    long_event = b"id: 2\n" + b"data: 0123456789\n" * 9 + b"\n"

    names, bad, cursor, _ = hear(long_line + long_event + event("a", id_="3"), of=SMALL)

    assert (names, cursor) == (["a"], "3")
    assert len(bad) == 2
    assert all("more than 40 bytes" in each.reason for each in bad)


def test_a_version_is_named_after_its_own_event_alone() -> None:
    body = event("a", id_="1") + event("a") + event("a", id_="3", version="v") + event("a", id_="4", seq=9)

    assert tokens(body) == ["1", None, "v", "9"]


def test_one_event_may_have_several_entries() -> None:
    feed = Sse(URL, pointers=Pointers(items="/all"), heartbeat=BEAT, limits=Limits())

    names, bad, cursor, _ = hear(b'id: 5\ndata: {"all": [{"key": "a"}, {"key": "b"}]}\n\ndata: {}\n\n', of=feed)

    assert (names, cursor, len(bad)) == (["a", "b"], "5", 1)


@pytest.mark.parametrize(
    ("body", "since", "id_"),
    [
        pytest.param(event(seq=7), "7", None, id="a place without an id"),
        pytest.param(event(seq=7, id_="evt-7"), "7", "evt-7", id="a place beside an id"),
        pytest.param(event(seq=7, id_="7") + b"id: 8\n\n", "8", "8", id="an id that is the place"),
        pytest.param(event(seq=7) + event(id_="8"), "8", "8", id="an id that came later"),
        pytest.param(event(id_="{}"), "%7B%7D", "{}", id="an id like one of our cursors"),
    ],
)
def test_a_place_that_entries_tell_is_asked_since(body: bytes, since: str, id_: str | None) -> None:
    ask = PLAIN.ask(hear(body)[2], wait=False)

    assert ask.url == f"{URL}?since={since}"
    assert ask.headers.get("last-event-id") == id_


# -- answers that are no stream, or not the same one --------------------------------------------------------


@pytest.mark.parametrize("kind", ["application/json", "text/html; charset=utf-8", "", "text/\nx"])
def test_another_type_is_not_believed(kind: str) -> None:
    with pytest.raises(Unreadable, match="not text/event-stream"):
        PLAIN.read(head(content_type=kind), None, wait=True)


def test_no_content_asks_not_to_be_asked_again() -> None:
    reading = PLAIN.read(Head(status=204, headers={}, url=URL), "5", wait=True)

    assert reading.end()[1] == End(caught_up=True, stop=True)


@pytest.mark.parametrize("name", ["mercure_last_event_id", "last_event_id"])
def test_an_answer_that_goes_on_after_another_event_has_lost_history(name: str) -> None:
    with pytest.raises(Reset, match="history was lost") as reset:
        MERCURE.read(head(**{name: "earliest"}), "urn:uuid:1", wait=True)

    assert reset.value.gap


@pytest.mark.parametrize(("cursor", "said"), [("urn:uuid:1", "urn:uuid:1"), ("", "urn:uuid:9"), (None, "urn:uuid:9")])
def test_an_answer_that_goes_on_where_it_was_asked_to_is_read(cursor: str | None, said: str) -> None:
    MERCURE.read(head(last_event_id=said), cursor, wait=True)


# -- laws ----------------------------------------------------------------------------------------------

BODIES = st.lists(
    st.sampled_from(
        [b"\n", b"\r", b"\r\n", b"\xef\xbb\xbf", b"data", b":", b" ", b"id: 1", b"id: 2\0", b"id:3\n", b"retry: 5\n",
         b"event: ping\n", b"event: change\n", b'data: {"key": "a"}\n', b'data:{"key":"b","seq":4}\n\n', b"x" * 50,
         b"data: " + b"y" * 39, b"data: oops\r\n\r\n", b": beat\n\n", b"\xff"]
    ),
    max_size=14,
).map(b"".join)  # fmt: skip


@given(BODIES | st.binary(max_size=80), st.lists(st.integers(0), max_size=6), st.sampled_from([PLAIN, SMALL, NAMED]))
@settings(max_examples=200)
def test_however_a_stream_is_cut_it_says_the_same(body: bytes, cuts: list[int], of: Sse) -> None:
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    pieces = [body[a:b] for a, b in pairwise(edges)]

    assert hear(pieces, "0", of=of) == hear(body, "0", of=of)
