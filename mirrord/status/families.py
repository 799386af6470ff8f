"""What was counted, how the service stands and what the journal says in, metrics out, each with its name and its help.

docs/metrics.md says what each is good for.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from mirrord.journal.report import MirrorReport
from mirrord.model.coverage import UNKNOWN
from mirrord.model.cursor import FEED
from mirrord.status.meters import Labels, LastScan, Meters, Spread
from mirrord.status.process import usage
from mirrord.status.standing import MirrorStanding, Standing

T = TypeVar("T")

CONDITIONS = ("held", "kodo", "listing", "origin", "paced", "throttled")
"""Shown also while they are not in force."""
BREAKERS = ("kodo", "origin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """What the journal said, and when."""

    reports: Sequence[MirrorReport]
    at: datetime


class Families(Collector):
    """All metrics, of one moment. Mirrors that a reload has taken away have none."""

    def __init__(
        self, meters: Meters, standing: Standing, reported: Reported | None, now: datetime, *, available: bool
    ) -> None:
        self._counts = meters.counted()
        self._standing = standing
        self._reported = reported
        self._now = now
        self._available = available and standing.trouble is None
        self._mirrors = {each.mirror for each in standing.mirrors}

    def collect(self) -> Iterator[Metric]:
        yield from self._of_attempts()
        yield from self._of_scans()
        yield from self._of_the_log_and_the_journal()
        yield from self._of_the_service()
        yield from self._of_calls()
        yield from self._of_sources()
        if self._reported is not None:
            yield from self._of_keys(self._reported)
        yield from _of_the_process(self._standing)

    def _of_attempts(self) -> Iterator[Metric]:
        counts = self._counts
        labels = ("mirror", "operation", "status", "outcome")
        attempts = self._known(counts.attempts.items())
        yield _counter(
            "mirrord_attempts_total", "Calls that ask Kodo to change something, when ended.", labels, attempts
        )
        yield _histogram(
            "mirrord_attempt_duration_seconds",
            "How long those calls took.",
            ("mirror", "operation"),
            self._known(counts.durations.items()),
        )
        yield _histogram(
            "mirrord_refresh_lag_seconds",
            "From the detection of a change until the bucket had it.",
            ("mirror",),
            self._known(counts.lags.items()),
        )

    def _of_scans(self) -> Iterator[Metric]:
        counts, one = self._counts, ("mirror",)
        last = [((mirror,), scan) for mirror, scan in counts.last_scans.items() if mirror in self._mirrors]

        def of_last(name: str, text: str, value: Callable[[LastScan], float]) -> Metric:
            return _gauge(name, text, one, ((labels, value(scan)) for labels, scan in last))

        yield _counter("mirrord_scans_total", "Looks at everything.", one, self._known(counts.scans.items()))
        yield _counter(
            "mirrord_scan_differences_total",
            "What those found that the journal did not have.",
            ("mirror", "kind"),
            self._known(counts.differences.items()),
        )
        yield of_last("mirrord_last_scan_files", "How many files the last one saw.", lambda scan: scan.files)
        yield of_last("mirrord_last_scan_duration_seconds", "How long it took.", lambda scan: scan.duration_s)
        yield of_last("mirrord_last_scan_timestamp_seconds", "When it ended.", lambda scan: scan.ended_at.timestamp())

    def _of_the_log_and_the_journal(self) -> Iterator[Metric]:
        counts = self._counts
        yield _counter("mirrord_events_total", "Lines of the log.", ("event", "level"), counts.events.items())
        yield _counter("mirrord_log_lines_lost_total", "Lines that nobody took.", (), [((), counts.lines_lost)])
        yield _histogram(
            "mirrord_journal_commit_seconds", "How long it took to make rows durable.", (), [((), counts.commits)]
        )
        yield _gauge("mirrord_journal_available", "Whether the journal can be used.", (), [((), self._available)])

    def _of_the_service(self) -> Iterator[Metric]:
        standing = self._standing
        yield _gauge("mirrord_build_info", "The version that runs.", ("version",), [((standing.version,), 1)])
        yield _gauge("mirrord_ready", "Whether every source listens or has said why not.", (), [((), standing.ready)])
        yield _gauge("mirrord_stopping", "Whether the service is about to end.", (), [((), standing.stopping)])
        yield _counter("mirrord_reloads_total", "Settings taken anew.", (), [((), standing.generation - 1)])

    def _of_calls(self) -> Iterator[Metric]:
        def each(name: str, text: str, value: Callable[[MirrorStanding], float]) -> Metric:
            return self._of_each(name, text, value)

        yield each("mirrord_calls_in_flight", "Calls that wait for their answer.", lambda it: it.in_flight)
        yield each("mirrord_calls_allowed", "How many may be in flight now.", lambda it: it.allowed)
        yield each("mirrord_mirror_held", "Whether Kodo refuses the account or the bucket.", lambda it: it.held)
        stuck = self._standing.stuck
        yield each("mirrord_mirror_stuck", "Whether it takes no turns.", lambda it: it.mirror in stuck)
        yield _gauge(
            "mirrord_breaker_open",
            "Whether calls wait until the cause is well again.",
            ("mirror", "cause"),
            self._in_force(BREAKERS, others=False),
        )
        yield _gauge(
            "mirrord_conditions",
            "Whether this keeps the mirror from calling, or slows it down.",
            ("mirror", "name"),
            self._in_force(CONDITIONS, others=True),
        )

    def _of_sources(self) -> Iterator[Metric]:
        each = self._of_each
        yield each(
            "mirrord_source_listening", "Whether its source listens or has said why not.", lambda it: it.listening
        )
        yield each("mirrord_complete", "Whether everything the origin has is known.", _is_complete)
        yield each(
            "mirrord_completeness_unknown",
            "Whether its source cannot tell if something was missed.",
            lambda it: (it.coverage.lost_reason or "").startswith(UNKNOWN),
        )
        yield _gauge(
            "mirrord_complete_as_of_timestamp_seconds",
            "When everything was last known.",
            ("mirror",),
            (
                ((it.mirror,), it.coverage.complete_as_of.timestamp())
                for it in self._standing.mirrors
                if it.coverage.complete_as_of is not None
            ),
        )

    def _of_keys(self, reported: Reported) -> Iterator[Metric]:
        reports = [each for each in reported.reports if each.mirror in self._mirrors]
        keys = [((each.mirror, state.value), count) for each in reports for state, count in each.keys.items()]
        keys += [((each.mirror, "kept"), each.kept) for each in reports]
        yield _gauge("mirrord_keys", "Keys by state.", ("mirror", "state"), keys)
        yield _gauge(
            "mirrord_oldest_stale_seconds",
            "For how long the oldest key that is not fresh has not been.",
            ("mirror",),
            (((each.mirror,), self._age(each.oldest_stale_since)) for each in reports),
        )
        yield from self._of_feeds(reports)
        yield from self._of_cdns(reports)
        yield _gauge(
            "mirrord_journal_report_age_seconds",
            "How old what is said here of keys and feeds is.",
            (),
            [((), self._age(reported.at))],
        )

    def _of_feeds(self, reports: Iterable[MirrorReport]) -> Iterator[Metric]:
        followed = {(each.mirror, each.feed) for each in self._standing.mirrors}
        of = [
            ((each.mirror, cursor.source.removeprefix(FEED)), cursor)
            for each in reports
            for cursor in each.sources
            if (each.mirror, cursor.source) in followed  # those of earlier stay in the journal, and move no more
        ]
        names = ("mirror", "source")
        yield _gauge(
            "mirrord_feed_lag_seconds",
            "How old the newest event is that was read, by the feed's clock.",
            names,
            ((labels, self._age(cursor.event_at)) for labels, cursor in of if cursor.event_at is not None),
        )
        yield _gauge(
            "mirrord_feed_read_timestamp_seconds",
            "When something new was last read.",
            names,
            ((labels, cursor.moved_at.timestamp()) for labels, cursor in of),
        )

    def _of_cdns(self, reports: Iterable[MirrorReport]) -> Iterator[Metric]:
        left = (((it.mirror,), it.cdn_surplus) for it in self._standing.mirrors)
        one = ("mirror",)
        yield _gauge(
            "mirrord_cdn_keys_waiting",
            "Keys that the CDN is still to be told of.",
            one,
            (((each.mirror,), each.untold) for each in reports),
        )
        yield _gauge(
            "mirrord_cdn_oldest_waiting_seconds",
            "For how long the first of them has waited.",
            one,
            (((each.mirror,), self._age(each.untold_since)) for each in reports),
        )
        yield _gauge(
            "mirrord_cdn_quota_left",
            "URLs that the CDN takes today, as it last said.",
            one,
            ((labels, count) for labels, count in left if count is not None),
        )

    def _of_each(self, name: str, text: str, value: Callable[[MirrorStanding], float]) -> Metric:
        return _gauge(name, text, ("mirror",), (((each.mirror,), value(each)) for each in self._standing.mirrors))

    def _in_force(self, names: Sequence[str], *, others: bool) -> Iterator[tuple[Labels, float]]:
        for each in self._standing.mirrors:
            found = {condition.name for condition in each.conditions}
            for name in sorted(found.union(names) if others else names):
                yield (each.mirror, name), name in found

    def _known(self, values: Iterable[tuple[Labels, T]]) -> Iterator[tuple[Labels, T]]:
        return ((labels, value) for labels, value in values if labels[0] in self._mirrors)

    def _age(self, since: datetime | None) -> float:
        return 0.0 if since is None else max(0.0, (self._now - since).total_seconds())


def _is_complete(standing: MirrorStanding) -> bool:
    return standing.coverage.complete_as_of is not None and standing.coverage.lost_since is None


def _of_the_process(standing: Standing) -> Iterator[Metric]:
    """Under the names that Prometheus gives them in every program."""
    started = standing.since.timestamp()  # by /proc it would need /proc/stat, which the unit hides
    yield _gauge("process_start_time_seconds", "When the service started.", (), [((), started)])
    now = usage()
    if now is None:
        return
    yield _counter("process_cpu_seconds_total", "User and system time.", (), [((), now.cpu_s)])
    yield _gauge("process_resident_memory_bytes", "Memory in use.", (), [((), now.resident_bytes)])
    yield _gauge("process_virtual_memory_bytes", "Address space in use.", (), [((), now.virtual_bytes)])
    yield _gauge("process_open_fds", "File descriptors in use.", (), [((), now.open_fds)])
    yield _gauge("process_max_fds", "How many there may be.", (), [((), now.max_fds)])
    yield _gauge("process_threads", "Threads.", (), [((), now.threads)])


def _gauge(name: str, text: str, labels: Labels, values: Iterable[tuple[Labels, float]]) -> GaugeMetricFamily:
    return _filled(GaugeMetricFamily(name, text, labels=labels), values)


def _counter(name: str, text: str, labels: Labels, values: Iterable[tuple[Labels, float]]) -> CounterMetricFamily:
    return _filled(CounterMetricFamily(name, text, labels=labels), values)


def _histogram(name: str, text: str, labels: Labels, values: Iterable[tuple[Labels, Spread]]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=labels)
    for given, spread in values:
        bounds = (*map(floatToGoString, spread.bounds), "+Inf")
        family.add_metric(given, list(zip(bounds, accumulate(spread.counts), strict=True)), spread.sum)
    return family


Family = TypeVar("Family", CounterMetricFamily, GaugeMetricFamily)


def _filled(family: Family, values: Iterable[tuple[Labels, float]]) -> Family:
    for labels, value in values:
        # half a character, as an environment may hold it, is nothing that can be sent
        family.add_metric([each.encode("utf-8", "backslashreplace").decode() for each in labels], float(value))
    return family
