import asyncio
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from mirrord.listener import Listener
from mirrord.listening import ListenerUnavailable

_LOOPBACK = "127.0.0.1"


async def _hello(_: Request) -> Response:
    return PlainTextResponse("hello")


async def _echo(request: Request) -> Response:
    return Response(await request.body())


async def _broken(_: Request) -> Response:
    raise RuntimeError("a bug")


_ROUTES = [Route("/hello", _hello), Route("/echo", _echo, methods=["POST"]), Route("/broken", _broken)]


@asynccontextmanager
async def _serving(
    listener: Listener, host: str = _LOOPBACK
) -> AsyncIterator[tuple[httpx.AsyncClient, asyncio.Task[None]]]:
    """A client of `listener`, and the task that serves it, which may be cancelled."""
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(listener.run())
        await listener.started()
        url = f"http://{host}:{listener.port}"
        async with httpx.AsyncClient(base_url=url, verify=False, trust_env=False) as client:
            yield client, serving
        serving.cancel()


def _with(act: Callable[[httpx.AsyncClient, asyncio.Task[None]], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def whole() -> None:
        async with _serving(Listener(_LOOPBACK, 0, options.pop("routes", _ROUTES), **options)) as (client, serving):
            await act(client, serving)

    asyncio.run(whole())


def test_it_serves_on_a_free_port_and_says_no_more_than_it_must() -> None:
    async def act(client: httpx.AsyncClient, _: asyncio.Task[None]) -> None:
        answer = await client.get("/hello")

        assert (answer.status_code, answer.text) == (200, "hello")
        assert set(answer.headers) == {"date", "content-length", "content-type"}

    _with(act)


def test_a_connection_is_kept_for_the_next_request() -> None:
    async def act(client: httpx.AsyncClient, _: asyncio.Task[None]) -> None:
        peers = [(await client.get("/hello")).extensions["network_stream"].get_extra_info("client_addr") for _ in "ab"]

        assert peers[0] == peers[1]

    _with(act)


def test_signals_are_left_to_the_service() -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    during = list[Any]()

    async def act(client: httpx.AsyncClient, _: asyncio.Task[None]) -> None:
        await client.get("/hello")
        during.extend(signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM))

    _with(act)

    # asyncio.run has a handler for SIGINT of its own while it runs
    assert during[1] == before[1]
    assert "handle_exit" not in repr(during[0])
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_port_in_use_is_said_by_both() -> None:
    async def whole() -> None:
        async with _serving(first := Listener(_LOOPBACK, 0, _ROUTES)):
            second = Listener(_LOOPBACK, first.port, _ROUTES)
            sentence = f"cannot listen on 127.0.0.1:{first.port}: address already in use"
            with pytest.raises(ListenerUnavailable, match=sentence):
                await second.run()
            with pytest.raises(ListenerUnavailable, match=sentence):
                await second.started()

    asyncio.run(whole())


@pytest.mark.parametrize(
    ("host", "reason"),
    [("192.0.2.1", "cannot assign requested address"), ("x" * 64, "label"), ("::2", "cannot assign|not supported")],
    ids=["not ours", "no name", "not ours, IPv6"],
)
def test_an_address_that_is_not_ours_is_said(host: str, reason: str) -> None:
    listener = Listener(host, 0, _ROUTES)

    with pytest.raises(ListenerUnavailable, match=rf"cannot listen on \S+:0: .*({reason})"):
        asyncio.run(listener.run())


def test_who_waits_for_a_listener_that_is_stopped_at_once_is_told() -> None:
    async def whole() -> None:
        listener = Listener(_LOOPBACK, 0, _ROUTES)
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(listener.run())
            await asyncio.sleep(0)
            serving.cancel()
            with pytest.raises(ListenerUnavailable):
                await listener.started()

    asyncio.run(whole())


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not _has_ipv6(), reason="no IPv6 here")
@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_address_is_fine(host: str) -> None:
    async def whole() -> None:
        listener = Listener(host, 0, _ROUTES)
        async with _serving(listener, "[::1]") as (client, _):
            assert (await client.get("/hello")).status_code == 200
            assert listener.address == f"[::1]:{listener.port}"

    asyncio.run(whole())


@pytest.mark.parametrize("host", ["localhost", ""])
def test_a_name_stands_for_all_its_addresses(host: str) -> None:
    addresses = {str(info[4][0]) for info in socket.getaddrinfo(host or _LOOPBACK, None)}
    if not host and _has_ipv6():
        addresses.add("::1")

    async def whole() -> None:
        listener = Listener(host, 0, _ROUTES)
        async with _serving(listener) as (client, _):
            for each in addresses:
                at = f"[{each}]" if ":" in each else each
                assert (await client.get(f"http://{at}:{listener.port}/hello")).status_code == 200

    asyncio.run(whole())


def test_the_port_can_be_taken_again_at_once() -> None:
    async def whole() -> None:
        first = Listener(_LOOPBACK, 0, _ROUTES)
        async with _serving(first) as (client, serving):
            await client.get("/hello")
            serving.cancel()
            await asyncio.wait([serving])  # it closes the connection, not the client: the port stays in TIME_WAIT
        async with _serving(Listener(_LOOPBACK, first.port, _ROUTES)) as (client, _):
            assert (await client.get("/hello")).status_code == 200

    asyncio.run(whole())


def test_a_request_that_is_under_way_ends_before_it_stops() -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: Request) -> Response:
        asked.set()
        await go_on.wait()
        return PlainTextResponse("after all")

    async def act(client: httpx.AsyncClient, serving: asyncio.Task[None]) -> None:
        async with asyncio.TaskGroup() as tasks:
            getting = tasks.create_task(client.get("/slow"))
            await asked.wait()
            serving.cancel()
            await asyncio.sleep(0)
            with pytest.raises(httpx.ConnectError):
                await httpx.AsyncClient(verify=False, trust_env=False).get(str(client.base_url))
            assert not serving.done()
            go_on.set()
            await asyncio.wait([serving])

        assert getting.result().text == "after all"

    _with(act, routes=[Route("/slow", slow)])


def test_requests_that_do_not_end_are_ended(caplog: pytest.LogCaptureFixture) -> None:
    async def act(client: httpx.AsyncClient, serving: asyncio.Task[None]) -> None:
        await client.get("/hello")  # leaves a connection that is idle
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(b"POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n")
        assert b"100" in await reader.readuntil(b"\r\n\r\n")  # it reads the body
        serving.cancel()

        await asyncio.wait([serving], timeout=10)

        assert serving.cancelled()
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()

    _with(act, grace=timedelta(milliseconds=50))


def test_what_ends_for_nothing_else_is_cancelled() -> None:
    asked, ended = asyncio.Event(), list[str]()

    async def endless(_: Request) -> Response:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")
        raise AssertionError

    async def act(client: httpx.AsyncClient, serving: asyncio.Task[None]) -> None:
        async def get() -> None:
            with pytest.raises(httpx.TransportError):
                await client.get("/endless", timeout=10)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(get())
            await asked.wait()
            serving.cancel()
            await asyncio.wait([serving])

        assert ended == ["cancelled"]

    _with(act, routes=[Route("/endless", endless)], grace=timedelta(milliseconds=50))


def test_what_peers_do_wrong_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "uvicorn.access")

    async def act(client: httpx.AsyncClient, _: asyncio.Task[None]) -> None:
        await client.get("/hello")
        await client.get("/nowhere")
        await client.get("/hello", headers={"Connection": "upgrade", "Upgrade": "websocket"})
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(b"nonsense\r\n\r\n")
        assert b"400" in await reader.readline()
        writer.close()

    _with(act)

    assert [each for each in caplog.records if each.name.startswith("uvicorn")] == []


def test_a_fault_of_ours_is_500_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def act(client: httpx.AsyncClient, _: asyncio.Task[None]) -> None:
        assert (await client.get("/broken")).status_code == 500

    _with(act)

    assert [each.name for each in caplog.records if each.levelno >= logging.ERROR] == ["uvicorn.error"]
