"""A stream of events by `sse-starlette`: `python -m bench.sse_server` prints its port and ends when its stdin does.

`GET /events` has what comes after `Last-Event-ID`; `POST /publish?key=` adds an event and says when it had it.
"""

import asyncio
import json
import socket
import sys
import time
from collections.abc import AsyncIterator

import uvicorn
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class _Events:
    def __init__(self) -> None:
        self._entries: list[str] = []
        self._news = asyncio.Event()

    async def publish(self, request: Request) -> Response:
        at = time.monotonic()
        seq = len(self._entries) + 1
        entry = {"seq": seq, "key": request.query_params["key"], "op": "write", "version": f"{seq:032x}"}
        self._entries.append(json.dumps(entry))
        news, self._news = self._news, asyncio.Event()
        news.set()
        return JSONResponse(at)

    async def follow(self, request: Request) -> Response:
        return EventSourceResponse(self._after(int(request.headers.get("Last-Event-ID", "0"))))

    async def _after(self, seq: int) -> AsyncIterator[ServerSentEvent]:
        while True:
            if seq == len(self._entries):
                await self._news.wait()
            seq += 1
            yield ServerSentEvent(self._entries[seq - 1], id=str(seq))


async def _serve() -> None:
    events = _Events()
    routes = [Route("/events", events.follow), Route("/publish", events.publish, methods=["POST"])]
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(Starlette(routes=routes), log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    print(listener.getsockname()[1], flush=True)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve(sockets=[listener]), name="server")
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        server.should_exit = True


if __name__ == "__main__":
    asyncio.run(_serve())
