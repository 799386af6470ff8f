"""Fingerprint: which version of a key's content somebody means, as one comparable text."""

from dataclasses import dataclass
from typing import NewType

Fingerprint = NewType("Fingerprint", str)
"""Equal texts mean the same version. Text, because a scan compares hundreds of thousands of them
a second and the journal stores them as they are; `parse_file` gives the parts back."""


def of_file(size_bytes: int, modified_ns: int, changed_ns: int, inode: int) -> Fingerprint:
    """One version of a local file. `changed_ns` and `inode` catch a tool that restores the old mtime."""
    return Fingerprint(f"{size_bytes}:{modified_ns}:{changed_ns}:{inode}")


def of_token(token: str) -> Fingerprint:
    """A version that a feed names itself (a rev, an ETag, a sequencer)."""
    return Fingerprint(f"={token}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileVersion:
    """The parts of a file's fingerprint; times are nanoseconds since 1970."""

    size_bytes: int
    modified_ns: int
    changed_ns: int
    inode: int


def parse_file(fingerprint: Fingerprint) -> FileVersion | None:
    """The parts, or None when the fingerprint is a feed's token."""
    if fingerprint.startswith("="):
        return None
    size, modified, changed, inode = map(int, fingerprint.split(":"))
    return FileVersion(size_bytes=size, modified_ns=modified, changed_ns=changed, inode=inode)


def size_of(fingerprint: Fingerprint | None) -> int | None:
    """The file's size in bytes; None for a feed's token and for a key that is gone."""
    if fingerprint is None or fingerprint.startswith("="):
        return None
    return int(fingerprint.partition(":")[0])  # asked before every call: the other parts need not be read
