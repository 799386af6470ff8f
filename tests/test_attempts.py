"""What came of an attempt: what counts against the key, what follows and when, who is told, and what is settled."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from mirrord.attempts import UNSEEN_PAUSE, Asked, Attempts, Claim, Ended
from mirrord.decisions.retry import RetryPolicy
from mirrord.decisions.verdict import judge, wording
from mirrord.decisions.verification import Contradicted, Expected, Unverified, Verification, Verified
from mirrord.gate import Lesson
from mirrord.model.attempt import Content, Operation, Outcome, Reply, Silence
from mirrord.model.fingerprint import Fingerprint
from mirrord.model.pending import Pending
from mirrord.model.row import ObjectRow, State
from mirrord.model.step import Done, Hold, Park, Retry
from mirrord.outages import Heard
from tests.fakes.kodo import OK, failing

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
WANTED = Fingerprint("=1")
POLICY = RetryPolicy(first_delay=timedelta(seconds=1), max_attempts=3)
HUNG = Reply(status=None, silence=Silence.TIMED_OUT, error="no answer in time")
ORIGINS_403 = Reply(status=403, reqid="r", xlog="IO", content=Content.FOREIGN, error="a page")
OPEN = Lesson(isolated=False, pause=timedelta(milliseconds=250))
ROW = ObjectRow(
    mirror="docs",
    key="a",
    wanted=WANTED,
    generation=4,
    state=State.CLAIMED,
    stale_since=NOW - timedelta(seconds=5),
    due_at=NOW,
    claims=7,
    lease_until=NOW + timedelta(minutes=5),
)
PENDING = Pending(
    operation=Operation.PREFETCH, began_at=NOW - timedelta(seconds=20), until=NOW + timedelta(seconds=100), put_after=1
)


def attempts(chance: float = 1.0, policy: RetryPolicy = POLICY) -> Attempts:
    return Attempts(bucket="newdocs", policy=policy, chance=lambda: chance)


def claim(**row: Any) -> Claim:
    return Claim(replace(ROW, **row), WANTED, seen=True)


def ask(
    reply: Reply,
    lesson: Lesson = Lesson(),  # noqa: B008 - it is frozen
    *,
    operation: Operation = Operation.PREFETCH,
    pending: Pending | None = None,
    **row: Any,
) -> tuple[Asked, dict[str, Any]]:
    """How a call ended that was answered so, and its line."""
    with capture_logs() as lines:
        verdict = judge(operation, reply)
        heard = Heard(operation, verdict, reply, wording(operation, reply, verdict))
        end = attempts().asked(claim(**row), NOW, NOW, heard, lesson=lesson, pending=pending)
    (line,) = lines
    assert end.asked is not None
    return end.asked, dict(line)


# -- what counts, and what follows ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply", [failing(478), failing(599), failing(502), HUNG, failing(504), ORIGINS_403], ids=lambda r: f"{r.status}"
)
def test_an_isolated_failure_counts_and_parks_the_key_with_the_last_of_its_attempts(reply: Reply) -> None:
    before, _ = ask(reply, attempts=1, strikes=1)
    last, line = ask(reply, attempts=2, strikes=2)

    assert before.counts
    assert isinstance(before.step, Retry)
    assert last.step == Park()
    assert (line["attempt"], line["next"], line["log_level"]) == (3, "park", "warning")
    assert line["action"]


@pytest.mark.parametrize("reply", [failing(478), failing(502), HUNG], ids=["origin", "kodo", "silence"])
def test_what_fails_as_all_do_never_counts_however_often(reply: Reply) -> None:
    asked, line = ask(reply, OPEN, attempts=50, strikes=2)

    assert not asked.counts
    assert isinstance(asked.step, Retry)
    assert (line["attempt"], line["next"], line["log_level"]) == (51, "retry", "info")
    assert "action" not in line


@pytest.mark.parametrize(
    "reply", [failing(404), failing(400), failing(413), failing(612), failing(614)], ids=lambda r: f"{r.status}"
)
def test_what_cannot_end_otherwise_is_parked_at_once_also_while_all_fails(reply: Reply) -> None:
    alone, line = ask(reply)
    among_others, _ = ask(reply, OPEN)

    assert (alone.step, among_others.step) == (Park(), Park())
    assert (line["next"], line["log_level"]) == ("park", "warning")
    assert line["action"]


@pytest.mark.parametrize("status", [401, 403, 419, 631])
def test_a_refused_account_is_an_error_once_and_never_counts(status: int) -> None:
    first, told = ask(failing(status), Lesson(pause=timedelta(seconds=30)), attempts=99, strikes=2)
    again, repeated = ask(failing(status), Lesson(pause=timedelta(minutes=2), repeated=True), attempts=100, strikes=2)

    assert (first.step, again.step) == (Hold(timedelta(seconds=30)), Hold(timedelta(minutes=2)))
    assert (first.counts, again.counts) == (False, False)
    assert (told["log_level"], told["next"], told["retry_in_s"]) == ("error", "hold", 30.0)
    assert (repeated["log_level"], repeated["next"], repeated["retry_in_s"]) == ("warning", "hold", 120.0)
    assert told["action"]
    assert "action" not in repeated  # what to do was said with the error


def test_only_what_was_an_error_is_softened_by_having_been_told() -> None:
    _, line = ask(OK, Lesson(repeated=True))

    assert (line["log_level"], line["next"]) == ("info", "done")


@pytest.mark.parametrize(
    ("pause_s", "retry_in_s"), [(0.25, 0.25), (9.0, 1.0)], ids=["a-probe-before-its-turn", "its-own-turn"]
)
def test_while_all_fails_a_key_is_ready_for_the_next_probe(pause_s: float, retry_in_s: float) -> None:
    asked, line = ask(failing(478), Lesson(isolated=False, pause=timedelta(seconds=pause_s)))

    assert asked.step == Retry(timedelta(seconds=retry_in_s))
    assert line["retry_in_s"] == retry_in_s


def test_a_retry_is_not_sooner_than_the_server_asked_for() -> None:
    asked, _ = ask(replace(failing(503), retry_after_s=60.0))

    assert asked.step == Retry(timedelta(seconds=60))
    assert not asked.counts


@pytest.mark.parametrize("lesson", [Lesson(), OPEN], ids=["alone", "while-all-fails"])
def test_after_a_call_that_may_go_on_the_next_thing_is_a_look(lesson: Lesson) -> None:
    asked, line = ask(HUNG, lesson, pending=PENDING)

    assert asked.step == Retry(timedelta(seconds=1))
    assert asked.pending is PENDING
    assert (line["next"], line["retry_in_s"]) == ("retry", 1.0)


def test_a_line_says_all_that_is_known_and_headers_only_if_there_are_any() -> None:
    reply = replace(failing(599, "it broke"), headers={"server": "x"}, duration_s=0.1234567)
    _, failed = ask(reply, attempts=1)
    _, done = ask(OK)

    expected = {
        "event": "refresh.attempted", "log_level": "info", "mirror": "docs", "bucket": "newdocs", "key": "a",
        "operation": "prefetch", "attempt": 2, "status": 599, "reqid": "fake", "xlog": "IO:1",
        "outcome": "unavailable", "next": "retry", "retry_in_s": 2.0, "duration_s": 0.123457, "lag_s": 5.0,
        "error": "it broke", "headers": {"server": "x"},
    }  # fmt: skip
    assert failed == expected
    assert "headers" not in done


# -- pulls that were not waited for --------------------------------------------------------------------


def test_what_was_accepted_is_given_back_for_its_first_look_and_is_no_attempt_yet() -> None:
    pending = replace(PENDING, operation=Operation.ASYNC_FETCH, task="t1", began_at=NOW)
    with capture_logs() as lines:
        end = attempts().accepted(claim(), NOW, replace(OK, task="t1", waiting=3), pending)

    settlement = attempts().settlement(end, WANTED)

    assert [line["event"] for line in lines] == ["pull.accepted"]
    assert (settlement.attempted, settlement.pending) == (False, pending)
    assert settlement.step == Retry(timedelta(seconds=1))


def test_what_was_found_to_have_ended_is_a_success_of_what_was_asked_when_it_was_asked() -> None:
    stat = Reply(status=200, reqid="stat", hash="Fh", size_bytes=2, duration_s=0.01)
    pending = replace(PENDING, operation=Operation.ASYNC_FETCH, task="t1", reqid="post")

    with capture_logs() as lines:
        end = attempts().found(claim(attempts=1), NOW, pending, stat)
    settlement = attempts().settlement(end, WANTED)

    (line,) = lines
    assert (line["operation"], line["reqid"], line["duration_s"], line["attempt"]) == ("async-fetch", "post", 20.0, 2)
    assert (settlement.operation, settlement.step, settlement.outcome) == (pending.operation, Done(), Outcome.REFRESHED)
    assert (settlement.duration_s, settlement.bucket_hash, settlement.pending) == (20.0, "Fh", None)
    assert settlement.counts


def test_what_came_to_nothing_waits_and_is_parked_like_any_other_failure() -> None:
    policy = RetryPolicy(first_delay=timedelta(seconds=40), max_attempts=3)
    pending = replace(PENDING, operation=Operation.ASYNC_FETCH, task="t1", reqid="post")

    with capture_logs():
        ends = [attempts(policy=policy).given_up(claim(attempts=n, strikes=n), NOW, pending) for n in range(3)]

    steps = [end.asked.step for end in ends if end.asked]
    assert steps == [Retry(timedelta(seconds=40)), Retry(timedelta(seconds=80)), Park()]


# -- settlements ---------------------------------------------------------------------------------------


def test_a_claim_that_was_not_used_is_given_back_as_it_was() -> None:
    settlement = attempts().settlement(Ended(claim(pending=PENDING), NOW), WANTED)

    assert (settlement.attempted, settlement.step, settlement.pending) == (False, Retry(timedelta(0)), None)
    assert (settlement.claims, settlement.generation, settlement.asked_for, settlement.found) == (7, 4, WANTED, WANTED)


@pytest.mark.parametrize(
    ("wanted", "seen", "pause"),
    [(None, False, UNSEEN_PAUSE), (None, True, timedelta(0)), (WANTED, False, timedelta(0))],
    ids=["a-removal-nobody-can-check", "a-removal", "a-pull"],
)
def test_only_a_removal_that_cannot_be_checked_waits(wanted: Fingerprint | None, seen: bool, pause: timedelta) -> None:
    given_back = Claim(replace(ROW, wanted=wanted), wanted, seen)

    settlement = attempts().settlement(Ended(given_back, NOW), wanted)

    assert settlement.step == Retry(pause)


def succeeded(verification: Verification | None, **row: Any) -> Ended:
    asked = Asked(Operation.PREFETCH, replace(OK, hash="said"), judge(Operation.PREFETCH, OK), Done(), counts=True)
    return Ended(claim(**row), NOW, asked, verification=verification)


def contradiction() -> Contradicted:
    wanted = Expected(size_bytes=2, hash="Fwanted")
    return Contradicted(sentence="other bytes", wanted=wanted, found_size=3, found_hash="Ffound")


@pytest.mark.parametrize(
    ("verification", "step", "counts", "bucket_hash", "error"),
    [
        (None, Done(), True, "said", None),
        (Verified("Fh"), Done(), True, "Fh", None),
        (contradiction(), Retry(timedelta(seconds=1)), True, "Ffound", "other bytes"),
        (Unverified("599"), Retry(timedelta(seconds=1)), False, "said", "could not be verified: 599"),
    ],
    ids=["not-asked-for", "verified", "contradicted", "unverified"],
)
def test_a_success_is_worth_what_its_verification_says(
    verification: Verification | None, step: object, counts: bool, bucket_hash: str, error: str | None
) -> None:
    with capture_logs() as lines:
        settlement = attempts().settlement(succeeded(verification), WANTED)

    assert (settlement.step, settlement.counts, settlement.bucket_hash) == (step, counts, bucket_hash)
    assert settlement.error == error
    assert [line["event"] for line in lines] == (["verification.failed"] if error == "other bytes" else [])


def test_a_contradiction_of_a_version_that_is_gone_says_nothing() -> None:
    with capture_logs() as lines:
        settlement = attempts().settlement(succeeded(contradiction()), Fingerprint("=2"))

    assert (settlement.step, settlement.found, settlement.asked_for) == (Done(), Fingerprint("=2"), WANTED)
    assert lines == []


def test_the_last_contradiction_is_an_error_that_says_what_to_do() -> None:
    with capture_logs() as lines:
        first = attempts().settlement(succeeded(contradiction(), attempts=1, strikes=1), WANTED)
        last = attempts().settlement(succeeded(contradiction(), attempts=2, strikes=2), WANTED)

    assert isinstance(first.step, Retry)
    assert last.step == Park()
    assert [(line["log_level"], line["next"], line["attempt"]) for line in lines] == [
        ("warning", "retry", 2),
        ("error", "park", 3),
    ]
    assert "action" not in lines[0]
    assert lines[1]["action"]


# -- what a CDN is told of -----------------------------------------------------------------------------


def removed(reply: Reply) -> Ended:
    verdict = judge(Operation.DELETE, reply)
    asked = Asked(
        Operation.DELETE, reply, verdict, Done() if verdict.fault is None else Retry(timedelta(0)), counts=True
    )
    return Ended(Claim(replace(ROW, wanted=None), None, seen=True), NOW, asked)


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (succeeded(Verified("Fh")), True),
        (succeeded(None), False),
        (succeeded(contradiction()), False),
        (succeeded(Unverified("599")), False),
        (removed(OK), True),
        (removed(failing(612)), True),
        (removed(failing(599)), False),
        (Ended(claim(), NOW), False),
    ],
    ids=[
        "verified",
        "not-verified",
        "contradicted",
        "unverified",
        "removed",
        "gone-before",
        "not-removed",
        "not-asked",
    ],
)
def test_a_cdn_is_told_of_what_is_certainly_in_the_bucket_or_gone(end: Ended, told: bool) -> None:
    telling = Attempts(bucket="newdocs", policy=POLICY, chance=lambda: 1.0, cdn=True)

    with capture_logs():
        settlement = telling.settlement(end, end.claim.version)
        without = attempts().settlement(end, end.claim.version)

    assert settlement.purge is told
    assert without.purge is False
    assert replace(settlement, purge=False) == without
