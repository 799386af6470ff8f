"""A reply of Kodo to what it means for the key: one table, every number with its source.

Sources: "seed" is Qiniu's prefetch and fetch documents; "codes" Qiniu's table of status codes (codes.md);
"sdk" what the official Go, Python and Rust SDKs retry; "errors" Qiniu's error page (2024-12-10).
Integers throughout: `http.HTTPStatus` knows none of 298, 478, 573, 599, 6xx.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import assert_never

from mirrord.model.attempt import Fault, Operation, Outcome, Reply, Silence, Verdict

_KEY = Verdict(outcome=Outcome.REFUSED, fault=Fault.KEY)
_ACCOUNT = Verdict(outcome=Outcome.REFUSED, fault=Fault.ACCOUNT, counts=False)
_SERVICE = Verdict(outcome=Outcome.UNAVAILABLE, fault=Fault.SERVICE)
_THROTTLED = Verdict(outcome=Outcome.THROTTLED, fault=Fault.SERVICE, counts=False)
_NO_ANSWER = Verdict(outcome=Outcome.UNAVAILABLE, fault=Fault.SERVICE, counts=False)
_ORIGIN = Verdict(outcome=Outcome.ORIGIN_FAILING, fault=Fault.ORIGIN)
_MISSING = Verdict(outcome=Outcome.ORIGIN_MISSING, fault=Fault.KEY)
_TIMED_OUT = Verdict(outcome=Outcome.TIMED_OUT, fault=Fault.KEY)

FAILURES: Mapping[int, Verdict] = MappingProxyType(
    {
        400: _KEY,  # seed: malformed request; a bad entry or a key that is not UTF-8
        401: _ACCOUNT,  # seed: credentials invalid
        403: _ACCOUNT,  # errors: no permission, or the clock is more than 15 min off
        404: _MISSING,  # seed: the origin has no such resource
        405: _KEY,  # codes: wrong method
        408: _ORIGIN,  # the origin's own: it, or a proxy before it, did not wait
        413: _KEY,  # errors: too large
        419: _ACCOUNT,  # codes: account frozen
        429: _THROTTLED,
        425: _ORIGIN,
        478: _ORIGIN,  # seed: the origin answered neither 200 nor 404
        499: _ORIGIN,  # the origin's proxy: somebody hung up
        500: _SERVICE,
        501: _KEY,
        502: _SERVICE,
        503: _SERVICE,  # codes: service unavailable
        504: _TIMED_OUT,  # codes: server-side timeout, the usual end of a big synchronous pull
        509: _THROTTLED,  # sdk: bandwidth class
        571: _THROTTLED,  # sdk: rate class
        573: _THROTTLED,  # errors: one resource asked for too often
        579: _KEY,  # codes: callback failed, which a pull has none of
        599: _SERVICE,  # seed: server operation failed; Qiniu wants the whole error with all headers
        608: _KEY,  # codes: content was modified
        612: _KEY,  # codes: missing or deleted; for a delete that is success, see below
        614: _KEY,
        616: _KEY,
        618: _KEY,
        630: _KEY,
        631: _ACCOUNT,  # codes: no such bucket
        632: _KEY,
        640: _KEY,
        701: _KEY,
    }
)

ADVICE: Mapping[int, str] = MappingProxyType(
    {
        401: "check access_key and the secret key: Kodo does not know this pair",
        403: "check that the key pair may change this bucket, and that this machine's clock is right",
        419: "Qiniu has frozen the account: settle that with Qiniu",
        631: "check the bucket's name: Kodo has no such bucket",
    }
)
"""What a person has to do before the mirror can go on."""

NOT_KODO = "the answer has neither X-Reqid nor X-Log, so it did not come from Kodo"

NOT_OURS = "the object in the bucket is not the one that was put there from here: it is left alone"
"""608 of a conditional delete."""


def judge(operation: Operation, reply: Reply) -> Verdict:
    """What the reply to one attempt of `operation` means."""
    if reply.status is None:
        return _of_silence(reply.silence)
    if reply.status == 200 or (operation is Operation.DELETE and reply.status == 612):
        if reply.reqid is None and reply.xlog is None:
            return _SERVICE  # hijacked on the way; the Go SDK retries the same
        return Verdict(outcome=Outcome.REMOVED if operation is Operation.DELETE else Outcome.REFRESHED)
    known = FAILURES.get(reply.status)
    if known is not None:
        return known
    return _of_class(reply.status)


def _of_silence(silence: Silence | None) -> Verdict:
    match silence:
        case Silence.TIMED_OUT:
            return _TIMED_OUT
        case Silence.CONNECT_FAILED | Silence.BROKEN | None:
            return _NO_ANSWER
        case _:
            assert_never(silence)


def _of_class(status: int) -> Verdict:
    """The seed: every other status is the origin's own."""
    if status < 400:
        return _SERVICE  # a redirect or a 1xx/2xx nobody documents: something sits in between
    if status < 500 or status >= 600:
        return _KEY
    return _SERVICE
