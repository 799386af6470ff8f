from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirrord.sources.feed.lines import Lines, TooLong


def lines_of(chunks: Sequence[bytes], most: int = 100) -> tuple[list[bytes | TooLong], bytes]:
    lines = Lines(most)
    return [line for chunk in chunks for line in lines.receive(chunk)], lines.rest()


@pytest.mark.parametrize(
    ("chunks", "whole", "rest"),
    [
        pytest.param([], [], b"", id="nothing"),
        pytest.param([b"a\nb\n"], [b"a", b"b"], b"", id="two at once"),
        pytest.param([b"a\r\nb\r\n"], [b"a", b"b"], b"", id="CR LF"),
        pytest.param([b"a\r", b"\nb"], [b"a"], b"b", id="CR and LF apart"),
        pytest.param([b"a", b"b", b"\n"], [b"ab"], b"", id="byte by byte"),
        pytest.param([b"\n\n"], [b"", b""], b"", id="blank"),
        pytest.param([b"a\rb\n"], [b"a\rb"], b"", id="CR alone is content"),
        pytest.param([b"a\nb", b""], [b"a"], b"b", id="empty chunk"),
        pytest.param([b"\r"], [], b"\r", id="rest as it is"),
    ],
)
def test_lines_end_with_lf_or_cr_lf(chunks: list[bytes], whole: list[bytes], rest: bytes) -> None:
    assert lines_of(chunks) == (whole, rest)


def test_a_line_as_long_as_allowed_is_kept() -> None:
    assert lines_of([b"12345\nnext\n"], most=5) == ([b"12345", b"next"], b"")


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param([b"x\n" + b"y" * 200 + b"\nz\n"], id="at once"),
        pytest.param([b"x\n", *[b"y" * 50] * 4, b"\nz\n"], id="in parts"),
        pytest.param([b"x\n" + b"y" * 101, b"y" * 99, b"\n", b"z\n"], id="end alone"),
    ],
)
def test_a_line_that_is_too_long_is_told_once_and_the_next_is_read(chunks: list[bytes]) -> None:
    whole, rest = lines_of(chunks)

    assert whole == [b"x", TooLong(b"y" * 80), b"z"]
    assert rest == b""


def test_a_line_that_is_too_long_is_told_before_it_ends() -> None:
    lines = Lines(10)

    told = [lines.receive(b"y" * 6), lines.receive(b"y" * 6), lines.receive(b"y" * 6)]

    assert told == [[], [TooLong(b"y" * 10)], []]
    assert lines.rest() == b""


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from([b"a", b"bcd", b"\r", b"\n", b"\r\n", b"0123456789"]), max_size=30).map(b"".join),
    st.integers(1, 12),
    st.data(),
)
def test_however_it_is_cut_the_lines_are_the_same(body: bytes, most: int, data: st.DataObject) -> None:
    places = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    cut = [body[a:b] for a, b in zip([0, *places], [*places, len(body)], strict=True)]

    assert lines_of(cut, most) == lines_of([body], most)
    assert lines_of([body[at : at + 1] for at in range(len(body))], most) == lines_of([body], most)
