"""A claim held until the origin's public address shows its version: a real server behind a real wire."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from mirrord.attempts import Claim
from mirrord.confirmation import Confirmation
from mirrord.kodo.exchange import Timeouts
from mirrord.kodo.wire import Wire
from mirrord.model.fingerprint import Fingerprint, of_token
from mirrord.model.row import ObjectRow, State
from tests.fakes.sender import FakeSender
from tests.servers import running_app

MOST = timedelta(minutes=10)
TOLD_AT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Origin:
    """Answers every HEAD alike."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    said: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    def application(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.route("*", "/{path:.*}", self._serve)])
        return app

    async def _serve(self, request: web.Request) -> web.Response:
        self.asked.append((request.method, request.raw_path))
        self.said.append({name.lower(): value for name, value in request.headers.items()})
        return web.Response(status=self.status, headers=self.headers)


@pytest.fixture(name="origin")
def running() -> Iterator[Origin]:
    origin = Origin()
    with running_app(origin.application) as url:
        origin.url = url
        yield origin


def claim(wanted: Fingerprint | None, key: str = "a/b c.txt") -> Claim:
    row = ObjectRow(mirror="docs", key=key, wanted=wanted, wanted_at=TOLD_AT, state=State.CLAIMED)
    return Claim(row, wanted, seen=True)


@asynccontextmanager
async def confirming(url: str, waited: timedelta = timedelta(0)) -> AsyncIterator[Confirmation]:
    wire = Wire(timeouts=Timeouts(connect=timedelta(seconds=5), read=timedelta(seconds=5)))
    try:
        yield Confirmation(
            mirror="docs",
            origin=url,
            most=MOST,
            wire=wire,
            user_agent="mirrord/1 (test)",
            now=lambda: TOLD_AT + waited,
        )
    finally:
        await wire.close()


def pause(url: str, wanted: Fingerprint | None, waited: timedelta = timedelta(0)) -> timedelta | None:
    async def paused() -> timedelta | None:
        async with confirming(url, waited) as confirmation:
            return await confirmation.pause(claim(wanted))

    return asyncio.run(paused())


def test_the_origin_is_asked_for_the_key_as_a_stranger_and_past_caches(origin: Origin) -> None:
    origin.headers = {"ETag": 'W/"b"'}

    assert pause(f"{origin.url}/files/", of_token("v", etag="b")) is None

    assert origin.asked == [("HEAD", "/files/a/b%20c.txt")]
    assert origin.said[0]["cache-control"] == "no-cache"
    assert origin.said[0]["accept-encoding"] == "identity"
    assert "authorization" not in origin.said[0]


def test_a_version_that_says_nothing_is_not_looked_for(origin: Origin) -> None:
    assert pause(origin.url, of_token("v")) is None
    assert origin.asked == []


@pytest.mark.parametrize(
    ("wanted", "headers"),
    [
        pytest.param(of_token("v", etag="b"), {"ETag": '"a"'}, id="etag"),
        pytest.param(
            of_token("v", modified=TOLD_AT), {"Last-Modified": "Wed, 31 Dec 2025 23:59:59 GMT"}, id="modified"
        ),
        pytest.param(of_token("v", size_bytes=7), {"Content-Length": "6"}, id="size"),
        pytest.param(None, {}, id="removal"),
    ],
)
def test_an_old_copy_is_waited_out_for_so_long_and_then_asked_for_anyway(
    origin: Origin, wanted: Fingerprint | None, headers: dict[str, str]
) -> None:
    origin.headers = headers

    with capture_logs() as logs:
        first = pause(origin.url, wanted)
        later = pause(origin.url, wanted, MOST / 2)
        at_last = pause(origin.url, wanted, MOST)

    assert first == timedelta(seconds=1)
    assert later == timedelta(seconds=30)
    assert at_last is None
    assert [(line["event"], line["status"]) for line in logs] == [
        ("origin.awaited", 200),
        ("origin.awaited", 200),
        ("origin.unconfirmed", 200),
    ]


@pytest.mark.parametrize("headers", [{"Last-Modified": "rubbish"}, {"Content-Length": "0"}, {}])
def test_headers_that_say_nothing_confirm_what_cannot_be_compared(origin: Origin, headers: dict[str, str]) -> None:
    origin.headers = headers

    assert pause(origin.url, of_token("v", etag="b", modified=TOLD_AT)) is None


@pytest.mark.parametrize("status", [404, 403, 302, 500])
def test_a_file_that_is_not_served_yet_is_waited_for(origin: Origin, status: int) -> None:
    origin.status = status

    assert pause(origin.url, of_token("v", etag="b")) == timedelta(seconds=1)
    assert pause(origin.url, of_token("v", etag="b"), MOST) is None


def test_an_origin_without_head_is_asked_for_at_once_and_that_is_said(origin: Origin) -> None:
    origin.status = 405

    with capture_logs() as logs:
        assert pause(origin.url, of_token("v", etag="b")) is None
        assert pause(origin.url, None) == timedelta(seconds=1)

    assert [line["event"] for line in logs] == ["origin.unconfirmed", "origin.awaited"]


@pytest.mark.parametrize("status", [404, 410])
def test_a_removal_goes_when_the_origin_has_the_key_no_longer(origin: Origin, status: int) -> None:
    origin.status = status

    assert pause(origin.url, None) is None


def test_without_an_answer_it_waits_and_then_goes(origin: Origin) -> None:
    nobody = "http://127.0.0.1:1"

    assert pause(nobody, of_token("v", etag="b")) == timedelta(seconds=1)
    assert pause(nobody, of_token("v", etag="b"), MOST) is None
    assert origin.asked == []


# -- many at a time ------------------------------------------------------------------------------------------


@dataclass
class Hanging(FakeSender):
    """Answers nobody until it is let."""

    let: asyncio.Event = field(default_factory=asyncio.Event)
    begun: int = 0
    many: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when 64 of them wait."""

    async def send(self, *arguments: object, **more: object) -> object:  # type: ignore[override]
        self.begun += 1
        if self.begun == 64:
            self.many.set()
        await self.let.wait()
        return await super().send(*arguments, **more)  # type: ignore[arg-type]


def with_hanging(scenario: Callable[[Hanging, Confirmation], Awaitable[None]]) -> None:
    async def run() -> None:
        sender = Hanging()
        confirmation = Confirmation(
            mirror="docs",
            origin="http://origin.example",
            most=MOST,
            wire=sender,
            user_agent="mirrord/1 (test)",
            now=lambda: TOLD_AT,
        )
        async with asyncio.timeout(20):
            await scenario(sender, confirmation)

    asyncio.run(run())


def test_an_origin_that_does_not_answer_holds_up_one_worker_and_not_all_of_them() -> None:
    wanted = of_token("v", etag="b")

    async def scenario(sender: Hanging, confirmation: Confirmation) -> None:
        sender.let.set()
        await confirmation.pause(claim(wanted))  # in vain
        sender.let.clear()
        async with asyncio.TaskGroup() as tasks:
            looks = [tasks.create_task(confirmation.pause(claim(wanted, str(key)))) for key in range(64)]
            done, _ = await asyncio.wait(looks[1:])
            assert {look.result() for look in done} == {timedelta(seconds=1)}
            assert sender.begun == 2
            sender.let.set()

        sender.let.clear()
        async with asyncio.TaskGroup() as tasks:
            one = tasks.create_task(confirmation.pause(claim(wanted)))
            await asyncio.sleep(0)
            one.cancel()  # and who is cancelled does not look any more
        sender.let.set()
        await confirmation.pause(claim(wanted))
        assert sender.begun == 4

    with_hanging(scenario)


def test_an_origin_that_answers_is_asked_by_as_many_as_there_are() -> None:
    async def scenario(sender: Hanging, confirmation: Confirmation) -> None:
        async with asyncio.TaskGroup() as tasks:
            for key in range(64):
                tasks.create_task(confirmation.pause(claim(of_token("v", etag="b"), str(key))))
            await sender.many.wait()
            sender.let.set()

    with_hanging(scenario)


def test_of_a_version_seen_at_an_unknown_time_the_wait_begins_now(origin: Origin) -> None:
    origin.status = 404

    async def paused() -> timedelta | None:
        async with confirming(origin.url, MOST) as confirmation:
            of = claim(of_token("v", etag="b"))
            return await confirmation.pause(Claim(replace(of.row, wanted_at=None), of.version, seen=True))

    assert asyncio.run(paused()) == timedelta(seconds=1)
