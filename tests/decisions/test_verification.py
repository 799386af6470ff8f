"""What a bucket says against what was wanted, as a table; and how long a contradicted key waits."""

from datetime import timedelta

import pytest

from mirrord.decisions.retry import RetryPolicy
from mirrord.decisions.verification import (
    Contradicted,
    Expected,
    Unverified,
    Verification,
    Verified,
    after_contradiction,
    after_no_answer,
    compare,
)
from mirrord.kodo.etag import etag_of, etag_v2, is_v1
from mirrord.model.attempt import Reply, Silence
from mirrord.model.step import Park, Retry

OLD, NEW = etag_of([b"old"]), etag_of([b"new"])
LARGE = etag_of([b"x" * (4 * 2**20 + 1)])
IN_PARTS = etag_v2([[b"n"], [b"ew"]])
POLICY = RetryPolicy(first_delay=timedelta(seconds=1), max_delay=timedelta(seconds=10))


def wanted(size: int | None = 3, hash_: str | None = NEW) -> Expected:
    return Expected(size_bytes=size, hash=hash_)


def held(size: int | None = 3, hash_: str | None = NEW) -> Reply:
    return Reply(status=200, reqid="r", hash=hash_, size_bytes=size)


@pytest.mark.parametrize(
    ("expected", "found", "verified"),
    [
        pytest.param(wanted(), held(), NEW, id="size-and-hash"),
        pytest.param(wanted(size=9, hash_=LARGE), held(size=9, hash_=LARGE), LARGE, id="many-blocks"),
        pytest.param(wanted(hash_=None), held(hash_=OLD), OLD, id="no-local-hash-so-the-size-decides"),
        pytest.param(wanted(), held(hash_=IN_PARTS), IN_PARTS, id="uploaded-in-parts-so-the-size-decides"),
        pytest.param(wanted(), held(hash_=None), None, id="no-hash-in-the-bucket"),
        pytest.param(wanted(), held(size=0), NEW, id="equal-hashes-need-no-size"),
        pytest.param(wanted(size=None, hash_=None), held(hash_=OLD), OLD, id="a-feed-is-content-with-anything"),
        pytest.param(wanted(hash_=None), held(size=None, hash_=OLD), OLD, id="a-reply-without-a-size"),
    ],
)
def test_what_agrees_is_verified(expected: Expected, found: Reply, verified: str | None) -> None:
    assert compare(expected, found) == Verified(verified)


@pytest.mark.parametrize(
    ("expected", "found", "said"),
    [
        pytest.param(wanted(), held(hash_=OLD), "another hash", id="old-bytes-of-the-same-size"),
        pytest.param(wanted(), held(size=2, hash_=OLD), "another hash", id="other-bytes"),
        pytest.param(wanted(hash_=None), held(size=2), "another size", id="no-local-hash-and-another-size"),
        pytest.param(wanted(), held(size=2, hash_=IN_PARTS), "another size", id="uploaded-in-parts"),
    ],
)
def test_what_differs_is_contradicted_with_both_sides_named(expected: Expected, found: Reply, said: str) -> None:
    verification = compare(expected, found)

    assert isinstance(verification, Contradicted)
    assert said in verification.sentence
    assert "origin" in verification.sentence
    assert "cache" in verification.sentence
    assert (verification.wanted, verification.found_size, verification.found_hash) == (
        expected,
        found.size_bytes,
        found.hash,
    )


def test_a_bucket_without_the_object_contradicts_even_a_feed() -> None:
    verification = compare(wanted(size=None, hash_=None), Reply(status=612, error="no such file or directory"))

    assert isinstance(verification, Contradicted)
    assert "no such object" in verification.sentence


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(Reply(status=599, error="server operation failed"), id="599"),
        pytest.param(Reply(status=404), id="only-612-means-absent"),
        pytest.param(Reply(status=None, silence=Silence.TIMED_OUT, error="timed out"), id="no-answer"),
        pytest.param(held(size=None, hash_=None), id="an-answer-that-says-nothing"),
    ],
)
def test_any_other_answer_says_nothing(found: Reply) -> None:
    verification: Verification = compare(wanted(), found)

    assert isinstance(verification, Unverified)
    assert verification.why


def test_the_hashes_taken_for_the_contents_own_are_kodos_version_1() -> None:
    for hash_ in (OLD, NEW, LARGE, IN_PARTS):
        by_size = isinstance(compare(wanted(hash_="another"), held(hash_=hash_)), Verified)
        assert by_size == (not is_v1(hash_))


@pytest.mark.parametrize("chance", [0.0, 0.999])
def test_a_contradicted_key_waits_at_least_half_of_the_trebled_delay(chance: float) -> None:
    for attempt, trebled in ((1, 1), (2, 3), (3, 9), (5, 10)):
        step = after_contradiction(attempt=attempt, strikes=attempt, policy=POLICY, chance=chance)

        assert isinstance(step, Retry)
        assert timedelta(seconds=trebled / 2) <= step.delay <= timedelta(seconds=trebled)


@pytest.mark.parametrize(("most", "parked_at"), [(12, 8), (3, 3)])
def test_a_contradicted_key_is_parked_after_a_few(most: int, parked_at: int) -> None:
    policy = RetryPolicy(max_attempts=most)
    steps = [after_contradiction(attempt=n, strikes=n, policy=policy, chance=0) for n in range(1, parked_at + 1)]

    assert [isinstance(step, Park) for step in steps] == [False] * (parked_at - 1) + [True]


def test_a_key_of_which_nobody_can_tell_is_never_parked() -> None:
    assert after_no_answer(attempt=100, policy=POLICY, chance=0) == Retry(timedelta(seconds=5))
