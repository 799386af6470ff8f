"""Fingerprints: equal exactly when the version is, and their parts come back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.model.fingerprint import FileVersion, of_file, of_token, parse_file

numbers = st.integers(min_value=0, max_value=2**64)
times = st.integers(min_value=-(2**63), max_value=2**63)  # a file may be dated before 1970
files = st.builds(FileVersion, size_bytes=numbers, modified_ns=times, changed_ns=times, inode=numbers)


def fingerprint(version: FileVersion) -> str:
    return of_file(version.size_bytes, version.modified_ns, version.changed_ns, version.inode)


@given(files)
def test_the_parts_of_a_files_fingerprint_come_back(version: FileVersion) -> None:
    assert parse_file(of_file(version.size_bytes, version.modified_ns, version.changed_ns, version.inode)) == version


@given(files, files)
def test_two_files_share_a_fingerprint_only_when_every_part_is_the_same(one: FileVersion, other: FileVersion) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (one == other)


@pytest.mark.parametrize(
    "later",
    [
        pytest.param(of_file(4, 1, 1, 7), id="size"),
        pytest.param(of_file(3, 2, 1, 7), id="one-nanosecond-later"),
        pytest.param(of_file(3, 1, 2, 7), id="old-mtime-restored"),
        pytest.param(of_file(3, 1, 1, 8), id="another-inode-moved-into-place"),
    ],
)
def test_a_difference_in_any_part_is_another_version(later: str) -> None:
    assert later != of_file(3, 1, 1, 7)


@given(st.text())
def test_a_feeds_token_has_no_parts(token: str) -> None:
    assert parse_file(of_token(token)) is None


@given(st.text(), files)
def test_a_feeds_token_is_never_taken_for_a_file(token: str, version: FileVersion) -> None:
    assert of_token(token) != fingerprint(version)


@given(st.text(), st.text())
def test_different_tokens_are_different_versions(one: str, other: str) -> None:
    assert (of_token(one) == of_token(other)) == (one == other)
