"""Bucket, origin, log and the sandbox's own record, held against each other: what differs, and the numbers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mirrord.cli.demo_kodo import LocalKodo, Record
from mirrord.cli.demo_log import Attempt
from mirrord.cli.demo_site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was compared. Nothing differs if `differences` is empty."""

    differences: Sequence[str]
    """A sentence each."""
    keys: int
    size_bytes: int
    dropped: int
    attempts: int
    unlogged: int
    """Calls whose answers the killed service could not write down any more."""
    overlap: int
    """The most pulls of one key that ever ran at once."""


async def prove(
    kodo: LocalKodo, site: Site, attempts: Sequence[Attempt], earlier: Record, restarted_at: float
) -> Proof:
    """`earlier` is a record whose calls `attempts` has had the time to log."""
    files, now = site.keys(), await kodo.record()
    return Proof(
        differences=[
            *await differing_files(kodo, files),
            *await differing_dropped(kodo, site.dropped),
            *mismatched(attempts, now.pulls),
            *lost(attempts, earlier.pulls, restarted_at),
            *(f"{key}: {most} pulls at once" for key, most in now.overlaps.items() if most > 1),
        ],
        keys=len(files),
        size_bytes=sum(path.stat().st_size for path in files.values()),
        dropped=len(site.dropped),
        attempts=len(attempts),
        unlogged=len(_unlogged(attempts, earlier.pulls)),
        overlap=max(now.overlaps.values(), default=0),
    )


async def differing_files(kodo: LocalKodo, files: Mapping[str, Path]) -> list[str]:
    """The files whose copy in the bucket is not the same, byte for byte."""
    found = [difference(key, path.read_bytes(), await kodo.read(key)) for key, path in files.items()]
    return [sentence for sentence in found if sentence is not None]


async def differing_dropped(kodo: LocalKodo, dropped: Mapping[str, bytes]) -> list[str]:
    """The keys gone from the origin whose last copy the bucket should have kept, and has not."""
    found = [difference(key, last, await kodo.read(key)) for key, last in dropped.items()]
    return [sentence for sentence in found if sentence is not None]


def difference(key: str, wanted: bytes, stored: bytes | int) -> str | None:
    """`stored` is the status that came instead when the bucket did not give its copy."""
    if isinstance(stored, int):
        return f"{key}: the bucket answers {stored}"
    if stored == wanted:
        return None
    if len(stored) != len(wanted):
        return f"{key}: {len(stored)} bytes in the bucket, {len(wanted)} at the origin"
    at = next(index for index, (left, right) in enumerate(zip(stored, wanted, strict=True)) if left != right)
    return f"{key}: {len(stored)} bytes in both, but they differ from byte {at} on"


def mismatched(attempts: Iterable[Attempt], pulls: Iterable[Mapping[str, Any]]) -> list[str]:
    """Attempts whose X-Reqid the sandbox did not give to just this call."""
    answered = {call["reqid"]: (call["key"], call["status"]) for call in pulls}
    return [
        f"{each.key}: the log has X-Reqid {each.reqid} with status {each.status}, the sandbox has not"
        for each in attempts
        if each.status is not None and answered.get(each.reqid) != (each.key, each.status)
    ]


def lost(attempts: Sequence[Attempt], pulls: Sequence[Mapping[str, Any]], restarted_at: float) -> list[str]:
    """Calls without a line in the log that the kill does not account for, or that were never asked again.

    `restarted_at`, not the time of the kill: what a killed service had sent may be taken up a little later.
    """
    settled = {each.key for each in attempts if each.refreshed and each.ended > restarted_at}
    return [
        f"{call['key']}: the call with X-Reqid {call['reqid']} is not in the log"
        for call in _unlogged(attempts, pulls)
        if call["started"] > restarted_at or call["key"] not in settled
    ]


def _unlogged(attempts: Iterable[Attempt], pulls: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    logged = {each.reqid for each in attempts}
    return [call for call in pulls if call["reqid"] not in logged]
