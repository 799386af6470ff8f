"""The service as it stands to an HTTP page of it: which address shows what, and what may be asked for from there."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Match, NoMatchFound, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mirrord.decisions.explaining import command, way_out
from mirrord.journal import asking
from mirrord.journal.asking import Asked, Left, Transacting
from mirrord.journal.errors import JournalUnavailable
from mirrord.journal.report import KeyReport
from mirrord.model.row import ObjectRow, State
from mirrord.status.access import Access, Guarded
from mirrord.status.chart import drawn
from mirrord.status.journaled import JournalView
from mirrord.status.page import (
    HERE,
    Attempted,
    Card,
    Pages,
    Remark,
    alike,
    attempted,
    card,
    explain_path,
    last_came,
    remark,
)
from mirrord.status.reading import Failures, Reading
from mirrord.status.recent import ATTEMPTS_MOST_EACH, Recent
from mirrord.status.standing import MirrorStanding, Standing
from mirrord.status.story import story_of

log = structlog.get_logger()

PAGE_SIZE = 100
PAGES_MOST = 500
"""The journal reads all that is before a page, too."""
FOUND_MOST = 50
ATTEMPTS_MOST = 30
REMARKS_MOST = 20
BODY_MOST = 16_384

_ASSETS = {"page.css": "text/css", "page.js": "text/javascript", "mark.svg": "image/svg+xml"}
_HOOKS = "/hooks/"
"""Have keys and rules of their own."""


def routes(
    *,
    standing: Callable[[], Standing],
    view: JournalView,
    recent: Recent,
    access: Access,
    masked: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    journal: Transacting | None,
    now: Callable[[], datetime],
    also: Sequence[BaseRoute] = (),
) -> list[BaseRoute]:
    """Everything but what is posted to us, behind `access`; `also` what others show there.

    `masked` covers the secrets in the fields of a log line. `journal` None: nothing can be asked for.
    """
    site = _Site(standing, view, recent, access, masked, journal, now, Pages(), Failures(view, now))
    app = Starlette(
        routes=[*also, *site.routes()],
        exception_handlers={HTTPException: site.refused, Exception: site.failed},
    )
    app.router.redirect_slashes = False
    return [_AllButHooks(Guarded(app, access, now))]


class _AllButHooks(BaseRoute):
    """One route for the whole site, so that no answer goes without the guard's headers, a 404 neither."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        ours = scope["type"] == "http" and not scope["path"].startswith(_HOOKS)
        return (Match.FULL if ours else Match.NONE), {}

    def url_path_for(self, name: str, /, **path_params: Any) -> Any:
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


@dataclass(frozen=True, slots=True)
class _Site:
    standing: Callable[[], Standing]
    view: JournalView
    recent: Recent
    access: Access
    masked: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    journal: Transacting | None
    now: Callable[[], datetime]
    pages: Pages
    failures: Failures

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/", self.overview),
            Route("/mirrors/{mirror}", self.mirror),
            Route("/mirrors/{mirror}/explain", self.explain),
            Route("/mirrors/{mirror}/retry", self.act, methods=["POST"]),
            Route("/mirrors/{mirror}/refresh", self.act, methods=["POST"]),
            *(Route(f"/assets/{name}", _asset(name, kind)) for name, kind in _ASSETS.items()),
        ]

    # -- what is shown ---------------------------------------------------------------------------------

    async def overview(self, request: Request) -> Response:
        if request.query_params.get("q"):
            return await self.found(request)
        standing, reading = self.standing(), Reading()
        cards = await self._cards(standing.mirrors, standing, reading)
        names = [each.mirror for each in standing.mirrors]
        return self._shown(
            "overview",
            request,
            standing,
            reading,
            cards=cards,
            headline=_headline(cards),
            chart=self._chart(names, standing, "all mirrors"),
            attempts=self._attempts(names, ATTEMPTS_MOST),
            remarks=self._remarks(names),
        )

    async def mirror(self, request: Request) -> Response:
        standing, reading, page = self.standing(), Reading(), _page_of(request)
        chosen = _named(standing, request.path_params["mirror"])
        name, first = chosen.mirror, (page - 1) * PAGE_SIZE
        cards = await self._cards([chosen], standing, reading)
        waiting = await reading.read(self.view.waiting(name, PAGE_SIZE + 1, after=first), [])
        return self._shown(
            "mirror",
            request,
            standing,
            reading,
            card=cards[0],
            waiting=waiting[:PAGE_SIZE],
            more=len(waiting) > PAGE_SIZE and page < PAGES_MOST,
            page=page,
            page_size=PAGE_SIZE,
            chart=self._chart([name], standing, name),
            attempts=self._attempts([name], ATTEMPTS_MOST_EACH),
            remarks=[each for each in self._remarks([name]) if each.mirror == name],
        )

    async def found(self, request: Request) -> Response:
        """A key that is asked for by its whole name is what was meant, unless somebody says otherwise."""
        standing, reading = self.standing(), Reading()
        text, chosen = request.query_params["q"], request.query_params.get("mirror", "")
        names = [each.mirror for each in standing.mirrors if chosen in {"", each.mirror}]
        found = [(name, await reading.read(self.view.find(name, text, FOUND_MOST + 1), [])) for name in names]
        exact = [name for name, rows in found if any(row.key == text for row in rows)]
        if len(exact) == 1 and "all" not in request.query_params:
            return RedirectResponse(explain_path(exact[0], text), 303)
        results = [(name, rows[:FOUND_MOST], len(rows) > FOUND_MOST) for name, rows in found]
        return self._shown("found", request, standing, reading, results=results)

    async def explain(self, request: Request) -> Response:
        standing, reading = self.standing(), Reading()
        name, key = _named(standing, request.path_params["mirror"]).mirror, request.query_params.get("key", "")
        report = await reading.read(self.view.key(name, key), KeyReport(row=None))
        return self._shown(
            "explain",
            request,
            standing,
            reading,
            200 if report.row or reading.unread else 404,
            mirror=name,
            key=key,
            row=report.row,
            story=story_of(report, self.now()),
            alike=alike(key, report.neighbours, 5),
            acts=self._acts(report.row),
            said=_SAID.get(request.query_params.get("done", "")),
            command=command,
        )

    async def refused(self, request: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)
        word = HTTPStatus(exc.status_code).phrase
        sentence = exc.detail if exc.detail != word else _SENTENCES.get(exc.status_code, word)
        shown = self._shown("error", request, self.standing(), Reading(), exc.status_code, word=word, sentence=sentence)
        shown.headers.update(exc.headers or {})
        return shown

    async def failed(self, request: Request, exc: Exception) -> Response:  # noqa: ARG002 - its traceback is logged
        sentence = "This page has a bug; the service's log has the traceback. The service itself goes on."
        return self._shown("error", request, self.standing(), Reading(), 500, word="Error", sentence=sentence)

    # -- what is done ----------------------------------------------------------------------------------

    async def act(self, request: Request) -> Response:
        """The guard has seen a token, and that one of our own pages asked."""
        name = _named(self.standing(), request.path_params["mirror"]).mirror
        key = request.query_params.get("key") or await _posted_key(request)
        if self.journal is None:
            raise HTTPException(403, "Nothing can be asked for from here.")
        wish = request.url.path.rpartition("/")[2]
        ask = asking.retry if wish == "retry" else asking.refresh
        try:
            asked = await ask(self.journal, name, [key], self.now())
        except JournalUnavailable as exc:
            raise HTTPException(503, f"The journal cannot be written: {exc}. Nothing was changed.") from exc
        done = _done(wish, asked)
        peer = request.client.host if request.client else None
        log.info("page.asked", mirror=name, key=key, wish=wish, done=done, peer=peer)
        return RedirectResponse(explain_path(name, key, done), 303)

    def _acts(self, row: ObjectRow | None) -> list[tuple[str, str]]:
        if row is None or self.journal is None or not self.access.may_act:
            return []
        if row.state is State.PARKED:
            return [("retry", "asks for it again, as if it had never been tried")]
        if row.state is State.HELD or row.wanted is None:
            return []
        return [("refresh", "has Kodo pull it now, whatever the bucket is believed to hold")]

    # -- parts -----------------------------------------------------------------------------------------

    async def _cards(self, chosen: Sequence[MirrorStanding], standing: Standing, reading: Reading) -> list[Card]:
        names = [each.mirror for each in standing.mirrors]
        reports = await reading.read(self.view.reports(names), self.view.last(names) or ())
        by_name, now, cards = {each.mirror: each for each in reports}, self.now(), list[Card]()
        for each in chosen:
            report = by_name.get(each.mirror)
            tried = report is not None and not report.settled and reading.unread is None
            failing = await reading.read(self.failures.of(each.mirror), []) if tried else []
            cards.append(card(each, report, failing, now))
        return cards

    def _chart(self, mirrors: Sequence[str], standing: Standing, of: str) -> str:
        return drawn(self.recent.minutes(mirrors), self.now(), since=standing.since, of=of)

    def _attempts(self, mirrors: Sequence[str], most: int) -> list[Attempted]:
        return [attempted(line, self.masked(line.fields)) for line in self.recent.attempts(mirrors, most)]

    def _remarks(self, mirrors: Sequence[str]) -> list[Remark]:
        return [remark(line, self.masked(line.fields)) for line in self.recent.remarks(mirrors)[:REMARKS_MOST]]

    def _shown(
        self,
        template: str,
        request: Request,
        standing: Standing,
        reading: Reading,
        status: int = 200,
        **values: Any,
    ) -> HTMLResponse:
        names = [each.mirror for each in standing.mirrors]
        self.recent.keep_only(names)
        self.failures.keep_only(names)
        text = self.pages.html(
            template,
            standing=standing,
            now=self.now(),
            unread=reading.unread,
            reported_at=self.view.reported_at,
            asked=request.query_params.get("q", ""),
            chosen=request.query_params.get("mirror", request.path_params.get("mirror", "")),
            came=last_came,
            way_out=way_out,
            **values,
        )
        return HTMLResponse(text.encode("utf-8", "replace"), status)


def _asset(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    content = (HERE / "assets" / name).read_bytes()

    async def asset(_: Request) -> Response:
        return Response(content, media_type=kind)

    return asset


def _named(standing: Standing, name: str) -> MirrorStanding:
    for each in standing.mirrors:
        if each.mirror == name:
            return each
    raise HTTPException(404, "There is no such mirror: it may have been renamed, or taken out of the settings.")


def _page_of(request: Request) -> int:
    text = request.query_params.get("page", "1")
    return min(max(int(text), 1), PAGES_MOST) if text.isascii() and text.isdigit() and len(text) < 9 else 1


async def _posted_key(request: Request) -> str:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > BODY_MOST:
            raise HTTPException(413, "That is longer than any key.")
    try:
        return parse_qs(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=8)["key"][0]
    except (ValueError, KeyError):
        raise HTTPException(400, "There has to be a form field named key.") from None


def _headline(cards: Sequence[Card]) -> str:
    """What a browser's tab says."""
    missing = sum(each.complete.kind != "good" for each in cards)
    return (
        "complete" if not missing else f"{missing} of {len(cards)} not complete" if len(cards) > 1 else "not complete"
    )


def _done(wish: str, asked: Asked) -> str:
    if asked.named:
        return asked.named[0].why.name.lower()
    return "after" if State.CLAIMED in asked.taken else wish


_SAID = {
    "retry": "It was made due again, as if it had never been tried: a running service asks for it within seconds.",
    "refresh": "It was made due: a running service asks for it within seconds.",
    "after": "A call for it is out: it is asked for once more when that has ended.",
    Left.UNKNOWN.name.lower(): "The key is not known, and nothing was changed.",
    Left.NOT_PARKED.name.lower(): "It is not parked any more, and nothing was changed.",
    Left.HELD.name.lower(): "It is a removal that is held: only `mirrord release` decides on those.",
    Left.GONE.name.lower(): "It is gone at the origin: there is nothing to refresh.",
}
_SENTENCES = {
    404: "There is nothing at this address.",
    405: "This address does not take that method.",
}
