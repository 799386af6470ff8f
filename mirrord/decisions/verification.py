"""What the bucket says it holds against what the origin had: verified, contradicted, or nothing can be said."""

from dataclasses import dataclass
from datetime import timedelta

from mirrord.decisions.retry import RetryPolicy, backoff
from mirrord.model.attempt import Reply
from mirrord.model.step import Park, Retry

CONTRADICTED_MOST = 8
"""Strikes after which a key is parked whose bucket holds something else; fewer where the settings want fewer."""
SUSPECT = "the origin, or a cache in front of it, served other bytes than the file has"
ADVICE = "compare what the origin's URL serves with the file, clear caches in front of it, then `mirrord retry`"

_OF_THE_CONTENT = ("F", "l")  # 0x16 and 0x96 in base64: follows from the content alone (Kodo API, appendix "qetag")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What is known of the version that was asked for."""

    size_bytes: int | None
    """None: the origin did not say, as with a feed."""
    hash: str | None
    """Its version 1 qetag; None: not known."""


@dataclass(frozen=True, slots=True)
class Verified:
    """The bucket holds it, under this hash, as far as that can be told."""

    hash: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradicted:
    """The bucket holds something else, or nothing."""

    sentence: str
    wanted: Expected
    found_size: int | None = None
    found_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Unverified:
    """Nobody could tell."""

    why: str


Verification = Verified | Contradicted | Unverified


def compare(wanted: Expected, found: Reply) -> Verification:
    """`found` is a stat's reply, or a pull's own. Two hashes of the content decide alone, else the sizes do."""
    if found.status == 612:
        return Contradicted(sentence="the bucket has no such object, although the call succeeded", wanted=wanted)
    if found.status != 200:
        return Unverified(f"{found.status or 'no answer'}: {found.error or 'no error text in the reply'}")
    if found.hash is None and found.size_bytes is None:
        return Unverified("the answer names neither hash nor size")
    if wanted.hash is not None and is_of_content(found.hash):
        return Verified(found.hash) if found.hash == wanted.hash else _contradicted("another hash", wanted, found)
    if None in (wanted.size_bytes, found.size_bytes) or wanted.size_bytes == found.size_bytes:
        return Verified(found.hash)
    return _contradicted("another size", wanted, found)


def is_of_content(hash_: str | None) -> bool:
    """Whether a file's own hash can be held against it: one that begins with 0x9E depends on how it was uploaded."""
    return hash_ is not None and hash_.startswith(_OF_THE_CONTENT)


def after_contradiction(*, attempt: int, strikes: int, policy: RetryPolicy, chance: float) -> Retry | Park:
    """What follows attempt number `attempt` (from 1), of which `strikes`, this one included, counted."""
    if strikes >= min(CONTRADICTED_MOST, policy.max_attempts):
        return Park()
    # trebled, not doubled, and never less than half: a cache needs its time, ten minutes in all by default
    ceiling: timedelta = policy.first_delay * 3 ** min(attempt - 1, 16)
    return Retry(min(policy.max_delay, ceiling) * ((1 + chance) / 2))


def after_no_answer(*, attempt: int, policy: RetryPolicy, chance: float) -> Retry:
    """At least half the doubled delay: the whole object is pulled again."""
    return Retry(backoff(attempt, policy, (1 + chance) / 2))


def _contradicted(what: str, wanted: Expected, found: Reply) -> Contradicted:
    return Contradicted(
        sentence=f"the bucket holds {what}: {SUSPECT}",
        wanted=wanted,
        found_size=found.size_bytes,
        found_hash=found.hash,
    )
