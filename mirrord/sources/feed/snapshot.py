"""A snapshot of an origin: documents that together name every key there is, kept on disk between two looks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mirrord.model.change import Rejection
from mirrord.model.mention import Mention
from mirrord.sources.feed.dialect import Head

Row = tuple[str | int | None, ...]
"""One entry of a document, as it is kept."""


@dataclass(frozen=True, slots=True)
class State:
    """What a look at all documents came to."""

    version: str
    """Equal texts: not a byte has changed."""
    asked_at: datetime
    """When the look began."""
    steady: bool = True
    """False: its documents changed whenever they were looked at; what moved from one to another may be missed."""


@dataclass(frozen=True, slots=True)
class Named:
    """Some keys that one document names."""

    mentions: Sequence[Mention]
    bad: Sequence[Rejection]
    document: str
    """Names that document's version."""
    made_at: datetime
    """When the document was made, as far as anybody says; else when it was asked for."""


class Snapshot(Protocol):
    """What can be held against a journal."""

    name: str

    async def refresh(self, not_before: datetime, *, strictly: bool = False) -> State:
        """Look at every document again. Raises Unreachable, Unreadable: then nothing of it is to be believed.

        Not `strictly`: a look that another mirror had shortly before is good enough.
        """

    def named(self) -> Iterator[Named]:
        """Everything that the last look found which went well. Blocks. Raises Unreadable."""

    async def close(self) -> None:
        """Let go of connections and of what is on disk, once every mirror that shares it has said so."""


class Leaf(Protocol):
    """One document being read, with bounded memory. Raises Unreadable."""

    def receive(self, chunk: bytes) -> Sequence[Row]: ...

    def end(self) -> Sequence[Row]: ...

    @property
    def children(self) -> Sequence[str]:
        """After the end: documents to be read as well."""

    @property
    def bad(self) -> Sequence[Rejection]:
        """Entries that cannot be used."""

    @property
    def made_at(self) -> datetime | None:
        """After the end: when the document says that it was made."""

    @property
    def closed(self) -> bool:
        """After the end: whether a document of its kind that is cut off between two entries could not be read."""


class Form(Protocol):
    """One kind of snapshot. Pure."""

    pages: bool
    """Whether each document is followed by one other: if that was read before, the way to the rest is lost."""

    def begin(self, head: Head) -> Leaf:
        """Raises Unreadable."""

    def mention(self, row: Row, *, as_of: datetime, document: str) -> Mention:
        """What a row says; `document` names the version of the document, made at `as_of`."""
