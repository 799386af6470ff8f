"""Which server is asked for a bucket: pinned or discovered, once, for as long as the answer is good."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from mirrord.kodo.exchange import Base, Timeouts, base_of
from mirrord.kodo.hosts import UC, Hosts
from mirrord.kodo.protocol import Host
from mirrord.kodo.wire import Wire
from mirrord.model.attempt import Reply, Silence
from tests.servers import CREDENTIALS, running_app, running_sandbox

LONG = Timeouts(connect=timedelta(seconds=20), read=timedelta(seconds=20))


@dataclass
class Uc:
    """Answers `/v4/query` with what it is told."""

    said: object
    status: int = 200
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def application(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.get("/{rest:.*}", self._answer)])
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.raw_path)
        text = self.said if isinstance(self.said, str) else json.dumps(self.said)
        headers = {"X-Reqid": "abc"}
        return web.Response(status=self.status, text=text, content_type="application/json", headers=headers)


def region(ttl: float = 100, **domains: str) -> dict[str, Any]:
    return {"region": "z0", "ttl": ttl, **{name: {"domains": [domain]} for name, domain in domains.items()}}


@contextmanager
def running(said: object, status: int = 200) -> Iterator[Uc]:
    uc = Uc(said, status)
    with running_app(uc.application) as url:
        uc.url = url
        yield uc


def found(lookup: Callable[[Hosts], Any], *, pinned: dict[Host, str], clock: Callable[[], float] = lambda: 0.0) -> Any:
    """What `lookup` finds out with fresh Hosts."""

    async def looked_up() -> Any:
        wire = Wire(timeouts=LONG, connections=10)
        hosts = Hosts(wire=wire, access_key=CREDENTIALS.access_key, pinned=pinned, user_agent="mirrord/t", clock=clock)
        try:
            return await lookup(hosts)
        finally:
            await wire.close()

    return asyncio.run(looked_up())


def test_a_pinned_host_is_believed_and_nobody_is_asked() -> None:
    with running({}) as uc:
        pinned = {Host.UC: uc.url, Host.IO: "https://io.example.com:8443/"}

        base = found(lambda hosts: hosts.base(Host.IO, "docs"), pinned=pinned)

    assert base == Base("https", "io.example.com:8443")
    assert uc.asked == []


def test_discovery_itself_has_one_known_name() -> None:
    assert found(lambda hosts: hosts.base(Host.UC, "docs"), pinned={}) == base_of(UC)


def test_the_sandbox_names_itself_for_every_service(tmp_path: Path) -> None:
    async def all_of(hosts: Hosts) -> list[Base | Reply]:
        return [await hosts.base(host, "docs") for host in (Host.IO, Host.RS, Host.RSF, Host.API)]

    with running_sandbox(tmp_path, {"docs": None}) as kodo:
        bases = found(all_of, pinned={Host.UC: kodo.url})
        calls = kodo.calls()

    (call,) = calls
    assert [str(base) for base in bases] == [kodo.url] * 4
    assert call["target"] == f"/v4/query?ak={CREDENTIALS.access_key}&bucket=docs"


def test_the_first_region_is_the_buckets_own() -> None:
    said = {"hosts": [region(io="io-z0.example.com"), region(io="io-na0.example.com")]}

    with running(said) as uc:
        base = found(lambda hosts: hosts.base(Host.IO, "docs"), pinned={Host.UC: uc.url})

    assert base == Base("http", "io-z0.example.com")


def test_an_answer_is_good_for_the_time_that_it_says() -> None:
    time = 1000.0

    async def four_times(hosts: Hosts) -> list[int]:
        nonlocal time
        asked = []
        for time in (1000.0, 1099.0, 1101.0, 1150.0):  # noqa: B007 - the clock reads it
            await hosts.base(Host.IO, "docs")
            asked.append(len(uc.asked))
        return asked

    with running({"hosts": [region(ttl=100, io="io.example.com")]}) as uc:
        asked = found(four_times, pinned={Host.UC: uc.url}, clock=lambda: time)

    assert asked == [1, 1, 2, 2]


def test_every_bucket_is_asked_for_on_its_own() -> None:
    async def two_buckets(hosts: Hosts) -> None:
        for bucket in ("docs", "pages", "docs", "pages"):
            await hosts.base(Host.IO, bucket)

    with running({"hosts": [region(io="io.example.com")]}) as uc:
        found(two_buckets, pinned={Host.UC: uc.url})

    assert [path.rpartition("=")[2] for path in uc.asked] == ["docs", "pages"]


def test_many_who_ask_at_once_share_one_question() -> None:
    async def fifty(hosts: Hosts) -> list[Base | Reply]:
        async with asyncio.TaskGroup() as tasks:
            asking = [tasks.create_task(hosts.base(Host.IO, "docs")) for _ in range(50)]
        return [task.result() for task in asking]

    with running({"hosts": [region(io="io.example.com")]}) as uc:
        bases = found(fifty, pinned={Host.UC: uc.url})

    assert set(bases) == {Base("http", "io.example.com")}
    assert len(uc.asked) == 1


def test_a_failure_is_told_and_the_next_one_asks_again() -> None:
    async def twice(hosts: Hosts) -> tuple[Base | Reply, Base | Reply]:
        first = await hosts.base(Host.IO, "docs")
        uc.status, uc.said = 200, {"hosts": [region(io="io.example.com")]}
        return first, await hosts.base(Host.IO, "docs")

    with running({"error": "app/accesskey is not found"}, 401) as uc:
        refused, base = found(twice, pinned={Host.UC: uc.url})

    assert (refused.status, refused.silence, refused.reqid) == (None, Silence.CONNECT_FAILED, "abc")
    assert "status 401: app/accesskey is not found" in refused.error
    assert "docs" in refused.error
    assert base == Base("http", "io.example.com")


@pytest.mark.parametrize(
    "said",
    [
        pytest.param("", id="nothing"),
        pytest.param("<html>", id="no-json"),
        pytest.param({}, id="no-hosts"),
        pytest.param({"hosts": []}, id="no-region"),
        pytest.param({"hosts": ["z0"]}, id="a-region-of-text"),
        pytest.param({"hosts": [{"io": {"domains": ["io.example.com"]}}]}, id="no-ttl"),
        pytest.param({"hosts": [region(ttl=float(1)) | {"ttl": "soon"}]}, id="ttl-is-no-number"),
        pytest.param({"hosts": [{"ttl": 100, "io": {"domains": []}}]}, id="no-domain"),
        pytest.param({"hosts": [{"ttl": 100, "io": "io.example.com"}]}, id="a-service-of-text"),
        pytest.param([1, 2], id="a-list"),
    ],
)
def test_an_answer_of_any_other_shape_is_told(said: object) -> None:
    with running(said) as uc:
        reply = found(lambda hosts: hosts.base(Host.IO, "docs"), pinned={Host.UC: uc.url})

    assert isinstance(reply, Reply)
    assert (reply.status, reply.silence) == (None, Silence.CONNECT_FAILED)
    assert "names no hosts" in (reply.error or "")


def test_a_service_that_the_region_does_not_have_can_be_pinned() -> None:
    with running({"hosts": [region(io="io.example.com")]}) as uc:
        reply = found(lambda hosts: hosts.base(Host.FUSION, "docs"), pinned={Host.UC: uc.url})

    assert isinstance(reply, Reply)
    assert "[kodo.hosts]" in (reply.error or "")
    assert "fusion" in (reply.error or "")


def test_a_discovery_that_cannot_be_reached_is_told() -> None:
    reply = found(lambda hosts: hosts.base(Host.IO, "docs"), pinned={Host.UC: "http://127.0.0.1:9"})

    assert (reply.status, reply.silence) == (None, Silence.CONNECT_FAILED)
    assert "http://127.0.0.1:9" in reply.error
