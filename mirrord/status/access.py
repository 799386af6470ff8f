"""A request to whether it may be answered: loopback names alone, or a token; what changes something needs more.

The decisions are pure; `Guarded` puts them before an application, and headers on everything that it answers.
"""

from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from hmac import compare_digest
from ipaddress import ip_address

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger()

OPEN = frozenset({"/healthz", "/readyz"})
"""Asked by machines that have no token; what they say is meant for anybody."""
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
SAID_EVERY = timedelta(minutes=1)

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="mirrord", charset="UTF-8", Bearer realm="mirrord"'}


@dataclass(frozen=True, slots=True)
class Access:
    """Who may look. Without a token nobody but this machine can come, and nothing can be changed from the page."""

    token: str | None = field(default=None, repr=False)

    @property
    def may_act(self) -> bool:
        """Whether there is a way to change something at all."""
        return self.token is not None


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that is not answered."""

    status: int
    sentence: str
    """For whoever asked; names no secret."""
    challenge: bool = False
    """Whether a token would do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What of a request is looked at; a header that is not there is None."""

    method: str
    path: str
    scheme: str = "http"
    host: str | None = None
    authorization: str | None = None
    origin: str | None = None
    fetch_site: str | None = None


def judge(access: Access, request: Request) -> Refused | None:
    """Why it is refused; None: it is not. Takes the same small time whatever the token that was shown."""
    if request.path in OPEN and request.method in _READING:
        return None
    if access.token is None:
        return _judge_without_token(request)
    shown, as_bearer = _shown(request.authorization)
    if not _are_equal(shown, access.token):
        return Refused(401, "a token is needed: as a Bearer token, or as the password of any user", challenge=True)
    if request.method not in _READING and not _is_own_form(request, as_bearer=as_bearer):
        return Refused(403, "this did not come from a page of this service, and nothing was changed")
    return None


def _judge_without_token(request: Request) -> Refused | None:
    if not _is_loopback_name(request.host):
        return Refused(403, "without a token (status.token) this page answers to loopback names only")
    if request.method not in _READING:
        return Refused(403, "without a token (status.token) nothing can be changed from here")
    return None


def _is_loopback_name(host: str | None) -> bool:
    """Whether a page of somebody else's cannot have been made to ask this: their names may lead here, too."""
    if host is None:
        return False
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        port, is_port = port.removeprefix(":"), bracket and (not port or port.startswith(":"))
    else:
        name, _, port = host.partition(":")
        is_port = True
    if not is_port or (port and not (port.isascii() and port.isdigit())):
        return False
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name.lower() == "localhost"


def _is_own_form(request: Request, *, as_bearer: bool) -> bool:
    """Whether it was sent by a page of ours: browsers say so, and no page can make them lie.

    A token that is shown as Bearer was put there on purpose; one that is shown as Basic may have been by the browser.
    """
    if request.fetch_site is not None:
        return request.fetch_site == "same-origin"
    if request.origin is not None:
        return request.host is not None and request.origin.lower() == f"{request.scheme}://{request.host}".lower()
    return as_bearer


def _shown(authorization: str | None) -> tuple[str, bool]:
    """The token that came with it, and whether as Bearer; "" for none."""
    scheme, _, rest = (authorization or "").partition(" ")
    match scheme.lower():
        case "bearer":
            return rest.strip(), True
        case "basic":
            try:
                pair = b64decode(rest.strip(), validate=True).decode()
            except (NotBase64, ValueError):
                return "", False
            return pair.partition(":")[2], False
        case _:
            return "", False


def _are_equal(shown: str, token: str) -> bool:
    """In a time that says nothing of either, not even of their lengths."""
    return compare_digest(sha256(shown.encode()).digest(), sha256(token.encode()).digest())


class Guarded:
    """An application that only those reach who may."""

    def __init__(self, app: ASGIApp, access: Access, now: Callable[[], datetime]) -> None:
        self._app = app
        self._access = access
        self._now = now
        self._said_at: datetime | None = None
        self._unsaid = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        request = _request(scope)
        refused = judge(self._access, request)
        if refused is None:
            await self._app(scope, receive, send_safely)
            return
        if not refused.challenge or request.authorization is not None:  # a browser comes without one first
            self._say(scope, refused)
        challenge = _CHALLENGE if refused.challenge else {}
        answer = PlainTextResponse(f"{refused.sentence}\n", refused.status, challenge)
        await answer(scope, receive, send_safely)

    def _say(self, scope: Scope, refused: Refused) -> None:
        now = self._now()
        self._unsaid += 1
        if self._said_at is not None and now - self._said_at < SAID_EVERY:
            return
        peer = scope.get("client")
        log.warning(
            "page.refused",
            peer=peer[0] if peer else None,
            path=scope["path"][:200],
            status=refused.status,
            reason=refused.sentence,
            times=self._unsaid,
        )
        self._said_at, self._unsaid = now, 0


def _request(scope: Scope) -> Request:
    headers = Headers(scope=scope)
    return Request(
        method=scope["method"],
        path=scope["path"],
        scheme=scope["scheme"],
        host=headers.get("host"),
        authorization=headers.get("authorization"),
        origin=headers.get("origin"),
        fetch_site=headers.get("sec-fetch-site"),
    )
