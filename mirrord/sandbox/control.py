"""`/_control/…`: what was asked, what shall go wrong and what holds, to read and to change while it runs."""

import orjson
from aiohttp import web

from mirrord.sandbox.calls import Calls
from mirrord.sandbox.cdn import Cdn
from mirrord.sandbox.conditions import Conditions, changed
from mirrord.sandbox.faults import Faults, fault_from
from mirrord.sandbox.reply import Refused, json_reply

PREFIX = "/_control/"


class Control:
    """The routes, which need no token."""

    def __init__(self, *, calls: Calls, faults: Faults, conditions: Conditions, cdn: Cdn) -> None:
        self._calls = calls
        self._faults = faults
        self._conditions = conditions
        self._cdn = cdn

    def routes(self) -> list[web.RouteDef]:
        calls, faults, state = (PREFIX + name for name in ("calls", "faults", "state"))
        return [
            web.get(calls, self._show_calls),
            web.delete(calls, self._forget_calls),
            web.get(faults, self._show_faults),
            web.post(faults, self._add_fault),
            web.delete(faults, self._clear_faults),
            web.get(state, self._show_state),
            web.post(state, self._change_state),
            web.get(f"{PREFIX}cdn", self._show_cdn),
        ]

    async def _show_calls(self, request: web.Request) -> web.StreamResponse:
        """With `operation` and `at_least` the answer comes when so many calls of it have ended."""
        at_least = request.query.get("at_least", "0")
        if not at_least.isdecimal():
            raise Refused(400)
        await self._calls.reached(request.query.get("operation"), int(at_least))
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

    async def _show_state(self, _: web.Request) -> web.StreamResponse:
        return json_reply(self._conditions.state.shown())

    async def _show_cdn(self, _: web.Request) -> web.StreamResponse:
        return json_reply(self._cdn.shown())

    async def _change_state(self, request: web.Request) -> web.StreamResponse:
        try:
            self._conditions.change(changed(self._conditions.state, orjson.loads(await request.read())))
        except ValueError as exc:
            raise Refused(400, str(exc)) from exc
        return json_reply(self._conditions.state.shown())
