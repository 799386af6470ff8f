"""Bytes of a body as they come over the wire to what was packed in them; in small pieces, and never too much."""

import zlib
from collections.abc import Iterator
from typing import Protocol

from mirrord.sources.feed.dialect import Unreadable

_PIECE = 64 * 2**10
_SLICE = 16 * 2**10
"""Bytes given to zlib at a time: it copies what it leaves over, for every piece and for every member again."""

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP = 16 + zlib.MAX_WBITS
_ZLIB = zlib.MAX_WBITS
_RAW_DEFLATE = -zlib.MAX_WBITS

_GIB = 2**30
_MIB = 2**20


class Unpacking:
    """One body, whose `Content-Encoding` is undone, and then gzip itself, as of a `sitemap.xml.gz`.

    `encoding` is the header's value. No more than `most` bytes go through any layer; None: no limit.
    """

    def __init__(self, encoding: str, most: int | None) -> None:
        """Raises Unreadable for an encoding that was not asked for."""
        format_ = _format(encoding)
        packed: list[_Layer] = [_Packed(format_, most)] if format_ else []
        self._layers: list[_Layer] = [_Counted(most), *packed, _PerhapsGzip(most)]

    def receive(self, chunk: bytes) -> Iterator[bytes]:
        """What these bytes unpack to, at most 64 KiB of it in memory at once. Raises Unreadable."""
        return _through(self._layers, chunk)

    def end(self) -> Iterator[bytes]:
        """The body is over: what was still kept back. Raises Unreadable when it was cut off."""
        for number, layer in enumerate(self._layers, 1):
            for piece in layer.end():
                yield from _through(self._layers[number:], piece)


class _Layer(Protocol):
    def receive(self, chunk: bytes) -> Iterator[bytes]: ...
    def end(self) -> Iterator[bytes]: ...


def _through(layers: list[_Layer], chunk: bytes) -> Iterator[bytes]:
    if not layers:
        yield chunk
        return
    for piece in layers[0].receive(chunk):
        yield from _through(layers[1:], piece)


def _format(encoding: str) -> str | None:
    names = [name for each in encoding.lower().split(",") if (name := each.strip()) not in {"", "identity"}]
    match names:
        case []:
            return None
        case ["gzip" | "x-gzip"]:
            return "gzip"
        case ["deflate"]:
            return "deflate"
        case [name]:
            raise Unreadable(f"is packed as {name[:20]!a}, only gzip was asked for")
        case _:
            raise Unreadable("is packed more than once, only gzip was asked for")


class _Counted:
    """Bytes pass, up to a limit."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._count = 0

    def receive(self, chunk: bytes) -> Iterator[bytes]:
        self._count += len(chunk)
        if self._most is not None and self._count > self._most:
            raise Unreadable(f"is longer than {_size(self._most)} and was not read to its end")
        yield chunk

    def end(self) -> Iterator[bytes]:
        yield from ()


class _Packed:
    """gzip of any number of members, perhaps with zeros behind each; or deflate, with its header or bare."""

    def __init__(self, format_: str, most: int | None) -> None:
        self._format = format_
        self._counted = _Counted(most)
        self._inflate = zlib.decompressobj(_GZIP if format_ == "gzip" else _ZLIB)
        self._first = format_ == "deflate"
        """Whether the byte that tells deflate's two ways apart has not come yet."""
        self._begun = False
        """Whether a member has begun that is not over."""
        self._over = False
        """Whether a member is over: only then zeros mean nothing."""

    def receive(self, chunk: bytes) -> Iterator[bytes]:
        for at in range(0, len(chunk), _SLICE):
            yield from self._slice(chunk[at : at + _SLICE])

    def end(self) -> Iterator[bytes]:
        if self._begun:
            raise Unreadable(f"was cut off: its {self._format} does not end")
        yield from ()

    def _slice(self, rest: bytes) -> Iterator[bytes]:
        while rest:
            if self._over and not self._begun:
                rest = self._next_member(rest)
                continue
            if self._first:
                self._first = False
                if rest[0] & 0x0F != zlib.DEFLATED:  # no zlib header: what some servers call deflate
                    self._inflate = zlib.decompressobj(_RAW_DEFLATE)
            self._begun = True
            yield from self._inflated(rest)
            if not self._inflate.eof:
                return
            self._begun, self._over = False, True
            rest = self._inflate.unused_data

    def _next_member(self, rest: bytes) -> bytes:
        if self._format != "gzip":
            raise Unreadable("goes on after the end of its deflate")
        rest = rest.lstrip(b"\0")
        if rest:
            self._inflate = zlib.decompressobj(_GZIP)
            self._over = False
        return rest

    def _inflated(self, packed: bytes) -> Iterator[bytes]:
        while True:
            try:
                piece = self._inflate.decompress(packed, _PIECE)
            except zlib.error:
                raise Unreadable(f"is not the {self._format} that it seems to be, or broken") from None
            if piece:
                yield from self._counted.receive(piece)
            packed = self._inflate.unconsumed_tail
            # a full piece may be the first of several although nothing is left to be put in
            if self._inflate.eof or (not packed and len(piece) < _PIECE):
                return


class _PerhapsGzip:
    """gzip is told by its first two bytes; everything else passes, and as soon as it comes."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._kept = b""
        self._told: _Layer | None = None

    def receive(self, chunk: bytes) -> Iterator[bytes]:
        if self._told is None:
            chunk = self._kept + chunk
            if chunk in {b"", _GZIP_MAGIC[:1]}:
                self._kept = chunk
                return
            self._told = _Packed("gzip", self._most) if chunk.startswith(_GZIP_MAGIC) else _Counted(self._most)
        yield from self._told.receive(chunk)

    def end(self) -> Iterator[bytes]:
        if self._told is None:
            if self._kept:
                yield self._kept
        else:
            yield from self._told.end()


def _size(count: int) -> str:
    for unit, name in ((_GIB, "GiB"), (_MIB, "MiB")):
        if count and count % unit == 0:
            return f"{count // unit} {name}"
    return f"{count} bytes"
