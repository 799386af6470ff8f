"""Fingerprint: which version of a key's content somebody means, as one comparable text."""

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import NewType

Fingerprint = NewType("Fingerprint", str)
"""Equal texts mean the same version. Text, because a scan compares hundreds of thousands of them
a second and the journal stores them as they are; `parse_file` and `parse_token` give the parts back."""

TOKEN_MOST = 512
"""Characters of a token that are kept as they are; a longer one is kept as its digest."""
_SIZE, _ETAG, _MODIFIED = "\tsize=", "\tetag=", "\tmodified="


def of_file(size_bytes: int, modified_ns: int, changed_ns: int, inode: int) -> Fingerprint:
    """One version of a local file. `changed_ns` and `inode` catch a tool that restores the old mtime."""
    return Fingerprint(f"{size_bytes}:{modified_ns}:{changed_ns}:{inode}")


def of_token(
    token: str, *, size_bytes: int | None = None, etag: str | None = None, modified: datetime | None = None
) -> Fingerprint:
    """One version as a feed names it (a rev, an ETag, a sequencer), with what else it says of it.

    `modified` is aware and counts to the second.
    """
    text = f"={_one_line(token)}"
    if size_bytes is not None:
        text += f"{_SIZE}{size_bytes}"
    if etag is not None:
        text += f"{_ETAG}{_one_line(etag)}"
    if modified is not None:
        text += f"{_MODIFIED}{int(modified.timestamp())}"
    return Fingerprint(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileVersion:
    """The parts of a file's fingerprint; times are nanoseconds since 1970."""

    size_bytes: int
    modified_ns: int
    changed_ns: int
    inode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenVersion:
    """The parts of a feed's fingerprint; None: the feed does not say."""

    token: str
    size_bytes: int | None
    etag: str | None
    modified: datetime | None
    """To the second, UTC."""


def parse_file(fingerprint: Fingerprint) -> FileVersion | None:
    """The parts, or None when the fingerprint is a feed's token."""
    if fingerprint.startswith("="):
        return None
    size, modified, changed, inode = map(int, fingerprint.split(":"))
    return FileVersion(size_bytes=size, modified_ns=modified, changed_ns=changed, inode=inode)


def parse_token(fingerprint: Fingerprint) -> TokenVersion | None:
    """The parts, or None when the fingerprint is a file's."""
    if not fingerprint.startswith("="):
        return None
    token, *parts = fingerprint[1:].split("\t")
    said = dict(part.split("=", 1) for part in parts)
    modified = said.get("modified")
    return TokenVersion(
        token=token,
        size_bytes=int(said["size"]) if "size" in said else None,
        etag=said.get("etag"),
        modified=None if modified is None else datetime.fromtimestamp(int(modified), UTC),
    )


def size_of(fingerprint: Fingerprint | None) -> int | None:
    """The content's size in bytes; None for a key that is gone, and where a feed does not say."""
    if fingerprint is None:
        return None
    if fingerprint.startswith("="):
        _, found, rest = fingerprint.partition(_SIZE)
        return int(rest.partition("\t")[0]) if found else None
    return int(fingerprint.partition(":")[0])  # asked before every call: the other parts need not be read


def _one_line(text: str) -> str:
    """Short, storable, and without the tab that parts it from what follows; different texts stay different."""
    if len(text) > TOKEN_MOST:
        return f"blake2b:{blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=20).hexdigest()}"
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    escaped = text.replace("\\", "\\\\").replace("\t", "\\t")
    return escaped.encode("utf-8", "backslashreplace").decode()
