"""/metrics as Prometheus reads it: every name, its type and its labels; what is not known is not said."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families

from mirrord.decisions.staleness import IntakeRules, NewKeys
from mirrord.journal.report import MirrorReport
from mirrord.listener import Listener
from mirrord.model.condition import Condition
from mirrord.model.coverage import UNKNOWN, Coverage
from mirrord.model.cursor import FEED
from mirrord.model.row import State
from mirrord.model.step import Park
from mirrord.status import metrics
from mirrord.status.families import Reported
from mirrord.status.journaled import JournalView
from mirrord.status.meters import Meters
from mirrord.status.standing import Standing
from tests.journal.ledger import MIRROR, Ledger, at, change, ended, place, url_of
from tests.status.exposed import everything, promtool
from tests.status.standings import mirror, standing
from tests.status.test_meters import attempted

NOW = at(1000)
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def _read(text: bytes) -> Samples:
    families = text_string_to_metric_families(text.decode())
    return {(each.name, tuple(sorted(each.labels.items()))): each.value for of in families for each in of.samples}


def _report(name: str = "docs", **different: object) -> MirrorReport:
    nothing: dict[str, object] = {
        "keys": dict.fromkeys(State, 0),
        "kept": 0,
        "oldest_stale_key": None,
        "oldest_stale_since": None,
        "coverage": Coverage(),
    }
    return MirrorReport(mirror=name, **{**nothing, **different})  # type: ignore[arg-type]  # by name, from one dict


def _exposed(
    *reports: MirrorReport, meters: Meters | None = None, of: Standing | None = None, readable: bool = True
) -> Samples:
    reported = Reported(reports=reports or (_report(),), at=NOW - timedelta(seconds=3)) if readable else None
    return _read(metrics.exposition(meters or Meters(lambda: NOW), of or standing(), reported, NOW))


def _of(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, tuple(sorted(labels.items()))))


# What is shown


def test_keys_are_shown_by_state_also_those_that_are_in_none() -> None:
    keys = dict.fromkeys(State, 0) | {State.FRESH: 7, State.PARKED: 2}

    shown = _exposed(_report(keys=keys, kept=3, oldest_stale_since=at(400)))

    states = {labels[1][1]: value for (name, labels), value in shown.items() if name == "mirrord_keys"}
    assert states == {"fresh": 7, "stale": 0, "claimed": 0, "parked": 2, "held": 0, "kept": 3}
    assert _of(shown, "mirrord_oldest_stale_seconds", mirror="docs") == 600
    assert _of(shown, "mirrord_journal_report_age_seconds") == 3


def test_nothing_stale_is_an_age_of_nothing_and_no_clock_makes_it_negative() -> None:
    shown = _exposed(_report("docs"), _report("b", oldest_stale_since=at(2000)), of=standing(mirror(), mirror("b")))

    assert _of(shown, "mirrord_oldest_stale_seconds", mirror="docs") == 0
    assert _of(shown, "mirrord_oldest_stale_seconds", mirror="b") == 0


@pytest.mark.parametrize(
    ("coverage", "complete", "unknown", "as_of"),
    [
        pytest.param(Coverage(), 0, 0, None, id="not yet"),
        pytest.param(Coverage(complete_as_of=at(50)), 1, 0, at(50).timestamp(), id="complete"),
        pytest.param(
            Coverage(complete_as_of=at(50), lost_since=at(60), lost_reason="overflow"),
            0,
            0,
            at(50).timestamp(),
            id="lost",
        ),
        pytest.param(Coverage(lost_since=at(60), lost_reason=f"{UNKNOWN}: a webhook"), 0, 1, None, id="never known"),
    ],
)
def test_completeness_is_yes_or_no_and_as_of_when(
    coverage: Coverage, complete: float, unknown: float, as_of: float | None
) -> None:
    shown = _exposed(of=standing(mirror(coverage=coverage)))

    assert _of(shown, "mirrord_complete", mirror="docs") == complete
    assert _of(shown, "mirrord_completeness_unknown", mirror="docs") == unknown
    assert _of(shown, "mirrord_complete_as_of_timestamp_seconds", mirror="docs") == as_of


def test_conditions_and_breakers_are_shown_also_while_they_are_not_in_force() -> None:
    conditions = [Condition(name=name, since=at(0), until=None, reason="x") for name in ("origin", "new-one")]

    shown = _exposed(of=standing(mirror(conditions=tuple(conditions), held=True, in_flight=3, allowed=8)))

    in_force = {labels[1][1]: value for (name, labels), value in shown.items() if name == "mirrord_conditions"}
    assert in_force == {"held": 0, "kodo": 0, "listing": 0, "new-one": 1, "origin": 1, "paced": 0, "throttled": 0}
    assert _of(shown, "mirrord_breaker_open", mirror="docs", cause="origin") == 1
    assert _of(shown, "mirrord_breaker_open", mirror="docs", cause="kodo") == 0
    assert _of(shown, "mirrord_mirror_held", mirror="docs") == 1
    assert _of(shown, "mirrord_calls_in_flight", mirror="docs") == 3
    assert _of(shown, "mirrord_calls_allowed", mirror="docs") == 8


def test_a_feed_is_shown_where_it_is_and_not_one_that_was_followed_earlier() -> None:
    now = place(f"{FEED}https://new.example/", "9", 990, event_at=970)
    sources = (place(f"{FEED}https://old.example/", "1", 10, event_at=5), now)

    shown = _exposed(_report(sources=sources), of=standing(mirror(feed=now.source)))

    lags = {labels: value for (name, labels), value in shown.items() if name == "mirrord_feed_lag_seconds"}
    assert lags == {(("mirror", "docs"), ("source", "https://new.example/")): 30}
    read_at = _of(shown, "mirrord_feed_read_timestamp_seconds", mirror="docs", source="https://new.example/")
    assert read_at == at(990).timestamp()


def test_a_feed_whose_events_have_no_time_has_no_lag() -> None:
    cursor = place(f"{FEED}https://feed.example/", "9", 990)

    shown = _exposed(_report(sources=(cursor,)), of=standing(mirror(feed=cursor.source)))

    assert not [name for name, _ in shown if name == "mirrord_feed_lag_seconds"]
    assert [name for name, _ in shown if name == "mirrord_feed_read_timestamp_seconds"]


def test_a_cdn_is_shown_with_what_it_is_still_to_be_told_and_what_is_left_of_its_day() -> None:
    told = _report(untold=3, untold_since=at(940))

    shown = _exposed(told, of=standing(mirror(cdn_surplus=12)))

    assert _of(shown, "mirrord_cdn_keys_waiting", mirror="docs") == 3
    assert _of(shown, "mirrord_cdn_oldest_waiting_seconds", mirror="docs") == 60
    assert _of(shown, "mirrord_cdn_quota_left", mirror="docs") == 12


def test_the_service_itself_is_shown() -> None:
    shown = _exposed(of=standing(generation=3, stopping=True, stuck=("docs",)))

    assert _of(shown, "mirrord_build_info", version="1.2.3") == 1
    assert _of(shown, "mirrord_reloads_total") == 2
    assert (_of(shown, "mirrord_ready"), _of(shown, "mirrord_stopping")) == (1, 1)
    assert _of(shown, "mirrord_mirror_stuck", mirror="docs") == 1
    assert _of(shown, "process_start_time_seconds") == at(-100).timestamp()
    assert (_of(shown, "process_resident_memory_bytes") or 0) > 1_000_000


def test_a_histogram_counts_up_and_ends_at_infinity() -> None:
    meters = Meters(lambda: NOW)
    for lag_s in (0.05, 0.1, 4.0, 100_000.0):
        meters.hear("info", attempted(lag_s=lag_s))

    shown = _exposed(meters=meters)

    name = "mirrord_refresh_lag_seconds"
    buckets = [_of(shown, f"{name}_bucket", mirror="docs", le=le) for le in ("0.1", "2.5", "5.0", "21600.0", "+Inf")]
    assert buckets == [2, 2, 3, 3, 4]
    assert _of(shown, f"{name}_count", mirror="docs") == 4
    assert _of(shown, f"{name}_sum", mirror="docs") == pytest.approx(100_004.15)


def test_the_series_of_a_mirror_that_a_reload_took_away_disappear() -> None:
    meters = Meters(lambda: NOW)
    for name in ("docs", "gone"):
        meters.hear("info", attempted(mirror=name))
        meters.hear("info", {"event": "scan.finished", "mirror": name, "files": 1, "duration_s": 1.0})

    shown = _exposed(_report(), _report("gone"), meters=meters, of=standing(generation=2))

    assert {value for _, labels in shown for label, value in labels if label == "mirror"} == {"docs"}


def test_a_journal_that_cannot_be_read_is_not_taken_for_an_empty_one() -> None:
    shown = _exposed(readable=False)

    assert _of(shown, "mirrord_journal_available") == 0
    assert not {name for name, _ in shown} & {"mirrord_keys", "mirrord_oldest_stale_seconds"}
    assert _of(shown, "mirrord_complete", mirror="docs") == 1


def test_a_journal_that_cannot_be_written_is_not_available_though_it_can_be_read() -> None:
    shown = _exposed(of=standing(trouble="no space left"))

    assert _of(shown, "mirrord_journal_available") == 0
    assert _of(shown, "mirrord_keys", mirror="docs", state="fresh") == 0


@given(st.text(max_size=20))
def test_an_address_may_hold_any_character(address: str) -> None:
    cursor = place(f"{FEED}{address}", "9", 990)

    shown = _exposed(_report(sources=(cursor,)), of=standing(mirror(feed=cursor.source)))

    source = address.encode("utf-8", "backslashreplace").decode()
    assert _of(shown, "mirrord_feed_read_timestamp_seconds", mirror="docs", source=source) == at(990).timestamp()


def test_half_a_character_is_written_as_what_it_is() -> None:
    cursor = place(f"{FEED}http://h/\udcff", "9", 990)

    shown = _exposed(_report(sources=(cursor,)), of=standing(mirror(feed=cursor.source)))

    assert _of(shown, "mirrord_feed_read_timestamp_seconds", mirror="docs", source="http://h/\\udcff") is not None


# How it reads


def test_prometheus_finds_nothing_to_object_to() -> None:
    ended_well = promtool("check", "metrics", given=everything())

    assert ended_well == ""


def test_the_other_form_reads_back_as_the_same() -> None:
    async def act() -> tuple[str, str]:
        async with _serving(standing(mirror("never"))) as client:
            answer = await client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        return answer.headers["Content-Type"], answer.text

    content_type, text = asyncio.run(act())

    assert content_type.startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert {each.name for each in open_families(text)} >= {"mirrord_keys", "mirrord_attempts", "process_cpu_seconds"}
    assert text.endswith("# EOF\n")


# Over HTTP


@asynccontextmanager
async def _serving(
    stands: Standing,
    meters: Meters | None = None,
    file: Path = Path("/nonexistent/journal.db"),
    now: Callable[[], datetime] = lambda: NOW,
    patience: timedelta = metrics.PATIENCE,
) -> AsyncIterator[httpx.AsyncClient]:
    view = JournalView(url_of(file), now=now)
    routes = metrics.routes(lambda: stands, view, meters or Meters(now), now, patience=patience)
    listener = Listener("127.0.0.1", 0, routes)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(listener.run())
        await listener.started()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listener.port}", trust_env=False) as client:
            yield client
        serving.cancel()
    view.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "journal.db")
    yield opened
    opened.close()


@pytest.mark.parametrize(
    "accept",
    [
        pytest.param("", id="nothing"),
        pytest.param("*/*", id="anything"),
        pytest.param("text/html,*/*;q=0.8", id="a browser"),
        pytest.param("application/openmetrics-text; version=abc", id="a version that is none"),
        pytest.param("text/plain;version=1.x;escaping=", id="half a version"),
        pytest.param(";;;=,=;version=,", id="nonsense"),
    ],
)
def test_whoever_asks_for_nothing_known_gets_plain_text(accept: str) -> None:
    async def act() -> httpx.Response:
        async with _serving(standing()) as client:
            return await client.get("/metrics", headers={"Accept": accept})

    answer = asyncio.run(act())

    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert _of(_read(answer.content), "mirrord_ready") == 1


def test_it_can_be_looked_at_and_nothing_else() -> None:
    async def act() -> tuple[httpx.Response, httpx.Response]:
        async with _serving(standing()) as client:
            return await client.head("/metrics"), await client.post("/metrics")

    head, post = asyncio.run(act())

    assert (head.status_code, head.content, post.status_code) == (200, b"", 405)


def test_a_journal_that_is_damaged_does_not_break_the_scrape(tmp_path: Path) -> None:
    file = tmp_path / "journal.db"
    file.write_text("no journal at all, but long enough to be looked at" * 20)

    async def act() -> Samples:
        async with _serving(standing(), file=file) as client:
            return _read((await client.get("/metrics")).content)

    shown = asyncio.run(act())

    assert _of(shown, "mirrord_journal_available") == 0
    assert not [name for name, _ in shown if name == "mirrord_keys"]


def test_a_journal_that_takes_long_is_shown_as_it_was(tmp_path: Path) -> None:
    file, clock = tmp_path / "journal.db", _Clock()
    ledger = Ledger(file)
    ledger.record(change("a"))
    ledger.close()

    async def act() -> tuple[Samples, Samples]:
        stands = standing(mirror(MIRROR), generation=1)
        async with _serving(stands, file=file, now=clock, patience=timedelta(seconds=0.3)) as client:
            before = _read((await client.get("/metrics")).content)
            clock.at += timedelta(hours=1)
            with closing(sqlite3.connect(file, isolation_level=None)) as other:
                other.execute("PRAGMA locking_mode = EXCLUSIVE")  # readers, too, have to wait
                other.execute("BEGIN EXCLUSIVE")
                return before, _read((await client.get("/metrics")).content)

    before, after = asyncio.run(act())

    assert _of(before, "mirrord_journal_report_age_seconds") == 0
    assert _of(after, "mirrord_journal_report_age_seconds") == 3600
    assert _of(after, "mirrord_keys", mirror=MIRROR, state="stale") == 1
    assert _of(after, "mirrord_journal_available") == 1


def test_it_is_scraped_while_rows_are_written(ledger: Ledger) -> None:
    """Every scrape is whole, and what it counts never goes back; the writer is not kept waiting."""
    meters, mirrors, clock = Meters(lambda: NOW), standing(mirror(MIRROR), mirror("other")), _Clock()

    async def write(done: asyncio.Event) -> None:
        fresh = IntakeRules(new_keys=NewKeys.FRESH)
        for batch in range(60):
            await ledger.journal.record(MIRROR, [change(f"{batch}/{number}") for number in range(100)], fresh)
            await ledger.journal.record(MIRROR, [change(f"{batch}/0", "2")], fresh)
            (claim,) = await ledger.journal.claim(MIRROR, at(1), 5, timedelta(seconds=60))
            await ledger.journal.settle([ended(claim, Park())], fresh)
            meters.hear("info", attempted(mirror=MIRROR))
            meters.committed(0.001)
            clock.at += timedelta(hours=1)  # no report is kept for so long
        done.set()

    async def scrape(client: httpx.AsyncClient, done: asyncio.Event) -> list[Samples]:
        found = []
        while not done.is_set():
            answer = await client.get("/metrics")
            assert answer.status_code == 200
            found.append(_read(answer.content))
        return found

    async def act() -> tuple[list[list[Samples]], Samples]:
        done = asyncio.Event()
        async with _serving(mirrors, meters, ledger.file, clock) as client:
            async with asyncio.TaskGroup() as tasks:
                scrapes = [tasks.create_task(scrape(client, done)) for _ in range(4)]
                tasks.create_task(write(done))
            return [each.result() for each in scrapes], _read((await client.get("/metrics")).content)

    scrapes, last = ledger.run(act())

    for each in scrapes:
        counts = [
            _of(samples, "mirrord_events_total", event="refresh.attempted", level="info") or 0 for samples in each
        ]
        assert len(counts) > 3
        assert counts == sorted(counts)
        assert all(_of(samples, "mirrord_journal_available") == 1 for samples in each)
        assert all((MIRROR in str(samples)) and ("other" in str(samples)) for samples in each)
    attempts = _of(
        last, "mirrord_attempts_total", mirror=MIRROR, operation="prefetch", status="200", outcome="refreshed"
    )
    assert attempts == 60
    assert promtool("check", "metrics", given=_plain(meters, mirrors)) == ""


class _Clock:
    def __init__(self) -> None:
        self.at = NOW

    def __call__(self) -> datetime:
        return self.at


def _plain(meters: Meters, of: Standing) -> bytes:
    reports = [_report(each.mirror) for each in of.mirrors]
    return metrics.exposition(meters, of, Reported(reports=reports, at=NOW), NOW)
