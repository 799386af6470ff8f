"""Keys that may be gone, set aside on disk until the scan that missed them is known to be whole."""

import tempfile
from collections.abc import Iterator
from typing import Self


class Spool:
    """However many keys, the same memory: an emptied origin of a million files must not end the service."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._count

    def add(self, key: str) -> None:
        self._file.write(key.encode() + b"\0")  # no file name holds a NUL
        self._count += 1

    def batches(self, most: int) -> Iterator[list[str]]:
        """All keys, at most so many at a time."""
        self._file.seek(0)
        keys, rest = list[str](), b""
        while chunk := self._file.read(2**16):
            *whole, rest = (rest + chunk).split(b"\0")
            keys += [key.decode() for key in whole]
            while len(keys) >= most:
                yield keys[:most]
                del keys[:most]
        if keys:
            yield keys
