"""What a mirror may say of how complete it is."""

import asyncio
from datetime import UTC, datetime, timedelta

from mirrord.model.coverage import UNKNOWN
from mirrord.sources.feed.completeness import SAID_EVERY, Completeness
from tests.fakes.receiver import FakeReceiver

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


class Case:
    def __init__(self, *, follows: bool = True, compares: bool = False) -> None:
        self.receiver = FakeReceiver()
        self.now = NOON
        self.complete = Completeness(self.receiver, lambda: self.now, follows=follows, compares=compares)

    def read(self, as_of: datetime = NOON) -> None:
        asyncio.run(self.complete.read(as_of))

    def compared(self, as_of: datetime = NOON) -> None:
        asyncio.run(self.complete.compared(as_of))

    def lost(self, reason: str = "something") -> None:
        asyncio.run(self.complete.lost(reason))


def test_a_feed_that_was_read_to_its_end_is_complete_as_of_then() -> None:
    case = Case()

    case.read()

    assert case.receiver.completed == [NOON]


def test_it_is_said_now_and_then_only() -> None:
    case = Case()

    for _ in range(3):
        case.read(case.now)
        case.now += SAID_EVERY / 2

    assert case.receiver.completed == [NOON, NOON + SAID_EVERY]


def test_what_was_lost_and_is_read_again_is_said_at_once() -> None:
    case = Case()

    case.read()
    case.lost()
    case.read(NOON + timedelta(seconds=1))

    assert case.receiver.completed == [NOON, NOON + timedelta(seconds=1)]


def test_with_a_snapshot_both_are_needed_and_what_is_read_carries_it_on() -> None:
    case = Case(compares=True)

    case.read()
    before = list(case.receiver.completed)
    case.compared(NOON - timedelta(hours=1))
    case.now += timedelta(hours=1)
    case.read(case.now)

    assert before == []
    assert case.receiver.completed == [NOON, NOON + timedelta(hours=1)]


def test_a_comparison_alone_is_not_enough_where_a_feed_is_followed() -> None:
    case = Case(compares=True)

    case.compared()

    assert case.receiver.completed == []


def test_a_snapshot_alone_is_complete_as_of_its_look() -> None:
    case = Case(follows=False, compares=True)

    case.compared()

    assert case.receiver.completed == [NOON]


def test_a_comparison_that_is_forgotten_has_to_be_made_again() -> None:
    case = Case(compares=True)
    case.compared()
    case.read()

    case.complete.forget_comparison()
    case.now += timedelta(hours=1)
    case.read(case.now)
    before = list(case.receiver.completed)
    case.compared(case.now)

    assert before == [NOON]
    assert case.receiver.completed == [NOON, NOON + timedelta(hours=1)]


def test_what_is_unknown_is_lost_until_a_snapshot_was_compared() -> None:
    case = Case(compares=True)
    case.complete.unknown = "it was not there"

    case.read()
    before = (list(case.receiver.losses), list(case.receiver.completed))
    case.compared()

    assert before == ([f"{UNKNOWN}: it was not there"], [])
    assert case.receiver.completed == [NOON]
