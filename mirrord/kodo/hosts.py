"""Which server answers for a bucket: pinned by the settings, or found once by asking Qiniu."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mirrord.kodo.exchange import Base, NoAnswer, Sender, base_of
from mirrord.kodo.protocol import Host, query_hosts, read_json
from mirrord.model.attempt import Reply, Silence

UC = "https://uc.qiniuapi.com"
"""The one host that needs no discovery (Go SDK 7.27, default bucket hosts)."""


@dataclass(frozen=True, slots=True)
class _Region:
    bases: Mapping[Host, Base]
    good_until: float  # by the clock, in seconds


class Hosts:
    """One answer of `/v4/query` per bucket, kept for the time it says."""

    def __init__(
        self, *, wire: Sender, access_key: str, pinned: Mapping[Host, str], user_agent: str, clock: Callable[[], float]
    ) -> None:
        self._wire = wire
        self._access_key = access_key
        self._pinned = {host: base_of(url) for host, url in pinned.items()}
        self._uc = self._pinned.get(Host.UC, base_of(UC))
        self._headers = {"User-Agent": user_agent}
        self._clock = clock
        self._regions: dict[str, _Region] = {}
        self._asking: dict[str, asyncio.Lock] = {}

    async def base(self, host: Host, bucket: str) -> Base | Reply:
        """Where `host` is for `bucket`; the Reply says why that could not be found out."""
        pinned = self._pinned.get(host)
        if pinned is not None:
            return pinned
        if host is Host.UC:
            return self._uc
        async with self._asking.setdefault(bucket, asyncio.Lock()):
            region = self._regions.get(bucket)
            if region is None or region.good_until < self._clock():
                found = await self._discover(bucket)
                if isinstance(found, Reply):
                    return found
                region = self._regions[bucket] = found
        return region.bases.get(host) or Reply(
            status=None,
            silence=Silence.CONNECT_FAILED,
            error=f"{self._uc} names no {host.value} host for bucket {bucket}; pin one in [kodo.hosts]",
        )

    async def _discover(self, bucket: str) -> _Region | Reply:
        request = query_hosts(self._access_key, bucket)
        answer = await self._wire.send(request.method, self._uc, request.target, self._headers)
        if isinstance(answer, NoAnswer):
            return self._unknown(bucket, None, answer.error)
        said = read_json(answer.headers, answer.body)
        if answer.status != 200:
            error = said.get("error") if isinstance(said, dict) else None
            return self._unknown(bucket, answer.headers.get("x-reqid"), f"status {answer.status}: {error or 'no text'}")
        return _region(said, self._uc.scheme, self._clock()) or self._unknown(bucket, None, "the answer names no hosts")

    def _unknown(self, bucket: str, reqid: str | None, why: str) -> Reply:
        return Reply(
            status=None,
            silence=Silence.CONNECT_FAILED,
            reqid=reqid,
            error=f"the region of bucket {bucket} could not be asked of {self._uc}: {why}",
        )


def _region(said: object, scheme: str, now: float) -> _Region | None:
    """The first region of the answer is the bucket's own; the others must never be asked for it."""
    try:
        own = said["hosts"][0]  # type: ignore[index]  # whatever shape it has, only this one counts
        bases = {host: Base(scheme, own[host.value]["domains"][0]) for host in Host if own.get(host.value)}
        return _Region(bases, now + float(own["ttl"]))
    except (TypeError, KeyError, IndexError, ValueError, AttributeError):
        return None
