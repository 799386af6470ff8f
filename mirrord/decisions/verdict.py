"""A reply of Kodo to what it means for the key, whose fault that is, and how to say it to a person.

The table is in `statuses.py`. Here are the cases where the status alone does not tell: who really answered,
and what was asked.
"""

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType

from mirrord.decisions.statuses import (
    ACCOUNT,
    ADVICE,
    AWAY,
    CLOCK_ADVICE,
    KEY_ADVICE,
    ORIGIN,
    REFRESHED,
    REFUSED,
    REMOVED,
    SERVICE,
    SILENCES,
    STATUSES,
    SUPPORT_ADVICE,
    THROTTLED,
    Meaning,
    meaning_of,
)
from mirrord.model.attempt import PULLS, Content, Fault, Operation, Outcome, Reply, Verdict

__all__ = ["ADVICE", "FAILURES", "NOT_KODO", "NOT_OURS", "advice", "is_clock_wrong", "judge", "wording"]

FAILURES: Mapping[int, Verdict] = MappingProxyType(
    {status: meaning.verdict for status, meaning in STATUSES.items() if meaning.verdict.fault is not None}
)
"""The table's failures, for calls that change nothing: those have no Operation."""

NOT_KODO = "the answer has neither X-Reqid nor X-Log, so it did not come from Kodo"
"""For calls that change nothing."""

NOT_OURS = "the object in the bucket is not the one that was put there from here: it is left alone"
"""608 of a conditional delete."""

SKEW_MOST = timedelta(minutes=14)
"""Kodo allows 15; X-Reqid and Date tell its clock to a second or so."""

_STRANGERS = "the answer did not come from Kodo"  # why not, the reply's own error says
_NO_WORDS = "no error text in the reply"  # how mirrord.kodo.replies says that there is none

_WAITED_FOR = PULLS - {Operation.ASYNC_FETCH}

_SAID_OF_EVERYTHING = frozenset({200, 401, 403, 407, 451})
"""What portals, firewalls and proxies say whatever is asked, so that no key is to blame."""

_OF_FETCHING = re.compile(r"httpget|from source|\bE ?[1-5]\d\d\b", re.IGNORECASE)
"""Kodo's texts for what the origin did: "httpGet url failed: E403", "get image from source failed :E 403"."""

_ORIGIN_SAID_NO = re.compile(r"(?:^|;) *QINIUPROXY:[^;/]*/[45]\d\d", re.IGNORECASE)
"""In an X-Log like "QINIUPROXY:3/403;gS.h:4;IO:4/403": what the hop that asks the origin was told."""


def judge(operation: Operation, reply: Reply) -> Verdict:
    """What the reply to one attempt of `operation` means. 200 to an asynchronous fetch only means: accepted."""
    kodos = reply.status == 200 and reply.reqid is not None and reply.content is not Content.FOREIGN
    if kodos and operation in _WAITED_FOR:
        return REFRESHED  # as the table would find, too: most answers are this one
    return _meaning(operation, reply).verdict


def wording(operation: Operation, reply: Reply, verdict: Verdict) -> str | None:
    """What was wrong, in the words of who knows best; None: nothing was."""
    if verdict.fault is None:
        return None
    if is_clock_wrong(operation, reply):
        return _joined(_clock(reply.skew_s), reply.error)
    special = _special(operation, reply)
    if special is not None:
        return _joined(special.says, reply.error)
    if reply.status is None:
        return reply.error or SILENCES[reply.silence].says
    says = meaning_of(reply.status).says
    return reply.error if reply.status >= 400 and _has_words(reply) else _joined(says, reply.error)


def advice(operation: Operation, reply: Reply, verdict: Verdict) -> str | None:
    """What a person can do about it, at once for fault ACCOUNT, once given up for others; None: it heals itself."""
    status = reply.status or 0
    if verdict.fault is Fault.ACCOUNT:
        return CLOCK_ADVICE if is_clock_wrong(operation, reply) else ADVICE.get(status, ADVICE[631])
    if verdict.fault is None or verdict.fault is Fault.SERVICE:
        return None
    if verdict.fault is Fault.ORIGIN or verdict.outcome is Outcome.TIMED_OUT:
        return KEY_ADVICE.get(status, KEY_ADVICE[478 if verdict.fault is Fault.ORIGIN else 504])
    return KEY_ADVICE.get(status, SUPPORT_ADVICE)


def is_clock_wrong(operation: Operation, reply: Reply) -> bool:
    """Whether Kodo refuses the call because of this machine's clock: nothing is wrong with the keys then."""
    if reply.status != 403 or not _is_kodos(reply) or _is_origins_refusal(operation, reply):
        return False
    return "skewed" in (reply.error or "").lower() or _is_far_off(reply)


def _meaning(operation: Operation, reply: Reply) -> Meaning:
    if reply.status is None:
        return SILENCES[reply.silence]
    return _special(operation, reply) or meaning_of(reply.status)


def _special(operation: Operation, reply: Reply) -> Meaning | None:
    """What the answer means where its status alone does not tell; None: the table knows."""
    return next((meaning for applies, meaning in _SPECIAL if applies(operation, reply)), None)


def _is_kodos(reply: Reply) -> bool:
    """Kodo marks every answer; Qiniu's Go SDK takes one with neither mark for hijacked."""
    return reply.reqid is not None or reply.xlog is not None


def _has_words(reply: Reply) -> bool:
    """Whether the error is Kodo's own text; of other bodies it tells at most what they were."""
    return reply.content is Content.JSON and bool(reply.error) and reply.error != _NO_WORDS


def _is_end(operation: Operation, reply: Reply) -> bool:
    """Whether the answer says that what was asked for is so now."""
    gone = operation is Operation.DELETE and reply.status == 612 and not _is_about_bucket(operation, reply)
    return reply.status == 200 or gone


def _is_removal(operation: Operation, reply: Reply) -> bool:
    return operation is Operation.DELETE and _is_end(operation, reply)


def _is_unmarked_end(operation: Operation, reply: Reply) -> bool:
    """X-Log does not help: Qiniu's Python SDK believes no success without X-Reqid."""
    return _is_end(operation, reply) and reply.reqid is None


def _is_page(operation: Operation, reply: Reply) -> bool:
    return _is_end(operation, reply) and reply.content is Content.FOREIGN


def _is_without_task(operation: Operation, reply: Reply) -> bool:
    return operation is Operation.ASYNC_FETCH and reply.status == 200 and not reply.task


def _is_said_of_everything(_: Operation, reply: Reply) -> bool:
    return not _is_kodos(reply) and reply.status in _SAID_OF_EVERYTHING


def _is_unmarked_blame(_: Operation, reply: Reply) -> bool:
    """Somebody who is not Kodo blames the key, the origin or the account: none of them need be at fault."""
    verdict = meaning_of(reply.status or 0).verdict
    return not _is_kodos(reply) and verdict.fault is not Fault.SERVICE and verdict.outcome is not Outcome.TIMED_OUT


def _is_about_bucket(_: Operation, reply: Reply) -> bool:
    return reply.status == 612 and "bucket" in (reply.error or "").lower()


def _is_origins_refusal(operation: Operation, reply: Reply) -> bool:
    """Whether a 401 or 403 came from the origin through Kodo, and says nothing of our own credentials."""
    if operation not in PULLS or reply.status not in {401, 403}:
        return False
    if reply.content is Content.FOREIGN or _ORIGIN_SAID_NO.search(reply.xlog or ""):
        return True
    if reply.content is Content.EMPTY:
        return not (reply.status == 403 and _is_far_off(reply))
    return not _has_words(reply) or _OF_FETCHING.search(reply.error or "") is not None


def _is_far_off(reply: Reply) -> bool:
    return reply.skew_s is not None and abs(reply.skew_s) > SKEW_MOST.total_seconds()


def _is_asked_to_wait(_: Operation, reply: Reply) -> bool:
    return reply.status == 503 and reply.retry_after_s is not None


def _blames_an_origin(operation: Operation, reply: Reply) -> bool:
    return operation not in PULLS and meaning_of(reply.status or 0).verdict.fault is Fault.ORIGIN


def _misses_at_an_origin(operation: Operation, reply: Reply) -> bool:
    return operation not in PULLS and meaning_of(reply.status or 0).verdict.outcome is Outcome.ORIGIN_MISSING


def _is_not_ours(operation: Operation, reply: Reply) -> bool:
    return operation is Operation.DELETE and reply.status == 608


_SPECIAL: tuple[tuple[Callable[[Operation, Reply], bool], Meaning], ...] = (
    (_is_said_of_everything, Meaning(AWAY, _STRANGERS, "sdk")),
    (_is_unmarked_end, Meaning(AWAY, _STRANGERS, "sdk")),
    (_is_page, Meaning(AWAY, "the answer is a page, so that something between here and Kodo gave it", "judgement")),
    (_is_without_task, Meaning(SERVICE, "Kodo names no task for the asynchronous fetch", "sdk")),
    (_is_unmarked_blame, Meaning(SERVICE, _STRANGERS, "sdk")),
    (_is_removal, Meaning(REMOVED, "the bucket does not hold it any more", "codes")),
    (_is_about_bucket, Meaning(ACCOUNT, "not the object but its bucket is missing", "judgement")),
    (_is_origins_refusal, Meaning(ORIGIN, "the origin refuses it to Kodo", "seed")),
    (_is_asked_to_wait, Meaning(THROTTLED, "Kodo asks to wait", "judgement")),
    (_is_not_ours, Meaning(REFUSED, NOT_OURS, "codes")),
    (_blames_an_origin, Meaning(SERVICE, "a code of an origin, where none was asked", "judgement")),
    (_misses_at_an_origin, Meaning(REFUSED, "Kodo does not know what is to be removed", "codes")),
)
"""Where the status alone does not tell; the first that applies counts. They are said before the answer's own words."""


def _clock(skew_s: float | None) -> str:
    """`skew_s`: how far Kodo's clock is ahead."""
    if skew_s is None or abs(skew_s) <= SKEW_MOST.total_seconds():
        return "Kodo finds this machine's clock more than 15 min off"
    return f"this machine's clock is {_time(abs(skew_s))} {'ahead of' if skew_s < 0 else 'behind'} Kodo's"


def _time(seconds: float) -> str:
    """Two digits' worth: the larger the error, the less its minutes matter."""
    if seconds < timedelta(hours=2).total_seconds():
        return f"{seconds / 60:.0f} min"
    if seconds < timedelta(days=2).total_seconds():
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} days"


def _joined(first: str, error: str | None) -> str:
    return f"{first}: {error}" if error else first
