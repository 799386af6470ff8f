"""/metrics, /healthz and /readyz of the real service: what they say is what has happened, while it happens."""

import json
import os
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as plain_families

from mirrord.model.row import State
from tests.e2e.place import Place, Program
from tests.status.exposed import promtool

OPEN = "application/openmetrics-text; version=1.0.0"
PLAIN = "text/plain"
MANY = 300
REFRESHED = {"mirror": "docs", "operation": "prefetch", "status": "200", "outcome": "refreshed"}

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def served(place: Place, *mirrors: Mapping[str, Any], **sections: Mapping[str, Any]) -> str:
    """Configure the mirrors and that the service shows itself: where."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    place.configure(*mirrors, status={"listen": address}, **sections)
    return f"http://{address}"


def asked(url: str, accept: str = PLAIN) -> httpx.Response:
    return httpx.get(url, headers={"Accept": accept}, timeout=30, trust_env=False)


def scraped(url: str, accept: str = PLAIN) -> Samples:
    """Everything of one answer, which has to be whole."""
    answer = asked(f"{url}/metrics", accept)
    assert answer.status_code == 200
    read = open_families if accept == OPEN else plain_families
    families = list(read(answer.text))  # of the open kind it refuses what has no end
    assert answer.text.endswith("\n")
    return {(each.name, frozenset(each.labels.items())): each.value for of in families for each in of.samples}


def value(samples: Samples, metric: str, **labels: str) -> float | None:
    """None: there is no such sample."""
    return samples.get((metric, frozenset(labels.items())))


def by_outcome(samples: Samples) -> Counter[str]:
    counts = Counter[str]()
    for (name, labels), count in samples.items():
        if name == "mirrord_attempts_total":
            counts[dict(labels)["outcome"]] += int(count)
    return counts


def mirrors_in(samples: Samples) -> set[str]:
    return {label for _, labels in samples for name, label in labels if name == "mirror"}


def until_shown(program: Program, url: str, metric: str, wanted: float, **labels: str) -> Samples:
    """Scrape until the metric has the value: that scrape. Of keys a report may be 2 s old."""
    last: list[Samples] = []

    def is_shown() -> bool:
        last[:] = [scraped(url)]
        return value(last[0], metric, **labels) == wanted

    program.until(is_shown, (metric, wanted))
    return last[0]


def until_answered(program: Program, url: str, status: int) -> str:
    """Ask until it is answered so: the text."""
    program.until(lambda: asked(url).status_code == status, (url, status))
    return asked(url).text


@contextmanager
def scraping(url: str, accepts: Sequence[str]) -> Iterator[list[list[Samples]]]:
    """Ask again and again beside what goes on in the block, once for each of `accepts`: what each of them got."""
    over, found, failed = threading.Event(), [list[Samples]() for _ in accepts], list[BaseException]()

    def scrape(accept: str, into: list[Samples]) -> None:
        try:
            while not over.is_set():
                into.append(scraped(url, accept))
        except BaseException as exc:  # noqa: BLE001 - to raise it where the test can see it
            failed.append(exc)

    threads = [threading.Thread(target=scrape, args=each) for each in zip(accepts, found, strict=True)]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        over.set()
        for thread in threads:
            thread.join()
    if failed:
        raise failed[0]


def test_what_is_scraped_under_load_is_whole_and_never_goes_back(place: Place) -> None:
    url = served(place)
    keys = [f"{n % 10}/{n}.txt" for n in range(MANY)]
    service = place.run()

    with scraping(url, [PLAIN, OPEN]) as found:
        for key in keys:
            place.write(key, key)
        service.until_said("refresh.attempted", MANY, outcome="refreshed")
        service.until(lambda: place.report().keys[State.FRESH] == MANY, "settled")
    last = until_shown(service, url, "mirrord_keys", MANY, mirror="docs", state="fresh")

    for of_one in found:
        assert len(of_one) > 5
        for before, after in pairwise(of_one):
            assert {name: count for name, count in counters(before).items() if after.get(name, 0.0) < count} == {}
    lines = service.said("refresh.attempted")
    assert by_outcome(last) == Counter(line["outcome"] for line in lines)
    assert value(last, "mirrord_refresh_lag_seconds_count", mirror="docs") == len(lines)
    assert value(last, "mirrord_refresh_lag_seconds_sum", mirror="docs") == pytest.approx(
        sum(line["lag_s"] for line in lines)
    )
    assert value(last, "mirrord_complete", mirror="docs") == 1
    assert value(last, "mirrord_keys", mirror="docs", state="stale") == 0


def counters(samples: Samples) -> Samples:
    """What only ever grows."""
    return {name: each for name, each in samples.items() if re.search("_(total|count|sum|bucket)$", name[0])}


def test_promtool_objects_to_nothing(place: Place) -> None:
    url = served(place, {"retry": {"max_attempts": 1}})
    place.kodo.fail(operation="prefetch", key="bad.txt", status=404)
    place.write("good.txt")
    place.write("bad.txt")
    service = place.run()
    service.until_said("refresh.attempted", 2)

    text = asked(f"{url}/metrics").content

    assert promtool("check", "metrics", given=text) == ""


def test_an_account_that_is_refused_is_shown(place: Place) -> None:
    url = served(place)
    place.kodo.fail(operation="prefetch", status=401)
    service = place.run()
    before = scraped(url)
    place.write("a.txt")
    service.until_said("refresh.attempted", next="hold")

    after = until_shown(service, url, "mirrord_mirror_held", 1, mirror="docs")

    errors = [line for line in service.lines if line["level"] == "error"]
    assert value(before, "mirrord_mirror_held", mirror="docs") == 0
    assert value(after, "mirrord_conditions", mirror="docs", name="held") == 1
    assert errors
    for event, count in Counter(line["event"] for line in errors).items():
        assert value(after, "mirrord_events_total", event=event, level="error") == count
    assert asked(f"{url}/healthz").status_code == 200  # a restart would heal nothing


def test_ready_is_who_sees_the_origin(place: Place) -> None:
    url = served(place, {"source": {"path": str(place.root / "late")}})
    service = place.run()

    before = asked(f"{url}/readyz")
    (place.root / "late").mkdir()
    until_answered(service, f"{url}/readyz", 200)
    shown = scraped(url)
    (place.root / "late").rename(place.root / "gone")
    lost = until_answered(service, f"{url}/readyz", 503)

    assert (before.status_code, before.text) == (503, "docs: its source cannot be seen whole\n")
    assert value(shown, "mirrord_complete", mirror="docs") == 1
    assert lost == before.text
    assert value(scraped(url), "mirrord_complete", mirror="docs") == 0
    assert (asked(f"{url}/healthz").status_code, asked(f"{url}/healthz").text) == (200, "ok\n")


def test_a_reload_takes_the_metrics_of_a_mirror_away_and_brings_those_of_another(place: Place) -> None:
    tree = place.root / "pages"
    tree.mkdir()
    pages = {"name": "pages", "bucket": "pages", "source": {"kind": "directory", "path": str(tree)}}
    url = served(place)
    status = {"listen": url.removeprefix("http://")}
    place.write("a.txt")
    service = place.run()
    service.until_said("refresh.attempted")
    first = scraped(url)

    place.configure({}, pages, status=status)
    assert place.start("reload").wait().code == 0
    both = scraped(url)
    place.configure(pages, status=status)
    assert place.start("reload").wait().code == 0
    other = scraped(url)
    place.configure({}, status=status)
    assert place.start("reload").wait().code == 0
    again = scraped(url)

    shown = (first, both, other, again)
    assert [mirrors_in(each) for each in shown] == [{"docs"}, {"docs", "pages"}, {"pages"}, {"docs"}]
    assert [value(each, "mirrord_reloads_total") for each in shown] == [0, 1, 2, 3]
    assert value(again, "mirrord_attempts_total", **REFRESHED) == 1  # as if it had never been away


def test_what_is_not_put_out_is_counted_all_the_same(place: Place) -> None:
    url = served(place, log={"level": "error"})
    service = place.start("run")
    service.until_notified("READY=1")
    for n in range(3):
        place.write(f"{n}.txt")

    last = until_shown(service, url, "mirrord_attempts_total", 3, **REFRESHED)

    assert service.lines == []
    assert by_outcome(last) == {"refreshed": 3}
    assert value(last, "mirrord_events_total", event="refresh.attempted", level="info") == 3
    assert value(last, "mirrord_events_total", event="service.started", level="info") == 1


def test_the_process_is_shown_as_the_kernel_sees_it(place: Place) -> None:
    url = served(place)
    place.run()
    pid = json.loads((place.root / "journal.db-answer.json").read_text())["pid"]
    scraped(url)  # what is loaded for the first answer is there

    before = of_process(pid)
    shown = scraped(url)
    after = of_process(pid)

    tick = 1 / os.sysconf("SC_CLK_TCK")
    assert before["cpu_s"] - tick <= (value(shown, "process_cpu_seconds_total") or 0) <= after["cpu_s"] + tick
    for name, least in (("resident_memory_bytes", 0.8), ("virtual_memory_bytes", 0.8), ("threads", 0.7)):
        assert least <= (value(shown, f"process_{name}") or 0) / after[name] <= 1 / least, name
    assert abs((value(shown, "process_open_fds") or 0) - after["open_fds"]) <= 3  # our own connection is one
    assert value(shown, "process_max_fds") == after["max_fds"]
    assert abs((value(shown, "process_start_time_seconds") or 0) - started_at(pid)) < 5


def of_process(pid: int) -> dict[str, float]:
    """By proc(5)."""
    here = Path(f"/proc/{pid}")
    status = dict(re.findall(r"^(\w+):\s+(\d+)", (here / "status").read_text(), re.MULTILINE))
    fields = (here / "stat").read_text().rpartition(")")[2].split()
    most = re.search(r"^Max open files\s+(\d+)", (here / "limits").read_text(), re.MULTILINE)
    assert most is not None
    return {
        "cpu_s": (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"),
        "resident_memory_bytes": int(status["VmRSS"]) * 1024,
        "virtual_memory_bytes": int(status["VmSize"]) * 1024,
        "threads": int(status["Threads"]),
        "open_fds": len(os.listdir(here / "fd")),
        "max_fds": int(most[1]),
    }


def started_at(pid: int) -> float:
    """Seconds since 1970."""
    since_boot = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    booted = re.search(r"^btime (\d+)", Path("/proc/stat").read_text(), re.MULTILINE)
    assert booted is not None
    return int(booted[1]) + since_boot / os.sysconf("SC_CLK_TCK")
