"""The store by itself: order, reopening, what a killed process leaves."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mirrord.kodo.etag import etag_of
from mirrord.sandbox.store import Store, Stored, StoreUnavailable, folded, past

keys = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
close_keys = st.text("a/\ud7ff\ue000\U0010ffff", max_size=5)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


def put(store: Store, key: str, content: bytes = b"hello", bucket: str = "docs") -> Stored:
    with store.draft() as draft:
        draft.write(content)
        return store.keep(bucket, key, draft, "text/plain")


def content_of(store: Store, key: str) -> bytes | None:
    stored = store.find("docs", key)
    if stored is None:
        return None
    with store.open(stored) as file:
        return file.read()


def files(root: Path) -> list[Path]:
    return [path for path in root.glob("[io]*/**/*") if path.is_file() and path.parent != root]


def test_put_times_increase_even_when_the_clock_does_not(tmp_path: Path) -> None:
    store = Store(tmp_path, now_ns=lambda: 1_000_000)

    times = [put(store, key).put_time for key in "abca"]
    store.close()
    again = Store(tmp_path, now_ns=lambda: 0)
    times.append(put(again, "a").put_time)
    again.close()

    assert times == sorted(set(times))


def test_a_draft_that_is_not_kept_leaves_nothing(store: Store, tmp_path: Path) -> None:
    with store.draft() as draft:
        draft.write(b"hello")

    assert files(tmp_path) == []


def test_replaced_and_removed_bytes_are_gone_from_the_disk(store: Store, tmp_path: Path) -> None:
    put(store, "a", b"one")
    put(store, "b", b"two")

    store.remove(put(store, "a", b"three"))

    assert [path.read_bytes() for path in files(tmp_path)] == [b"two"]


def test_what_is_open_stays_whole_when_it_is_replaced(store: Store) -> None:
    with store.open(put(store, "a", b"old")) as file:
        put(store, "a", b"new")

        assert file.read() == b"old"


def test_buckets_do_not_share_keys(store: Store) -> None:
    put(store, "a", b"one", bucket="docs")

    put(store, "a", b"two", bucket="other")

    assert content_of(store, "a") == b"one"


def test_a_touched_object_keeps_its_bytes_under_a_new_time(store: Store, tmp_path: Path) -> None:
    before = put(store, "a", b"one")

    after = store.touch(before)

    assert after.put_time > before.put_time
    assert content_of(store, "a") == b"one"
    put(store, "a", b"two")
    assert [path.read_bytes() for path in files(tmp_path)] == [b"two"]


def test_what_a_killed_process_left_is_swept(store: Store, tmp_path: Path) -> None:
    put(store, "a", b"kept")
    store.close()
    (tmp_path / "incoming" / "123").write_bytes(b"half")
    (tmp_path / "objects" / "7b").mkdir(exist_ok=True)
    (tmp_path / "objects" / "7b" / "123").write_bytes(b"whole, but without a row")

    again = Store(tmp_path)

    assert content_of(again, "a") == b"kept"
    assert [path.read_bytes() for path in files(tmp_path)] == [b"kept"]
    again.close()


def test_a_directory_has_one_store_at_a_time(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="in use"):
        Store(tmp_path)


def test_a_root_that_is_a_file_cannot_hold_objects(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("hello")

    with pytest.raises(StoreUnavailable, match="cannot hold objects"):
        Store(tmp_path / "file")


def test_a_directory_with_objects_of_another_kind_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects" / "12").write_text("hello")

    with pytest.raises(StoreUnavailable, match="in use for something else"):
        Store(tmp_path)

    assert [path.name for path in tmp_path.rglob("*")] == ["objects", "12"]


def test_a_file_that_is_no_index_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "index.db").write_bytes(b"a letter to my grandmother" * 100)

    with pytest.raises(StoreUnavailable, match="damaged"):
        Store(tmp_path)

    assert (tmp_path / "index.db").read_bytes().startswith(b"a letter")


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(keys, st.binary(max_size=20), max_size=8))
def test_any_keys_survive_reopening(contents: dict[str, bytes]) -> None:
    with TemporaryDirectory() as root:
        store = Store(Path(root))
        for key, content in contents.items():
            put(store, key, content)
        store.close()

        again = Store(Path(root))
        found = {key: content_of(again, key) for key in contents}
        walked = [entry for entry in again.walk("docs", "", "", "") if isinstance(entry, Stored)]
        again.close()

    assert found == contents
    assert [entry.key for entry in walked] == sorted(contents, key=str.encode)
    assert [entry.hash for entry in walked] == [etag_of([contents[entry.key]]) for entry in walked]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(close_keys, max_size=8), close_keys, st.sampled_from(["", "/", "a", "\U0010ffff"]), close_keys)
def test_a_walk_agrees_with_folding_every_key(
    store: Store, names: set[str], prefix: str, delimiter: str, start: str
) -> None:
    bucket = uuid4().hex
    for name in names:
        put(store, name, bucket=bucket)

    walked = [
        entry if isinstance(entry, str) else (entry.key,) for entry in store.walk(bucket, prefix, delimiter, start)
    ]

    expected: list[str | tuple[str]] = []
    for name in sorted(names, key=str.encode):
        if name.startswith(prefix) and name.encode() >= start.encode():
            folder = folded(name, prefix, delimiter)
            if folder is None:
                expected.append((name,))
            elif folder not in expected:
                expected.append(folder)
    assert walked == expected


@given(close_keys, close_keys)
def test_past_a_prefix_lies_what_does_not_begin_with_it(prefix: str, key: str) -> None:
    end = past(prefix)

    within = key.encode() >= prefix.encode() and (end is None or key.encode() < end.encode())

    assert within is key.startswith(prefix)
