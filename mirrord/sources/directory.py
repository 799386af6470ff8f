"""A local directory as an origin: watched for speed, scanned for truth; both end as changes for the intake."""

import asyncio
import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import structlog

from mirrord.decisions.coalescing import Coalescing
from mirrord.decisions.keymap import Selection, key_for, path_for
from mirrord.model.change import Change, Rejection
from mirrord.model.fingerprint import Fingerprint, of_file
from mirrord.sources.boundary import Boundary
from mirrord.sources.contract import Receiver, SourceUnavailable
from mirrord.sources.hashing import Hashed, Hashing
from mirrord.sources.hints import Hint, HintKind
from mirrord.sources.root import Root
from mirrord.sources.scan import Findings, Scan, Tally
from mirrord.sources.spool import Spool
from mirrord.sources.watch import Watch, open_watch

log = structlog.get_logger()

T = TypeVar("T")

LOOK_MOST = 1000
"""Settled paths looked at and recorded together."""
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
RETRY_ROOT = timedelta(seconds=5)
"""How often a root that is not there is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectorySettings:
    """The settings' `[mirror.source]` and what of the mirror shapes its keys."""

    root: Path
    mirror: str
    key_prefix: str
    watch: Literal["auto", "inotify", "poll", "off"]
    settle: timedelta
    settle_limit: timedelta
    rescan_every: timedelta
    rescan_limited_every: timedelta
    follow_symlinks: bool


@dataclass(slots=True)
class _Looked:
    """What came of looking at paths that had been quiet."""

    changes: list[Change] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    """Nothing is known of these: the root went, or a directory above may not be searched."""


class DirectorySource:
    """Implements Source. One thread scans, one looks at single files, two hash: none waits for another."""

    sees_origin = True

    def __init__(
        self,
        settings: DirectorySettings,
        selection: Selection,
        now: Callable[[], datetime],
        hash_content: Callable[[Iterable[bytes]], str],
    ) -> None:
        self._settings = settings
        self._selection = selection
        self._now = now
        self._boundary = Boundary(settings.root, follow_symlinks=settings.follow_symlinks, skip_directory=self._skips)
        self._scanning = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"scan-{settings.mirror}")
        self._looking = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"look-{settings.mirror}")
        self._hashing = Hashing(self._boundary, hash_content, now, settings.mirror)
        self._root = Root(settings.root)
        self._settling = Coalescing(settings.settle, settings.settle_limit)
        self._woken = asyncio.Event()

    # -- Source ----------------------------------------------------------------------------------------

    async def follow(self, receiver: Receiver) -> None:
        """Watch, scan, then look at what the watch hints at and scan again every `rescan_every`."""
        while True:
            watch = await self._started_watch(receiver)
            try:
                await self._follow_watched(watch, receiver)
            except SourceUnavailable as exc:
                await receiver.lost(str(exc))
                await asyncio.sleep(RETRY_ROOT.total_seconds())
            finally:
                if watch is not None:
                    await self._in(self._looking, watch.stop)

    async def survey(self, receiver: Receiver) -> None:
        await self._scan_all(receiver)

    async def observe(self, keys: Sequence[str]) -> dict[str, Fingerprint | None]:
        return await self._in(self._looking, lambda: self._versions(keys))

    async def hash_of(self, keys: Sequence[str]) -> dict[str, Hashed]:
        paths = {path: key for key in keys if (path := self._path_of(key)) is not None}
        return {paths[path]: hashed for path, hashed in (await self._hashing.hash_of(list(paths))).items()}

    async def close(self) -> None:
        self._hashing.close()
        self._looking.shutdown()
        self._scanning.shutdown()

    # -- following -------------------------------------------------------------------------------------

    async def _started_watch(self, receiver: Receiver) -> Watch | None:
        """The watch, once the root can be watched; None when the settings want none."""
        said = None
        while True:
            try:
                await self._in(self._looking, self._root.hold)
                return await self._opened_watch()
            except (OSError, SourceUnavailable) as exc:
                reason = str(exc) if isinstance(exc, SourceUnavailable) else _why(self._settings.root, exc)
            if reason != said:
                said = reason
                await receiver.lost(reason)
            await asyncio.sleep(RETRY_ROOT.total_seconds())

    async def _opened_watch(self) -> Watch | None:
        if self._settings.watch == "off":
            return None
        loop = asyncio.get_running_loop()

        def wake() -> None:
            loop.call_soon_threadsafe(self._woken.set)

        watch = open_watch(
            self._settings.root,
            mode=self._settings.watch,
            follow_symlinks=self._settings.follow_symlinks,
            wake=wake,
            skip_directory=self._skips,
        )
        await self._in(self._looking, watch.start)
        return watch

    async def _follow_watched(self, watch: Watch | None, receiver: Receiver) -> None:
        """Until the watch has to be started anew: the root was replaced, or its thread ended."""
        receiver.listening()
        # watched first, then scanned: what changes in between is seen twice rather than never
        scan_at = self._now()
        while True:
            if self._now() >= scan_at:
                began = self._now()
                scan_at = began + await self._scan_all(receiver, limited=watch is not None and watch.missing > 0)
            await self._look_at_settled(receiver)
            settled_at = self._settling.next_at()
            await self._wait_until(scan_at if settled_at is None else min(scan_at, settled_at))
            if watch is None:
                continue
            if await self._note(watch, receiver):
                scan_at = self._now()
                if not await self._in(self._looking, self._root.is_held):
                    return
            if not watch.alive:
                await receiver.lost("the thread that watches the directory ended")
                return

    async def _wait_until(self, at: datetime) -> None:
        if not self._woken.is_set():
            try:
                async with asyncio.timeout(max(0.0, (at - self._now()).total_seconds())):
                    await self._woken.wait()
            except TimeoutError:
                return
        self._woken.clear()

    async def _note(self, watch: Watch, receiver: Receiver) -> bool:
        """Take the watch's hints in; whether everything has to be scanned."""
        gone, scan_all, now = dict[str, None](), False, self._now()
        for hint in watch.drain():
            match hint.kind:
                case HintKind.WHOLE | HintKind.WRITING | HintKind.TOUCHED | HintKind.GONE:
                    if self._selection.takes(hint.path):
                        being_written = None if hint.kind is HintKind.TOUCHED else hint.kind is HintKind.WRITING
                        self._settling.note(hint.path, now, being_written=being_written)
                case HintKind.TREE_GONE:
                    if not self._selection.prunes_path(hint.path):
                        gone[f"{hint.path}/"] = None
                case HintKind.LOST:
                    self._say_lost(hint, watch)
                    await receiver.lost(hint.reason)
                    scan_all = True
        if not scan_all:
            for directory in gone:
                await self._scan_gone(directory, receiver)
        return scan_all

    def _say_lost(self, hint: Hint, watch: Watch) -> None:
        event = "source.limited" if watch.missing else "source.overflowed"
        log.warning(
            event,
            mirror=self._settings.mirror,
            path=hint.path,
            reason=hint.reason,
            watched=watch.watched,
            missing=watch.missing,
        )

    async def _look_at_settled(self, receiver: Receiver) -> None:
        while quiet := self._settling.due(self._now(), LOOK_MOST):
            looked = await self._in(self._looking, partial(self._look, quiet))
            for rejection in looked.rejections:
                receiver.reject(rejection)
            if looked.changes:
                await receiver.take(looked.changes)
            if looked.unseen:
                raise SourceUnavailable(
                    f"{self._boundary.absolute(looked.unseen[0])}: changed, and cannot be looked at"
                    + (f", nor can {len(looked.unseen) - 1} more" if len(looked.unseen) > 1 else "")
                )

    def _look(self, paths: dict[str, datetime]) -> "_Looked":
        looked, path_of = _Looked(), dict[str, str]()
        for path in paths:
            key = key_for(path, self._settings.key_prefix)
            if isinstance(key, Rejection):
                looked.rejections.append(key)
            else:
                path_of[key] = path
        versions = self._versions(list(path_of))
        for key, path in path_of.items():
            if key in versions:
                looked.changes.append(Change(key=key, version=versions[key], seen_at=paths[path]))
            elif self._selection.takes(path):
                looked.unseen.append(path)
        return looked

    # -- scanning --------------------------------------------------------------------------------------

    async def _scan_all(self, receiver: Receiver, *, limited: bool = False) -> timedelta:
        """Look at everything; when to look again. What was missed counts as removed only if nothing is doubtful."""
        began, root = self._now(), await self._in(self._scanning, self._root.hold)
        again, sooner = self._settings.rescan_every, self._settings.rescan_limited_every
        if limited:
            again = min(again, sooner)
        with Spool() as missed:
            tally = await self._scan_below("", receiver, missed)
            await self._in(self._scanning, lambda: self._believe(tally, missed))
            doubt = self._doubt(tally, missed, receiver.root, root)
            if doubt is None:
                tally.removed = await self._take_removed(missed, receiver)
        log.info(
            "scan.finished",
            mirror=self._settings.mirror,
            files=tally.files,
            new=tally.new,
            changed=tally.changed,
            removed=tally.removed,
            skipped=tally.skipped,
            duration_s=round((self._now() - began).total_seconds(), 3),
        )
        if doubt is None:
            await receiver.complete(began, root)
            return again
        await receiver.lost(doubt)
        if not tally.holes:
            await receiver.moved_to(root)
        return min(again, sooner)

    def _believe(self, tally: Tally, missed: Spool) -> None:
        """Raise SourceUnavailable when the scan may have looked at nothing, or below two different roots."""
        if not self._root.is_held():
            raise SourceUnavailable(f"{self._settings.root}: was replaced or unmounted during a scan")
        if missed and not tally.files:
            raise SourceUnavailable(
                f"{self._settings.root}: is empty, and had {len(missed)} files; none of them is taken for removed"
            )

    def _doubt(self, tally: Tally, missed: Spool, was: str | None, root: str) -> str | None:
        """Why what was not seen must not be taken for removed; None when it may be."""
        if tally.holes:
            more = f" and {len(tally.holes) - 1} more" if len(tally.holes) > 1 else ""
            return f"what is below cannot be read: {tally.holes[0]}{more}"
        if missed and was not in (None, root):
            return (
                f"{self._settings.root}: is another directory than before (device:inode {root}, was {was}); "
                "what it lacks is not taken for removed before the next scan"
            )
        return None

    async def _scan_gone(self, directory: str, receiver: Receiver) -> None:
        """Look below a directory that was deleted, moved away, or is there again."""
        with Spool() as missed:
            tally = await self._scan_below(directory, receiver, missed)
            if not tally.holes:
                await self._take_removed(missed, receiver)

    async def _take_removed(self, missed: Spool, receiver: Receiver) -> int:
        """Record the missed keys that are still not there; how many changed anything."""
        removed = 0
        for keys in missed.batches(LOOK_MOST):
            versions = await self._in(self._looking, partial(self._versions, keys))
            now = self._now()
            gone = [Change(key=key, version=None, seen_at=now) for key, version in versions.items() if version is None]
            if gone:
                removed += (await receiver.take(gone)).removed
        return removed

    async def _scan_below(self, below: str, receiver: Receiver, missed: Spool) -> Tally:
        """Hold everything below a directory ("" or ending in "/") against the journal, and record what differs.

        Keys that it did not find are only set aside in `missed`.
        """
        prefix = self._settings.key_prefix
        scan = Scan(self._boundary, self._selection, prefix)
        stretches: Iterator[Findings] = scan.differences(receiver.known(prefix + below), below)
        tally = Tally()
        while True:
            try:
                found = await self._in(self._scanning, lambda: next(stretches, None))
            except OSError as exc:
                raise SourceUnavailable(_why(self._settings.root, exc)) from exc
            if found is None:
                return tally
            await self._take_in(found, receiver, tally, missed)

    async def _take_in(self, found: Findings, receiver: Receiver, tally: Tally, missed: Spool) -> None:
        now = self._now()
        for directory, reason in found.holes:
            if not directory:
                raise SourceUnavailable(f"{self._settings.root}: {reason}")
            tally.holes.append(f"{self._boundary.absolute(directory)}: {reason}")
        for rejection in found.rejections:
            receiver.reject(rejection)
        tally.files += found.files
        tally.skipped += found.links + len(found.rejections)
        changes = list[Change]()
        for key, version in found.differences:
            if version is None:
                missed.add(key)
            elif path_for(key, self._settings.key_prefix) not in self._settling:  # else it may still be written
                changes.append(Change(key=key, version=version, seen_at=now))
        if changes:
            recorded = await receiver.take(changes)
            tally.new += recorded.new
            tally.changed += recorded.changed

    # -- looking ---------------------------------------------------------------------------------------

    def _skips(self, directory: str) -> bool:
        above, _, name = directory.rpartition("/")
        return self._selection.prunes(above and above + "/", name)

    def _versions(self, keys: Sequence[str]) -> dict[str, Fingerprint | None]:
        """The version of each key; None: certainly not there. Left out is what nothing can be said of."""
        versions: dict[str, Fingerprint | None] = {}
        if not self._root.is_held():
            return versions
        for key in keys:
            path = path_for(key, self._settings.key_prefix)
            if path is None or not self._selection.takes(path):
                continue  # not ours any more: the settings leave it out
            try:
                versions[key] = self._version(path)
            except OSError as exc:
                if exc.errno not in _NOT_THERE:
                    continue  # a directory above that may not be searched, a disk that fails: nothing is known
                versions[key] = None
        return versions if self._root.is_held() else {}

    def _path_of(self, key: str) -> str | None:
        path = path_for(key, self._settings.key_prefix)
        return path if path is not None and self._selection.takes(path) else None

    def _version(self, path: str) -> Fingerprint | None:
        follow = self._settings.follow_symlinks
        found = os.stat(self._boundary.absolute(path), follow_symlinks=follow)  # noqa: PTH116 - 3,000 a second
        if not stat.S_ISREG(found.st_mode) or (follow and not self._boundary.contains(path)):
            return None
        return of_file(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)

    async def _in(self, thread: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(thread, work)


def _why(root: Path, exc: OSError) -> str:
    return f"{exc.filename or root}: {exc.strerror or exc}"
