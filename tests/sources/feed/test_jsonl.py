import json
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirrord.model.change import Rejection
from mirrord.model.mention import Mention
from mirrord.sources.feed.dialect import Ask, Dialect, End, Head, Limits, Reset, Unreadable
from mirrord.sources.feed.jsonl import JsonLines, syncthing
from mirrord.sources.feed.pointers import Pointers

URL = "https://feed.test/changes"
PLAIN = JsonLines(URL, pointers=Pointers(), limits=Limits())
PAGED = JsonLines(URL, pointers=Pointers(items="/items", next="/next"), limits=Limits())
LIMITED = JsonLines(URL, pointers=Pointers(), limit_param="limit", page=2, limits=Limits())
TIMED = JsonLines(URL, pointers=Pointers(), overlap=timedelta(minutes=1), limits=Limits())
SMALL = JsonLines(URL, pointers=Pointers(), limits=Limits(line=80, document=400))
SYNC = syncthing("http://sync.test:8384", wait=timedelta(seconds=55), limits=Limits())
HTML = {"content-type": "text/html; charset=utf-8"}
Heard = tuple[list[str], list[Rejection], str | None, End]


def hear(
    body: bytes | Sequence[bytes],
    cursor: str | None = None,
    *,
    of: Dialect = PLAIN,
    wait: bool = False,
    headers: dict[str, str] | None = None,
    widen: int = 1,
) -> Heard:
    """Names ("-" before one that is removed), what is bad, the last cursor, and the end."""
    reading = of.read(Head(status=200, headers=headers or {}, url=URL), cursor, wait=wait, widen=widen)
    chunks = [body] if isinstance(body, bytes) else body
    batches = [batch for chunk in chunks for batch in reading.receive(chunk)]
    last, end = reading.end()
    batches.append(last)
    names = [f"-{one.name}" if one.removed else one.name for batch in batches for one in batch.mentions]
    cursors = [batch.cursor for batch in batches if batch.cursor is not None]
    return names, [one for batch in batches for one in batch.bad], cursors[-1] if cursors else None, end


def row(seq: object, key: object = None, **more: object) -> dict[str, object]:
    return {"seq": seq, "key": f"k{seq}" if key is None else key, **more}


def lines(*rows: object) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in rows)


def cursor(**fields: object) -> str:
    return json.dumps(fields, separators=(",", ":"))


def query(ask: Ask) -> dict[str, list[str]]:
    return parse_qs(urlsplit(ask.url).query, keep_blank_values=True)


# -- what is asked -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seq", "since"),
    [(5, "5"), (1.5, "1.5"), ("a&b", "a&b"), ([1, "x"], '[1,"x"]'), ({"a": 1}, '{"a":1}'), (0, "0"), (False, "false")],
)
def test_a_text_is_asked_as_it_is_and_anything_else_as_its_json(seq: object, since: str) -> None:
    assert query(PLAIN.ask(cursor(seq=seq), wait=False)) == {"since": [since]}


def test_the_beginning_is_asked_for_without_a_place() -> None:
    ask = PLAIN.ask(None, wait=True)

    assert ask.url == URL
    assert ask.conditional
    assert not ask.waits


def test_a_wider_page_is_asked_for() -> None:
    assert query(LIMITED.ask(cursor(seq=5), wait=False, widen=4)) == {"since": ["5"], "limit": ["8"]}


def test_a_long_poll_says_how_long_it_waits_when_it_is_to_wait() -> None:
    feed = JsonLines(URL, pointers=Pointers(), wait_param="timeout", wait_unit=timedelta(milliseconds=1),
                     wait=timedelta(seconds=20), mode="longpoll", limits=Limits())  # fmt: skip

    waiting, now = feed.ask(cursor(seq=5), wait=True), feed.ask(cursor(seq=5), wait=False)

    assert query(waiting) == {"since": ["5"], "timeout": ["20000"]}
    assert waiting.waits
    assert waiting.idle is not None
    assert waiting.idle > timedelta(seconds=20)
    assert query(now) == {"since": ["5"]}
    assert not now.waits
    assert not waiting.conditional


@pytest.mark.parametrize(
    ("seq", "since"), [("2026-11-20T20:15:00Z", "2026-11-20T20:14:00Z"), (1_700_000_000, "1699999940"), ("v7", "v7")]
)
def test_a_time_is_asked_for_with_an_overlap(seq: object, since: str) -> None:
    assert query(TIMED.ask(cursor(seq=seq), wait=False)) == {"since": [since]}


@given(st.text(max_size=60))
@settings(max_examples=100)
def test_any_cursor_makes_an_ascii_url(text: str) -> None:
    for feed in (PLAIN, PAGED, LIMITED, TIMED, SYNC):
        assert feed.ask(text, wait=True).url.isascii()


# -- lines ---------------------------------------------------------------------------------------------


def test_lines_are_read_and_the_last_place_is_the_cursor() -> None:
    names, bad, after, end = hear(lines(row(1), row(2, op="remove"), row("x-3", "c")))

    assert (names, bad) == (["k1", "-k2", "c"], [])
    assert json.loads(after or "")["seq"] == "x-3"
    assert end == End(caught_up=True)


@pytest.mark.parametrize("tail", [b"", b"\n", b"\r\n\r\n", b'\n{"seq":3,"key":"cu', b"\n\xff"])
def test_a_last_line_counts_when_it_is_whole(tail: bytes) -> None:
    names, bad, after, _ = hear(lines(row(1), row(2)).rstrip() + tail)

    assert (names, bad, after) == (["k1", "k2"], [], cursor(seq=2))


def test_a_spoilt_line_is_told_alone() -> None:
    body = lines(row(1)) + b'{"seq": oops\n\n"text"\n' + lines(row(2), row(3, 7), row(4, op="copy"), row(5, "x" * 99))

    names, bad, after, _ = hear(body + lines(row(6)), of=SMALL)

    assert names == ["k1", "k2", "k6"]
    assert len(bad) == 5
    assert all(each.name.isprintable() for each in bad)
    assert after == cursor(seq=6)


def test_a_name_that_is_not_utf_8_does_not_spoil_others() -> None:
    names, bad, _, _ = hear(b'{"seq":1,"key":"\xe4"}\n' + lines(row(2)))

    assert (names, bad) == (["\udce4", "k2"], [])


def test_spoilt_lines_before_the_first_good_one_are_told_with_it() -> None:
    names, bad, after, _ = hear([b"# a comment\n", lines(row(1))])

    assert (names, after) == (["k1"], cursor(seq=1))
    assert [each.name for each in bad] == ["'# a comment'"]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(b"<!doctype html>\n<p>Log in</p>", HTML, id="a page"),
        pytest.param(b"<!doctype html>\n<p>Log in</p>", {}, id="a page without a type"),
        pytest.param(b"Service unavailable\n", {}, id="a text"),
        pytest.param(b"12\nnull\n", {}, id="no objects"),
        pytest.param(b'{\n  "error": 1\n}', {}, id="a pretty document"),
        pytest.param(b'{"seq":1,"key', {}, id="cut in the first line"),
        pytest.param(b'[{"seq":1,"key":"a"}', {}, id="a document cut off"),
        pytest.param(b"\xef\xbb", {}, id="half a byte order mark"),
        pytest.param(b"[" + b" " * 500 + b"]", {}, id="too long a document"),
        pytest.param(b'{"a":"' + b"x" * 500 + b'"}', {}, id="one line too long"),
    ],
)
def test_what_is_no_feed_is_not_believed(body: bytes, headers: dict[str, str]) -> None:
    with pytest.raises(Unreadable):
        hear(body, of=SMALL, headers=headers)


@pytest.mark.parametrize("body", [b"", b"\n \r\n", b"\xef\xbb\xbf", b"[]"])
def test_an_empty_answer_is_caught_up_where_it_was(body: bytes) -> None:
    assert hear(body, cursor(seq=5), of=LIMITED) == ([], [], None, End(caught_up=True))


def test_entries_without_places_are_read_without_a_cursor() -> None:
    assert hear(lines({"key": "a"}, {"key": "b", "op": "delete"})) == (["a", "-b"], [], None, End(caught_up=True))


def test_a_cursor_on_the_way_covers_all_that_was_told_before_it_and_no_more() -> None:
    reading = PLAIN.read(Head(status=200, headers={}, url=URL), None, wait=False)

    first = reading.receive(lines(row(1), row(2), row(3, "a"), row(3, "b")))
    second = reading.receive(lines(row(3, "c"), row(4)))
    last, _ = reading.end()

    told = [([one.name for one in batch.mentions], batch.cursor) for batch in (*first, *second, last)]
    assert told == [(["k1", "k2"], cursor(seq=2)), (["a", "b"], None), (["c"], cursor(seq=3)), (["k4"], None),
                    ([], cursor(seq=4))]  # fmt: skip


def test_a_feed_whose_places_do_not_ascend_is_only_sure_of_one_at_the_end() -> None:
    reading = PLAIN.read(Head(status=200, headers={}, url=URL), None, wait=False)

    batches = [batch for seq in (5, 3, 7, 8) for batch in reading.receive(lines(row(seq)))]
    last, _ = reading.end()

    assert [batch.cursor for batch in batches] == [None] * 4
    assert last.cursor == cursor(seq=8)


def test_a_byte_order_mark_may_come_in_pieces() -> None:
    assert hear([b"\xef", b"\xbb", b"\xbf", json.dumps([row(1)]).encode()])[:2] == (["k1"], [])


# -- documents -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("items", "body", "headers"),
    [
        pytest.param(None, [row(1), row(2)], {}, id="an array"),
        pytest.param("", [row(1), row(2)], {"content-type": "application/json"}, id="an array that was told"),
        pytest.param("/a/b", {"a": {"b": [row(1), row(2)]}}, {}, id="an object"),
    ],
)
def test_a_document_is_read(items: str | None, body: object, headers: dict[str, str]) -> None:
    feed = JsonLines(URL, pointers=Pointers(items=items), limits=Limits())

    heard = hear(b"\xef\xbb\xbf" + json.dumps(body, indent=1).encode(), of=feed, headers=headers)

    assert heard == (["k1", "k2"], [], cursor(seq=2), End(caught_up=True))


def test_lines_of_arrays_are_lines_when_their_type_says_so() -> None:
    feed = JsonLines(URL, pointers=Pointers(key="/1", seq="/0", op="/2"), limits=Limits())

    names, _, after, _ = hear(b'[1,"a"]\n[2,"b",true]\n', of=feed, headers={"content-type": "application/x-ndjson"})

    assert (names, after) == (["a", "-b"], cursor(seq=2))


def test_an_error_in_place_of_entries_is_told_in_its_own_words() -> None:
    with pytest.raises(Unreadable, match="over quota"):
        hear(b'{"error": "over quota"}', of=PAGED)


# -- pages ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "widen", "caught_up"), [(0, 1, True), (1, 1, True), (2, 1, False), (2, 2, True)])
def test_a_page_that_is_full_is_not_the_last(count: int, widen: int, caught_up: bool) -> None:
    body = lines(*(row(seq) for seq in range(count)))

    assert hear(body, of=LIMITED, widen=widen)[3] == End(caught_up=caught_up)


def test_linked_pages_are_followed_and_the_last_one_is_asked_again() -> None:
    link = {"link": '</changes?page=2>; rel="next"'}

    _, _, second, first_end = hear(lines(row(1), row(2)), headers=link)
    names, _, last, end = hear(lines(row(3), row(4)), second)
    again = hear(lines(row(3), row(4), row(5)), last)

    assert (second, first_end) == (cursor(next=f"{URL}?page=2"), End(caught_up=False))
    assert PLAIN.ask(second, wait=False).url == f"{URL}?page=2"
    assert (names, end) == (["k3", "k4"], End(caught_up=True))
    assert PLAIN.ask(last, wait=False).url == f"{URL}?page=2"
    assert again == (["k5"], [], cursor(seq=5, next=f"{URL}?page=2"), End(caught_up=True))


def test_the_last_linked_page_is_the_last_even_if_it_is_full() -> None:
    assert hear(lines(row(3), row(4)), cursor(next=f"{URL}?page=2"), of=LIMITED)[3] == End(caught_up=True)


def test_a_feed_that_names_its_next_page_is_not_asked_by_places() -> None:
    assert PAGED.ask(cursor(seq=5), wait=False).url == URL


def test_an_answer_that_links_to_itself_is_the_last() -> None:
    assert hear(lines(row(1)), headers={"link": f"<{URL}>; rel=next"})[3] == End(caught_up=True)


def test_a_page_elsewhere_is_refused() -> None:
    with pytest.raises(Unreadable, match=r"else\.test"):
        hear(lines(row(1)), headers={"link": "<https://else.test/>; rel=next"})


def test_a_pointer_leads_to_the_next_page() -> None:
    _, _, after, end = hear(json.dumps({"items": [row(1)], "next": "?page=2"}).encode(), of=PAGED)
    _, _, last, last_end = hear(json.dumps({"items": [row(2)], "next": None}).encode(), after, of=PAGED)

    assert (after, end) == (cursor(next=f"{URL}?page=2"), End(caught_up=False))
    assert (last, last_end) == (cursor(seq=2, next=f"{URL}?page=2"), End(caught_up=True))


def test_a_value_that_a_pointer_leads_to_is_asked_and_does_not_hide_places_of_another_kind() -> None:
    _, _, after, end = hear(json.dumps({"items": [row(900)], "next": 1000}).encode(), of=PAGED)
    names, _, same, caught_up = hear(json.dumps({"items": [row(901)], "next": 1000}).encode(), after, of=PAGED)

    assert query(PAGED.ask(after, wait=False)) == {"since": ["1000"]}
    assert end == End(caught_up=False)
    assert (names, caught_up) == (["k901"], End(caught_up=True))
    assert query(PAGED.ask(same, wait=False)) == {"since": ["1000"]}


def test_a_value_that_changes_though_nothing_comes_is_remembered_without_haste() -> None:
    heard = hear(b'{"items": [], "next": "t2"}', cursor(next="t1"), of=PAGED)

    assert heard == ([], [], cursor(next="t2"), End(caught_up=True))


# -- what was read before ------------------------------------------------------------------------------


def test_a_static_file_with_numbers_is_read_on_from_the_cursor() -> None:
    rows = [row(1), row(2.5), row(3)]

    assert hear(lines(*rows), cursor(seq=3)) == ([], [], None, End(caught_up=True))
    assert hear(lines(*rows, row(4)), cursor(seq=3))[0] == ["k4"]


def test_a_static_file_with_texts_is_read_on_from_the_cursor() -> None:
    rows = [row("a"), row("c"), row("b")]
    _, _, after, _ = hear(lines(*rows))

    assert hear(lines(*rows), after) == ([], [], None, End(caught_up=True))
    assert hear(lines(*rows, row("d")), after)[0] == ["kd"]
    assert hear(lines(row("b"), row("d")), after)[0] == ["kd"]
    assert hear(lines(row("c"), row("d")), after)[0] == ["kc", "kd"]


def test_a_static_file_with_texts_that_has_lost_the_entry_is_read_again() -> None:
    _, _, after, _ = hear(lines(row("a"), row("c"), row("b")))

    with pytest.raises(Reset, match="is gone") as reset:
        hear(lines(row("a"), row("c"), row("d")), after)

    assert not reset.value.gap


def test_numbers_that_went_back_are_a_reset() -> None:
    with pytest.raises(Reset, match="went back from 9 to 2") as reset:
        hear(lines(row(1), row(2)), cursor(seq=9))

    assert not reset.value.gap


def test_what_the_overlap_repeats_is_told_again_and_what_is_older_is_not() -> None:
    day = "2026-11-20T20"
    old, repeated, new = f"{day}:00:00Z", f"{day}:14:30Z", f"{day}:16:00Z"

    names, _, after, _ = hear(lines(row(old, "a"), row(repeated, "b"), row(new, "c")), cursor(seq=f"{day}:15:00Z"),
                              of=TIMED)  # fmt: skip
    again = hear(lines(row(repeated, "b")), cursor(seq=f"{day}:15:00Z"), of=TIMED)

    assert names == ["b", "c"]
    assert json.loads(after or "")["seq"] == new
    assert again == (["b"], [], None, End(caught_up=True))


def test_what_the_overlap_repeats_does_not_hold_back_the_cursor() -> None:
    times = [f"2026-11-20T20:{minute}:00Z" for minute in ("14", "15", "16", "17")]
    reading = TIMED.read(Head(status=200, headers={}, url=URL), cursor(seq=times[1]), wait=False)

    batches = reading.receive(lines(*map(row, times)))

    assert [batch.cursor for batch in batches] == [cursor(seq=times[2]), None]


# -- counted places ------------------------------------------------------------------------------------


def event(number: int, *, action: str = "modified", kind: str = "file", time: str = "2026-11-20T20:15:00Z") -> object:
    data = {"action": action, "path": f"d/{number}", "type": kind, "folder": "f"}
    return {"id": number, "globalID": number + 9, "time": time, "type": "LocalChangeDetected", "data": data}


def events(*numbers: int, **more: str) -> bytes:
    return json.dumps([event(number, **more) for number in numbers]).encode()


def test_syncthing_is_asked_so_that_it_does_not_hold_back_what_it_has() -> None:
    beginning, going_on, waiting = (
        SYNC.ask(None, wait=False), SYNC.ask(cursor(seq=7), wait=False), SYNC.ask(cursor(seq=7), wait=True)
    )  # fmt: skip

    assert beginning.url == "http://sync.test:8384/rest/events/disk?timeout=0"
    assert query(going_on) == {"since": ["6"], "timeout": ["0"]}
    assert query(waiting) == {"since": ["7"], "timeout": ["55"]}
    assert waiting.waits


def test_syncthing_says_what_became_of_files() -> None:
    body = json.dumps([event(1), event(2, kind="dir"), event(3, action="deleted")]).encode()

    names, bad, after, end = hear(body, of=SYNC)

    assert (names, bad, end) == (["d/1", "-d/3"], [], End(caught_up=True))
    assert json.loads(after or "") == {"seq": 3, "stamp": "2026-11-20T20:15:00Z"}


def test_syncthing_can_be_asked_for_one_folder() -> None:
    feed = syncthing("http://s.test/rest/events/disk", wait=timedelta(seconds=1), limits=Limits(), folder="other")

    assert hear(events(1, 2), of=feed)[0] == []


@pytest.mark.parametrize(
    ("numbers", "wait", "says"),
    [
        pytest.param([9, 10], True, "between entry 7 and 9", id="a gap"),
        pytest.param([8, 10], True, "between entry 8 and 10", id="a gap within"),
        pytest.param([1, 2], True, "went back", id="back"),
        pytest.param([8, 8], True, "went back", id="twice"),
        pytest.param([], False, "not known any more", id="its own is unknown"),
    ],
)
def test_a_counter_that_does_not_go_on_is_a_reset_with_a_gap(numbers: list[int], wait: bool, says: str) -> None:
    with pytest.raises(Reset, match=says) as reset:
        hear(events(*numbers), cursor(seq=7), of=SYNC, wait=wait)

    assert reset.value.gap


def test_a_number_that_is_another_entry_now_is_a_reset_with_a_gap() -> None:
    _, _, after, _ = hear(events(6, 7), of=SYNC)

    with pytest.raises(Reset, match="another one") as reset:
        hear(events(7, 8, time="2026-11-21T00:00:00Z"), after, of=SYNC)

    assert reset.value.gap


@pytest.mark.parametrize(("numbers", "wait"), [([7, 8], False), ([8], False), ([8], True), ([7, 8], True)])
def test_a_counter_that_goes_on_is_read_on(numbers: list[int], wait: bool) -> None:
    assert hear(events(*numbers), cursor(seq=7), of=SYNC, wait=wait)[0] == ["d/8"]


def test_an_entry_that_cannot_be_read_may_be_the_one_that_is_missing() -> None:
    body = json.dumps([event(8), {"id": "nine"}, event(10)]).encode()

    names, bad, _, _ = hear(body, cursor(seq=7), of=SYNC, wait=True)

    assert names == ["d/8", "d/10"]
    assert bad == []


def test_a_line_that_cannot_be_read_may_be_the_one_that_is_missing() -> None:
    feed = JsonLines(URL, pointers=Pointers(), gapless=True, limits=Limits())

    names, bad, _, _ = hear(lines(row(8)) + b"oops\n" + lines(row(10)), cursor(seq=7), of=feed)

    assert (names, len(bad)) == (["k8", "k10"], 1)


def test_after_waiting_in_vain_it_is_looked_whether_the_counter_is_still_the_same() -> None:
    _, _, idle, end = hear(events(), cursor(seq=7), of=SYNC, wait=True)
    look = SYNC.ask(idle, wait=True)
    _, _, after, looked = hear(events(7), idle, of=SYNC, wait=True)

    assert end.caught_up
    assert query(look) == {"since": ["6"], "timeout": ["0"]}
    assert not look.waits
    assert after == cursor(seq=7)
    assert looked == End(caught_up=True, pause=timedelta(0))
    with pytest.raises(Reset, match="not known any more"):
        hear(events(), idle, of=SYNC, wait=True)


# -- laws ----------------------------------------------------------------------------------------------

ROWS = st.lists(st.builds(row, st.integers(0, 9) | st.sampled_from("ab")), max_size=4)
SCRAPS = [b"\n", b"\xef\xbb\xbf", b" ", b"[", b"]", b"{", b"oops\n", b'{"key":"\xff"}\n', b"x" * 99, b"\r\n"]
PIECES = st.lists(ROWS.map(lambda rows: lines(*rows)) | st.sampled_from(SCRAPS), max_size=6).map(b"".join)
CURSORS = st.none() | st.builds(lambda seq: cursor(seq=seq), st.integers(0, 9) | st.sampled_from("ab"))
FEEDS = st.sampled_from([PLAIN, PAGED, LIMITED, TIMED, SMALL, SYNC])


def pieces(body: bytes, cuts: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    return [body[a:b] for a, b in pairwise(edges)]


def outcome(body: Sequence[bytes], after: str | None, of: Dialect) -> object:
    try:
        return hear(body, after, of=of)
    except (Reset, Unreadable) as exc:
        return type(exc), str(exc)


@given(PIECES | st.binary(max_size=60), CURSORS, FEEDS, st.lists(st.integers(0), max_size=5))
@settings(max_examples=200)
def test_however_a_body_is_cut_it_says_the_same(body: bytes, after: str | None, of: Dialect, cuts: list[int]) -> None:
    assert outcome(pieces(body, cuts), after, of) == outcome([body], after, of)


@given(st.lists(st.integers(0, 6), max_size=12).map(sorted), st.integers(0), st.integers(0), st.booleans())
@settings(max_examples=200)
def test_nothing_is_missed_however_often_an_answer_breaks_off(seqs: list[int], cut: int, at: int, heeds: bool) -> None:
    rows = [row(seq, f"{seq}-{number}") for number, seq in enumerate(seqs)]
    body = lines(*rows)
    told: list[Mention] = []
    after: str | None = None
    reading = PLAIN.read(Head(status=200, headers={}, url=URL), None, wait=False)
    for chunk in pieces(body, [cut, at])[:-1]:
        for batch in reading.receive(chunk):
            told += batch.mentions
            after = batch.cursor or after

    have = json.loads(after)["seq"] if after else -1
    rest = [each for each in rows if not heeds or int(str(each["seq"])) > have]
    names, _, _, _ = hear(lines(*rest), after)

    assert {one.name for one in told} | set(names) == {str(each["key"]) for each in rows}
