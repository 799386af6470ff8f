"""Documents that are kept between two looks: what is shown is always a whole look."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from mirrord.model.change import Rejection
from mirrord.sources.feed.fetching import Validators
from mirrord.sources.feed.shelf import Document, Shelf
from mirrord.sources.feed.snapshot import Row

MADE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    made = Shelf()
    yield made
    made.close()


def document(url: str, digest: str = "d") -> Document:
    return Document(
        url=url,
        digest=digest,
        made_at=MADE,
        validators=Validators(etag='"e"', last_modified=None),
        children=["child"],
        bad=[Rejection(name="n", reason="r")],
    )


def put(shelf: Shelf, url: str, *keys: str, digest: str = "d") -> None:
    shelf.begin()
    shelf.add([(key, None, 1) for key in keys])
    shelf.keep(document(url, digest))


def shown(shelf: Shelf) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for each, rows in shelf.entries():
        found.setdefault(each.url, []).extend(rows)
    return found


def test_what_is_kept_comes_back_as_it_was(shelf: Shelf) -> None:
    put(shelf, "a", "1", "ü")

    shelf.show(["a"])

    assert shelf.find("a") == document("a")
    assert list(shelf.entries()) == [(document("a"), [("1", None, 1), ("ü", None, 1)])]
    assert shelf.find("b") is None


def test_what_is_kept_is_not_seen_before_it_is_shown(shelf: Shelf) -> None:
    put(shelf, "a", "1")
    put(shelf, "b", "2")
    shelf.show(["a", "b"])

    put(shelf, "a", "3", digest="other")
    put(shelf, "c", "4")
    before, known = shown(shelf), shelf.find("a")
    shelf.show(["a", "c"])

    assert before == {"a": [("1", None, 1)], "b": [("2", None, 1)]}
    assert known is not None
    assert known.digest == "other"
    assert shown(shelf) == {"a": [("3", None, 1)], "c": [("4", None, 1)]}
    assert shelf.find("b") is None


def test_who_reads_sees_what_was_shown_when_it_began(shelf: Shelf) -> None:
    put(shelf, "a", *map(str, range(3000)))
    put(shelf, "b", "2")
    shelf.show(["a", "b"])
    reading = shelf.entries()

    first = next(reading)
    put(shelf, "a", "3")
    shelf.show(["a"])
    rest = list(reading)

    assert [(each.url, len(rows)) for each, rows in (first, *rest)] == [("a", 2000), ("a", 1000), ("b", 1)]
    assert shown(shelf) == {"a": [("3", None, 1)]}


def test_what_was_begun_and_left_is_forgotten(shelf: Shelf) -> None:
    put(shelf, "a", "1")
    shelf.show(["a"])

    shelf.begin()
    shelf.add([("2",)])
    shelf.restore()
    shelf.begin()  # and left, as by somebody who was cancelled
    shelf.add([("3",)])
    put(shelf, "b", "4")
    shelf.show(["a", "b"])

    assert shown(shelf) == {"a": [("1", None, 1)], "b": [("4", None, 1)]}


def test_looks_in_vain_leave_nothing_behind(shelf: Shelf) -> None:
    put(shelf, "a", "1")
    shelf.show(["a"])

    for number in range(3):
        put(shelf, f"new-{number}", "2")
        shelf.forget_others([f"new-{number}"])

    assert [shelf.find(f"new-{number}") is not None for number in range(3)] == [False, False, True]
    assert shown(shelf) == {"a": [("1", None, 1)]}


def test_the_version_is_of_the_bytes_and_the_content_of_what_they_say(shelf: Shelf) -> None:
    put(shelf, "a", "1", "2")
    put(shelf, "b", "1")
    first = shelf.told(["b", "a"])

    put(shelf, "a", "1", "2", digest="other bytes")
    same = shelf.told(["a", "b"])
    put(shelf, "a", "1", "3", digest="other bytes")
    other = shelf.told(["a", "b"])

    assert first.version != same.version
    assert first.content == same.content
    assert same.content != other.content
    assert other.content != shelf.told(["a"]).content


def test_a_document_without_entries_is_there_all_the_same(shelf: Shelf) -> None:
    put(shelf, "a")

    shelf.show(["a"])

    assert list(shelf.entries()) == [(document("a"), [])]
