"""An inventory against a Kodo that pages, hesitates, refuses and forgets; the journal is a real one."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from mirrord.decisions.retry import RetryPolicy
from mirrord.inventory import AWAY_AT_MOST, KEPT, Inventory, Unlisted, Whole
from mirrord.journal.listing import Listing
from mirrord.kodo.replies import ListPage
from mirrord.model.attempt import Reply, Silence
from mirrord.model.condition import Condition
from mirrord.model.listing import ListedObject
from mirrord.sources.contract import SourceUnavailable
from tests.fakes.kodo import OK, failing
from tests.journal.ledger import MIRROR, Ledger, at

PATIENCE = RetryPolicy(first_delay=timedelta(0), max_delay=timedelta(0), max_attempts=3)
Answers = tuple[Reply, ListPage | None]


def page(*keys: str, marker: str = "") -> Answers:
    return OK, ListPage([ListedObject(key=key, size_bytes=1, hash="F", put_time=1) for key in keys], marker)


def failed(status: int) -> Answers:
    return failing(status), None


SILENT: Answers = (Reply(status=None, silence=Silence.CONNECT_FAILED, error="refused"), None)


@dataclass
class FakeLister:
    """Implements mirrord.inventory.Lister: gives its answers one after the other."""

    answers: list[Answers]
    markers: list[str] = field(default_factory=list)

    async def list_page(self, bucket: str, prefix: str, marker: str) -> Answers:
        assert (bucket, prefix) == ("newdocs", "v2/")
        self.markers.append(marker)
        return self.answers.pop(0)


class Clock:
    def __init__(self) -> None:
        self.now = at(0)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with opened(tmp_path / "journal.db") as ledger:
        yield ledger


@contextmanager
def opened(file: Path) -> Iterator[Ledger]:
    ledger = Ledger(file)
    try:
        yield ledger
    finally:
        ledger.close()


def inventory_of(
    ledger: Ledger,
    kodo: FakeLister,
    now: Callable[[], datetime] = Clock(),  # noqa: B008
    tell: Callable[[Condition | None], None] = lambda _: None,
) -> Inventory:
    return Inventory(
        mirror=MIRROR,
        bucket="newdocs",
        prefix="v2/",
        listing=Listing(ledger.journal, MIRROR, "newdocs:v2/"),
        kodo=kodo,
        now=now,
        chance=float,
        patience=PATIENCE,
        tell=tell,
    )


def listed(ledger: Ledger) -> list[str]:
    return [key for (key,) in ledger.select("SELECT key FROM listed ORDER BY key")]


@pytest.mark.parametrize(
    ("answers", "markers"),
    [
        pytest.param([page("a", "b")], [""], id="one-page"),
        pytest.param([page("a", marker="1"), page("b")], ["", "1"], id="two-pages"),
        pytest.param([page("a", marker="1"), page(marker="2"), page("b")], ["", "1", "2"], id="an-empty-one-between"),
        pytest.param([SILENT, page("a", marker="1"), failed(503), page("b")], ["", "", "1", "1"], id="after-failures"),
        pytest.param([page("a", marker="1"), page(marker="1"), page("b")], ["", "1", "1"], id="a-page-that-leads-back"),
        pytest.param(
            [page("x", marker="1"), failed(640), page("a", "b")], ["", "1", ""], id="a-marker-that-kodo-forgot"
        ),
    ],
)
def test_the_whole_listing_is_read(ledger: Ledger, answers: list[Answers], markers: list[str]) -> None:
    kodo = FakeLister(answers)

    taken = ledger.run(inventory_of(ledger, kodo).take())

    assert taken is True
    assert kodo.markers == markers
    assert listed(ledger) == ["a", "b"]


@pytest.mark.parametrize(
    ("answers", "calls"),
    [
        pytest.param([failed(404)], 1, id="not-kodo"),
        pytest.param([failed(504)] * 3, 3, id="too-slow"),
        pytest.param([(OK, None)] * 3, 3, id="unreadable"),
        pytest.param([page("a", marker="1"), *[page(marker="1")] * 3], 4, id="in-circles"),
        pytest.param([page("a", marker="1"), failed(640), page("a", marker="1"), failed(640)], 4, id="forgetful"),
    ],
)
def test_a_kodo_that_gives_no_listing_is_not_asked_for_ever(ledger: Ledger, answers: list[Answers], calls: int) -> None:
    kodo = FakeLister(answers)

    taken = ledger.run(inventory_of(ledger, kodo).take())

    assert taken is False
    assert len(kodo.markers) == calls
    assert listed(ledger) == []


@pytest.mark.parametrize(
    ("answers", "calls", "advice"),
    [
        pytest.param([failed(401)], 1, "secret key", id="refused"),
        pytest.param([failed(631)], 1, "bucket's name", id="no-such-bucket"),
        pytest.param([SILENT] * 3, 3, "reached", id="out-of-reach"),
        pytest.param([failed(503)] * 3, 3, "reached", id="ill"),
    ],
)
def test_who_cannot_wait_gets_an_end_and_nothing_is_taken_for_new(
    ledger: Ledger, answers: list[Answers], calls: int, advice: str
) -> None:
    kodo = FakeLister(answers)

    with pytest.raises(SourceUnavailable, match=advice):
        ledger.run(inventory_of(ledger, kodo).take())

    assert len(kodo.markers) == calls


def test_while_it_waits_it_says_what_for_and_takes_it_back(ledger: Ledger) -> None:
    told: list[Condition | None] = []
    inventory = inventory_of(ledger, FakeLister([*[SILENT] * PATIENCE.max_attempts, page("a")]), tell=told.append)

    async def scenario() -> None:
        async with asyncio.timeout(5):
            assert await inventory.take(patient=True)

    ledger.run(scenario())

    waiting, over = told
    assert waiting is not None
    assert (waiting.name, waiting.since, waiting.until) == ("listing", at(0), at(2))
    assert "refused" in waiting.reason
    assert over is None


def test_what_was_refused_says_what_to_do(ledger: Ledger) -> None:
    end = ledger.run(inventory_of(ledger, FakeLister([failed(631)])).read_anew())

    assert isinstance(end, Unlisted)
    assert (end.status, end.reqid, end.calls) == (631, "fake", 1)
    assert "bucket's name" in end.advice


def cut_off(ledger: Ledger, answers: Sequence[Answers], now: Callable[[], datetime]) -> None:
    """A take that ends where the answers do, as if killed."""
    with pytest.raises(IndexError):
        ledger.run(inventory_of(ledger, FakeLister(list(answers)), now).take())


@pytest.mark.parametrize(
    ("later", "markers", "answers"),
    [
        pytest.param(timedelta(minutes=1), ["1"], [page("b")], id="soon-it-goes-on"),
        pytest.param(KEPT * 2, [""], [page("a", "b")], id="much-later-it-begins-anew"),
    ],
)
def test_a_listing_that_was_cut_off(
    ledger: Ledger, later: timedelta, markers: list[str], answers: list[Answers]
) -> None:
    clock, kodo = Clock(), FakeLister(answers)
    cut_off(ledger, [page("a", marker="1")], clock)
    clock.now += later

    taken = ledger.run(inventory_of(ledger, kodo, clock).take())

    assert (taken, kodo.markers, listed(ledger)) == (True, markers, ["a", "b"])


def test_a_whole_listing_is_not_asked_for_again_until_it_is_dropped(ledger: Ledger) -> None:
    kodo = FakeLister([page("a"), page("b")])
    inventory = inventory_of(ledger, kodo)
    ledger.run(inventory.take())

    ledger.run(inventory.take())
    calls_while_kept = len(kodo.markers)
    ledger.run(inventory.drop())
    ledger.run(inventory.take())

    assert (calls_while_kept, len(kodo.markers), listed(ledger)) == (1, 2, ["b"])


def test_an_audits_listing_never_goes_on_from_an_old_one(ledger: Ledger) -> None:
    clock, kodo = Clock(), FakeLister([page("b")])
    cut_off(ledger, [page("a", marker="1")], clock)

    end = ledger.run(inventory_of(ledger, kodo, clock).read_anew())

    assert end == Whole(objects=1, calls=1)
    assert (kodo.markers, listed(ledger)) == ([""], ["b"])


def test_cancelling_a_listing_passes_through(ledger: Ledger) -> None:
    class Waiting(FakeLister):
        async def list_page(self, bucket: str, prefix: str, marker: str) -> Answers:
            await asyncio.Event().wait()
            raise AssertionError

    async def cancelled() -> bool:
        async with asyncio.TaskGroup() as tasks:
            taking = tasks.create_task(inventory_of(ledger, Waiting([])).take(), name="take")
            await asyncio.sleep(0)
            taking.cancel()
        return taking.cancelled()

    assert ledger.run(cancelled())


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(failed(403), id="who-may-not-list"),
        pytest.param(failed(404), id="a-kodo-that-does-not-list"),
        pytest.param((OK, None), id="an-answer-that-is-no-page"),
    ],
)
def test_what_no_waiting_can_mend_is_not_waited_for(ledger: Ledger, answer: Answers) -> None:
    kodo = FakeLister([answer] * PATIENCE.max_attempts)

    taken = ledger.run(inventory_of(ledger, kodo).take(patient=True))

    assert taken is False
    assert listed(ledger) == []


@pytest.mark.parametrize("answer", [failed(401), failed(419), failed(503), SILENT], ids=["401", "419", "503", "silent"])
def test_what_may_pass_is_waited_for_by_who_has_the_time(ledger: Ledger, answer: Answers) -> None:
    kodo = FakeLister([answer] * PATIENCE.max_attempts)

    async def scenario() -> bool:
        async with asyncio.timeout(0.2):
            return await inventory_of(ledger, kodo).take(patient=True)

    with pytest.raises(TimeoutError):
        ledger.run(scenario())

    assert listed(ledger) == []


def test_a_service_that_is_away_for_long_is_not_waited_for_any_longer(ledger: Ledger) -> None:
    clock = Clock()
    kodo = FakeLister([SILENT] * PATIENCE.max_attempts)

    class Late(FakeLister):
        async def list_page(self, bucket: str, prefix: str, marker: str) -> Answers:
            clock.now += AWAY_AT_MOST
            return await super().list_page(bucket, prefix, marker)

    taken = ledger.run(inventory_of(ledger, Late(kodo.answers), clock).take(patient=True))

    assert taken is False
