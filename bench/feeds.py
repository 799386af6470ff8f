"""Change feeds: entries recorded a second and in how much memory, and from a change's publication to its call."""

import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

from bench.config import ACCESS_KEY, BUCKET, CONCURRENCY, SECRET_KEY
from bench.feed_server import feed_server, first_asked, listening, publish
from bench.process import BenchFailed, Cost, measure, module, running
from bench.profiles import show_profiles
from bench.report import Report, Target, rounds_of
from bench.stub import Stub, arrivals, recording_stub
from bench.tree import key_of
from mirrord.kodo.entry import decode_entry

ENTRIES = 100_000
MANY = 1_000_000
ROUNDS = 3
RECORDED = 20_000.0
PEAK_MB = 150.0
PEAK_OF_MANY_MB = 200.0
PATHS = {"couchdb": "/files/_changes", "jsonl": "/lines"}
"""Of what feed_server serves, by format."""
FIRST, AGAIN = "from the beginning", "replayed, nothing new"
NOWHERE = "http://127.0.0.1:9"
"""Discard: a run that calls fails, and none should."""

WARM_UP = 10
SAMPLES = 100
PAUSE_S = (0.02, 0.12)
"""Between the arrival of one call and the next change: not in step with anything."""
GLANCE_S = 0.02
PATIENCE_S = 15.0
"""For one change's call."""
P50_MS = 100.0
LONGPOLL, STREAM = "couchdb, long-poll", "sse"


@dataclass(frozen=True, slots=True)
class Reading:
    """`read_s` is from the first request for the feed to the last row in the journal."""

    read_s: float
    cost: Cost


def run() -> Report:
    readings = {(form, what): list[Reading]() for form in PATHS for what in (FIRST, AGAIN)}
    latencies: dict[str, list[list[float]]] = {LONGPOLL: []}
    if find_spec("sse_starlette") is not None:
        latencies[STREAM] = []
    for _ in range(ROUNDS):
        for form in PATHS:
            for what, reading in zip((FIRST, AGAIN), _read_twice(form), strict=True):
                readings[form, what].append(reading)
        for what, rounds in latencies.items():
            rounds.append(_latencies_ms(what))
    return _report(readings, _read_many(), latencies)


def profile() -> None:
    """A first reading and its replay of both formats, under the profiler."""
    for form, path in PATHS.items():
        with _work() as work:
            for what in (FIRST, AGAIN):
                results = work / what
                results.mkdir()
                with feed_server(form, ENTRIES) as url:
                    config = _config(work, _section(form, url + path))
                    command = module("bench.profiled", str(results), "--", "once", "-c", str(config))
                    measure(command, stderr=work / "log")
                print(f"\nfeeds, {form}, {what}: {ENTRIES:,} entries")
                show_profiles(results)


# -- entries a second --------------------------------------------------------------------------------------


def _read_twice(form: str) -> list[Reading]:
    """Into an empty journal, and into the same one the same from another address: another feed, read from 0."""
    with _work() as work:
        return [_read(work, form, ENTRIES) for _ in (FIRST, AGAIN)]


def _read_many() -> Reading:
    with _work() as work:
        return _read(work, "jsonl", MANY)


def _read(work: Path, form: str, entries: int) -> Reading:
    with feed_server(form, entries) as url:
        log = work / "log"
        config = _config(work, _section(form, url + PATHS[form]))
        cost = measure(module("mirrord", "once", "-c", str(config)), stderr=log)
        if f"{entries} fresh" not in cost.stdout:
            raise BenchFailed(f"mirrord does not hold all {entries} keys as fresh: {cost.stdout.strip()}")
        began = first_asked(url, PATHS[form])
    return Reading(_read_to_end(log, entries) - began, cost)


def _read_to_end(log: Path, entries: int) -> float:
    """When the last answer was read and all of it recorded, by `time.monotonic`."""
    lines = [line for line in map(json.loads, log.read_text().splitlines()) if line["event"] == "feed.read"]
    if sum(line["entries"] for line in lines) != entries:
        raise BenchFailed(f"mirrord read {sum(line['entries'] for line in lines)} entries of {entries}")
    return datetime.fromisoformat(lines[-1]["timestamp"]).timestamp() - (time.time() - time.monotonic())


# -- latency -----------------------------------------------------------------------------------------------


def _latencies_ms(what: str) -> list[float]:
    """Of so many changes as SAMPLES, each published once the one before it was called for."""
    with _work() as work, recording_stub() as stub, _changes(what) as (url, section):
        config = _config(work, section, url=stub.url, first_run="refresh")
        with running(module("mirrord", "run", "-c", str(config)), stderr=work / "log"):
            each = [_latency_ms(url, stub, number, work / "log") for number in range(WARM_UP + SAMPLES)]
    return each[WARM_UP:]


@contextmanager
def _changes(what: str) -> Iterator[tuple[str, str]]:
    """A server that holds back its answer until there is a change: its URL, and how it is followed."""
    if what == STREAM:
        with listening(module("bench.sse_server")) as url:
            yield url, _section("sse", f"{url}/events", start="now")
    else:
        with feed_server("couchdb", 0) as url:
            yield url, _section("couchdb", f"{url}/files", mode="longpoll")


def _latency_ms(url: str, stub: Stub, number: int, log: Path) -> float:
    """From one change's publication to the arrival of its call."""
    time.sleep(random.uniform(*PAUSE_S))
    key = key_of(number)
    published = publish(url, key)
    while time.monotonic() < published + PATIENCE_S:
        time.sleep(GLANCE_S)
        for path, at in reversed(arrivals(stub)):
            if path.startswith("/prefetch/") and decode_entry(unquote(path).split("/", 2)[2]) == (BUCKET, key):
                return 1000 * (at - published)
    raise BenchFailed(f"no call for {key} within {PATIENCE_S:.0f} s:\n{log.read_text()[-1000:]}")


# -- settings ----------------------------------------------------------------------------------------------


@contextmanager
def _work() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mirrord-bench-") as directory:
        yield Path(directory)


def _section(form: str, url: str, **others: str) -> str:
    """The lines of [mirror.source]."""
    settings = {"kind": "feed", "format": form, "url": url, **others}
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())


def _config(work: Path, section: str, *, url: str = NOWHERE, first_run: str = "adopt") -> Path:
    """Settings that follow this feed; what is adopted is not called for."""
    hosts = "".join(f"{host} = {json.dumps(url)}\n" for host in ("uc", "io", "rs", "rsf", "api"))
    file = work / "config.toml"
    file.write_text(f"""\
[kodo]
access_key = "{ACCESS_KEY}"
secret_key = "{SECRET_KEY}"
[kodo.hosts]
{hosts}
[journal]
url = {json.dumps(f"sqlite:///{work / 'journal.db'}")}
[log]
format = "json"
level = "debug"
[status]
listen = ""
[[mirror]]
name = "bench"
bucket = "{BUCKET}"
first_run = "{first_run}"
verify = "off"
[mirror.source]
{section}
[mirror.pace]
concurrency = {CONCURRENCY}
""")
    file.chmod(0o600)
    return file


# -- what came of it ---------------------------------------------------------------------------------------


def _report(
    readings: dict[tuple[str, str], list[Reading]], many: Reading, latencies: dict[str, list[list[float]]]
) -> Report:
    rows = [_row(f"{form}, {what}", ENTRIES, each) for (form, what), each in readings.items()]
    rows.append(_row(f"jsonl, {MANY:,} entries", MANY, [many]))
    rows += [_latency_row(what, rounds) for what, rounds in latencies.items()]
    targets = [_recorded(form, what, each) for (form, what), each in readings.items() if what == FIRST]
    targets += [
        Target(what=f"peak memory, {form}, {what}", value=_peak_mb(each), bound=PEAK_MB, unit="MB")
        for (form, what), each in readings.items()
    ]
    targets.append(
        Target(what=f"peak memory, {MANY:,} entries", value=_peak_mb([many]), bound=PEAK_OF_MANY_MB, unit="MB")
    )
    targets += [_median_latency(what, rounds) for what, rounds in latencies.items()]
    notes = [
        "entries/s: from the first request for the feed (its server's clock) to when all of it is in the journal",
        "replayed: the same versions from another address into the same journal; couchdb's are counted, too",
        "ms: from when its server had the change to the arrival of its prefetch at the stub",
    ]
    if STREAM not in latencies:
        notes.append(f"SKIPPED {STREAM}: sse-starlette is not installed")
    return Report(
        name="feeds",
        about=f"{ENTRIES:,} entries adopted by mirrord once; {SAMPLES} changes followed by mirrord run, one at a time;"
        f" median of {ROUNDS} rounds",
        columns=["", "entries/s", "rounds", "entries/s, whole process", "cpu us/entry", "peak MB", "p50 ms", "p99 ms"],
        rows=rows,
        targets=targets,
        notes=notes,
        measured={
            **{f"{form}, {what}": _raw(each) for (form, what), each in readings.items()},
            "many": _raw([many]),
            **{what: [[round(ms, 3) for ms in each] for each in rounds] for what, rounds in latencies.items()},
        },
    )


def _recorded(form: str, what: str, readings: Sequence[Reading]) -> Target:
    per_second = [ENTRIES / each.read_s for each in readings]
    return Target(
        what=f"recorded, {form}, {what}",
        value=statistics.median(per_second),
        bound=RECORDED,
        unit="entries/s",
        at_least=True,
        spread=(min(per_second), max(per_second)),
    )


def _median_latency(what: str, rounds: Sequence[Sequence[float]]) -> Target:
    p50 = [statistics.median(each) for each in rounds]
    return Target(
        what=f"published to called, {what}, median",
        value=statistics.median(p50),
        bound=P50_MS,
        unit="ms",
        spread=(min(p50), max(p50)),
    )


def _row(name: str, entries: int, readings: Sequence[Reading]) -> list[str]:
    per_second = [entries / each.read_s for each in readings]
    return [
        name,
        f"{statistics.median(per_second):,.0f}",
        f"{min(per_second):,.0f} to {max(per_second):,.0f}",
        f"{statistics.median(entries / each.cost.wall_s for each in readings):,.0f}",
        f"{statistics.median(each.cost.cpu_s for each in readings) / entries * 1e6:,.0f}",
        f"{_peak_mb(readings):,.0f}",
        "",
        "",
    ]


def _latency_row(what: str, rounds: Sequence[Sequence[float]]) -> list[str]:
    p50, p99 = ([_percent(each, percent) for each in rounds] for percent in (50, 99))
    return [what, "", "", "", "", "", *(f"{statistics.median(each):.1f}" for each in (p50, p99))]


def _percent(latencies_ms: Sequence[float], percent: int) -> float:
    return statistics.quantiles(latencies_ms, n=100, method="inclusive")[percent - 1]


def _peak_mb(readings: Sequence[Reading]) -> float:
    return max(each.cost.peak_bytes for each in readings) / 1e6


def _raw(readings: Sequence[Reading]) -> list[dict[str, object]]:
    costs = rounds_of([each.cost for each in readings])
    return [{"read_s": each.read_s, **cost} for each, cost in zip(readings, costs, strict=True)]
