"""What a dialect is to the engine: where to ask next, and bytes to mentions and a next cursor. No I/O here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from mirrord.model.change import Rejection
from mirrord.model.mention import Mention


class Unreadable(Exception):
    """What came is not what this dialect speaks; one line of text says how. Nothing of it is believed."""


class Reset(Exception):
    """What the cursor stood for is no more; the sentence says how that shows.

    `gap`: something may have been missed that reading again from the beginning does not bring either.
    """

    def __init__(self, sentence: str, *, gap: bool) -> None:
        super().__init__(sentence)
        self.gap = gap


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One GET. The engine adds what the settings say of headers and authorization, and `Cache-Control: no-cache`."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    waits: bool = False
    """Whether the answer, or its next part, may be held back until something happens."""
    idle: timedelta | None = None
    """After so long without a single byte the connection is dead; None: the engine's own limit."""
    beats: bool = False
    """Whether the server was asked for a sign of life now and then, so that its silence is a fault."""
    conditional: bool = False
    """Whether an unchanged document may be answered with 304."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """An answer before its body. The engine lets only 200 (and 204, for a stream) through to a dialect."""

    status: int
    headers: Mapping[str, str]
    """Names are lower-case."""
    url: str
    """Where it came from, after redirects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Entries that are recorded together, and where to go on after them."""

    mentions: Sequence[Mention] = ()
    bad: Sequence[Rejection] = ()
    """Entries that cannot be used; none of them blocks the rest."""
    cursor: str | None = None
    """Opaque to the engine; None: no further than before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How an answer ended that was whole."""

    caught_up: bool
    """Whether everything has been read that there was when it was asked for; False: more can be had at once."""
    stop: bool = False
    """The feed asks not to be asked again for a long time (SSE's 204)."""
    pause: timedelta | None = None
    """How long the feed wishes to be left alone before the next request (SSE's `retry`)."""


class Reading(Protocol):
    """One answer being read. Its memory is bounded by `Limits`, whatever comes."""

    def receive(self, chunk: bytes) -> Sequence[Batch]:
        """Take some bytes of the body, unpacked; what can be recorded already. Raises Unreadable, Reset."""

    def end(self) -> tuple[Batch, End]:
        """The body is over: what was still kept back. Raises Unreadable (cut off, for one), Reset."""


class Dialect(Protocol):
    """One feed's language. Pure: the same arguments, the same answer; all state is in the cursor."""

    now_cursor: str | None
    """The cursor that means "from now on"; None: there is none, it is found by reading to the end."""
    beginning_is_whole: bool
    """Whether reading from the beginning names every key there is, so that a key it does not name is gone."""

    def ask(self, cursor: str | None, *, wait: bool, widen: int = 1) -> Ask:
        """What to GET next. `cursor` None: from the beginning. `wait`: it is known to be caught up.

        `widen`: a page so many times as large as usual, because the usual one did not get any further.
        """

    def read(self, head: Head, cursor: str | None, *, wait: bool, widen: int = 1) -> Reading:
        """Begin to read the answer to `ask` of the same arguments. Raises Unreadable, Reset."""


class Naming(Protocol):
    """A feed that can say which history its cursors belong to: a database that was made anew has another one."""

    def ask_history(self) -> Ask:
        """What to GET for it."""

    def history_of(self, body: bytes) -> str | None:
        """Its name; None: the answer does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is read at most. Sizes are bytes after unpacking."""

    document: int = 64 * 2**20
    """Of a body that must be read as a whole (JSON); streams, lines and XML are read as they come."""
    line: int = 2**20
    """Of one line, event or XML entry; what is longer is rejected alone."""
    entries: int = 10_000_000
    """Of one answer that ends."""
    nesting: int = 100
