import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirrord.sources.feed.dialect import Head, Unreadable
from mirrord.sources.feed.documents import Document, complaint, parse_json, refuse_page, shown, shown_value

DEEP: list[object] = []
for _ in range(300):
    DEEP = [DEEP]


def head(**headers: str) -> Head:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Head(status=200, headers=named, url="http://feed.test/")


def test_a_document_is_what_its_parts_are_together() -> None:
    document = Document(100)

    for part in (b'{"a"', b":[1,", b"2]}"):
        document.receive(part)

    assert document.json() == {"a": [1, 2]}


def test_a_document_may_be_as_long_as_allowed_and_no_longer() -> None:
    document = Document(4)
    document.receive(b"1234")

    with pytest.raises(Unreadable, match="longer than 4 bytes"):
        document.receive(b"5")

    assert document.json() == 1234


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(b"", "begins with nothing", id="empty"),
        pytest.param(b'{"a":[1,', r"cut off\?", id="cut off"),
        pytest.param(b'{"a', r"cut off\?", id="cut off within text"),
        pytest.param(b"<!doctype html>", "begins with '<!doctype html>'", id="page"),
        pytest.param(b'{"a":1} trailing', "is not JSON", id="more after it"),
        pytest.param(b"[" * 5000, "depth limit", id="too deep"),
        pytest.param(b"\xff\xfe\x00", "is not JSON", id="bytes"),
        pytest.param(b'["\xff", ' + b"[" * 100_000, "is not JSON", id="not UTF-8 and too deep"),
        pytest.param(b'["\xff", ' + b"9" * 5000 + b"]", "is not JSON", id="not UTF-8 and a number without end"),
    ],
)
def test_what_is_not_json_is_said_in_one_line(text: bytes, says: str) -> None:
    with pytest.raises(Unreadable, match=says) as caught:
        parse_json(text)

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param(b'["a\xff", "b"]', ["a\udcff", "b"], id="not UTF-8"),
        pytest.param(b'["\\ud800", "b"]', ["\ud800", "b"], id="half a surrogate pair"),
        pytest.param(b'[1e999, "b"]', [float("inf"), "b"], id="a number without bounds"),
        pytest.param(b"\xef\xbb\xbf[1]", [1], id="byte order mark"),
        pytest.param(b'\xef\xbb\xbf["\xff"]', ["\udcff"], id="byte order mark and not UTF-8"),
    ],
)
def test_one_strange_entry_does_not_lose_the_others(text: bytes, value: object) -> None:
    assert parse_json(text) == value
    assert parse_json(bytearray(text)) == value


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(), st.text().map(str.encode)))
def test_any_bytes_are_json_or_unreadable(text: bytes) -> None:
    said = None

    try:
        parse_json(text)
    except Unreadable as exc:
        said = str(exc)

    assert said is None or said.isprintable()


@pytest.mark.parametrize("kind", ["text/html", "TEXT/HTML; charset=utf-8", "application/xhtml+xml"])
def test_a_page_for_people_is_refused(kind: str) -> None:
    with pytest.raises(Unreadable, match="is a page"):
        refuse_page(head(content_type=kind))


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="no type"),
        pytest.param({"content_type": ""}, id="empty type"),
        pytest.param({"content_type": "application/json"}, id="JSON"),
        pytest.param({"content_type": "text/plain; charset=utf-8"}, id="PouchDB's"),
    ],
)
def test_everything_else_may_be_a_feed(headers: dict[str, str]) -> None:
    refuse_page(head(**headers))


def test_a_page_that_was_expected_is_not_refused() -> None:
    refuse_page(head(content_type="application/xhtml+xml; charset=utf-8"), "application/xhtml+xml")


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        pytest.param(b"", "nothing", id="nothing"),
        pytest.param(b"abc", "'abc'", id="short"),
        pytest.param(b"a" * 61, "'" + "a" * 60 + "'…", id="long"),
        pytest.param(b"a\r\n\x1b[31m", r"'a\r\n\x1b[31m'", id="not printable"),
    ],
)
def test_what_is_shown_is_short_and_printable(text: bytes, begins: str) -> None:
    assert shown(text) == begins


@pytest.mark.parametrize(
    ("value", "begins"),
    [
        pytest.param({"a": 1}, """'{"a":1}'""", id="object"),
        pytest.param("a\ud800", "a str", id="not UTF-8"),
        pytest.param(DEEP, "a list", id="deep"),
    ],
)
def test_a_value_is_shown_as_its_json_where_it_has_one(value: object, begins: str) -> None:
    assert shown_value(value) == begins


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        pytest.param(
            {"error": "not_found", "reason": "no_db_file"}, "answers with an error: not_found: no_db_file", id="CouchDB"
        ),
        pytest.param({"title": "Gone\nfor good"}, "answers with an error: Gone for good", id="problem+json"),
        pytest.param({"error": 7}, """does not hold changes; it begins with '{"error":7}'""", id="no words"),
        pytest.param([1], "does not hold changes; it begins with '[1]'", id="list"),
        pytest.param({"error": "\ud800\x1b[31m"}, "answers with an error: ??[31m", id="not printable"),
        pytest.param({"error": "x" * 1000}, "answers with an error: " + "x" * 200, id="long"),
    ],
)
def test_what_holds_something_else_is_told_in_its_own_words(said: object, sentence: str) -> None:
    assert complaint(said, "changes") == sentence


@settings(max_examples=100, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=9))
def test_every_value_can_be_shown(value: object) -> None:
    began = shown_value(value)

    assert began.isprintable()
    assert len(began) < 700
