import contextlib
import gzip
import itertools
import tracemalloc
import zlib
from collections import deque
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirrord.sources.feed.dialect import Unreadable
from mirrord.sources.feed.unpacking import Unpacking

TEXT = b'{"seq": 1, "key": "a/b.txt"}\n' * 5000
MIB = 2**20


def unpacked(chunks: Iterable[bytes], encoding: str = "", *, most: int | None = None) -> bytes:
    unpacking = Unpacking(encoding, most)
    pieces = [piece for chunk in chunks for piece in unpacking.receive(chunk)]
    return b"".join([*pieces, *unpacking.end()])


def raw_deflate(text: bytes) -> bytes:
    packing = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packing.compress(text) + packing.flush()


def cut(packed: bytes, size: int) -> list[bytes]:
    return [packed[at : at + size] for at in range(0, len(packed), size)]


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        pytest.param("", TEXT, id="plain"),
        pytest.param("identity", TEXT, id="identity"),
        pytest.param("gzip", gzip.compress(TEXT, mtime=0), id="gzip"),
        pytest.param("X-GZIP", gzip.compress(TEXT, mtime=0), id="x-gzip"),
        pytest.param("identity, gzip ,", gzip.compress(TEXT, mtime=0), id="gzip and nothing"),
        pytest.param("deflate", zlib.compress(TEXT), id="deflate"),
        pytest.param("deflate", raw_deflate(TEXT), id="deflate without its header"),
        pytest.param("", gzip.compress(TEXT, mtime=0), id="a gzip file"),
        pytest.param("gzip", gzip.compress(gzip.compress(TEXT, mtime=0)), id="a gzip file in gzip"),
        pytest.param("deflate", zlib.compress(gzip.compress(TEXT, mtime=0)), id="a gzip file in deflate"),
        pytest.param("", gzip.compress(TEXT[:999], mtime=0) + gzip.compress(TEXT[999:], mtime=0), id="two members"),
        pytest.param("", gzip.compress(b"", mtime=0) + gzip.compress(TEXT, mtime=0), id="an empty member first"),
        pytest.param("", gzip.compress(TEXT, mtime=0) + bytes(1000), id="zeros behind"),
        pytest.param(
            "", gzip.compress(TEXT[:9], mtime=0) + bytes(9) + gzip.compress(TEXT[9:], mtime=0), id="zeros between"
        ),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 4096, 10**9])
def test_a_body_is_unpacked_however_it_was_packed_and_cut(encoding: str, packed: bytes, size: int) -> None:
    assert unpacked(cut(packed, size), encoding) == TEXT


@settings(max_examples=200)
@given(
    texts=st.lists(st.binary(max_size=200), max_size=4),
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=20),
    nested=st.booleans(),
)
def test_where_it_is_cut_does_not_matter(texts: list[bytes], sizes: list[int], nested: bool) -> None:
    body = b"".join(map(gzip.compress, texts))
    packed = gzip.compress(body, mtime=0) if nested else body
    ends = itertools.takewhile(lambda at: at < len(packed), itertools.accumulate(itertools.cycle(sizes)))
    chunks = [packed[start:end] for start, end in itertools.pairwise([0, *ends, len(packed)])]

    assert unpacked(chunks, "gzip" if nested else "") == b"".join(texts)


@settings(max_examples=200)
@given(st.binary(), st.sampled_from(["", "gzip", "deflate"]))
def test_nothing_is_worse_than_unreadable(body: bytes, encoding: str) -> None:
    with contextlib.suppress(Unreadable):
        found = unpacked([body], encoding)

        assert found == body or encoding or body.startswith(b"\x1f\x8b")


@pytest.mark.parametrize("body", [b"", b"\x1f", b"\x1f\x1f", b"\x8b\x1f"], ids=repr)
def test_what_only_begins_like_gzip_passes(body: bytes) -> None:
    assert unpacked(cut(body, 1)) == body


def test_an_empty_body_is_empty_whatever_it_says_of_itself() -> None:
    assert unpacked([], "gzip") == b""
    assert unpacked([], "deflate") == b""


@pytest.mark.parametrize("first", [b"{", b"[1]\n", b":\n\n"], ids=repr)
def test_what_is_not_packed_passes_as_soon_as_it_comes(first: bytes) -> None:
    unpacking = Unpacking("", None)

    assert list(unpacking.receive(first)) == [first]


def test_what_is_flushed_passes_as_soon_as_it_comes() -> None:
    packing, unpacking = zlib.compressobj(wbits=31), Unpacking("gzip", None)

    for line in (b"data: 1\n\n", b"data: 2\n\n"):
        packet = packing.compress(line) + packing.flush(zlib.Z_SYNC_FLUSH)

        assert b"".join(unpacking.receive(packet)) == line


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("br", "is packed as 'br', only gzip was asked for"),
        ("gzip, gzip", "is packed more than once, only gzip was asked for"),
        ("deflate, gzip", "is packed more than once, only gzip was asked for"),
        ("zst\n\xe9", r"is packed as 'zst\n\xe9', only gzip was asked for"),
    ],
)
def test_another_encoding_is_unreadable(encoding: str, words: str) -> None:
    with pytest.raises(Unreadable) as caught:
        Unpacking(encoding, None)

    assert str(caught.value) == words


@pytest.mark.parametrize("encoding", ["gzip", "deflate", ""])
@pytest.mark.parametrize("kept", [5, 12, 100, -1])
def test_what_is_cut_off_is_unreadable(encoding: str, kept: int) -> None:
    packed = zlib.compress(TEXT) if encoding == "deflate" else gzip.compress(TEXT, mtime=0)

    with pytest.raises(Unreadable, match=r"^was cut off: its (gzip|deflate) does not end$"):
        unpacked([packed[:kept]], encoding)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        pytest.param("gzip", TEXT, id="no gzip"),
        pytest.param("deflate", b"\x78\x00" + TEXT, id="no deflate"),
        pytest.param("", b"\x1f\x8b" + TEXT, id="only gzip's beginning"),
        pytest.param("", gzip.compress(TEXT, mtime=0) + b"more", id="something behind"),
        pytest.param("gzip", gzip.compress(TEXT, mtime=0)[:-8] + bytes(8), id="another checksum"),
    ],
)
def test_what_is_broken_is_unreadable(encoding: str, body: bytes) -> None:
    with pytest.raises(Unreadable, match=r"^is not the (gzip|deflate) that it seems to be, or broken$"):
        unpacked(cut(body, 1000), encoding)


def test_deflate_that_goes_on_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="goes on after the end of its deflate"):
        unpacked([zlib.compress(TEXT) + b"more"], "deflate")


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        pytest.param("", bytes(2 * MIB), id="plain"),
        pytest.param("gzip", gzip.compress(bytes(2 * MIB)), id="gzip"),
        pytest.param("", gzip.compress(bytes(2 * MIB)), id="a gzip file"),
        pytest.param("gzip", gzip.compress(gzip.compress(bytes(2 * MIB))), id="a gzip file in gzip"),
        pytest.param("deflate", raw_deflate(bytes(2 * MIB)), id="deflate"),
        pytest.param("", gzip.compress(b"", mtime=0) * (MIB // 10), id="members with nothing in them"),
        pytest.param(
            "gzip", gzip.compress(gzip.compress(b"", mtime=0) * (MIB // 10)), id="nested, with nothing in them"
        ),
    ],
)
def test_no_more_than_the_limit_goes_through_any_layer(encoding: str, body: bytes) -> None:
    with pytest.raises(Unreadable, match=r"^is longer than 1 MiB and was not read to its end$"):
        unpacked(cut(body, 250_000), encoding, most=MIB)


def test_as_much_as_the_limit_goes_through() -> None:
    assert unpacked([gzip.compress(bytes(MIB))], "gzip", most=MIB) == bytes(MIB)


@pytest.mark.parametrize(("most", "words"), [(64 * MIB, "64 MiB"), (MIB + 1, "1048577 bytes"), (1000, "1000 bytes")])
def test_a_limit_is_said_in_round_numbers(most: int, words: str) -> None:
    unpacking = Unpacking("", most)

    with pytest.raises(Unreadable, match=f"^is longer than {words} and"):
        deque(_pieces(unpacking, itertools.repeat(MEMBER)), maxlen=0)


def _pieces(unpacking: Unpacking, chunks: Iterable[bytes]) -> Iterable[bytes]:
    for chunk in chunks:
        yield from unpacking.receive(chunk)


MEMBER = gzip.compress(bytes(10 * MIB))


@pytest.mark.parametrize(
    ("encoding", "chunks"),
    [
        pytest.param("gzip", lambda: [MEMBER] * 1000, id="members, one by one"),
        pytest.param("", lambda: cut(MEMBER * 1000, 250_000), id="members, all at once"),
        pytest.param("gzip", lambda: [gzip.compress(MEMBER * 1000, mtime=0)], id="nested"),
    ],
)
def test_a_bomb_of_ten_gigabytes_costs_no_memory(encoding: str, chunks: Callable[[], list[bytes]]) -> None:
    unpacking, bomb = Unpacking(encoding, 200 * MIB), chunks()
    sizes: set[int] = set()

    tracemalloc.start()
    try:
        with pytest.raises(Unreadable, match="is longer than 200 MiB"):
            sizes.update(len(piece) for piece in _pieces(unpacking, bomb))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert max(sizes) <= 64 * 2**10
    assert peak < MIB
