"""Local files to hashes of their content: block by block, in threads of its own, each version at most once."""

import asyncio
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from mirrord.model.fingerprint import Fingerprint, of_file
from mirrord.sources.boundary import Boundary

Hashed = tuple[Fingerprint, str]
"""A version, and the hash of its content."""

CHUNK_BYTES = 256 * 1024
SMALL_BYTES = 8 * 2**20
REMEMBERED = 50_000
"""Files whose hash is kept; past this many the oldest are forgotten and may be read again."""
RACY = timedelta(milliseconds=50)
"""A file changed so shortly before it is read may change again unseen: its timestamps move every 1 to 10 ms."""


class Hashing:
    """One thread reads what is small and another what is large, so that no small file waits for a large one."""

    def __init__(
        self,
        boundary: Boundary,
        hash_content: Callable[[Iterable[bytes]], str],
        now: Callable[[], datetime],
        name: str,
        *,
        small_bytes: int = SMALL_BYTES,
        remembered: int = REMEMBERED,
    ) -> None:
        self._boundary = boundary
        self._hash_content = hash_content
        self._now = now
        self._small_bytes = small_bytes
        self._remembered = remembered
        self._small = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"hash-{name}")
        self._large = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"hash-large-{name}")
        self._known: dict[str, Hashed] = {}
        self._knowing = threading.Lock()
        self._closing = threading.Event()

    async def hash_of(self, paths: Sequence[str]) -> dict[str, Hashed]:
        """For each path below the root its version and the hash of that, without those that could not be had."""
        loop = asyncio.get_running_loop()
        found, large = await loop.run_in_executor(self._small, self._hash_small, paths)
        if large:
            found |= await loop.run_in_executor(self._large, self._hash_large, large)
        return found

    def close(self) -> None:
        """End the threads; what is being read is given up. Blocks."""
        self._closing.set()
        self._small.shutdown(cancel_futures=True)
        self._large.shutdown(cancel_futures=True)

    def _hash_small(self, paths: Sequence[str]) -> tuple[dict[str, Hashed], list[str]]:
        found, large = dict[str, Hashed](), list[str]()
        for path in paths:
            try:
                hashed = self._hash(path, self._small_bytes)
            except _TooLarge:
                large.append(path)
            else:
                if hashed is not None:
                    found[path] = hashed
        return found, large

    def _hash_large(self, paths: Sequence[str]) -> dict[str, Hashed]:
        found = ((path, self._hash(path, None)) for path in paths)
        return {path: hashed for path, hashed in found if hashed is not None}

    def _hash(self, path: str, most_bytes: int | None) -> Hashed | None:
        """None: not a file inside the root, not readable, or not the same before and after reading.

        Raises _TooLarge, when the hash is not known and the file has more than `most_bytes`.
        """
        # O_NONBLOCK: a name that became a FIFO must not hold the thread for ever
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            if not self._boundary.contains(path):
                return None
            descriptor = os.open(
                self._boundary.absolute(path), flags if self._boundary.follow_symlinks else flags | os.O_NOFOLLOW
            )
        except OSError:
            return None
        try:
            return self._hash_open(path, descriptor, most_bytes)
        except (OSError, _Closing):
            return None
        finally:
            os.close(descriptor)

    def _hash_open(self, path: str, descriptor: int, most_bytes: int | None) -> Hashed | None:
        read_at = self._now()
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return None
        version = _version_of(found)
        known = self._known.get(path)
        if known is not None and known[0] == version:
            return known
        if most_bytes is not None and found.st_size > most_bytes:
            raise _TooLarge
        hashed = version, self._hash_content(self._chunks(descriptor))
        if _version_of(os.fstat(descriptor)) != version:
            return None
        if read_at.timestamp() - found.st_ctime > RACY.total_seconds():
            self._remember(path, hashed)
        return hashed

    def _chunks(self, descriptor: int) -> Iterator[bytes]:
        while chunk := os.read(descriptor, CHUNK_BYTES):
            yield chunk
            if self._closing.is_set():
                raise _Closing

    def _remember(self, path: str, hashed: Hashed) -> None:
        with self._knowing:
            if len(self._known) >= self._remembered and path not in self._known:
                del self._known[next(iter(self._known))]
            self._known[path] = hashed


class _TooLarge(Exception):
    """For the other thread."""


class _Closing(Exception):
    """Nobody waits for the hash any more."""


def _version_of(found: os.stat_result) -> Fingerprint:
    return of_file(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
