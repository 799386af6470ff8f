"""Hashes of local files: of which version, how often they are read, and what is never read."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mirrord.kodo.etag import etag_of
from mirrord.model.fingerprint import Fingerprint, of_file
from mirrord.sources.boundary import Boundary
from mirrord.sources.hashing import Hashed, Hashing
from tests.sources.test_directory import run, source_of


@dataclass
class Reader:
    """Hashes what the files below `root` hold, and counts how often one is read."""

    root: Path
    read: list[int] = field(default_factory=list)
    meanwhile: Callable[[], object] = lambda: None

    def hash_content(self, chunks: Iterable[bytes]) -> str:
        content = b"".join(chunks)
        self.read.append(len(content))
        self.meanwhile()
        return etag_of([content])

    def boundary(self, *, follow_symlinks: bool = False) -> Boundary:
        return Boundary(self.root, follow_symlinks=follow_symlinks, skip_directory=lambda _: False)

    def hashing(
        self,
        *,
        follow_symlinks: bool = False,
        later: timedelta = timedelta(seconds=10),
        small_bytes: int = 100,
        remembered: int = 100,
    ) -> Hashing:
        return Hashing(
            self.boundary(follow_symlinks=follow_symlinks),
            self.hash_content,
            lambda: datetime.now(UTC) + later,
            "docs",
            small_bytes=small_bytes,
            remembered=remembered,
        )


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    (tmp_path / "root").mkdir()
    return Reader(tmp_path / "root")


def hashes(hashing: Hashing, *rounds: Sequence[str]) -> Iterator[dict[str, Hashed]]:
    async def all_rounds() -> list[dict[str, Hashed]]:
        return [await hashing.hash_of(paths) for paths in rounds]

    try:
        yield from asyncio.run(all_rounds())
    finally:
        hashing.close()


def version_of(path: Path) -> Fingerprint:
    found = path.stat()
    return of_file(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def test_small_and_large_files_are_hashed_with_the_version_they_have(reader: Reader) -> None:
    contents = {"a": b"a", "empty": b"", "large": b"large" * 200_000}
    for name, content in contents.items():
        (reader.root / name).write_bytes(content)

    (found,) = hashes(reader.hashing(), [*contents, "missing"])

    assert found == {name: (version_of(reader.root / name), etag_of([content])) for name, content in contents.items()}


def test_a_version_is_read_once_and_the_next_one_again(reader: Reader) -> None:
    path = reader.root / "a"
    path.write_bytes(b"old")
    hashing = reader.hashing()

    async def rounds() -> list[dict[str, Hashed]]:
        first = [await hashing.hash_of(["a"]), await hashing.hash_of(["a"])]
        path.write_bytes(b"newer")
        return [*first, await hashing.hash_of(["a"])]

    first, second, third = asyncio.run(rounds())
    hashing.close()

    assert first == second
    assert third["a"] == (version_of(path), etag_of([b"newer"]))
    assert reader.read == [3, 5]


def test_what_changed_a_moment_ago_is_not_remembered(reader: Reader) -> None:
    (reader.root / "a").write_bytes(b"x")

    first, second = hashes(reader.hashing(later=timedelta(0)), ["a"], ["a"])

    assert first == second
    assert reader.read == [1, 1]


def test_the_oldest_are_forgotten_before_there_are_too_many(reader: Reader) -> None:
    for name in "abc":
        (reader.root / name).write_bytes(name.encode())

    list(hashes(reader.hashing(remembered=2), ["a", "b", "c"], ["b", "c"], ["a"]))

    assert len(reader.read) == 4


def test_a_file_that_changes_while_it_is_read_is_left_out(reader: Reader) -> None:
    (reader.root / "a").write_bytes(b"old")
    reader.meanwhile = lambda: (reader.root / "a").write_bytes(b"newer")

    first, second = hashes(reader.hashing(), ["a"], ["a"])

    assert (first, second) == ({}, {})


def test_only_regular_files_inside_the_root_are_read(reader: Reader, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "private").write_bytes(b"private")
    (reader.root / "real").write_bytes(b"x")
    (reader.root / "directory").mkdir()
    (reader.root / "link").symlink_to("real")
    (reader.root / "out").symlink_to(tmp_path / "outside")
    os.mkfifo(reader.root / "fifo")
    names = ["real", "directory", "link", "out/private", "../outside/private", "fifo"]

    (strict,) = hashes(reader.hashing(), names)
    (following,) = hashes(reader.hashing(follow_symlinks=True), names)

    assert set(strict) == {"real"}
    assert set(following) == {"real", "link"}


def test_closing_gives_up_what_is_being_read(reader: Reader) -> None:
    (reader.root / "a").touch()
    os.truncate(reader.root / "a", 2**40)

    def hash_content(chunks: Iterable[bytes]) -> str:
        next(iter(chunks))
        closing.start()
        return etag_of(chunks)

    slow = Hashing(reader.boundary(), hash_content, lambda: datetime.now(UTC), "docs")
    closing = threading.Thread(target=slow.close)

    assert asyncio.run(slow.hash_of(["a"])) == {}
    closing.join()


def test_a_source_hashes_what_its_keys_stand_for(tmp_path: Path) -> None:
    for name in ("a", "b.tmp"):
        (tmp_path / name).write_text(name)
    source = source_of(tmp_path, prefix="v2/")

    async def ask() -> None:
        assert await source.hash_of(["v2/a", "v2/b.tmp", "v2/missing", "elsewhere"]) == {
            "v2/a": (version_of(tmp_path / "a"), etag_of([b"a"]))
        }

    run(source, ask)
