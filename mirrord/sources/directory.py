"""A local directory as an origin: watched for speed, scanned for truth; both end as changes for the intake."""

import asyncio
import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
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
from mirrord.sources.hints import Hint, HintKind
from mirrord.sources.scan import Findings, Scan
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
    follow_symlinks: bool


@dataclass(slots=True)
class _Tally:
    files: int = 0
    new: int = 0
    changed: int = 0
    removed: int = 0
    skipped: int = 0
    holes: list[str] = field(default_factory=list)


class DirectorySource:
    """Implements Source. Two threads: one scans, one looks at single files, so that neither waits for the other."""

    def __init__(self, settings: DirectorySettings, selection: Selection, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._selection = selection
        self._now = now
        self._boundary = Boundary(settings.root, follow_symlinks=settings.follow_symlinks, skip_directory=self._skips)
        self._scanning = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"scan-{settings.mirror}")
        self._looking = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"look-{settings.mirror}")
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
            finally:
                if watch is not None:
                    await self._in(self._looking, watch.stop)

    async def survey(self, receiver: Receiver) -> None:
        await self._scan_all(receiver)

    async def observe(self, keys: Sequence[str]) -> dict[str, Fingerprint | None]:
        return await self._in(self._looking, lambda: self._versions(keys))

    def close(self) -> None:
        self._looking.shutdown()
        self._scanning.shutdown()

    # -- following -------------------------------------------------------------------------------------

    async def _started_watch(self, receiver: Receiver) -> Watch | None:
        """The watch, once the root can be watched; None when the settings want none."""
        said = None
        while True:
            try:
                await self._in(self._looking, self._check_root)
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
        root = await self._in(self._looking, self._root_identity)
        receiver.listening()
        # watched first, then scanned: what changes in between is seen twice rather than never
        scan_at = self._now()
        while True:
            if self._now() >= scan_at:
                scan_at = self._now() + self._settings.rescan_every
                await self._scan_all(receiver)
            await self._look_at_settled(receiver)
            settled_at = self._settling.next_at()
            await self._wait_until(scan_at if settled_at is None else min(scan_at, settled_at))
            if watch is None:
                continue
            if await self._note(watch, receiver):
                scan_at = self._now()
                if root != await self._in(self._looking, self._root_identity):
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
                case HintKind.WHOLE | HintKind.TOUCHED | HintKind.GONE:
                    if self._selection.takes(hint.path):
                        self._settling.note(hint.path, now)
                case HintKind.TREE_GONE:
                    if not self._selection.prunes_path(hint.path):
                        gone[f"{hint.path}/"] = None
                case HintKind.LOST:
                    self._say_lost(hint, watch)
                    await receiver.lost(hint.reason)
                    scan_all = True
        if not scan_all:
            for directory in gone:
                await self._scan_below(directory, receiver)
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
            found, rejected = await self._in(self._looking, partial(self._look, quiet))
            for rejection in rejected:
                receiver.reject(rejection)
            if found:
                await receiver.take(found)

    def _look(self, paths: dict[str, datetime]) -> tuple[list[Change], list[Rejection]]:
        seen_at, rejections = dict[str, datetime](), list[Rejection]()
        for path, at in paths.items():
            key = key_for(path, self._settings.key_prefix)
            if isinstance(key, Rejection):
                rejections.append(key)
            else:
                seen_at[key] = at
        versions = self._versions(list(seen_at)).items()
        return [Change(key=key, version=version, seen_at=seen_at[key]) for key, version in versions], rejections

    # -- scanning --------------------------------------------------------------------------------------

    async def _scan_all(self, receiver: Receiver) -> None:
        began = self._now()
        await self._in(self._scanning, self._check_root)
        tally = await self._scan_below("", receiver)
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
        if tally.holes:
            more = f" and {len(tally.holes) - 1} more" if len(tally.holes) > 1 else ""
            await receiver.lost(f"what is below cannot be read: {tally.holes[0]}{more}")
        else:
            await receiver.complete(began)

    async def _scan_below(self, below: str, receiver: Receiver) -> _Tally:
        """Hold everything below a directory ("" or ending in "/") against the journal, and record what differs."""
        prefix = self._settings.key_prefix
        scan = Scan(self._boundary, self._selection, prefix)
        stretches: Iterator[Findings] = scan.differences(receiver.known(prefix + below), below)
        tally = _Tally()
        while True:
            try:
                found = await self._in(self._scanning, lambda: next(stretches, None))
            except OSError as exc:
                raise SourceUnavailable(_why(self._settings.root, exc)) from exc
            if found is None:
                return tally
            await self._take_in(found, receiver, tally)

    async def _take_in(self, found: Findings, receiver: Receiver, tally: _Tally) -> None:
        now = self._now()
        for directory, reason in found.holes:
            if not directory:
                raise SourceUnavailable(f"{self._settings.root}: {reason}")
            tally.holes.append(f"{self._boundary.absolute(directory)}: {reason}")
        for rejection in found.rejections:
            receiver.reject(rejection)
        tally.files += found.files
        tally.skipped += found.links + len(found.rejections)
        if found.differences:
            recorded = await receiver.take(
                [Change(key=key, version=version, seen_at=now) for key, version in found.differences]
            )
            tally.new += recorded.new
            tally.changed += recorded.changed
            tally.removed += recorded.removed

    # -- looking ---------------------------------------------------------------------------------------

    def _skips(self, directory: str) -> bool:
        above, _, name = directory.rpartition("/")
        return self._selection.prunes(above and above + "/", name)

    def _versions(self, keys: Sequence[str]) -> dict[str, Fingerprint | None]:
        versions: dict[str, Fingerprint | None] = {}
        for key in keys:
            try:
                versions[key] = self._version(key)
            except OSError as exc:
                if exc.errno not in _NOT_THERE:
                    continue  # a directory above that may not be searched, a disk that fails: nothing is known
                versions[key] = None
        return versions

    def _version(self, key: str) -> Fingerprint | None:
        path, follow = path_for(key, self._settings.key_prefix), self._settings.follow_symlinks
        if path is None or not self._selection.takes(path):
            return None
        found = os.stat(self._boundary.absolute(path), follow_symlinks=follow)  # noqa: PTH116 - 3,000 a second
        if not stat.S_ISREG(found.st_mode) or (follow and not self._boundary.contains(path)):
            return None
        return of_file(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)

    def _root_identity(self) -> tuple[int, int] | None:
        try:
            root = self._settings.root.stat()
        except OSError:
            return None
        return root.st_dev, root.st_ino

    def _check_root(self) -> None:
        root = self._settings.root
        if not root.is_dir():
            raise SourceUnavailable(f"{root}: {'is not a directory' if root.exists() else 'does not exist'}")
        if not os.access(root, os.R_OK | os.X_OK):
            raise SourceUnavailable(f"{root}: {os.strerror(errno.EACCES)}")

    async def _in(self, thread: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(thread, work)


def _why(root: Path, exc: OSError) -> str:
    return f"{exc.filename or root}: {exc.strerror or exc}"
