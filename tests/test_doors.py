"""Where others come to us: routes that come and go while it is listened."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from structlog.testing import capture_logs

from mirrord.doors import Doors
from mirrord.listening import ListenerUnavailable


def route(path: str, text: str) -> Route:
    async def answer(_request: Request) -> PlainTextResponse:
        return PlainTextResponse(text)

    return Route(path, answer)


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"


async def answers(client: httpx.AsyncClient, url: str) -> bool:
    try:
        await client.get(url, headers={"Connection": "close"})
    except httpx.TransportError as exc:
        return not isinstance(exc, httpx.ConnectError)
    return True


@asynccontextmanager
async def open_doors(doors: Doors) -> AsyncIterator[httpx.AsyncClient]:
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks, httpx.AsyncClient(trust_env=False) as client:
        doors.start(tasks)
        await doors.started()
        yield client
        doors.stop()


def test_an_owner_s_routes_are_replaced_while_others_stay() -> None:
    address, doors = free_address(), Doors()

    async def scene() -> list[tuple[int, str]]:
        doors.open(address, "page", [route("/", "page")])
        doors.open(address, "docs", [route("/hooks/docs", "first")])
        async with open_doors(doors) as client:
            seen = [await client.get(f"http://{address}{path}") for path in ("/", "/hooks/docs")]
            doors.shut("docs")
            seen.append(await client.get(f"http://{address}/hooks/docs"))
            doors.open(address, "docs", [route("/hooks/docs", "second")])
            doors.renew()
            seen += [await client.get(f"http://{address}{path}") for path in ("/", "/hooks/docs")]
        return [(each.status_code, each.text) for each in seen]

    assert asyncio.run(scene()) == [(200, "page"), (200, "first"), (404, "Not Found"), (200, "page"), (200, "second")]


def test_an_address_of_its_own_is_listened_to_and_left_with_its_owner() -> None:
    address, other, doors = free_address(), free_address(), Doors()

    async def scene() -> str:
        doors.open(address, "page", [route("/", "page")])
        async with open_doors(doors) as client:
            doors.open(other, "docs", [route("/", "docs")])
            doors.renew()
            await doors.started()
            text = (await client.get(f"http://{other}/")).text
            doors.shut("docs")
            doors.renew()
            while await answers(client, f"http://{other}/"):
                pass
        return text

    assert asyncio.run(scene()) == "docs"


def test_an_address_that_a_reload_cannot_have_ends_nothing() -> None:
    address, doors = free_address(), Doors()

    async def scene(taken: str) -> tuple[str, list[object]]:
        doors.open(address, "page", [route("/", "page")])
        with capture_logs() as lines:
            async with open_doors(doors) as client:
                doors.open(taken, "docs", [route("/", "docs")])
                doors.renew()
                with pytest.raises(ListenerUnavailable):
                    await doors.started()
                await asyncio.sleep(0)
                return (await client.get(f"http://{address}/")).text, [each["event"] for each in lines]

    with socket.create_server(("127.0.0.1", 0)) as taken:
        text, events = asyncio.run(scene(f"127.0.0.1:{taken.getsockname()[1]}"))

    assert text == "page"
    assert events == ["listener.failed"]


def test_nothing_is_listened_to_without_routes() -> None:
    doors = Doors()

    async def scene() -> None:
        async with open_doors(doors):
            doors.renew()

    asyncio.run(scene())
