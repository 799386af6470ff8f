"""Kodo's HTTP around the operations: routes, tokens, request ids, faults, the record of calls."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import parse_qsl, unquote

import orjson
from aiohttp import web

from mirrord.kodo.auth import FORM, Credentials
from mirrord.sandbox.access import admit
from mirrord.sandbox.calls import Call, Calls
from mirrord.sandbox.faults import Fault, Faults, fault_from
from mirrord.sandbox.operations import Asked, Operations, understood
from mirrord.sandbox.reply import Refused, Reqids, drop, json_reply, refusal, send_file
from mirrord.sandbox.store import Store

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Operation = Callable[[Asked], Awaitable[web.StreamResponse]]

_PULLS = {"prefetch", "fetch", "glb-fetch"}
_SERVED_BY = {"stat": "RS", "delete": "RS", "batch": "RS", "list": "RSF", "bucket-info": "UC", "query": "UC"}
_CONTROL = "/_control/"
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


_EXCHANGE = web.RequestKey("exchange", _Exchange)


class Kodo:
    """The sandbox's web application, without the port it listens on."""

    def __init__(
        self,
        *,
        operations: Operations,
        store: Store,
        credentials: Credentials,
        faults: Faults,
        calls: Calls,
        on_call: Callable[[Call], None] | None = None,
    ) -> None:
        self._operations = operations
        self._store = store
        self._credentials = credentials
        self._faults = faults
        self._calls = calls
        self._on_call = on_call
        self._reqids = Reqids()

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._record], client_max_size=_LARGEST_BODY_BYTES)
        app.on_response_prepare.append(_mark)
        does = self._operations
        post, either = ("POST",), ("GET", "POST")
        for path, methods, name, operation in [
            ("/prefetch/{entry}", post, "prefetch", does.prefetch),
            ("/fetch/{url}/to/{entry}", post, "fetch", does.fetch),
            ("/fetch/{url}/to/{entry}/host/{host}", post, "fetch", does.fetch),
            ("/glb/fetch/{url}/to/{entry}", post, "glb-fetch", does.glb_fetch),
            ("/stat/{entry}", either, "stat", does.stat),
            ("/delete/{entry}", post, "delete", does.delete),
            ("/delete/{entry}/cond/{conditions}", post, "delete", does.delete),
            ("/batch", post, "batch", does.batch),
            ("/list", either, "list", does.list),
            ("/v2/bucketInfo", either, "bucket-info", does.bucket_info),
            ("/v4/query", ("GET",), "query", does.query),
        ]:
            handler = self._answering(name, operation)
            app.add_routes([web.route(method, path, handler) for method in methods])
        app.add_routes(
            [
                web.get("/_control/calls", self._show_calls),
                web.delete("/_control/calls", self._forget_calls),
                web.get("/_control/faults", self._show_faults),
                web.post("/_control/faults", self._add_fault),
                web.delete("/_control/faults", self._clear_faults),
                web.route("*", "/{rest:(?s:.*)}", self._download),
            ]
        )
        return app

    def _answering(self, name: str, operation: Operation) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            exchange = request[_EXCHANGE]
            exchange.operation = name
            if not request.raw_path.isascii():
                raise Refused(400)
            body = await request.read()
            if name != "query":  # discovery names an account instead of proving it
                admit(self._credentials, request, body, datetime.now(UTC))
            asked = self._understand(request, body)
            exchange.bucket, exchange.key = asked.bucket or None, asked.key
            if asked.bucket:
                self._operations.existing(asked.bucket)
            pulls = name in _PULLS and asked.key is not None
            with self._calls.pulling(asked.bucket, asked.key or "") if pulls else nullcontext():
                return await self._through_faults(request, asked, operation)

        return answer

    def _understand(self, request: web.Request, body: bytes) -> Asked:
        try:
            params = parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True, errors="strict")
            if request.headers.get("Content-Type") == FORM:
                params += parse_qsl(body.decode(), keep_blank_values=True, errors="strict")
        except ValueError as exc:
            raise Refused(400) from exc
        asked = Asked(parts=request.match_info, params=params, host=request.headers.get("Host", ""))
        if "entry" in asked.parts:
            bucket, key = understood(asked.parts["entry"])
            return replace(asked, bucket=bucket, key=key)
        return replace(asked, bucket=asked.param("bucket"))

    async def _through_faults(self, request: web.Request, asked: Asked, operation: Operation) -> web.StreamResponse:
        fault = self._faults.draw(request[_EXCHANGE].operation, asked.key)
        if fault is None:
            return await operation(asked)
        await asyncio.sleep(fault.delay_s)
        reply = None
        if fault.after or (fault.status is None and not fault.drop):
            reply = await operation(replace(asked, stale=fault.stale))
        return _failing(request, fault) or reply or refusal(Refused(500))

    @web.middleware
    async def _record(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        exchange = request[_EXCHANGE] = _Exchange(self._reqids.next(), time.time())
        status = None
        try:
            reply = await handler(request)
            status = reply.status
        except Refused as refused:
            exchange.error, status = refused.error, refused.status
            reply = refusal(refused)
        except web.HTTPException as exc:
            exchange.error, status = exc.reason, exc.status
            reply = refusal(Refused(exc.status, exc.reason))
        finally:
            if not request.path.startswith(_CONTROL):
                self._write_down(request, exchange, None if exchange.dropped else status)
        return reply

    def _write_down(self, request: web.Request, exchange: _Exchange, status: int | None) -> None:
        call = Call(
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
        self._calls.add(call)
        if self._on_call is not None:
            self._on_call(call)

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
            await asyncio.sleep(fault.delay_s)
            failed = _failing(request, fault)
            if failed is not None:
                return failed
        headers = {"ETag": f'"{stored.hash}"', "Content-Type": stored.mime_type}
        return await send_file(request, self._store.open(stored), headers)

    async def _show_calls(self, _: web.Request) -> web.StreamResponse:
        return json_reply(self._calls.report())

    async def _forget_calls(self, _: web.Request) -> web.StreamResponse:
        self._calls.clear()
        return json_reply({})

    async def _show_faults(self, _: web.Request) -> web.StreamResponse:
        return json_reply({"faults": self._faults.listed()})

    async def _add_fault(self, request: web.Request) -> web.StreamResponse:
        try:
            self._faults.add(fault_from(orjson.loads(await request.read())))
        except ValueError as exc:
            raise Refused(400, str(exc)) from exc
        return json_reply({"faults": self._faults.listed()})

    async def _clear_faults(self, _: web.Request) -> web.StreamResponse:
        self._faults.clear()
        return json_reply({})


def _failing(request: web.Request, fault: Fault) -> web.StreamResponse | None:
    """End the call as the fault says: by an exception, or with a reply to nobody; None if it says nothing."""
    if fault.drop:
        request[_EXCHANGE].dropped = True
        drop(request)
        return web.Response()
    if fault.status is not None:
        raise Refused(fault.status, fault.error)
    return None


async def _mark(request: web.Request, reply: web.StreamResponse) -> None:
    """Give every reply what Kodo gives every reply."""
    exchange = request[_EXCHANGE]
    served_by = _SERVED_BY.get(exchange.operation, "IO")
    failure = f"/{reply.status}" if reply.status >= 400 else ""
    reply.headers["X-Log"] = f"{served_by}:{(time.time() - exchange.started) * 1000:.0f}{failure}"
    reply.headers["X-Reqid"] = exchange.reqid
    reply.headers["Server"] = "mirrord-sandbox"
    if exchange.operation != "download":
        reply.headers["Cache-Control"] = "no-store"
