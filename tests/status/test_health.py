"""/healthz and /readyz: 200 and "ok", or 503 and why, over a real listener."""

import asyncio

import httpx
import pytest

from mirrord.listener import Listener
from mirrord.model.coverage import UNKNOWN, Coverage
from mirrord.status import health
from mirrord.status.standing import Standing
from tests.journal.ledger import at
from tests.status.standings import mirror, standing

LOST = Coverage(complete_as_of=at(0), lost_since=at(5), lost_reason="/srv/secret place: does not exist")
BLIND = Coverage(lost_since=at(5), lost_reason=f"{UNKNOWN}: nobody can tell what was before")


async def _asked(stands: Standing, path: str, method: str = "GET") -> httpx.Response:
    listener = Listener("127.0.0.1", 0, health.routes(lambda: stands))
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(listener.run())
        await listener.started()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listener.port}", trust_env=False) as client:
            answer = await client.request(method, path)
        serving.cancel()
    return answer


@pytest.mark.parametrize(
    ("path", "stands", "status", "text"),
    [
        pytest.param("/healthz", standing(), 200, "ok\n", id="alive"),
        pytest.param("/healthz", standing(stuck=("docs", "b")), 503, "stuck: docs\nstuck: b\n", id="stuck"),
        pytest.param("/healthz", standing(trouble="disk full", ready=False), 200, "ok\n", id="alive without a journal"),
        pytest.param("/readyz", standing(), 200, "ok\n", id="ready"),
        pytest.param("/readyz", standing(stopping=True), 503, "stopping\n", id="stopping"),
        pytest.param(
            "/readyz", standing(trouble="/var/x: disk full"), 503, "the journal cannot be used\n", id="no journal"
        ),
        pytest.param("/readyz", standing(ready=False), 503, "starting\n", id="before any mirror has begun"),
        pytest.param(
            "/readyz",
            standing(mirror("a", listening=False), mirror("b"), ready=False),
            503,
            "starting: a: its source does not listen yet\n",
            id="starting",
        ),
        pytest.param(
            "/readyz",
            standing(mirror("a", coverage=LOST), mirror("b")),
            503,
            "a: its source cannot be seen whole\n",
            id="a source that is not there, and not where it should be",
        ),
        pytest.param("/readyz", standing(mirror(coverage=BLIND)), 200, "ok\n", id="a source that can never tell"),
        pytest.param(
            "/readyz",
            standing(mirror("a", coverage=LOST), stopping=True, trouble="gone"),
            503,
            "stopping\nthe journal cannot be used\na: its source cannot be seen whole\n",
            id="everything at once",
        ),
    ],
)
def test_health_is_a_status_and_a_line_for_each_reason(path: str, stands: Standing, status: int, text: str) -> None:
    answer = asyncio.run(_asked(stands, path))

    assert (answer.status_code, answer.text) == (status, text)
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_they_can_be_looked_at_and_nothing_else(path: str) -> None:
    head = asyncio.run(_asked(standing(), path, "HEAD"))
    post = asyncio.run(_asked(standing(), path, "POST"))

    assert (head.status_code, head.content) == (200, b"")
    assert post.status_code == 405
