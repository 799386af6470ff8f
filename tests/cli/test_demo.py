"""`mirrord demo` as a process: what it shows, that it fails honestly, what it leaves behind.

That it proves what it says and exits 0 is what `make demo` shows in CI, right after these tests.
"""

import asyncio
import json
import os
import re
import select
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from mirrord.cli.demo_kodo import BUCKET, LocalKodo
from mirrord.cli.demo_log import Attempt
from mirrord.cli.demo_proof import difference, differing_files, lost, mismatched
from mirrord.kodo.auth import FORM, qbox
from mirrord.kodo.entry import encode_entry
from tests.servers import Sandbox, running_origin, running_sandbox

REQID = re.compile(r"200 refreshed +[A-Za-z0-9_-]{16} ")
LINUX = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")


@contextmanager
def demo(temporary: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The demo with all its temporary files below `temporary`, and no stdin."""
    with subprocess.Popen(
        [sys.executable, "-m", "mirrord", "demo", *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"TMPDIR": str(temporary), "CI": "true", "PYTHONIOENCODING": "utf-8"},
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def output_until(process: subprocess.Popen[str], text: str) -> str:
    """What is printed up to the line that has `text` in it."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError(f"{text!r} was not printed:\n{''.join(lines)}")


def children_of(temporary: Path) -> list[int]:
    """The processes that were given `temporary` for their files."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"TMPDIR={temporary}\0".encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:  # ended meanwhile, or not ours
            continue
    return found


def pull(key: str, reqid: str, started: float = 1.0) -> Mapping[str, Any]:
    return {"key": key, "reqid": reqid, "status": 200, "started": started}


def attempt(key: str, reqid: str, ended: float = 2.0) -> Attempt:
    return Attempt(
        key=key, outcome="refreshed", status=200, reqid=reqid, error=None, began=ended, ended=ended, lag_s=0.0
    )


@LINUX
def test_a_bucket_that_does_not_give_its_copy_fails_it_and_the_logs_stay(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        said = output_until(process, "sandbox  http")
        url = said.split("sandbox  ")[1].split()[0]
        fault = {"operation": "download", "key": "css/print.css", "status": 503}
        urllib.request.urlopen(f"{url}/_control/faults", json.dumps(fault).encode()).close()
        output, _ = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "css/print.css: the bucket answers 503" in output
    assert "byte for byte" not in output
    (kept,) = tmp_path.iterdir()
    assert f"The logs are kept in {kept}" in output
    assert sorted(path.name for path in kept.iterdir()) == ["sandbox.log", "service.log"]
    assert children_of(tmp_path) == []


@LINUX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("the tests run under nohup")

    with demo(tmp_path) as process:
        output_until(process, "200 refreshed")
        process.send_signal(number)
        output, _ = process.communicate(timeout=20)

    assert process.returncode == 128 + number
    assert "Traceback" not in output
    assert list(tmp_path.iterdir()) == []
    assert children_of(tmp_path) == []


@LINUX
def test_it_ends_when_nobody_reads_any_more(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        output_until(process, "200 refreshed")
        assert process.stdout is not None
        process.stdout.close()
        process.wait(timeout=20)

    assert process.returncode == 128 + signal.SIGHUP
    assert list(tmp_path.iterdir()) == []
    assert children_of(tmp_path) == []


@LINUX
def test_its_processes_end_when_it_is_killed(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        output_until(process, "200 refreshed")
        children = [os.pidfd_open(child) for child in children_of(tmp_path) if child != process.pid]
        process.kill()
        process.wait()

        for child in children:
            signalled, _, _ = select.select([child], [], [], 10.0)
            os.close(child)
            assert signalled
    assert len(children) >= 3


def prefetch(kodo: Sandbox, key: str) -> None:
    target = f"/prefetch/{encode_entry(BUCKET, key)}"
    headers = {"Authorization": qbox(kodo.credentials, target, b"", FORM), "Content-Type": FORM}
    request = urllib.request.Request(f"{kodo.url}{target}", b"", headers, method="POST")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


async def _differing(url: str, files: Mapping[str, Path]) -> list[str]:
    async with aiohttp.ClientSession() as session:
        return await differing_files(LocalKodo(url, "", session), files)


def test_the_comparison_names_the_keys_that_differ(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    for name in ("same.txt", "a #b?.txt", "longer.txt", "missing.txt"):
        (site / name).write_text("one")
    files = {path.name: path for path in site.iterdir()}

    with running_origin(site) as origin, running_sandbox(tmp_path / "kodo", {BUCKET: origin}) as kodo:
        for name in ("same.txt", "a #b?.txt", "longer.txt"):
            prefetch(kodo, name)
        (site / "a #b?.txt").write_text("two")
        (site / "longer.txt").write_text("one more")
        found = asyncio.run(_differing(kodo.url, files))

    assert sorted(found) == [
        "a #b?.txt: 3 bytes in both, but they differ from byte 0 on",
        "longer.txt: 3 bytes in the bucket, 8 at the origin",
        "missing.txt: the bucket answers 404",
    ]


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (b"abc", None),
        (b"abX", "k: 3 bytes in both, but they differ from byte 2 on"),
        (b"", "k: 0 bytes in the bucket, 3 at the origin"),
        (404, "k: the bucket answers 404"),
    ],
)
def test_equal_means_every_byte(stored: bytes | int, said: str | None) -> None:
    assert difference("k", b"abc", stored) == said


def test_an_x_reqid_of_another_call_is_a_difference() -> None:
    pulls = [pull("a", "r1"), pull("b", "r2")]

    found = mismatched([attempt("a", "r1"), attempt("b", "r1"), attempt("c", "r3")], pulls)

    assert [sentence.partition(":")[0] for sentence in found] == ["b", "c"]


def test_a_call_without_a_line_is_lost_unless_the_kill_explains_it_and_it_was_asked_again() -> None:
    attempts = [attempt("again", "r2", ended=20.0), attempt("late", "r4", ended=20.0)]
    pulls = [pull("again", "r1", 9.0), pull("again", "r2", 19.0), pull("never", "r3", 9.0), pull("late", "r5", 15.0)]

    found = lost(attempts, pulls, restarted_at=10.0)

    assert [sentence.partition(":")[0] for sentence in found] == ["never", "late"]
