"""Kodo's HTTP around the operations: routes, tokens, request ids, faults, the record of calls."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from mirrord.kodo.auth import FORM
from mirrord.sandbox.access import SCHEMES, admit
from mirrord.sandbox.calls import Call, Calls
from mirrord.sandbox.cdn import Cdn, urls_from
from mirrord.sandbox.conditions import Conditions
from mirrord.sandbox.control import PREFIX as CONTROL
from mirrord.sandbox.control import Control
from mirrord.sandbox.faults import Fault, Faults
from mirrord.sandbox.operations import Asked, Operations, understood
from mirrord.sandbox.queue import Queue, order_from
from mirrord.sandbox.reply import Refused, Reqids, cut_short, drop, empty_reply, json_reply, page, refusal, send_file
from mirrord.sandbox.store import Store

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Operation = Callable[[Asked], Awaitable[web.StreamResponse]]

_PULL_NOW = {"prefetch", "fetch", "glb-fetch"}
_ASYNC = {"async-fetch", "async-wait"}
_SERVED_BY = {
    "stat": "RS", "delete": "RS", "batch": "RS", "list": "RSF", "bucket-info": "UC", "query": "UC",
    "async-fetch": "API", "async-wait": "API", "cdn-refresh": "FUSION",
}  # fmt: skip
_LARGEST_BODY_BYTES = 64 * 1024 * 1024  # a thousand operations of a batch, form-escaped


@dataclass(slots=True)
class _Exchange:
    """What becomes known of a request while it is answered."""

    reqid: str
    started: float
    operation: str = ""
    bucket: str | None = None
    key: str | None = None
    error: str | None = None
    dropped: bool = False
    log: str | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    """To put into the reply, or with None to take out of it."""


_EXCHANGE = web.RequestKey("exchange", _Exchange)


class Kodo:
    """The sandbox's web application, without the port it listens on."""

    def __init__(
        self,
        *,
        operations: Operations,
        queue: Queue,
        store: Store,
        conditions: Conditions,
        faults: Faults,
        calls: Calls,
    ) -> None:
        self._operations = operations
        self._queue = queue
        self._store = store
        self._conditions = conditions
        self._faults = faults
        self._calls = calls
        self._cdn = Cdn()
        self._control = Control(calls=calls, faults=faults, conditions=conditions, cdn=self._cdn)
        self._reqids = Reqids(conditions.now_ns)

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._record], client_max_size=_LARGEST_BODY_BYTES)
        app.on_response_prepare.append(self._mark)
        app.cleanup_ctx.append(self._work)
        does = self._operations
        get, post, either = ("GET",), ("POST",), ("GET", "POST")
        for path, methods, name, operation in [
            ("/prefetch/{entry}", post, "prefetch", does.prefetch),
            ("/fetch/{url}/to/{entry}", post, "fetch", does.fetch),
            ("/fetch/{url}/to/{entry}/host/{host}", post, "fetch", does.fetch),
            ("/glb/fetch/{url}/to/{entry}", post, "glb-fetch", does.glb_fetch),
            ("/sisyphus/fetch", post, "async-fetch", does.async_fetch),
            ("/sisyphus/fetch", get, "async-wait", does.async_wait),
            ("/stat/{entry}", either, "stat", does.stat),
            ("/delete/{entry}", post, "delete", does.delete),
            ("/delete/{entry}/cond/{conditions}", post, "delete", does.delete),
            ("/batch", post, "batch", does.batch),
            ("/list", either, "list", does.list),
            ("/v2/bucketInfo", either, "bucket-info", does.bucket_info),
            ("/v4/query", get, "query", does.query),
            ("/v2/tune/refresh", post, "cdn-refresh", self._refresh),
        ]:
            handler = self._answering(name, operation)
            app.add_routes([web.route(method, path, handler) for method in methods])
        app.add_routes([*self._control.routes(), web.route("*", "/{rest:(?s:.*)}", self._download)])
        return app

    async def _work(self, _: web.Application) -> AsyncIterator[None]:
        async with self._queue.working():
            yield

    def _answering(self, name: str, operation: Operation) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            exchange = request[_EXCHANGE]
            exchange.operation = name
            if not request.raw_path.isascii():
                raise Refused(400)
            body = await request.read()
            if name != "query":  # discovery names an account instead of proving it
                self._admit(request, body, ("Qiniu",) if name in _ASYNC else SCHEMES)
            asked = self._understand(request, body)
            exchange.bucket, exchange.key = asked.bucket or None, asked.key
            if asked.bucket:
                self._operations.existing(asked.bucket)
            excess = self._conditions.excess(name)
            if excess is not None:
                raise Refused(excess.status, headers=excess.headers(self._conditions.now()))
            pulls = name in _PULL_NOW and asked.key is not None
            with self._calls.pulling(asked.bucket, asked.key or "") if pulls else nullcontext():
                return await self._through_faults(request, asked, operation)

        return answer

    def _admit(self, request: web.Request, body: bytes, schemes: Collection[str]) -> None:
        admit(self._conditions.credentials, request, body, self._conditions.now(), schemes)
        if self._conditions.state.frozen:
            raise Refused(419)

    def _understand(self, request: web.Request, body: bytes) -> Asked:
        try:
            params = parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True, errors="strict")
            if request.headers.get("Content-Type") == FORM:
                params += parse_qsl(body.decode(), keep_blank_values=True, errors="strict")
            order = order_from(body) if request[_EXCHANGE].operation == "async-fetch" else None
            urls = urls_from(body) if request[_EXCHANGE].operation == "cdn-refresh" else ()
        except ValueError as exc:
            raise Refused(400) from exc
        asked = Asked(
            parts=request.match_info,
            params=params,
            host=request.headers.get("Host", ""),
            reqid=request[_EXCHANGE].reqid,
            order=order,
            urls=urls,
        )
        if order is not None:
            return replace(asked, bucket=order.wanted.bucket, key=order.wanted.key)
        if "entry" in asked.parts:
            bucket, key = understood(asked.parts["entry"])
            return replace(asked, bucket=bucket, key=key)
        return replace(asked, bucket=asked.param("bucket"))

    async def _refresh(self, asked: Asked) -> web.StreamResponse:
        conditions = self._conditions
        return json_reply(self._cdn.refresh(asked.urls, conditions.state.cdn, conditions.now(), f"cdn {asked.reqid}"))

    async def _through_faults(self, request: web.Request, asked: Asked, operation: Operation) -> web.StreamResponse:
        exchange = request[_EXCHANGE]
        fault = self._faults.draw(exchange.operation, asked.key)
        if fault is None:
            return await operation(asked)
        exchange.headers = fault.headers
        await asyncio.sleep(fault.delay_s)
        if not fault.fails:
            return await operation(replace(asked, stale=fault.stale, hold_s=fault.hold_s))
        done = None
        if fault.after:
            done = await operation(replace(asked, stale=fault.stale, hold_s=fault.hold_s))
        return await _failed(request, fault, done)

    @web.middleware
    async def _record(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        exchange = request[_EXCHANGE] = _Exchange(self._reqids.next(), time.time())
        status = None
        try:
            reply = await handler(request)
            status = reply.status
        except Refused as refused:
            exchange.error, status, exchange.log = refused.error, refused.status, refused.log
            reply = refusal(refused)
        except web.HTTPException as exc:
            exchange.error, status = exc.reason, exc.status
            reply = refusal(Refused(exc.status, exc.reason))
        finally:
            if not request.path.startswith(CONTROL):
                self._write_down(request, exchange, None if exchange.dropped else status)
        return reply

    def _write_down(self, request: web.Request, exchange: _Exchange, status: int | None) -> None:
        self._calls.add(
            Call(
                operation=exchange.operation,
                bucket=exchange.bucket,
                key=exchange.key,
                status=status,
                error=exchange.error,
                reqid=exchange.reqid,
                method=request.method,
                target=request.raw_path,
                started=exchange.started,
                ended=time.time(),
            )
        )

    async def _download(self, request: web.Request) -> web.StreamResponse:
        """`/<bucket>/<key>`: the stored bytes, to look at; no part of Kodo's API, which has domains for it."""
        path = request.raw_path.partition("?")[0]
        try:
            bucket, slash, key = unquote(path[1:], errors="strict").partition("/")
        except UnicodeDecodeError as exc:
            raise Refused(400) from exc
        stored = self._store.find(bucket, key) if slash else None
        if request.method not in {"GET", "HEAD"} or stored is None:
            raise Refused(404)
        exchange = request[_EXCHANGE]
        exchange.operation, exchange.bucket, exchange.key = "download", bucket, key
        fault = self._faults.draw("download", key)
        if fault is not None:
            exchange.headers = fault.headers
            await asyncio.sleep(fault.delay_s)
            if fault.fails:
                return await _failed(request, fault, None)
        headers = {"ETag": f'"{stored.hash}"', "Content-Type": stored.mime_type}
        return await send_file(request, self._store.open(stored), headers)

    async def _mark(self, request: web.Request, reply: web.StreamResponse) -> None:
        """Give every reply what Kodo gives every reply, and what a fault wants otherwise."""
        exchange = request[_EXCHANGE]
        served_by = _SERVED_BY.get(exchange.operation, "IO")
        failure = f"/{reply.status}" if reply.status >= 400 else ""
        reply.headers["X-Log"] = exchange.log or f"{served_by}:{(time.time() - exchange.started) * 1000:.0f}{failure}"
        reply.headers["X-Reqid"] = exchange.reqid
        reply.headers["Server"] = "mirrord-sandbox"
        reply.headers["Date"] = formatdate(self._conditions.now().timestamp(), usegmt=True)
        if exchange.operation != "download":
            reply.headers["Cache-Control"] = "no-store"
        for name, value in exchange.headers.items():
            if value is None:
                reply.headers.popall(name, None)
            else:
                reply.headers[name] = value


async def _failed(request: web.Request, fault: Fault, done: web.StreamResponse | None) -> web.StreamResponse:
    """End the call as the fault says: by an exception, or with a reply that nobody gets whole.

    `done` is what it would have said; None: nothing was done.
    """
    exchange = request[_EXCHANGE]
    exchange.dropped = fault.drop or fault.cut
    if fault.drop:
        drop(request)
        return web.Response()
    status = 200 if fault.status is None else fault.status
    error = fault.error or ("please log in" if fault.html and status == 200 else None)
    refused = Refused(status, error)
    if fault.html:
        refused.page = page(status, refused.error)
    if not fault.cut:
        raise refused
    if fault.html or fault.status is not None:
        return await cut_short(request, refusal(refused))
    return await cut_short(request, done if isinstance(done, web.Response) else empty_reply())
