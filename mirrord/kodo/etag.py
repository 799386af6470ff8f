"""An object's content to its qetag, the `hash` that Kodo reports (Kodo API, appendix "qetag")."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from hashlib import sha1

BLOCK_BYTES = 4 * 1024 * 1024

_ONE_BLOCK = b"\x16"
_MANY_BLOCKS = b"\x96"
_ODD_PARTS = b"\x9e"


class Etag:
    """A version 1 qetag that grows with the content: constant memory, chunks of any length."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._block = sha1(usedforsecurity=False)
        self._filled = 0
        self._full_blocks = sha1(usedforsecurity=False)  # of the digests of the blocks before this one

    def update(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        self.size_bytes += len(rest)
        while rest:
            if self._filled == BLOCK_BYTES:  # only now: exactly one full block is still a single one
                self._full_blocks.update(self._block.digest())
                self._block = sha1(usedforsecurity=False)
                self._filled = 0
            piece = rest[: BLOCK_BYTES - self._filled]
            self._block.update(piece)
            self._filled += len(piece)
            rest = rest[len(piece) :]

    def digest(self) -> bytes:
        """The form's byte and 20 bytes of SHA-1, of what came so far."""
        if self.size_bytes <= BLOCK_BYTES:
            return _ONE_BLOCK + self._block.digest()
        blocks = self._full_blocks.copy()
        blocks.update(self._block.digest())
        return _MANY_BLOCKS + blocks.digest()

    def value(self) -> str:
        """The qetag of what came so far."""
        return urlsafe_b64encode(self.digest()).decode()


def etag_of(chunks: Iterable[bytes]) -> str:
    """The version 1 qetag of the content that `chunks` make up together."""
    etag = Etag()
    for chunk in chunks:
        etag.update(chunk)
    return etag.value()


def etag_v2(parts: Iterable[Iterable[bytes]]) -> str:
    """The qetag of an object uploaded in `parts`, each given as its chunks.

    Parts of 4 MiB with a last one no longer than that give the version 1 qetag, as Kodo does.
    """
    outer = sha1(usedforsecurity=False)
    sizes: list[int] = []
    last = Etag()
    for chunks in parts:
        last = Etag()
        for chunk in chunks:
            last.update(chunk)
        outer.update(last.digest()[1:])
        sizes.append(last.size_bytes)
    regular = last.size_bytes <= BLOCK_BYTES and all(size == BLOCK_BYTES for size in sizes[:-1])
    if regular and len(sizes) <= 1:
        return last.value()
    form = _MANY_BLOCKS if regular else _ODD_PARTS
    return urlsafe_b64encode(form + outer.digest()).decode()


def is_v1(hash_: str) -> bool:
    """Whether `hash_` follows from the content alone, without knowing how it was uploaded."""
    try:
        raw = urlsafe_b64decode(hash_)
    except ValueError:
        return False
    return len(raw) == 21 and raw[:1] in {_ONE_BLOCK, _MANY_BLOCKS}
