from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirrord.model.change import Rejection
from mirrord.model.mention import Mention
from mirrord.sources.feed.pointers import Entries, Pointers, steps_of
from mirrord.sources.feed.times import parse_time

PLAIN = Entries(Pointers())
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["key", "op", "x"]), inner, max_size=3),
    max_leaves=8,
)


def mention(entry: object, entries: Entries = PLAIN) -> Mention:
    item, _ = entries.take(entry)
    assert isinstance(item, Mention)
    return item


def rejection(entry: object, entries: Entries = PLAIN) -> Rejection:
    item, _ = entries.take(entry)
    assert isinstance(item, Rejection)
    return item


def test_the_plain_shape_says_everything() -> None:
    entry = {"seq": 7, "key": "a/b.txt", "op": "write", "version": "v1", "time": "2026-11-20T20:15:00.5Z", "size": 12}
    entry |= {"etag": 'W/"abc"', "modified": 1_700_000_000}

    item, seq = PLAIN.take(entry)

    assert seq == 7
    assert item == Mention(
        name="a/b.txt",
        token="v1",
        size_bytes=12,
        etag="abc",
        modified=datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
        at=datetime(2026, 11, 20, 20, 15, 0, 500_000, tzinfo=UTC),
    )


@pytest.mark.parametrize("op", ["remove", "Removed", "DELETE", "deleted", True])
def test_a_removal_is_one_in_whatever_case(op: object) -> None:
    assert mention({"key": "a", "op": op}).removed


@pytest.mark.parametrize("op", ["write", "Created", "PUT", "modified", False, None])
def test_a_write_is_one_and_none_is_one_too(op: object) -> None:
    assert not mention({"key": "a", "op": op}).removed


@pytest.mark.parametrize("op", ["rename", "", 1, 0, 1.0, [], {"a": 1}])
def test_an_operation_that_nobody_knows_is_told(op: object) -> None:
    told = rejection({"key": "a\nb", "op": op})

    assert told.name == "a\\nb"
    assert "neither written nor removed" in told.reason


def test_words_for_operations_can_be_told() -> None:
    entries = Entries(Pointers(op="/gone", removed=frozenset({1}), written=frozenset({0})))

    assert mention({"key": "a", "gone": 1}, entries).removed
    assert not mention({"key": "a", "gone": 0.0}, entries).removed
    assert "neither" in rejection({"key": "a", "gone": True}, entries).reason


@pytest.mark.parametrize(
    ("entry", "token"),
    [
        pytest.param({"version": "v", "etag": "e", "seq": 1}, "v", id="version"),
        pytest.param({"version": 3.5}, "3.5", id="a number"),
        pytest.param({"version": 0}, "0", id="zero"),
        pytest.param({"version": {"a": [1]}}, '{"a":[1]}', id="an object"),
        pytest.param({"version": "", "etag": '"e"', "seq": 1}, "e", id="etag"),
        pytest.param({"seq": 1, "time": "t"}, "1", id="place, a number"),
        pytest.param({"seq": "s-1", "time": "t"}, "s-1", id="place, a text"),
        pytest.param({"time": "2026-11-20"}, "2026-11-20", id="time"),
        pytest.param({}, None, id="nothing"),
        pytest.param({"version": 1e30}, None, id="a number that was rounded"),
    ],
)
def test_an_entry_that_comes_twice_is_one_version(entry: dict[str, object], token: str | None) -> None:
    assert mention({"key": "a", **entry}).token == token


@pytest.mark.parametrize(
    "entry", [{}, {"key": None}, {"key": ""}, {"key": 7}, {"key": ["a"]}, 7, "a", None, [], {"key": {}, "x": "\x1b"}]
)
def test_an_entry_without_a_key_is_told_printably(entry: object) -> None:
    told = rejection(entry)

    assert told.name.isprintable()
    assert "no key" in told.reason


@pytest.mark.parametrize("seq", [1e16, float("nan"), float("inf"), [[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]])
def test_a_place_that_cannot_be_given_back_exactly_is_told(seq: object) -> None:
    item, place = PLAIN.take({"key": "a", "seq": seq})

    assert isinstance(item, Rejection)
    assert place is None


@pytest.mark.parametrize(
    ("size", "read"), [(0, 0), (12.0, 12), ("34", 34), (-1, None), (1.5, None), (True, None), ("x", None), ([], None)]
)
def test_a_size_that_is_none_does_not_spoil_the_entry(size: object, read: int | None) -> None:
    assert mention({"key": "a", "size": size}).size_bytes == read


def test_pointers_lead_through_objects_and_arrays_with_escapes() -> None:
    entries = Entries(Pointers(key="/a~1b/1/m~0n", seq="/0"))

    assert mention({"a/b": [0, {"m~n": "deep"}]}, entries).name == "deep"
    assert "no key" in rejection({"a/b": [0]}, entries).reason
    assert Entries(Pointers(key="/1", seq="/0")).take([5, "k"]) == (Mention(name="k", token="5"), 5)


@pytest.mark.parametrize("index", ["01", "-", "-1", "2", "9" * 30, "²"])
def test_an_index_that_is_none_leads_to_nothing(index: str) -> None:
    assert "no key" in rejection(["a", "b"], Entries(Pointers(key=f"/{index}"))).reason


@pytest.mark.parametrize("pointer", ["key", "a/b", "/a~2", "/~", "#/a"])
def test_what_is_no_pointer_is_refused(pointer: str) -> None:
    with pytest.raises(ValueError, match="is no JSON pointer"):
        Pointers(key=pointer)
    with pytest.raises(ValueError, match="is no JSON pointer"):
        Pointers(only={pointer: 1})


@given(st.lists(st.text("~/01a", max_size=6), max_size=5))
def test_steps_survive_escaping(steps: list[str]) -> None:
    pointer = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)

    assert list(steps_of(pointer)) == steps


def test_entries_of_another_kind_are_passed_over_with_their_place() -> None:
    entries = Entries(Pointers(only={"/type": ("file", "Link"), "/live": True}))

    assert entries.take({"key": "a", "seq": 1, "type": "dir", "live": True}) == (None, 1)
    assert entries.take({"key": "a", "seq": 2, "type": "file", "live": 1}) == (None, 2)
    assert entries.take({"key": 5, "seq": 3}) == (None, 3)
    assert mention({"key": "a", "type": "link", "live": True}, entries).name == "a"


@pytest.mark.parametrize(
    ("items", "document", "entries"),
    [
        (None, [1], [1]),
        (None, {}, None),
        ("", [1], [1]),
        ("", None, []),
        ("", {"error": "x"}, None),
        ("/a/b", {"a": {"b": [2]}}, [2]),
        ("/a", {"a": None}, []),
        ("/a", {}, None),
        ("/a", [1], None),
    ],
)
def test_a_document_is_unpacked(items: str | None, document: object, entries: list[object] | None) -> None:
    assert Entries(Pointers(items=items)).unpack(document) == entries


@given(
    st.datetimes(), st.sampled_from(["Z", ".5Z", ".1234567Z", "z", "", "+02:00", ".Z", "Z+1Z", ".5+01:00Z", ".5,5Z"])
)
@settings(max_examples=100)
def test_times_are_read_as_everywhere(moment: datetime, tail: str) -> None:
    text = moment.replace(microsecond=0).isoformat() + tail

    assert mention({"key": "a", "time": text}).at == parse_time(text)


@given(VALUES)
@settings(max_examples=200)
def test_no_value_is_too_strange(value: object) -> None:
    for entry in (value, {"key": value}, {"key": "a", "op": value, "version": value, "seq": value, "size": value}):
        item, _ = PLAIN.take(entry)

        assert item is None or item.name.isprintable() or isinstance(item, Mention)
