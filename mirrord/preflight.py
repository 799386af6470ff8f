"""A mirror's settings held against Kodo and its origin: a few questions, each asked once, to findings."""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import structlog

from mirrord.decisions import findings
from mirrord.decisions.feed_findings import Posted, Told, about_feed
from mirrord.decisions.findings import BucketInfo, Finding, Level, Sample, Served, Subject, Wanted
from mirrord.decisions.keymap import Selection, key_for
from mirrord.kodo import protocol
from mirrord.kodo.entry import origin_url
from mirrord.kodo.exchange import Answer, NoAnswer, Sender, base_of
from mirrord.kodo.protocol import Request
from mirrord.model.attempt import Reply, Silence
from mirrord.model.change import Rejection
from mirrord.sources.boundary import Boundary

log = structlog.get_logger()

T = TypeVar("T")

CALL_MOST = timedelta(seconds=10)
"""How long to wait for one answer."""
ENTRIES_MOST = 10_000
"""How much of a tree is looked at for one file to try."""
SURELY_ABSENT = "mirrord-check"
"""The key that stat is asked for where there is no file: 612 is as good an answer as any."""


class Kodo(Protocol):
    """The part of the client that a preflight needs."""

    async def region(self, bucket: str) -> str | Reply: ...

    async def bucket_info(self, bucket: str) -> tuple[Reply, BucketInfo | None]: ...

    async def ask(self, bucket: str, request: Request) -> Reply: ...


class Probe(Protocol):
    """What a change feed has to say for itself, or the snapshot that it is compared with."""

    @property
    def subject(self) -> Subject: ...

    async def ask(self) -> Told | Posted: ...


class Preflight:
    """One mirror's. Asks nothing that changes anything, and a key pair that is refused no further questions."""

    def __init__(
        self,
        *,
        wanted: Wanted,
        kodo: Kodo,
        wire: Sender,
        sample: Callable[[], Sample | None],
        user_agent: str,
        probes: Sequence[Probe] = (),
        call_most: timedelta = CALL_MOST,
    ) -> None:
        """`sample` may block: it gives a file of the origin's tree, None when there is none.

        `probes` are asked in their order; where there is no file, a key that one of them names is tried.
        """
        self.wanted = wanted
        self._kodo = kodo
        self._wire = wire
        self._sample = sample
        self._user_agent = user_agent
        self._probes = probes
        self._call_most = call_most

    async def examine(self) -> list[Finding]:
        """Ask, Kodo and the origin at most five times, and judge; what could not be told is left out."""
        wanted = self.wanted
        told = [(probe.subject, await self._told(probe)) for probe in self._probes]
        named = (each.sample for _, each in told if isinstance(each, Told) and each.sample is not None)
        sample = await asyncio.to_thread(self._sample) or next(named, None)
        region = await self._region()
        info, known = await self._bucket_info(region)
        stat = await self._stat(sample, region, info)
        worth_asking = findings.is_worth_asking(info)
        found = (
            findings.about_region(wanted, region),
            findings.about_credentials(wanted, info, stat, signed=info is not region),
            findings.about_bucket(wanted, info, known, stat),
            findings.about_clock(wanted, info, stat),
            findings.about_source(wanted, info, known) if worth_asking else None,
            findings.about_stat(wanted, sample, info, stat) if stat is not None else None,
            *(about_feed(wanted, subject, each) for subject, each in told),
            await self._origin(sample, known),
        )
        return [finding for finding in found if finding is not None]

    async def _told(self, probe: Probe) -> Told | Posted:
        return await self._within(probe.ask()) or Told(error=f"no answer within {self._call_most.total_seconds():g} s")

    async def _region(self) -> str | Reply:
        answer = await self._within(self._kodo.region(self.wanted.bucket))
        return _late(self._call_most) if answer is None else answer

    async def _bucket_info(self, region: str | Reply) -> tuple[Reply, BucketInfo | None]:
        if isinstance(region, Reply) and (region.silence is Silence.TIMED_OUT or not findings.is_worth_asking(region)):
            return region, None  # uc is silent, or says no, and would again
        answer = await self._within(self._kodo.bucket_info(self.wanted.bucket))
        return (_late(self._call_most), None) if answer is None else answer

    async def _stat(self, sample: Sample | None, region: str | Reply, info: Reply) -> Reply | None:
        """None when it cannot be asked, or need not be."""
        if isinstance(region, Reply) or not findings.is_worth_asking(info):
            return None
        key = SURELY_ABSENT if sample is None else sample.key
        answer = await self._within(self._kodo.ask(self.wanted.bucket, protocol.stat(self.wanted.bucket, key)))
        return _late(self._call_most) if answer is None else answer

    async def _origin(self, sample: Sample | None, known: BucketInfo | None) -> Finding | None:
        base = findings.origin_base(self.wanted, known)
        if base is None:
            return None
        if sample is None:
            return findings.no_key(self.wanted) if self._probes else findings.no_file(self.wanted)
        url = origin_url(base, sample.key)
        headers = {"User-Agent": self._user_agent, "Accept-Encoding": "identity"}
        if self.wanted.origin_url is None and known is not None and known.host:
            headers["Host"] = known.host
        served = await self._serve("HEAD", url, headers)
        if served.status in {405, 501}:
            served = await self._serve("GET", url, headers | {"Range": "bytes=0-0"})
        if sample.on_disk and await asyncio.to_thread(self._sample) != sample:
            sample = replace(sample, size_bytes=None)  # it has changed meanwhile: of its size nothing can be said
        return findings.about_origin(self.wanted, sample, base, served)

    async def _serve(self, method: str, url: str, headers: dict[str, str]) -> Served:
        """Asked as a stranger, with no authorization; a redirect is not followed."""
        answer = await self._within(self._wire.send(method, base_of(url), urlsplit(url).path, headers))
        if answer is None:
            return Served(status=None, error=f"none within {self._call_most.total_seconds():g} s")
        return _served(answer)

    async def _within(self, asking: Coroutine[Any, Any, T]) -> T | None:
        """The answer; None when it takes too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._call_most.total_seconds()):
                return await asking
        return None


async def warn(preflights: Iterable[Preflight]) -> None:
    """Examine one mirror after the other and log what is doubtful; it never is a reason to stop."""
    for each in preflights:
        doubts = [finding for finding in await each.examine() if finding.level is not Level.OK]
        for finding in doubts:
            log.warning(
                "preflight.doubted",
                mirror=finding.mirror,
                subject=finding.subject.value,
                says=finding.says,
                advice=finding.advice,
                reqid=finding.reqid,
            )
        if not doubts:
            log.info("preflight.passed", mirror=each.wanted.mirror)


def sample(
    root: Path, selection: Selection, key_prefix: str, *, follow_symlinks: bool, entries_most: int = ENTRIES_MOST
) -> Sample | None:
    """A file of the tree that is mirrored, from as high up as possible; a hidden one if there is no other.

    None when there is none among the first `entries_most` entries, or the tree cannot be read. Blocks.
    """
    boundary = Boundary(root, follow_symlinks=follow_symlinks, skip_directory=selection.prunes_path)
    directories, hidden, seen = deque([""]), None, 0
    while directories and seen < entries_most:
        directory = directories.popleft()
        with suppress(OSError), os.scandir(boundary.absolute(directory.rstrip("/"))) as entries:
            for entry in entries:
                seen += 1
                if boundary.enters(directory + entry.name, entry):
                    directories.append(f"{directory}{entry.name}/")
                elif (found := _tried(entry, directory, boundary, selection, key_prefix)) is not None:
                    if not entry.name.startswith("."):  # servers often refuse those
                        return found
                    hidden = hidden or found
                if seen >= entries_most:
                    break
    return hidden


def _tried(
    entry: "os.DirEntry[str]", directory: str, boundary: Boundary, selection: Selection, key_prefix: str
) -> Sample | None:
    """The entry as a sample, if it is a file that is mirrored."""
    if not entry.is_file(follow_symlinks=boundary.follow_symlinks) or not selection.takes_file(directory, entry.name):
        return None
    path = directory + entry.name
    key = key_for(path, key_prefix)
    if isinstance(key, Rejection) or (entry.is_symlink() and not boundary.contains(path)):
        return None
    with suppress(FileNotFoundError):
        return Sample(key=key, size_bytes=entry.stat().st_size)
    return None  # gone since it was listed


def _late(most: timedelta) -> Reply:
    return Reply(status=None, silence=Silence.TIMED_OUT, error=f"no answer within {most.total_seconds():g} s")


def _served(answer: Answer | NoAnswer) -> Served:
    if isinstance(answer, NoAnswer):
        return Served(status=None, error=answer.error)
    size = answer.headers.get("content-length", "")
    if answer.status == 206:
        size = answer.headers.get("content-range", "").rpartition("/")[2]
    if answer.headers.get("content-encoding", "identity") != "identity":
        size = ""  # of what was packed, not of the file
    return Served(
        status=answer.status,
        size_bytes=int(size) if size.isdecimal() and len(size) < 20 else None,
        location=answer.headers.get("location", ""),
    )
