"""A request as it came over the wire: whether its token is right."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from aiohttp import web

from mirrord.kodo.auth import Credentials, qbox, qiniu, same_token
from mirrord.sandbox.reply import Refused

SCHEMES = ("QBox", "Qiniu")
_SKEW = timedelta(minutes=15)


def admit(
    credentials: Credentials, request: web.Request, body: bytes, now: datetime, schemes: Collection[str] = SCHEMES
) -> None:
    """Raise Refused unless the request is signed with `credentials`: 401, or 403 when signed at another time.

    The date counts where it is signed: whether Kodo heeds it next to a QBox token is not known.
    """
    given = request.headers.get("Authorization", "")
    scheme = given.partition(" ")[0]
    target = request.raw_path
    if scheme not in schemes:
        raise Refused(401)
    if scheme == "QBox":
        expected = qbox(credentials, target, body, request.headers.get("Content-Type"))
    else:
        host = request.headers.get("Host", "")
        expected = qiniu(credentials, request.method, target, host, request.headers, body)
    if not same_token(given, expected):
        raise Refused(401)
    date = request.headers.get("X-Qiniu-Date")
    if scheme == "Qiniu" and date is not None and not _is_near(date, now):
        raise Refused(403, "request time too skewed")


def _is_near(date: str, now: datetime) -> bool:
    try:
        signed_at = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return False
    return abs(now - signed_at) <= _SKEW
