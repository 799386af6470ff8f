"""A snapshot over HTTP: its documents are fetched where they have changed, from the first one down."""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import NoReturn, Self, TypeVar
from urllib.parse import urljoin

from mirrord.sources.feed.dialect import Ask, Limits, Unreadable
from mirrord.sources.feed.fetching import Fetcher, Got, Unreachable, shown_url
from mirrord.sources.feed.shelf import Document, Shelf
from mirrord.sources.feed.snapshot import Form, Leaf, Named, State

T = TypeVar("T")

DOCUMENTS_MOST = 50_000
"""What one sitemap index may name; a snapshot with more of them leads in circles, or never ends."""
LOOKS_MOST = 4
"""At documents of which some are another one at each look; such a snapshot is made while it is asked for."""


class Walk:
    """Implements Snapshot. Shared by all mirrors that compare with it."""

    def __init__(
        self,
        name: str,
        url: str,
        form: Form,
        fetcher: Fetcher,
        limits: Limits,
        *,
        fresh_for: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        """`fresh_for`: a look that another mirror had so shortly before is good enough."""
        self.name = name
        self._url = url
        self._form = form
        self._fetcher = fetcher
        self._limits = limits
        self._fresh_for = fresh_for
        self._now = now
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="snapshot")
        self._looking = asyncio.Lock()
        self._users = 0
        self.unused = False
        self._shelf: Shelf | None = None
        self._last: State | None = None
        self._closed = False
        """Whether the document that was read last says itself where it ends."""

    async def refresh(self, not_before: datetime, *, strictly: bool = False) -> State:
        async with self._looking:
            last = self._last
            fresh_for = timedelta(0) if strictly else self._fresh_for
            if last is not None and last.asked_at > not_before - fresh_for:
                return last
            if self._shelf is None:
                self._shelf = await self._in_thread(Shelf)
            self._last = await self._look(self._shelf, last)
            return self._last

    def named(self) -> Iterator[Named]:
        assert self._shelf is not None
        before: Document | None = None
        try:
            for document, rows in self._shelf.entries():
                mentions = [self._form.mention(row, as_of=document.made_at, document=document.digest) for row in rows]
                bad = document.bad if document is not before else ()
                before = document
                if rows or bad or not document.children:  # what only leads on was made at any time
                    yield Named(mentions, bad, document.digest, document.made_at)
        except (OSError, sqlite3.Error) as exc:
            _raise_unshelved(exc)

    def join(self) -> Self:
        """One mirror more uses it, which says `close` when it does so no longer."""
        self._users += 1
        return self

    async def close(self) -> None:
        self._users -= 1
        if self._users > 0:
            return
        self.unused = True
        await self._fetcher.close()
        shelf, self._shelf, self._last = self._shelf, None, None
        if shelf is not None:
            await self._in_thread(shelf.close)
        self._thread.shutdown()

    async def _look(self, shelf: Shelf, last: State | None) -> State:
        """Look again until two looks agree, as documents may be written while they are read; then show them."""
        before = None if last is None or not last.steady else last.version
        content, steady = None, False
        for _ in range(LOOKS_MOST):
            began = self._now()
            urls = await self._walk(shelf)
            told = await self._in_thread(partial(shelf.told, urls))
            steady = told.version == before or told.content == content or self._is_of_one_piece(urls)
            if steady:
                break
            content = told.content
        await self._in_thread(partial(shelf.show, urls))
        return State(told.version, began, steady)

    def _is_of_one_piece(self, urls: list[str]) -> bool:
        """Whether nothing can have been missed although it was read but once."""
        return len(urls) == 1 and self._closed

    async def _walk(self, shelf: Shelf) -> list[str]:
        """Fetch what has changed; the addresses of all documents."""
        seen: dict[str, None] = {self._url: None}
        try:
            await self._walk_down(shelf, seen)
        except (Unreachable, Unreadable):
            await self._in_thread(partial(shelf.forget_others, list(seen)))
            raise
        return list(seen)

    async def _walk_down(self, shelf: Shelf, seen: dict[str, None]) -> None:
        todo = deque(seen)
        while todo:
            document = await self._read(todo.popleft(), shelf)
            for child in document.children:
                url = urljoin(document.url, child)
                if url not in seen:
                    seen[url] = None
                    todo.append(url)
                elif self._form.pages:
                    raise Unreadable(f"{shown_url(document.url)}: leads back to {shown_url(url)}")
            if len(seen) > DOCUMENTS_MOST:
                raise Unreadable(f"has more than {DOCUMENTS_MOST} documents")

    async def _read(self, url: str, shelf: Shelf) -> Document:
        before = await self._in_thread(partial(shelf.find, url))
        asked_at = self._now()
        try:
            async with self._fetcher.get(
                Ask(url=url, conditional=True), None if before is None else before.validators
            ) as got:
                if got.unchanged and before is not None:
                    return before
                return await self._take_in(url, got, asked_at, shelf)
        except Unreadable as exc:
            raise Unreadable(f"{shown_url(url)}: {exc}") from exc
        except Unreachable as exc:
            said = exc.sentence if shown_url(url) in exc.sentence else f"{shown_url(url)}: {exc.sentence}"
            raise Unreachable(said, status=exc.status, retry_after=exc.retry_after) from exc

    async def _take_in(self, url: str, got: Got, asked_at: datetime, shelf: Shelf) -> Document:
        leaf, kept = self._form.begin(got.head), False
        try:
            await self._in_thread(shelf.begin)
            count = 0
            async for chunk in got.chunks():
                count = await self._in_thread(partial(self._add, shelf, leaf, count, chunk))
            await self._in_thread(partial(self._add, shelf, leaf, count, None))
            document = Document(
                url=url,
                digest=got.digest(),
                made_at=leaf.made_at or asked_at - (got.document_age or timedelta(0)),
                validators=got.validators,
                children=tuple(leaf.children),
                bad=tuple(leaf.bad),
            )
            await self._in_thread(partial(shelf.keep, document))
            self._closed, kept = leaf.closed, True
        finally:
            if not kept:
                await self._in_thread(shelf.restore)
        return document

    def _add(self, shelf: Shelf, leaf: Leaf, count: int, chunk: bytes | None) -> int:
        rows = leaf.end() if chunk is None else leaf.receive(chunk)
        if count + len(rows) > self._limits.entries:
            raise Unreadable(f"has more than {self._limits.entries} entries")
        shelf.add(rows)
        return count + len(rows)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """For the shelf; all its errors mean that nothing of this look can be kept."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (OSError, sqlite3.Error) as exc:
            _raise_unshelved(exc)


def _raise_unshelved(exc: Exception) -> NoReturn:
    raise Unreadable(f"what it says cannot be set aside on disk: {exc}") from exc
