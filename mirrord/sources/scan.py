"""A tree and what the journal knows of it, both in key order, to their differences: one pass, constant memory."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import itemgetter

from mirrord.decisions.keymap import Selection, key_for
from mirrord.model.change import Rejection
from mirrord.model.fingerprint import Fingerprint, of_file
from mirrord.sources.boundary import Boundary

BATCH = 1000
"""Differences handed on together."""
STRIDE = 20_000
"""Files after which a scan that finds nothing lets others have a turn, some 0.1 s."""

Known = Iterator[tuple[str, Fingerprint | None]]


@dataclass(slots=True)
class Findings:
    """What one stretch of a scan saw. `differences` are keys with the version now there, None: not there."""

    differences: list[tuple[str, Fingerprint | None]] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    holes: list[tuple[str, str]] = field(default_factory=list)
    """Directories that could not be read, and why: nothing below them counts as removed."""
    files: int = 0
    links: int = 0
    """Symbolic links and special files that were passed over."""


@dataclass(slots=True)
class Tally:
    """What a whole scan came to."""

    files: int = 0
    new: int = 0
    changed: int = 0
    removed: int = 0
    skipped: int = 0
    holes: list[str] = field(default_factory=list)


class Scan:
    """Walks a directory in key order and holds it against the journal's keys, which come in the same order.

    A directory sorts as `name/`: that is where its keys are. Blocks; belongs into a thread of its own.
    """

    def __init__(self, boundary: Boundary, selection: Selection, key_prefix: str) -> None:
        self._boundary = boundary
        self._selection = selection
        self._key_prefix = key_prefix
        self._found = Findings()

    def differences(self, known: Known, below: str = "") -> Iterator[Findings]:
        """What differs below the directory `below` ("" or ending in "/"), stretch by stretch.

        `known` yields the journal's keys below the same place, in code point order.
        """
        found = self._found = Findings()
        key_prefix, hole = self._key_prefix, None
        key, wanted = next(known, _END)
        for path, version in self._walk(below):
            found = self._found
            if len(found.differences) >= BATCH or found.files >= STRIDE:
                yield found
                found = self._found = Findings()
            here = key_prefix + path
            while key is not None and key < here:
                if wanted is not None and not (hole and key.startswith(hole)):
                    found.differences.append((key, None))
                key, wanted = next(known, _END)
            if version is None:
                hole = here
                continue
            found.files += 1
            if key == here:
                if wanted != version:
                    found.differences.append((here, version))
                key, wanted = next(known, _END)
            else:
                self._add_new(path, version)
        found = self._found
        while key is not None:
            if wanted is not None and not (hole and key.startswith(hole)):
                found.differences.append((key, None))
            if len(found.differences) >= BATCH:
                yield found
                found = self._found = Findings()
            key, wanted = next(known, _END)
        yield found

    def _add_new(self, path: str, version: Fingerprint) -> None:
        key = key_for(path, self._key_prefix)
        if isinstance(key, Rejection):
            self._found.rejections.append(key)
        else:
            self._found.differences.append((key, version))

    def _walk(self, below: str) -> Iterator[tuple[str, Fingerprint | None]]:
        """Files below a directory in key order with their versions; a None version marks an unreadable directory."""
        start: list[tuple[str, Fingerprint | None]] = [(below, None)]
        levels = [iter(start)]
        while levels:
            for found in levels[-1]:
                path, version = found
                if version is not None:
                    yield found
                    continue
                listed = self._list(path)
                if listed is None:
                    yield path, None
                    continue
                levels.append(iter(listed))
                break
            else:
                levels.pop()

    def _list(self, directory: str) -> list[tuple[str, Fingerprint | None]] | None:
        """What is in `directory` ("" or ending in "/"), in key order: files with their version, directories without.

        None when it cannot be read. A file that goes while we look counts as not there.
        """
        listed: list[tuple[str, Fingerprint | None]] = []
        takes_file = self._selection.takes_file
        try:
            # by descriptor: to stat a name from here costs a sixth less than a path from the root
            descriptor = os.open(self._boundary.absolute(directory.rstrip("/")), os.O_RDONLY | os.O_DIRECTORY)
            try:
                with os.scandir(descriptor) as entries:
                    for entry in entries:
                        if not entry.is_file(follow_symlinks=False):
                            self._look_at_other(entry, directory, listed)
                        elif takes_file(directory, name := entry.name):
                            try:
                                at = entry.stat(follow_symlinks=False)
                            except FileNotFoundError:
                                continue
                            version = f"{at.st_size}:{at.st_mtime_ns}:{at.st_ctime_ns}:{at.st_ino}"
                            listed.append((directory + name, version))  # type: ignore[arg-type]  # as of_file, uncalled
            finally:
                os.close(descriptor)
        except (FileNotFoundError, NotADirectoryError):
            if not directory:
                raise  # without its root a scan has seen nothing at all
            return []  # gone since its parent was listed
        except OSError as exc:
            self._found.holes.append((directory, exc.strerror or str(exc)))
            return None
        listed.sort(key=_PATH)
        return listed

    def _look_at_other(
        self, entry: "os.DirEntry[str]", directory: str, listed: list[tuple[str, Fingerprint | None]]
    ) -> None:
        """Directories, symbolic links, and what is never mirrored: sockets, devices."""
        name = entry.name
        if entry.is_dir(follow_symlinks=False):
            if not self._selection.prunes(directory, name):
                listed.append((f"{directory}{name}/", None))
        elif not self._boundary.follow_symlinks or not self._follows(directory, entry):
            self._found.links += 1
        elif entry.is_dir():
            listed.append((f"{directory}{name}/", None))
        else:
            with contextlib.suppress(FileNotFoundError):
                at = entry.stat()
                version = of_file(at.st_size, at.st_mtime_ns, at.st_ctime_ns, at.st_ino)
                listed.append((directory + name, version))

    def _follows(self, directory: str, entry: "os.DirEntry[str]") -> bool:
        if not entry.is_symlink():
            return False
        if entry.is_dir():
            return self._boundary.enters_link(directory + entry.name)
        return (
            entry.is_file()
            and self._boundary.contains(directory + entry.name)
            and self._selection.takes_file(directory, entry.name)
        )


_END: tuple[None, None] = (None, None)
_PATH = itemgetter(0)
