"""Lines that fit: whatever a key is called, nothing of it is lost, and a shell reads what is to be typed."""

import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from mirrord.cli.tables import typed, wrapped

TEXTS = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" '\"\\$`"), max_size=300)
WIDTHS = st.integers(20, 120)


@given(text=TEXTS, most=WIDTHS, indent=st.integers(0, 6))
def test_no_line_is_too_wide_and_no_word_is_lost(text: str, most: int, indent: int) -> None:
    lines = list(wrapped(text, most, indent))

    assert max(map(cell_len, lines)) <= most
    assert "".join("".join(lines).split()) == "".join(text.split())


@given(before=st.integers(0, 75), blanks=st.integers(1, 3))
def test_what_is_to_stay_whole_is_never_torn_where_a_line_can_take_it(before: int, blanks: int) -> None:
    whole = f"X-Reqid{' ' * blanks}LicAAK3CD_l7x-kY"

    lines = list(wrapped(f"{'x' * before} {whole} and on", 80, 2, [whole]))

    assert any(whole in line for line in lines)


def test_a_key_that_is_longer_than_a_line_keeps_its_blanks() -> None:
    key = repr("two  blanks " * 20)

    first, *others = wrapped(f"such as {key}", 80, 4, [key])

    assert "".join([first[4:], *(line[8:] for line in others)]).replace("such as", "") == key


@given(most=WIDTHS)
def test_what_is_short_enough_is_one_line(most: int) -> None:
    assert list(wrapped("x" * most, most)) == ["x" * most]


@pytest.mark.parametrize(
    "key",
    ["x" * 300, "it's " * 60, "中文" * 90, '"$(id)`id`\\' * 30, "a\\" * 100, "'" * 100, " " * 200],
    ids=["plain", "quote", "wide", "hostile", "backslash", "quotes", "blanks"],
)
@pytest.mark.parametrize("most", [40, 80])
def test_a_shell_reads_the_folded_command_as_the_one_that_was_meant(key: str, most: int) -> None:
    lines = list(typed(f"    printf %s {shlex.quote(key)}", most))

    assert max(map(cell_len, lines)) <= most
    assert printed("\n".join(lines)) == key.encode()


def test_a_shell_reads_escapes_that_were_folded() -> None:
    lines = list(typed(r"printf %s $'" + r"\x1b\u202e\U0001f600\'\\" * 12 + "'", 80))

    assert max(map(cell_len, lines)) <= 80
    assert printed("\n".join(lines)) == ("\x1b\u202e\U0001f600'\\" * 12).encode()


def printed(script: str) -> bytes:
    environment = {"LC_ALL": "C.UTF-8"}
    return subprocess.run(["bash", "-c", script], capture_output=True, check=True, env=environment).stdout


def test_a_folded_key_has_no_line_that_ends_or_begins_with_a_blank() -> None:
    key = repr("word " * 60)

    lines = list(wrapped(key, 80, 0, [key], hang=0))

    assert "".join(lines) == key
    assert [line for line in lines if line != line.strip()] == []
