"""ResourceSync from whatever address a person has: its change lists are searched for, then followed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import orjson

from mirrord.sources.feed.dialect import Ask, Batch, End, Head, Limits, Reading, Unreadable
from mirrord.sources.feed.discovery import Found, after, names_documents, search
from mirrord.sources.feed.resourcesync import ChangeList
from mirrord.sources.feed.xml_entries import Entry, XmlEntries


@dataclass(frozen=True, slots=True)
class _Followed:
    """A change list that was found."""

    url: str
    at: str | None = None
    """Its own cursor."""


@dataclass(frozen=True, slots=True)
class _Progress:
    """Still searching, or on the lists that were found: each set of resources has one."""

    found: Found | None = None
    lists: tuple[_Followed, ...] = ()
    turn: int = 0
    """Which of the lists is read next."""

    def text(self) -> str:
        if self.found is None:
            return orjson.dumps({"lists": [(each.url, each.at) for each in self.lists], "turn": self.turn}).decode()
        found = self.found
        return orjson.dumps(
            {
                "resources": found.resource_lists,
                "changes": found.change_lists,
                "next": found.read_next,
                "seen": sorted(found.seen),
            }
        ).decode()

    def moved_to(self, at: str, *, over: bool) -> "_Progress":
        """The list whose turn it is has been read up to `at`; `over`: it has no more to say."""
        lists = list(self.lists)
        lists[self.turn] = _Followed(lists[self.turn].url, at)
        return _Progress(lists=tuple(lists), turn=(self.turn + over) % len(lists))


class ResourceSync:
    """Implements Dialect. `url`: a description, a capability list, a resource list or a change list."""

    now_cursor: str | None = None
    beginning_is_whole = False

    def __init__(self, url: str, *, overlap: timedelta, limits: Limits) -> None:
        self._url = url
        self._overlap = overlap
        self._limits = limits

    def ask(self, cursor: str | None, *, wait: bool, widen: int = 1) -> Ask:
        progress = self._progress(cursor)
        if progress.found is not None:
            return Ask(url=progress.found.read_next[0])
        change_list, at = self._list(progress)
        ask = change_list.ask(at, wait=wait, widen=widen)
        return ask if len(progress.lists) == 1 else replace(ask, conditional=False)  # unchanged, it gives no cursor

    def read(self, head: Head, cursor: str | None, *, wait: bool, widen: int = 1) -> Reading:
        progress = self._progress(cursor)
        if progress.found is not None:
            return _Searching(progress.found, self._limits)
        change_list, at = self._list(progress)
        return _Following(change_list.read(head, at, wait=wait, widen=widen), progress)

    def _list(self, progress: _Progress) -> tuple[ChangeList, str | None]:
        followed = progress.lists[progress.turn]
        return ChangeList(followed.url, overlap=self._overlap, limits=self._limits), followed.at

    def _progress(self, cursor: str | None) -> _Progress:
        if cursor is None:
            return _Progress(found=search(self._url))
        said = orjson.loads(cursor)
        if "lists" in said:
            return _Progress(lists=tuple(_Followed(*each) for each in said["lists"]), turn=said["turn"])
        found = Found(
            resource_lists=tuple(said["resources"]),
            change_lists=tuple(said["changes"]),
            read_next=tuple(said["next"]),
            seen=frozenset(said["seen"]),
        )
        return _Progress(found=found)


class _Searching:
    """One document on the way to the lists."""

    def __init__(self, found: Found, limits: Limits) -> None:
        self._found = found
        self._entries = XmlEntries(limits)
        self._named: list[Entry] = []

    def receive(self, chunk: bytes) -> Sequence[Batch]:
        self._note(self._entries.receive(chunk))
        return ()

    def end(self) -> tuple[Batch, End]:
        self._note(self._entries.end())
        about = self._entries.about
        found = after(self._found, self._found.read_next[0], about, self._named)
        there = about.capability == "changelist" and bool(found.change_lists)  # nothing above it could be better
        if found.read_next and not there:
            progress = _Progress(found=found)
        elif found.change_lists:
            progress = _Progress(lists=tuple(_Followed(each) for each in found.change_lists))
        else:
            raise Unreadable('leads to no change list; a resource list alone can be read with format = "sitemap"')
        return Batch(cursor=progress.text()), End(caught_up=False)

    def _note(self, found: Sequence[object]) -> None:
        if names_documents(self._entries.about):
            self._named += (each for each in found if isinstance(each, Entry))


class _Following:
    """A change list itself; its cursors stand among those of the others."""

    def __init__(self, inner: Reading, progress: _Progress) -> None:
        self._inner = inner
        self._progress = progress

    def receive(self, chunk: bytes) -> Sequence[Batch]:
        return [self._named(batch, over=False) for batch in self._inner.receive(chunk)]

    def end(self) -> tuple[Batch, End]:
        batch, end = self._inner.end()
        last = self._progress.turn == len(self._progress.lists) - 1
        return self._named(batch, over=end.caught_up), replace(end, caught_up=end.caught_up and last)

    def _named(self, batch: Batch, *, over: bool) -> Batch:
        if batch.cursor is None:
            return batch
        return replace(batch, cursor=self._progress.moved_to(batch.cursor, over=over).text())
