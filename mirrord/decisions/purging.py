"""What to tell a CDN next, what its answer means, and when to go on after one that was not a yes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from enum import Enum

from mirrord.decisions.retry import RetryPolicy, backoff
from mirrord.model.attempt import Content, Reply
from mirrord.model.purge import Purge, PurgeAnswer

URLS_MOST = 50
"""URLs of one request; what Qiniu takes has been 100, 60 and 50 (kodo.md, "CDN refresh")."""
LINGER = timedelta(seconds=5)
"""How long the first of a batch waits for others."""
FORBIDDEN_PAUSE = timedelta(minutes=10)
POLICY = RetryPolicy()
"""Of its attempts there is no end: what waits costs a row."""
ADVICE = (
    "let this key pair refresh URLs of the CDN (Qiniu's console; its domains must be of the same account), "
    "or take the addresses out of [mirror.cdn]; the bucket itself is kept up to date meanwhile"
)

_CHINA = timezone(timedelta(hours=8))
_NEW_DAY_BY = timedelta(minutes=10)  # their midnight need not be ours
_OVER_QUOTA = 400034  # "refresh url limit error" (developer.qiniu.com/fusion, "cache refresh")
_TOO_OFTEN = frozenset({429, 403024})  # the second is a user's queries per second, not a permission
_REFUSALS = frozenset({401, 403, 419})


# -- what to send -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Owed:
    """A key, and those of its URLs that are still to be sent."""

    purge: Purge
    urls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """A request. Of its last key it may hold only a part of the URLs, when it holds no other key."""

    parts: tuple[Owed, ...]

    @property
    def urls(self) -> list[str]:
        return [url for part in self.parts for url in part.urls]


@dataclass(frozen=True, slots=True)
class Wait:
    """There is nothing to send yet."""

    until: datetime | None
    """None: until there is something new."""


@dataclass(frozen=True, slots=True)
class OverQuota:
    """What is left of the day's quota is too little for the next URL."""


def choose(owed: Sequence[Owed], now: datetime, *, left: int | None, hurried: bool = False) -> Send | Wait | OverQuota:
    """What to send of the keys that wait, those due first given first. `left`: of the day's quota, None: not known.

    `hurried`: nothing else will come, so that there is nothing to wait for. Keys that were refused together are
    sent in halves, apart from all others, until those are found that spoil it for the rest.
    """
    ready = [each for each in owed if not each.purge.strikes or each.purge.due_at <= now]
    if not ready:
        return Wait(min((each.purge.due_at for each in owed), default=None))
    first = ready[0].purge
    alike = [each for each in ready if bool(each.purge.strikes) == bool(first.strikes)]
    parts, full = _filled(alike, max(1, URLS_MOST >> first.strikes), left)
    if not parts:
        return OverQuota()
    if full or hurried or first.due_at <= now:
        return Send(parts)
    return Wait(min(each.purge.due_at for each in owed))


def cost_of(urls: Sequence[str]) -> int:
    """Of the day's quota: an https URL stands for its http one, too, and counts twice (kodo.md, "CDN refresh")."""
    return sum(2 if url.startswith("https:") else 1 for url in urls)


def _filled(owed: Sequence[Owed], most: int, left: int | None) -> tuple[tuple[Owed, ...], bool]:
    """As much as may go together, and whether nothing more fits in."""
    parts, room = list[Owed](), most
    for each in owed:
        fitting = list[str]()
        for url in each.urls[:room]:
            if left is not None and cost_of([*fitting, url]) > left:
                break
            fitting.append(url)
        whole = len(fitting) == len(each.urls)
        if fitting and (whole or not parts):
            parts.append(replace(each, urls=tuple(fitting)))
        if not whole:
            return tuple(parts), True
        room -= len(fitting)
        left = None if left is None else left - cost_of(fitting)
    return tuple(parts), room == 0


# -- what came of it --------------------------------------------------------------------------------------


class Verdict(Enum):
    """What an answer means."""

    TAKEN = "taken"
    OVER_QUOTA = "over-quota"
    FORBIDDEN = "forbidden"  # until a person has done something
    REFUSED = "refused"  # something in this request is not liked
    UNAVAILABLE = "unavailable"  # whatever was asked would have failed


def judge(reply: Reply, said: PurgeAnswer | None) -> Verdict:
    """`said` is None when the answer, if any, has no code: then it does not come from Qiniu, or not from a CDN's."""
    code = None if said is None else said.code
    family = code // 1000 if code is not None and code >= 1000 else code
    if reply.status == 200 and code == 200:
        return Verdict.TAKEN
    if code == _OVER_QUOTA or (said is not None and said.surplus_day == 0):
        return Verdict.OVER_QUOTA
    if reply.status is None or reply.status == 429 or reply.status >= 500 or reply.content is Content.FOREIGN:
        return Verdict.UNAVAILABLE
    if code in _TOO_OFTEN or (family is not None and family >= 500):
        return Verdict.UNAVAILABLE
    if reply.status in _REFUSALS or family in _REFUSALS:
        return Verdict.FORBIDDEN
    return Verdict.UNAVAILABLE if reply.status < 400 and code is None else Verdict.REFUSED


def pause_after(verdict: Verdict, *, failures: int, chance: float, retry_after_s: float | None) -> timedelta:
    """How long nothing is sent after so many failures in a row, this one included."""
    if verdict is Verdict.FORBIDDEN:
        return FORBIDDEN_PAUSE
    return max(backoff(failures, POLICY, chance), timedelta(seconds=retry_after_s or 0.0))


def struck(purge: Purge, now: datetime, chance: float) -> Purge:
    """The key after a request with it was refused."""
    strikes = purge.strikes + 1
    return replace(purge, strikes=strikes, due_at=now + backoff(strikes, POLICY, chance))


def left_after(verdict: Verdict, said: PurgeAnswer | None, left: int | None, cost: int) -> int | None:
    """What is left of the day's quota after a request of that cost; None: not known."""
    surplus = None if said is None else said.surplus_day
    match verdict:
        case Verdict.OVER_QUOTA:
            return surplus if surplus is not None and surplus < cost else 0  # with less it may be taken
        case Verdict.TAKEN if surplus is None:
            return None if left is None else max(0, left - cost)
        case _:
            return left if surplus is None else surplus


def quota_returns(now: datetime) -> datetime:
    """When there is a new quota: at midnight in China; just after one theirs may still be to come."""
    china = now.astimezone(_CHINA)
    midnight = china.replace(hour=0, minute=0, second=0, microsecond=0)
    soon = midnight + _NEW_DAY_BY
    return (soon if china < soon else midnight + timedelta(days=1)).astimezone(now.tzinfo)
