import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirrord.model.mention import Mention
from mirrord.sources.feed.dialect import Batch, End, Head, Limits, Unreadable
from mirrord.sources.feed.http_feeds import HttpFeeds

WAIT = timedelta(seconds=5)
BATCH = {"content-type": "application/cloudevents-batch+json"}


def feed(
    mode: Literal["poll", "longpoll"] = "longpoll",
    *,
    url: str = "https://feed.test/files",
    limits: Limits | None = None,
) -> HttpFeeds:
    return HttpFeeds(url, mode=mode, wait=WAIT, limits=limits or Limits())


def hear(
    chunks: Sequence[bytes], *, headers: dict[str, str] = BATCH, limits: Limits | None = None
) -> tuple[Batch, End]:
    reading = feed(limits=limits).read(
        Head(status=200, headers=headers, url="https://feed.test/files"), "0", wait=False
    )
    for chunk in chunks:
        assert not reading.receive(chunk)
    return reading.end()


def event(event_id: object = "1", subject: object = "a.txt", **more: object) -> dict[str, object]:
    return {"specversion": "1.0", "type": "file", "source": "/files", "id": event_id, "subject": subject, **more}


def array(*events: object) -> bytes:
    return json.dumps(events).encode()


# -- what is asked -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "cursor", "asked"),
    [
        pytest.param("https://feed.test/files", None, "https://feed.test/files", id="from the beginning"),
        pytest.param("https://feed.test/files", "7", "https://feed.test/files?lastEventId=7", id="after an event"),
        pytest.param(
            "https://feed.test/files",
            "a&b=ü/+",
            "https://feed.test/files?lastEventId=a%26b%3D%C3%BC%2F%2B",
            id="any text",
        ),
        pytest.param(
            "https://feed.test/files?kind=a%2Fb&x#top",
            "7",
            "https://feed.test/files?kind=a%2Fb&x&lastEventId=7",
            id="query",
        ),
        pytest.param(
            "https://feed.test/files?lastEventId=1&timeout=9", "7", "https://feed.test/files?lastEventId=7", id="ours"
        ),
        pytest.param("https://feed.test/files/", None, "https://feed.test/files/", id="slash"),
    ],
)
def test_the_last_id_is_sent_with_the_addresses_own_query(url: str, cursor: str | None, asked: str) -> None:
    assert feed(url=url).ask(cursor, wait=False).url == asked


@pytest.mark.parametrize(
    ("mode", "wait", "timeout"),
    [
        pytest.param("longpoll", True, ["5000"], id="waiting"),
        pytest.param("longpoll", False, None, id="catching up"),
        pytest.param("poll", True, None, id="poll"),
    ],
)
def test_only_who_waits_says_how_long(mode: Literal["poll", "longpoll"], wait: bool, timeout: list[str] | None) -> None:
    ask = feed(mode).ask("7", wait=wait, widen=4)

    assert parse_qs(urlsplit(ask.url).query).get("timeout") == timeout
    assert ask.waits == (timeout is not None)
    assert ask.idle is None if timeout is None else ask.idle is not None and ask.idle > WAIT


@settings(max_examples=100, deadline=None)
@given(st.text(min_size=1))
def test_every_id_comes_back_unchanged(event_id: str) -> None:
    batch, _ = hear([array(event(event_id))])

    assert batch.cursor == event_id
    assert parse_qs(urlsplit(feed().ask(batch.cursor, wait=False).url).query)["lastEventId"] == [event_id]


# -- what is read --------------------------------------------------------------------------------------

AT = datetime(2026, 11, 5, 12, 0, tzinfo=UTC)


def test_events_name_what_changed_and_where_to_go_on() -> None:
    body = array(
        event("1", "a.txt", time="2026-11-05T20:00:00+08:00", data={"any": "thing"}),
        event("2", "图/b.txt", method="PUT"),
        event("3", "c.txt", method="DELETE"),
    )

    batch, end = hear([body])

    assert batch.mentions == [
        Mention(name="a.txt", token="/files 1", at=AT),
        Mention(name="图/b.txt", token="/files 2"),
        Mention(name="c.txt", token="/files 3", removed=True),
    ]
    assert (batch.bad, batch.cursor, end) == ([], "3", End(caught_up=False))


def test_an_empty_array_is_the_end() -> None:
    assert hear([b"[]"]) == (Batch(mentions=[], bad=[], cursor=None), End(caught_up=True))


@pytest.mark.parametrize(
    ("method", "removed"),
    [("put", False), ("Put", False), (None, False), ("DELETE", True), ("delete", True)],
    ids=repr,
)
def test_the_method_says_whether_it_is_gone(method: str | None, removed: bool) -> None:
    batch, _ = hear([array(event(method=method))])

    assert [each.removed for each in batch.mentions] == [removed]


@pytest.mark.parametrize(
    ("attributes", "token"),
    [
        pytest.param({}, "/files 1", id="source and id"),
        pytest.param({"source": None}, "1", id="id alone"),
        pytest.param({"etag": '"abc"'}, '"abc"', id="etag"),
        pytest.param({"etag": ""}, "/files 1", id="empty etag"),
        pytest.param({"etag": 7}, "/files 1", id="etag that is no text"),
        pytest.param({"version": "1.0"}, "/files 1", id="a version may be the schema's"),
    ],
)
def test_a_version_is_known_by_its_etag_or_its_event(attributes: dict[str, object], token: str) -> None:
    batch, _ = hear([array(event(**attributes))])

    assert [each.token for each in batch.mentions] == [token]


def test_an_event_that_is_delivered_twice_is_the_same_version() -> None:
    batch, _ = hear([array(event("7"), event("7"))])

    first, second = batch.mentions
    assert first == second


@pytest.mark.parametrize("time", [None, "soon", 10**400, {}], ids=["null", "text", "number", "object"])
def test_a_time_that_is_none_is_left_out(time: object) -> None:
    batch, _ = hear([array(event(time=time))])

    assert [each.at for each in batch.mentions] == [None]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        pytest.param(7, "is not an event: not an object", id="number"),
        pytest.param(["a"], "is not an event: not an object", id="list"),
        pytest.param({"id": "2"}, "has no subject", id="no subject"),
        pytest.param(event("2", None), "has no subject", id="subject is null"),
        pytest.param(event("2", "\ud800", method=1), "its method is neither PUT nor DELETE", id="method is no text"),
        pytest.param(event("2", method="PATCH"), "its method is neither PUT nor DELETE", id="another method"),
        pytest.param({"subject": "a.txt"}, "has no id", id="no id"),
        pytest.param(event(2), "has no id", id="id is no text"),
        pytest.param(event(""), "has no id", id="empty id"),
        pytest.param(event("\ud800"), "has no id", id="id that cannot be sent"),
    ],
)
def test_what_is_no_event_is_told_and_blocks_nothing(bad: object, reason: str) -> None:
    batch, _ = hear([array(event("1", "before"), bad, event("3", "after"))])

    assert [each.name for each in batch.mentions] == ["before", "after"]
    assert [each.reason for each in batch.bad] == [reason]
    assert batch.bad[0].name.isprintable()
    assert batch.cursor == "3"


@pytest.mark.parametrize(
    ("events", "cursor"),
    [
        pytest.param([event("1"), {"id": "2"}], "2", id="a bad one last"),
        pytest.param([{"id": "1"}, {"id": "2"}], "2", id="all bad"),
        pytest.param([event("1"), {"subject": "a"}], "1", id="one without id last"),
        pytest.param([{"subject": "a"}], None, id="none with id"),
    ],
)
def test_bad_events_do_not_stop_the_feed(events: list[object], cursor: str | None) -> None:
    batch, end = hear([array(*events)])

    assert (batch.cursor, end) == (cursor, End(caught_up=False))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param(
            b'{"error":"gone","message":"no such feed"}', "answers with an error: gone: no such feed", id="error"
        ),
        pytest.param(b'{"events":[]}', "does not hold an array of events", id="object"),
        pytest.param(b"null", "does not hold an array of events", id="null"),
        pytest.param(b"", "begins with nothing", id="nothing"),
        pytest.param(array(event())[:-9], r"cut off\?", id="cut off"),
    ],
)
def test_what_is_no_array_is_unreadable(body: bytes, says: str) -> None:
    with pytest.raises(Unreadable, match=says):
        hear([body])


@pytest.mark.parametrize(
    "headers", [{}, {"content-type": "application/json; charset=utf-8"}, {"content-type": "text/plain"}], ids=str
)
def test_the_type_need_not_be_that_of_cloudevents(headers: dict[str, str]) -> None:
    batch, _ = hear([array(event())], headers=headers)

    assert len(batch.mentions) == 1


def test_a_page_for_people_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="is a page"):
        hear([b"[]"], headers={"content-type": "text/html"})


def test_an_answer_that_is_too_long_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="longer than 50 bytes"):
        hear([array(event())], limits=Limits(document=50))


# -- whatever comes ------------------------------------------------------------------------------------

PIECES = [
    b"[",
    b"]",
    b",",
    b'{"id":"1","subject":"a"}',
    b'{"id":"\xff","subject":"\xff"}',
    b'{"error":"x"}',
    b"{",
    b"7",
]
VALUES = st.none() | st.text(max_size=5) | st.integers() | st.sampled_from(["1", "PUT", "delete", "2026-11-05T12:00Z"])
EVENTS = st.lists(
    st.dictionaries(st.sampled_from(["id", "subject", "method", "time", "source", "etag", "data"]), VALUES) | VALUES,
    max_size=5,
).map(lambda events: array(*events))
BODIES = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join), EVENTS)


def outcome(chunks: Sequence[bytes], limits: Limits) -> tuple[Batch, End] | str:
    try:
        return hear(chunks, limits=limits)
    except Unreadable as exc:
        return str(exc)


@settings(max_examples=200, deadline=None)
@given(BODIES, st.sampled_from([Limits(), Limits(document=60)]), st.data())
def test_however_it_is_cut_it_says_the_same(body: bytes, limits: Limits, data: st.DataObject) -> None:
    places = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    cut = [body[a:b] for a, b in zip([0, *places], [*places, len(body)], strict=True)]

    assert outcome(cut, limits) == outcome([body], limits)


@settings(max_examples=150, deadline=None)
@given(EVENTS)
def test_every_event_is_a_mention_or_told_as_bad(body: bytes) -> None:
    events = json.loads(body)

    batch, _ = hear([body])

    assert len(batch.mentions) + len(batch.bad) == len(events)
