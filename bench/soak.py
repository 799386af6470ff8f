"""Ten minutes of fifty changes a second: whether memory and descriptors of the real program stay flat.

The whole of it is real: files that are overwritten, made, renamed and deleted, the service with its page, a
Prometheus that scrapes it and somebody who looks at the page, a sandbox that pulls from an HTTP origin and is asked
for every object by stat. `MIRRORD_SOAK_MINUTES` makes it shorter.
"""

import json
import os
import random
import socket
import statistics
import tempfile
import time
import tomllib
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.process import BenchFailed, module, running
from bench.report import Report, Target

BUCKET = "bench-bucket"
PER_SECOND = 50
MINUTES = float(os.environ.get("MIRRORD_SOAK_MINUTES", "10"))
FILES, NAMES = 2000, 2500
"""Files that are there at least, and names that files have; hashes of files are kept by name."""
LOOKED_EVERY_S = 5.0
WARM_PART = 0.2
"""Of the time, at its beginning: caches fill, and nothing is said of memory yet."""
GROWTH_MOST_MIB = 5.0
DESCRIPTORS_MOST = 3.0
FRESH_WITHIN_S = 10.0
_MIB = 2**20


@dataclass(slots=True)
class Sample:
    """The service at one moment."""

    at_s: float
    rss: int
    descriptors: int
    scrape_ms: float
    page_ms: float


@dataclass(slots=True)
class Tree:
    """An origin that somebody works at; names come again, as they do anywhere."""

    root: Path
    chance: random.Random
    names: list[str] = field(default_factory=list)
    free: list[str] = field(default_factory=lambda: [f"{n % 50}/{n}.bin" for n in range(NAMES)])

    def change(self) -> None:
        """One change: mostly an overwrite; one of ten each is a new name, another name, the end of one."""
        kind = self.chance.random()
        if len(self.names) < FILES or (kind < 0.1 and self.free):
            name = self._taken(self.free)
            (self.root / name).parent.mkdir(exist_ok=True)
            self._write(name)
            self.names.append(name)
        elif kind < 0.2 and self.free:
            before, after = self._taken(self.names), self._taken(self.free)
            (self.root / after).parent.mkdir(exist_ok=True)
            (self.root / before).rename(self.root / after)
            self.names.append(after)
            self.free.append(before)
        elif kind < 0.3:
            self.free.append(self._taken(self.names))
            (self.root / self.free[-1]).unlink()
        else:
            self._write(self.chance.choice(self.names))

    def _taken(self, names: list[str]) -> str:
        """One of them, which is no longer among them."""
        place = self.chance.randrange(len(names))
        names[place], names[-1] = names[-1], names[place]
        return names.pop()

    def _write(self, name: str) -> None:
        (self.root / name).write_bytes(self.chance.randbytes(self.chance.randrange(200, 4000)))


def run() -> Report:
    with tempfile.TemporaryDirectory(prefix="mirrord-bench-") as directory:
        work = Path(directory)
        tree = Tree(work / "tree", random.Random(20261120))
        tree.root.mkdir()
        for _ in range(FILES):
            tree.change()
        with _kodo(work, tree.root) as hosts:
            port, log = _free_port(), work / "log"
            config = _write_config(work, hosts, port)
            with running(module("mirrord", "run", "-c", str(config)), stderr=log) as service:
                _until_fresh(port, service.pid)
                samples = list(_worked(tree, service.pid, port))
                late_s = _until_fresh(port, service.pid)
            wanting = [line for line in log.read_text().splitlines() if '"level":"error"' in line]
        return _report(samples, late_s, wanting)


def _worked(tree: Tree, pid: int, port: int) -> Iterator[Sample]:
    """Change the tree for as long as it takes; what the service is like meanwhile."""
    began = time.monotonic()
    look_at = began
    for number in range(int(MINUTES * 60 * PER_SECOND)):
        time.sleep(max(0.0, began + number / PER_SECOND - time.monotonic()))
        tree.change()
        if time.monotonic() >= look_at:
            look_at += LOOKED_EVERY_S
            yield _sample(pid, port, time.monotonic() - began)


def _sample(pid: int, port: int, at_s: float) -> Sample:
    scrape_ms = _timed(port, "/metrics")
    page_ms = _timed(port, "/")
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Sample(
        at_s=at_s,
        rss=pages * os.sysconf("SC_PAGE_SIZE"),
        descriptors=len(os.listdir(f"/proc/{pid}/fd")),
        scrape_ms=scrape_ms,
        page_ms=page_ms,
    )


def _timed(port: int, path: str) -> float:
    began = time.perf_counter()
    _get(port, path)
    return 1000 * (time.perf_counter() - began)


def _get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        text: str = answer.read().decode()
        return text


def _scrape(port: int) -> str:
    return _get(port, "/metrics")


def _metric(text: str, name: str, *labels: str) -> float:
    """The sum of the series that have these labels."""
    lines = (line for line in text.splitlines() if line.startswith((f"{name}{{", f"{name} ")))
    return sum(float(line.rpartition(" ")[2]) for line in lines if all(label in line for label in labels))


def _until_fresh(port: int, pid: int) -> float:
    """Seconds until nothing is stale and the mirror is complete. Raises BenchFailed."""
    began = time.monotonic()
    while time.monotonic() - began < 120:
        if not Path(f"/proc/{pid}").exists():
            raise BenchFailed("the service has ended")
        try:
            text = _scrape(port)
        except OSError:  # it has not begun to listen
            text = ""
        states = ("stale", "claimed", "parked")
        left = sum(_metric(text, "mirrord_keys", f'state="{state}"') for state in states)
        if _metric(text, "mirrord_complete") and not left and _metric(text, "mirrord_keys", 'state="fresh"'):
            return time.monotonic() - began
        time.sleep(0.1)
    raise BenchFailed("keys were still not fresh two minutes later")


@contextmanager
def _kodo(work: Path, tree: Path) -> Iterator[dict[str, str]]:
    """An HTTP origin of the tree, and a sandbox that pulls from it; where the latter is."""
    port = _free_port()
    origin = module("http.server", str(port), "--bind", "127.0.0.1", "--directory", str(tree))
    listen = ("--listen", "127.0.0.1:0", "--root", str(work / "kodo"))
    keys = ("--access-key", "bench-access-key", "--secret-key", "bench-secret-key")
    sandbox = module("mirrord", "sandbox", *listen, *keys, "--origin", f"{BUCKET}=http://127.0.0.1:{port}/")
    with running(origin, stderr=work / "origin.log"), running(sandbox, stderr=work / "sandbox.log") as process:
        assert process.stdout is not None
        lines = list(iter(process.stdout.readline, "\n"))  # [kodo]
        lines += ["\n", *iter(process.stdout.readline, "\n")]  # [kodo.hosts]
        yield tomllib.loads("".join(lines))["kodo"]["hosts"]


def _write_config(work: Path, hosts: dict[str, str], port: int) -> Path:
    file = work / "config.toml"
    pinned = "\n".join(f"{name} = {json.dumps(url)}" for name, url in hosts.items())
    file.write_text(f"""\
[kodo]
access_key = "bench-access-key"
secret_key = "bench-secret-key"
[kodo.hosts]
{pinned}
[journal]
url = {json.dumps(f"sqlite:///{work}/journal.db")}
[log]
format = "json"
[status]
listen = "127.0.0.1:{port}"
[[mirror]]
name = "soak"
bucket = "{BUCKET}"
on_removed = "delete"
removal_limit = {{ count = 100000, fraction = 1 }}
[mirror.source]
kind = "directory"
path = {json.dumps(str(work / "tree"))}
settle = "100ms"
rescan_every = "1m"
""")
    file.chmod(0o600)
    return file


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _report(samples: Sequence[Sample], late_s: float, wanting: Sequence[str]) -> Report:
    warm = [each for each in samples if each.at_s >= WARM_PART * MINUTES * 60]
    third = max(1, len(warm) // 3)
    first, last = warm[:third], warm[-third:]
    growth = _median_mib(last) - _median_mib(first)
    descriptors = statistics.median(e.descriptors for e in last) - statistics.median(e.descriptors for e in first)
    rows = [_row(each) for each in (samples[0], *warm[:: max(1, len(warm) // 10)], samples[-1])]
    return Report(
        name="soak",
        about=f"{MINUTES:g} minutes of {PER_SECOND} changes a second, {len(samples)} looks at the service",
        columns=["after", "RSS MiB", "descriptors", "scrape ms", "page ms"],
        rows=rows,
        targets=[
            Target(what="memory, last third over first", value=growth, bound=GROWTH_MOST_MIB, unit="MiB"),
            Target(what="descriptors, last third over first", value=descriptors, bound=DESCRIPTORS_MOST, unit="more"),
            Target(what="all fresh after the last change", value=late_s, bound=FRESH_WITHIN_S, unit="s"),
            Target(what="lines that want a person", value=len(wanting), bound=0, unit="lines"),
        ],
        notes=[
            f"at most {max(each.rss for each in samples) / _MIB:.1f} MiB",
            f"at most {max(each.descriptors for each in samples)} descriptors",
            f"slowest scrape {max(each.scrape_ms for each in samples):.0f} ms",
            f"slowest page {max(each.page_ms for each in samples):.0f} ms",
            *(f"wants a person: {line[:300]}" for line in wanting[:3]),
        ],
        measured={"samples": [[each.at_s, each.rss, each.descriptors, each.scrape_ms] for each in samples]},
    )


def _row(sample: Sample) -> list[str]:
    times = (f"{sample.scrape_ms:.0f}", f"{sample.page_ms:.0f}")
    return [f"{sample.at_s:.0f} s", f"{sample.rss / _MIB:.1f}", str(sample.descriptors), *times]


def _median_mib(samples: Sequence[Sample]) -> float:
    return statistics.median(each.rss for each in samples) / _MIB
