"""Fewer watches than directories, more changes than the kernel queues, kill after kill: all of it is mirrored."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.place import Place, keys_below

DIRECTORIES = 500
WATCHES = 50
WITH_FEW_WATCHES = (
    *("unshare", "--user", "--map-root-user", "sh", "-c"),
    # the limit of the namespace, so that nobody else's watches count or suffer
    f'echo {WATCHES} > /proc/sys/user/max_inotify_watches && exec "$0" "$@"',
)


def test_what_cannot_be_watched_is_found_by_scans(place: Place) -> None:
    if subprocess.run([*WITH_FEW_WATCHES, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no user namespace can be had to set a watch limit in")
    for n in range(DIRECTORIES):
        place.write(f"d{n:03}/old.txt")
    place.configure({"source": {"rescan_limited_every": "1s"}})
    service = place.run(confined=WITH_FEW_WATCHES)
    keys = keys_below(place.www, place.www)
    place.until_equal(service, keys)

    for n in range(DIRECTORIES):
        place.write(f"d{n:03}/new.txt", f"new {n}")
    place.until_equal(service, keys_below(place.www, place.www))
    stopped = service.stop()

    (limited,) = stopped.said("source.limited")
    assert "fs.inotify.max_user_watches" in limited["reason"]
    assert limited["watched"] <= WATCHES
    assert limited["watched"] + limited["missing"] == DIRECTORIES + 1
    assert "fs.inotify.max_user_watches" in stopped.said("coverage.lost")[0]["reason"]
    assert stopped.said("coverage.restored")


def test_an_overflow_is_a_gap_that_a_scan_closes(place: Place) -> None:
    queued = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if queued > 50_000:
        pytest.skip(f"fs.inotify.max_queued_events is {queued}: it would take too long to overflow")
    place.write("old.txt")
    service = place.run()
    place.until_equal(service, {"old.txt"})

    service.send(signal.SIGSTOP)  # nobody reads the queue, and it overflows
    script = "import os, sys\nfor n in range(int(sys.argv[1])): os.mknod(f'.x.{n:06}'); os.unlink(f'.x.{n:06}')"
    subprocess.run([sys.executable, "-c", script, str(queued)], cwd=place.www, check=True)
    for n in range(20):
        place.write(f"hidden/{n}.txt", os.urandom(10))
    service.send(signal.SIGCONT)
    service.until_said("coverage.restored")
    place.until_equal(service, keys_below(place.www, place.www))
    stopped = service.stop()

    assert "fs.inotify.max_queued_events" in stopped.said("source.overflowed")[0]["reason"]
    assert "fs.inotify.max_queued_events" in stopped.said("coverage.lost")[0]["reason"]
    assert all(not line["key"].startswith(".x.") for line in stopped.said("refresh.attempted"))


def test_killed_fifteen_times_in_a_row_it_ends_equal_and_never_pulls_a_key_twice_at_once(place: Place) -> None:
    place.kodo.fail(operation="prefetch", delay_s=0.1, times=600)
    place.configure({"pace": {"concurrency": 16}})
    for life in range(15):
        service = place.run()
        for n in range(40):
            place.write(f"{n % 7}/{(life * 11 + n) % 60}.txt", os.urandom(200))
        service.until_said("refresh.attempted", 1 + life % 5)
        service.send(signal.SIGKILL)
        service.wait()
    keys = keys_below(place.www, place.www)

    last = place.run()
    place.until_equal(last, keys)
    stopped = last.stop()
    finished = place.once()

    assert (stopped.code, finished.code) == (0, 0)
    assert {key: most for key, most in place.kodo.max_overlap("docs").items() if most > 1} == {}
