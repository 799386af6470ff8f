"""What a person asks for, beside a running service or without one: parked keys again, or any key now."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa

from mirrord.journal.tables import objects, to_microseconds
from mirrord.model.row import State, Why

T = TypeVar("T")

PAGE = 2000
"""Keys taken in one transaction: some 20 ms, so that a running service need not wait."""
PAUSE_S = 0.01
"""Between two of them: who waits for SQLite's lock only looks now and then whether it is free."""


class Transacting(Protocol):
    """The part of a journal that asking needs."""

    async def transact(self, work: Callable[[sa.Connection], T]) -> T: ...


class Left(StrEnum):
    """Why a key was left as it is."""

    UNKNOWN = "unknown"
    NOT_PARKED = "not parked"
    HELD = "held"  # a removal that waits for `mirrord release`
    GONE = "gone"  # the origin has the key no longer: there is nothing to refresh


@dataclass(frozen=True, slots=True)
class LeftKey:
    """One key that was named and left as it is."""

    key: str
    why: Left
    state: State | None
    """None: there is no such key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What became of the keys that were asked for."""

    taken: Mapping[State, int] = field(default_factory=dict)
    """Keys made due, by the state that they were in. Claimed ones are asked for once more when their call has ended."""
    left: Mapping[Left, int] = field(default_factory=dict)
    named: tuple[LeftKey, ...] = ()
    """Those of them that were named, in that order; none when all were asked for."""


@dataclass(frozen=True, slots=True)
class _Wish:
    """What becomes of keys by their state, and which are left."""

    values: Mapping[State, Mapping[str, Any]]
    why_left: Callable[[State, bool], Left | None]
    """Of a state, and whether the key is gone at the origin; None: it is not left."""
    which: sa.ColumnElement[bool]
    """Those that are looked at when nobody names any."""


async def retry(journal: Transacting, mirror: str, keys: Sequence[str] | None, now: datetime) -> Asked:
    """Make parked keys due, as if they had never been tried; `keys` None: all of them.

    A parked removal is asked for as it was: on condition of the hash of what was put there from here, so
    that it can never delete another object.
    """
    wish = _Wish(
        values={State.PARKED: _never_tried(now)},
        why_left=lambda state, _gone: None if state is State.PARKED else Left.NOT_PARKED,
        which=objects.c.state == State.PARKED.value,
    )
    return await _fulfilled(journal, mirror, keys, wish)


async def refresh(journal: Transacting, mirror: str, keys: Sequence[str] | None, now: datetime) -> Asked:
    """Make keys due whatever the bucket is believed to hold; `keys` None: all that the origin has.

    Keys that are gone at the origin are left: to ask for those would delete them, and that is another wish.
    """
    at = to_microseconds(now)
    unsure = {"confirmed": None}  # else a change that is taken back would find the key fresh, and nobody asked
    # a pull that may still be running began before the person asked: its end is waited for, and is not enough
    outdated = {
        "generation": sa.case((objects.c.pending.is_(None), objects.c.generation), else_=objects.c.generation + 1)
    }
    afresh = unsure | {"attempts": 0, "strikes": 0, "why": Why.ASKED.value}
    wish = _Wish(
        values={
            State.FRESH: {"state": State.STALE.value, "stale_since": at, "due_at": at} | afresh,
            State.STALE: {"due_at": sa.case((objects.c.due_at < at, objects.c.due_at), else_=at)} | unsure | outdated,
            State.PARKED: _never_tried(now) | unsure | outdated,
            # its call began before the person asked: under an older generation it settles as stale
            State.CLAIMED: {"generation": objects.c.generation + 1} | afresh,
        },
        why_left=lambda state, gone: Left.HELD if state is State.HELD else Left.GONE if gone else None,
        which=sa.true(),
    )
    return await _fulfilled(journal, mirror, keys, wish)


def _never_tried(now: datetime) -> dict[str, Any]:
    return {"state": State.STALE.value, "due_at": to_microseconds(now), "attempts": 0, "strikes": 0}


async def _fulfilled(journal: Transacting, mirror: str, keys: Sequence[str] | None, wish: _Wish) -> Asked:
    if keys is not None:
        return await _of_named(journal, mirror, list(dict.fromkeys(keys)), wish)
    taken, left = Counter[State](), Counter[Left]()
    rest: sa.ColumnElement[bool] = sa.true()
    while True:
        looked = await journal.transact(_turn(mirror, wish, wish.which, rest))
        _count(looked, taken, left)
        if len(looked) < PAGE:
            return Asked(taken=taken, left=left)
        rest = objects.c.key > looked[-1].key
        await asyncio.sleep(PAUSE_S)


async def _of_named(journal: Transacting, mirror: str, keys: list[str], wish: _Wish) -> Asked:
    taken, left, named = Counter[State](), Counter[Left](), list[LeftKey]()
    for start in range(0, len(keys), PAGE):
        page = keys[start : start + PAGE]
        looked = await journal.transact(_turn(mirror, wish, objects.c.key.in_(page)))
        known = {each.key: each for each in looked}
        looked = [known.get(key) or LeftKey(key, Left.UNKNOWN, None) for key in page]
        _count(looked, taken, left)
        named += [each for each in looked if isinstance(each, LeftKey)]
    return Asked(taken=taken, left=left, named=tuple(named))


@dataclass(frozen=True, slots=True)
class _Taken:
    key: str
    state: State


def _count(looked: Sequence[_Taken | LeftKey], taken: Counter[State], left: Counter[Left]) -> None:
    taken.update(each.state for each in looked if isinstance(each, _Taken))
    left.update(each.why for each in looked if isinstance(each, LeftKey))


def _turn(
    mirror: str, wish: _Wish, *which: sa.ColumnElement[bool]
) -> Callable[[sa.Connection], list[_Taken | LeftKey]]:
    """One transaction: the first PAGE of `which`, in key order, each taken or left."""
    query = (
        sa.select(objects.c.key, objects.c.state, objects.c.wanted.is_(None))
        .where(objects.c.mirror == mirror, *which)
        .order_by(objects.c.key)
        .limit(PAGE)
        .with_for_update()
    )

    def turn(connection: sa.Connection) -> list[_Taken | LeftKey]:
        looked = list[_Taken | LeftKey]()
        for key, name, gone in connection.execute(query):
            state = State(name)
            why = wish.why_left(state, gone)
            looked.append(_Taken(key, state) if why is None else LeftKey(key, why, state))
        for state, values in wish.values.items():
            keys = [each.key for each in looked if isinstance(each, _Taken) and each.state is state]
            if keys:
                of = (objects.c.mirror == mirror, objects.c.key.in_(keys))
                connection.execute(sa.update(objects).where(*of).values(values))
        return looked

    return turn
