"""A bucket's listing: the question as signed, every shape of the answer, and the sandbox's own."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from mirrord.kodo.client import KodoClient, Scheme
from mirrord.kodo.protocol import Host, Request, list_objects
from mirrord.kodo.replies import ListPage, read_list
from mirrord.model.attempt import Reply
from mirrord.model.listing import ListedObject
from mirrord.sandbox.store import Store
from tests.kodo.test_client import client_of
from tests.servers import CREDENTIALS, running_origin, running_sandbox

OK = Reply(status=200, reqid="r", xlog="RSF:1")
PREFIX = "".join(map(chr, range(32, 127))) + "中/"
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("request_", "target"),
    [
        pytest.param(list_objects("docs"), "/list?bucket=docs&limit=1000", id="the-first-page-of-all"),
        pytest.param(
            list_objects("docs", "a b/中&", "eyJ=", 7),
            "/list?bucket=docs&limit=7&prefix=a%20b/%E4%B8%AD%26&marker=eyJ%3D",
            id="escaped",
        ),
    ],
)
def test_a_question_is_percent_encoded_once(request_: Request, target: str) -> None:
    assert request_ == Request(Host.RSF, target, method="GET")


def page_of(content: object, reply: Reply = OK) -> ListPage | None:
    return read_list(reply, JSON, orjson.dumps(content))


def test_a_page_has_objects_and_where_the_next_begins() -> None:
    put_time = 17_672_256_001_234_567
    item = {"key": "a/中", "putTime": put_time, "hash": "Fto5", "fsize": 2**40, "mimeType": "text/plain", "type": 0}

    page = page_of({"marker": "next", "commonPrefixes": None, "items": [item]})

    assert page == ListPage([ListedObject(key="a/中", size_bytes=2**40, hash="Fto5", put_time=put_time)], "next")


@pytest.mark.parametrize(
    "content",
    [{}, {"items": None}, {"items": []}, {"items": [], "marker": ""}, {"items": None, "marker": None}],
    ids=str,
)
def test_without_a_marker_it_ends_whatever_the_items_are(content: object) -> None:
    assert page_of(content) == ListPage([], "")


@pytest.mark.parametrize("items", [None, []], ids=str)
def test_an_empty_page_with_a_marker_is_not_the_last(items: object) -> None:
    assert page_of({"items": items, "marker": "more"}) == ListPage([], "more")


@pytest.mark.parametrize(
    ("item", "found"),
    [
        pytest.param({"key": "a"}, [ListedObject(key="a", size_bytes=0, hash="", put_time=0)], id="bare"),
        pytest.param(
            {"key": "a", "fsize": "5", "hash": 1, "putTime": 1.5},
            [ListedObject(key="a", size_bytes=0, hash="", put_time=0)],
            id="of-other-types",
        ),
        pytest.param(
            {"key": "a", "putTime": 2**64 - 1},
            [ListedObject(key="a", size_bytes=0, hash="", put_time=2**63 - 1)],
            id="beyond-64-bits",
        ),
        pytest.param({"hash": "Fto5"}, [], id="nameless"),
        pytest.param("a", [], id="no-object"),
    ],
)
def test_an_item_is_taken_for_what_it_says(item: object, found: list[ListedObject]) -> None:
    assert page_of({"items": [item]}) == ListPage(found, "")


@pytest.mark.parametrize(
    ("reply", "headers", "body"),
    [
        pytest.param(Reply(status=401, reqid="r"), JSON, b'{"error":"bad token"}', id="refused"),
        pytest.param(Reply(status=200), JSON, b"{}", id="not-from-kodo"),
        pytest.param(OK, {"content-type": "text/html"}, b"<html>", id="a-proxys-page"),
        pytest.param(OK, JSON, b'{"items":', id="cut-off"),
        pytest.param(OK, JSON, b"[]", id="a-list"),
        pytest.param(OK, JSON, b'{"items":{"a":1}}', id="items-that-are-none"),
        pytest.param(OK, JSON, b'{"marker":1}', id="a-marker-that-is-none"),
    ],
)
def test_what_is_no_page_is_none(reply: Reply, headers: dict[str, str], body: bytes) -> None:
    assert read_list(reply, headers, body) is None


def listed(client: Callable[[], KodoClient], prefix: str) -> list[ListPage]:
    async def pages() -> list[ListPage]:
        kodo, found, marker = client(), list[ListPage](), ""
        try:
            while not found or marker:
                reply, page = await kodo.list_page("docs", prefix, marker)
                assert page is not None, reply
                found.append(page)
                marker = page.marker
        finally:
            await kodo.close()
        return found

    return asyncio.run(pages())


@pytest.mark.parametrize("scheme", ["qbox", "qiniu"])
def test_the_sandbox_lists_what_it_holds_below_the_prefix(tmp_path: Path, scheme: Scheme) -> None:
    store = Store(tmp_path / "kodo")
    for number in range(1001):
        with store.draft() as draft:
            store.keep("docs", f"{PREFIX}{number:04}", draft, "text/plain")
    with store.draft() as draft:
        store.keep("docs", "elsewhere", draft, "text/plain")
    store.close()

    with (
        running_origin(tmp_path) as origin,
        running_sandbox(tmp_path / "kodo", {"docs": origin}, credentials=CREDENTIALS) as kodo,
    ):
        pages = listed(lambda: client_of(kodo.url, scheme=scheme), PREFIX)

    assert [len(page.items) for page in pages] == [1000, 1]
    assert [item.key for page in pages for item in page.items] == [f"{PREFIX}{number:04}" for number in range(1001)]


def test_a_bucket_that_is_not_there_gives_a_reply_and_no_page(tmp_path: Path) -> None:
    with running_origin(tmp_path) as origin, running_sandbox(tmp_path / "kodo", {"docs": origin}) as kodo:

        async def ask() -> tuple[Reply, ListPage | None]:
            client = client_of(kodo.url)
            try:
                return await client.list_page("nowhere", "", "")
            finally:
                await client.close()

        reply, page = asyncio.run(ask())

    assert (reply.status, page) == (631, None)
