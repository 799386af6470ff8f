"""Attempts that ended: what follows each, the log line it leaves, what the journal is told of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, assert_never

import structlog

from mirrord.decisions import pulling, verification
from mirrord.decisions.retry import RetryPolicy, next_step
from mirrord.decisions.staleness import Settlement
from mirrord.decisions.statuses import SUPPORT_ADVICE
from mirrord.decisions.verdict import advice
from mirrord.decisions.verification import Contradicted, Unverified, Verification, Verified
from mirrord.gate import Lesson
from mirrord.model.attempt import Fault, Operation, Outcome, Reply, Verdict
from mirrord.model.fingerprint import Fingerprint, size_of
from mirrord.model.pending import Pending
from mirrord.model.row import ObjectRow
from mirrord.model.step import Done, Hold, NextStep, Park, Retry
from mirrord.outages import Heard

log = structlog.get_logger()

UNSEEN_PAUSE = timedelta(seconds=5)
"""How long a removal waits while the origin cannot be asked whether the key is really gone."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A key that nobody else may ask for."""

    row: ObjectRow
    version: Fingerprint | None
    """The origin's version just before the call."""
    seen: bool
    """Whether the origin could be asked; only then is an absent key certainly gone."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked under a claim, what came of it, and what follows from that."""

    operation: Operation
    reply: Reply
    verdict: Verdict
    step: NextStep
    counts: bool
    """Whether the attempt is used up."""
    error: str | None = None
    pending: Pending | None = None
    """The pull that may be running nevertheless."""
    began_at: datetime | None = None
    """None: before this claim."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A claim that is to be settled."""

    claim: Claim
    at: datetime
    asked: Asked | None = None
    """None: nothing was asked, or it goes on: the claim is given back."""
    awaited: Pending | None = None
    """A pull that runs, as far as anybody can see."""
    verification: Verification | None = None
    """Of a success; None: the call's word is enough."""
    pause: timedelta | None = None
    """How long a claim that is given back has to wait; None: as long as its kind does."""


class Attempts:
    """One mirror's: decides, says, and makes settlements of them."""

    def __init__(self, *, bucket: str, policy: RetryPolicy, chance: Callable[[], float], cdn: bool = False) -> None:
        """`cdn`: whether one is to be told of what became fresh."""
        self._bucket = bucket
        self._cdn = cdn
        self._policy = policy
        self._chance = chance

    def asked(
        self,
        claim: Claim,
        began_at: datetime,
        at: datetime,
        heard: Heard,
        *,
        lesson: Lesson,
        pending: Pending | None = None,
    ) -> Ended:
        """Decide what follows a call, and leave its one line. `pending`: what of it may still be running."""
        row, reply, verdict, error = claim.row, heard.reply, heard.verdict, heard.words
        counts = verdict.counts and lesson.isolated
        step = next_step(
            verdict,
            attempt=row.attempts + 1,
            strikes=row.strikes + counts,
            policy=self._policy,
            chance=self._chance(),
            retry_after=timedelta(seconds=reply.retry_after_s) if reply.retry_after_s else None,
            alone=lesson.hot,
        )
        if pending is not None and isinstance(step, Retry):
            error = f"{error}; the bucket is looked at before it is asked for again"
        asked = Asked(
            operation=heard.operation,
            reply=reply,
            verdict=verdict,
            step=_in_time(step, lesson.pause, pending, at),
            counts=counts,
            error=error,
            pending=pending,
            began_at=began_at,
        )
        self._say_attempted(row, at, asked, repeated=lesson.repeated)
        return Ended(claim, at, asked)

    def accepted(self, claim: Claim, at: datetime, reply: Reply, pending: Pending) -> Ended:
        """Kodo will pull by and by: the attempt goes on, and its line comes when it has ended."""
        log.info(
            "pull.accepted",
            mirror=claim.row.mirror,
            bucket=self._bucket,
            key=claim.row.key,
            task=reply.task,
            waiting=reply.waiting,
            reqid=reply.reqid,
        )
        return Ended(claim, at, awaited=pending)

    def found(self, claim: Claim, at: datetime, pending: Pending, reply: Reply) -> Ended:
        """A pull that nobody saw end has ended: `reply` is what the bucket holds now, still to be verified."""
        row, lasted_s = claim.row, (at - pending.began_at).total_seconds()
        done = Verdict(outcome=Outcome.REFRESHED)
        # the evidence is that of the call which asked for it; the look has its own
        answer = replace(reply, reqid=pending.reqid, xlog=None, duration_s=lasted_s)
        asked = Asked(pending.operation, answer, done, Done(), counts=True, began_at=pending.began_at)
        if pending.task is not None:
            self._say_attempted(row, at, asked)
            return Ended(claim, at, asked)
        # the call without an answer has had its line; the history says how its end is known
        log.info(
            "pull.confirmed",
            mirror=row.mirror,
            bucket=self._bucket,
            key=row.key,
            operation=pending.operation.value,
            reqid=pending.reqid,
            stat_reqid=reply.reqid,
            looks=pending.looks,
            duration_s=round(lasted_s, 3),
        )
        error = f"it had no answer: found in the bucket by stat {reply.reqid}"
        return Ended(claim, at, replace(asked, error=error))

    def overtaken(self, claim: Claim, at: datetime, pending: Pending) -> None:
        """An asynchronous fetch has ended, well or not, of a version that nobody wants any more: its line."""
        lasted_s = (at - pending.began_at).total_seconds()
        reply = Reply(status=200, reqid=pending.reqid, duration_s=lasted_s)
        error = "the origin has another version by now, which is asked for next"
        done = Verdict(outcome=Outcome.REFRESHED)
        asked = Asked(pending.operation, reply, done, Retry(timedelta(0)), counts=False, error=error)
        self._say_attempted(claim.row, at, asked)

    def given_up(self, claim: Claim, at: datetime, pending: Pending) -> Ended:
        """An asynchronous fetch has come to nothing; Kodo does not say why."""
        error = f"accepted as task {pending.task}, and nothing came of it; Kodo does not say why"
        lasted_s = (at - pending.began_at).total_seconds()
        reply = Reply(status=200, reqid=pending.reqid, error=error, duration_s=lasted_s)
        late = Verdict(outcome=Outcome.TIMED_OUT, fault=Fault.KEY)
        row = claim.row
        step = next_step(
            late, attempt=row.attempts + 1, strikes=row.strikes + 1, policy=self._policy, chance=self._chance()
        )
        asked = Asked(pending.operation, reply, late, step, counts=True, error=error)
        self._say_attempted(row, at, asked)
        return Ended(claim, at, asked)

    def settlement(self, end: Ended, found: Fingerprint | None) -> Settlement:
        """What the journal is told; `found` is the origin's version now. Says so when the bucket contradicts."""
        row, version, asked = end.claim.row, end.claim.version, end.asked
        if asked is None:
            return _given_back(end)
        settlement = Settlement(
            mirror=row.mirror,
            key=row.key,
            claims=row.claims,
            generation=row.generation,
            step=asked.step,
            at=end.at,
            asked_for=version,
            found=found,
            counts=asked.counts,
            operation=asked.operation,
            duration_s=asked.reply.duration_s,
            pending=asked.pending,
            status=asked.reply.status,
            reqid=asked.reply.reqid,
            outcome=asked.verdict.outcome,
            error=asked.error,
            bucket_hash=asked.reply.hash,
            purge=self._cdn and _is_certain(end, asked),
        )
        # a version that the origin has no longer cannot be verified any more, and the key is stale again anyway
        return settlement if found != version else self._verified(settlement, end)

    def _verified(self, settlement: Settlement, end: Ended) -> Settlement:
        row, chance = end.claim.row, self._chance
        match end.verification:
            case None:
                return settlement
            case Verified(hash_):
                return replace(settlement, bucket_hash=hash_)
            case Contradicted() as found:
                step = verification.after_contradiction(
                    attempt=row.attempts + 1, strikes=row.strikes + 1, policy=self._policy, chance=chance()
                )
                self._say_contradicted(row, settlement.reqid, found, step)
                return replace(settlement, step=step, error=found.sentence, bucket_hash=found.found_hash)
            case Unverified(why):
                again = verification.after_no_answer(attempt=row.attempts + 1, policy=self._policy, chance=chance())
                error, pending = f"could not be verified: {why}", _to_be_looked_at(end)
                return replace(settlement, step=again, counts=False, error=error, pending=pending)
            case _:
                assert_never(end.verification)

    def _say_attempted(self, row: ObjectRow, at: datetime, asked: Asked, *, repeated: bool = False) -> None:
        reply = asked.reply
        level, word, delay = _step_in_words(asked.step)
        if repeated and level == "error":
            level = "warning"  # a person has been told
        fields: dict[str, Any] = {
            "mirror": row.mirror,
            "bucket": self._bucket,
            "key": row.key,
            "operation": asked.operation.value,
            "attempt": row.attempts + 1,
            "status": reply.status,
            "reqid": reply.reqid,
            "xlog": reply.xlog,
            "outcome": asked.verdict.outcome.value,
            "next": word,
            "retry_in_s": _seconds(delay),
            "duration_s": round(reply.duration_s, 6),
            "lag_s": round((at - (row.stale_since or at)).total_seconds(), 3),
            "error": asked.error,
        }
        if reply.headers:
            fields["headers"] = dict(reply.headers)
        if isinstance(asked.step, Hold | Park) and not repeated:
            fields["action"] = advice(asked.operation, reply, asked.verdict) or SUPPORT_ADVICE
        getattr(log, level)("refresh.attempted", **fields)

    def _say_contradicted(self, row: ObjectRow, reqid: str | None, found: Contradicted, step: NextStep) -> None:
        _, word, delay = _step_in_words(step)
        fields: dict[str, Any] = {
            "mirror": row.mirror,
            "bucket": self._bucket,
            "key": row.key,
            "wanted_size": found.wanted.size_bytes,
            "wanted_hash": found.wanted.hash,
            "found_size": found.found_size,
            "found_hash": found.found_hash,
            "reqid": reqid,
            "attempt": row.attempts + 1,
            "next": word,
            "retry_in_s": _seconds(delay),
            "error": found.sentence,
        }
        if isinstance(step, Park):
            log.error("verification.failed", **fields, action=verification.ADVICE)
        else:
            log.warning("verification.failed", **fields)


def _is_certain(end: Ended, asked: Asked) -> bool:
    """Whether the bucket is known to have changed: a CDN that is told too soon fetches the old bytes once more."""
    return isinstance(end.verification, Verified) or asked.verdict.outcome is Outcome.REMOVED


def _to_be_looked_at(end: Ended) -> Pending | None:
    """So that a success nobody could verify is looked at again, and not pulled again."""
    row, asked = end.claim.row, end.asked
    if asked is None or asked.began_at is None:
        return None
    pending = pulling.pending_after(
        asked.reply,
        operation=asked.operation,
        began_at=asked.began_at,
        now=end.at,
        skew=timedelta(seconds=asked.reply.skew_s or 0.0),
        size_bytes=size_of(row.wanted),
        hash_before=row.bucket_hash,
        before=None,
    )
    return replace(pending, generation=row.generation, timeouts=row.pending.timeouts if row.pending else 0)


def _given_back(end: Ended) -> Settlement:
    row, claim = end.claim.row, end.claim
    if end.pause is not None:
        pause = end.pause
    elif end.awaited is not None:
        pause = pulling.next_look(end.awaited, end.at)
    else:
        pause = UNSEEN_PAUSE if row.wanted is None and not claim.seen else timedelta(0)
    return Settlement(
        mirror=row.mirror,
        key=row.key,
        claims=row.claims,
        generation=row.generation,
        step=Retry(pause),
        at=end.at,
        asked_for=row.wanted,
        found=claim.version,
        attempted=False,
        pending=end.awaited,
    )


def _in_time(step: NextStep, pause: timedelta | None, pending: Pending | None, at: datetime) -> NextStep:
    """When to go on: the next look at a pull that may be running, or the mirror's next probe."""
    match step:
        case Retry(delay):
            if pending is not None:
                return Retry(pulling.next_look(pending, at))
            return step if pause is None else Retry(min(delay, pause))
        case Hold(delay):
            return Hold(pause or delay)
        case Done() | Park():
            return step
        case _:
            assert_never(step)


def _step_in_words(step: NextStep) -> tuple[str, str, timedelta | None]:
    """Log level, the log's `next`, and its delay."""
    match step:
        case Done():
            return "info", "done", None
        case Retry(delay):
            return "info", "retry", delay
        case Park():
            return "warning", "park", None
        case Hold(delay):
            return "error", "hold", delay


def _seconds(delay: timedelta | None) -> float | None:
    return None if delay is None else round(delay.total_seconds(), 3)
