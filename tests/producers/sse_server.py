"""GET /events to a stream of a history's entries: those behind `Last-Event-ID`, then what comes."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.producers.history import History

PING_S = 0.5
_GLANCE_S = 0.01


def application(history: History) -> Starlette:
    async def events(request: Request) -> Response:
        last = request.headers.get("Last-Event-ID") or request.query_params.get("since") or "0"
        if not last.isdecimal():
            return PlainTextResponse(f"no event has the id {last!r}", 400)
        return EventSourceResponse(_stream(history, int(last)), ping=PING_S)

    return Starlette(routes=[Route("/events", events)])


async def _stream(history: History, after: int) -> AsyncIterator[ServerSentEvent]:
    while True:
        for entry in history.entries(after):
            after = entry["seq"]
            yield ServerSentEvent(json.dumps(entry), id=str(after))
        await asyncio.sleep(_GLANCE_S)


def main(port: int, history: Path) -> None:
    uvicorn.run(application(History(history)), host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
