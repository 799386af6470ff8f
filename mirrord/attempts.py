"""Attempts that ended: what follows each, the log line it leaves, what the journal is told of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, assert_never

import structlog

from mirrord.decisions import verification
from mirrord.decisions.retry import RetryPolicy, next_step
from mirrord.decisions.staleness import Settlement
from mirrord.decisions.verdict import ADVICE, NOT_KODO, NOT_OURS
from mirrord.decisions.verification import Contradicted, Unverified, Verification, Verified
from mirrord.model.attempt import Operation, Reply, Verdict
from mirrord.model.fingerprint import Fingerprint, size_of
from mirrord.model.row import ObjectRow
from mirrord.model.step import Done, Hold, NextStep, Park, Retry

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


@dataclass(frozen=True, slots=True)
class Ended:
    """A claim that is to be settled."""

    claim: Claim
    at: datetime
    asked: Asked | None = None
    """None: nothing was asked, the claim is given back."""
    verification: Verification | None = None
    """Of a success; None: the call's word is enough."""


class Attempts:
    """One mirror's: decides, says, and makes settlements of them."""

    def __init__(self, *, bucket: str, policy: RetryPolicy, chance: Callable[[], float]) -> None:
        self._bucket = bucket
        self._policy = policy
        self._chance = chance

    def asked(
        self,
        claim: Claim,
        at: datetime,
        operation: Operation,
        reply: Reply,
        verdict: Verdict,
        *,
        hold: timedelta | None,
    ) -> Ended:
        """Decide what follows a call, and leave its one line. `hold`: how long a refused mirror waits."""
        row = claim.row
        step = next_step(
            verdict,
            attempt=row.attempts + 1,
            strikes=row.strikes + (1 if verdict.counts else 0),
            policy=self._policy,
            chance=self._chance(),
            retry_after=timedelta(seconds=reply.retry_after_s) if reply.retry_after_s else None,
            size_bytes=size_of(row.wanted),
        )
        asked = Asked(operation, reply, verdict, Hold(hold or step.delay) if isinstance(step, Hold) else step)
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
            counts=asked.verdict.counts,
            status=asked.reply.status,
            reqid=asked.reply.reqid,
            outcome=asked.verdict.outcome,
            error=_error(asked),
            bucket_hash=asked.reply.hash,
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
                return replace(settlement, step=again, counts=False, error=f"could not be verified: {why}")
            case _:
                assert_never(end.verification)

    def _say_attempted(self, row: ObjectRow, at: datetime, asked: Asked) -> None:
        reply = asked.reply
        level, word, delay = _step_in_words(asked.step)
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
            "error": _error(asked),
        }
        if reply.headers:
            fields["headers"] = dict(reply.headers)
        if isinstance(asked.step, Hold):
            fields["action"] = ADVICE.get(reply.status or 0, "ask Qiniu's support, with the reqid")
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


def _given_back(end: Ended) -> Settlement:
    row, claim = end.claim.row, end.claim
    return Settlement(
        mirror=row.mirror,
        key=row.key,
        claims=row.claims,
        generation=row.generation,
        step=Retry(UNSEEN_PAUSE if row.wanted is None and not claim.seen else timedelta(0)),
        at=end.at,
        asked_for=row.wanted,
        found=claim.version,
        attempted=False,
    )


def _error(asked: Asked) -> str | None:
    """What was wrong, in the words of who knows best."""
    match asked.operation, asked.reply.status:
        case _, 200 if asked.verdict.fault:
            return NOT_KODO
        case Operation.DELETE, 608:
            return NOT_OURS
        case _:
            return asked.reply.error


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
