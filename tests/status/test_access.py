"""Who may look, who may ask for something, and what every answer carries, over a real listener."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request as HttpRequest
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from structlog.testing import capture_logs

from mirrord.listener import Listener
from mirrord.status.access import HEADERS, Access, Guarded, Request, judge
from tests.journal.ledger import at

TOKEN = "t0ken:with-a-colon"
OPEN = Access()
CLOSED = Access(TOKEN)


def _basic(password: str, user: str = "anybody") -> str:
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


def _status(access: Access, method: str = "GET", path: str = "/", **request: Any) -> int:
    refused = judge(access, Request(method=method, path=path, **{"host": "127.0.0.1:9478", **request}))
    return refused.status if refused else 200


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:9478", "127.1.2.3", "[::1]", "[::1]:9478", "localhost", "LocalHost:80"]
)
def test_without_a_token_loopback_names_are_answered(host: str) -> None:
    assert _status(OPEN, host=host) == 200


@pytest.mark.parametrize(
    "host",
    [
        *(None, "", "evil.example", "evil.example:9478", "127.0.0.1.evil.example", "localhost.evil.example"),
        *(
            "192.0.2.1",
            "0.0.0.0",
            "[::]",
            "[2001:db8::1]:80",
            "::1",
            "[::1",
            "[::1]x",
            "127.0.0.1:x",
            "127.0.0.1:80:80",
        ),
        *("user@127.0.0.1", "127.0.0.1/", "2130706433", "localhost\t"),
    ],
)
def test_without_a_token_any_other_name_is_refused_whoever_it_leads_to(host: str | None) -> None:
    assert _status(OPEN, host=host) == 403


def test_without_a_token_nothing_can_be_changed() -> None:
    assert _status(OPEN, "POST", "/mirrors/docs/retry", origin="http://127.0.0.1:9478") == 403


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_is_open_to_anybody(path: str) -> None:
    assert _status(OPEN, path=path, host="evil.example") == 200
    assert _status(CLOSED, path=path) == 200
    assert _status(CLOSED, "POST", path) == 401


@pytest.mark.parametrize("shown", [f"Bearer {TOKEN}", f"bearer {TOKEN}", _basic(TOKEN), _basic(TOKEN, "")])
def test_the_token_opens_the_page_under_any_name(shown: str) -> None:
    assert _status(CLOSED, host="status.example", authorization=shown) == 200


@pytest.mark.parametrize(
    "shown",
    [
        *(None, "", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Basic", "Basic !", "Basic /w=="),
        *(_basic(""), _basic("x"), f"Basic {b64encode(TOKEN.encode()).decode()}", TOKEN, f"Digest {TOKEN}", "Bearer é"),
    ],
)
def test_anything_else_is_asked_for_the_token(shown: str | None) -> None:
    assert _status(CLOSED, authorization=shown) == 401
    assert _status(CLOSED, "POST", authorization=shown, fetch_site="same-origin") == 401


@given(st.text(max_size=40), st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
def test_no_other_word_than_the_token_is_taken(shown: str, token: str) -> None:
    expected = 200 if shown == token else 401

    assert _status(Access(token), authorization=_basic(shown)) == expected


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"fetch_site": "same-origin"}, 200),
        ({"fetch_site": "same-origin", "origin": "null"}, 200),
        ({"fetch_site": "same-site", "origin": "http://127.0.0.1:9478"}, 403),
        ({"fetch_site": "cross-site"}, 403),
        ({"fetch_site": "none"}, 403),
        ({"origin": "http://127.0.0.1:9478"}, 200),
        ({"origin": "https://127.0.0.1:9478"}, 403),
        ({"origin": "http://127.0.0.1:9479"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({}, 403),
        ({"authorization": f"Bearer {TOKEN}"}, 200),
        ({"authorization": f"Bearer {TOKEN}", "fetch_site": "cross-site"}, 403),
        ({"authorization": f"Bearer {TOKEN}", "origin": "http://evil.example"}, 403),
    ],
    ids=str,
)
def test_only_a_page_of_ours_or_a_bearer_changes_something(request_: dict[str, str], status: int) -> None:
    given = {"authorization": _basic(TOKEN), **request_}

    assert _status(CLOSED, "POST", "/mirrors/docs/retry", **given) == status


def test_a_token_is_not_told_by_what_holds_it() -> None:
    assert TOKEN not in repr(CLOSED)


# -- over the wire -------------------------------------------------------------------------------------


@asynccontextmanager
async def _client(access: Access, clock: list[datetime]) -> AsyncIterator[httpx.AsyncClient]:
    async def echo(request: HttpRequest) -> Response:
        return PlainTextResponse(request.method, headers={"Cache-Control": "max-age=100"})

    inner = Mount("/", Guarded(Route("/{rest:path}", echo, methods=["GET", "POST"]).app, access, lambda: clock[0]))
    listener = Listener("127.0.0.1", 0, [inner], grace=timedelta(seconds=0.2))
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(listener.run())
        await listener.started()
        url = f"http://127.0.0.1:{listener.port}"
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            yield client
        serving.cancel()


def test_every_answer_carries_the_headers_a_refusal_too() -> None:
    async def act() -> list[httpx.Response]:
        async with _client(CLOSED, [at(0)]) as client:
            good = {"Authorization": f"Bearer {TOKEN}"}
            return [await client.get("/"), await client.get("/", headers=good), await client.head("/", headers=good)]

    answers = asyncio.run(act())

    assert [each.status_code for each in answers] == [401, 200, 200]
    assert answers[0].headers["WWW-Authenticate"].startswith('Basic realm="mirrord"')
    assert "Bearer" in answers[0].headers["WWW-Authenticate"]
    for answer in answers:
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert len(answer.headers.get_list("Cache-Control")) == 1


def test_refusals_are_said_once_a_minute_and_without_the_token() -> None:
    clock = [at(0)]

    async def act() -> None:
        async with _client(CLOSED, clock) as client:
            for _ in range(50):
                await client.get("/mirrors/docs?key=hidden", headers={"Authorization": "Bearer guessed-wrong"})
            clock[0] = at(60)
            await client.get("/", headers={"Authorization": _basic("guessed-wrong")})

    with capture_logs() as said:
        asyncio.run(act())

    assert [(each["event"], each["path"], each["times"]) for each in said] == [
        ("page.refused", "/mirrors/docs", 1),
        ("page.refused", "/", 50),
    ]
    assert said[0]["peer"] == "127.0.0.1"
    assert "guessed" not in repr(said)
    assert "hidden" not in repr(said)


def test_a_browser_that_comes_without_a_token_first_is_no_news() -> None:
    async def act() -> None:
        async with _client(CLOSED, [at(0)]) as client:
            await client.get("/")

    with capture_logs() as said:
        asyncio.run(act())

    assert said == []
