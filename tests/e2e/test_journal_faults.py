"""Disks that fill up, turn read-only or are gone, journals that are taken away: said once, waited out or refused."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.place import PATIENCE_S, GatedOrigin, Place, Program

MANY = 150
HOLDING = "the disk that holds the journal"


@dataclass(frozen=True)
class Disk:
    """A small file system of its own."""

    path: Path

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}/journal.db"

    def fill(self) -> None:
        with suppress(OSError), (self.path / "filler").open("ab", buffering=0) as filler:
            while True:
                filler.write(b"x" * 4096)

    def free(self) -> None:
        (self.path / "filler").unlink()

    def turn_read_only(self) -> None:
        """For all files opened from now on; no disk can be made so while some are open for writing."""
        assert _mount("--bind", str(self.path), str(self.path)) is None
        assert _mount("-o", "remount,bind,ro", str(self.path)) is None

    def turn_writable(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.path)], check=True)


def _mount(*arguments: str) -> str | None:
    """Why it could not be done; None when it is done."""
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    return done.stderr.strip() or "failed" if done.returncode else None


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root may mount the small disk that this test fills")
    refusal = _mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", str(path))
    if refusal is not None:
        pytest.skip(f"no disk can be mounted here: {refusal}")
    yield Disk(path)
    while os.path.ismount(path):
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def publish_many(place: Place) -> set[str]:
    """A directory that appears whole: its keys, recorded together, need more room than a closed WAL gives back."""
    keys = {f"many/{number:03}{'x' * 200}.txt" for number in range(MANY)}
    outside = place.root / "many"
    outside.mkdir()
    for key in keys:
        (place.root / key).write_bytes(b"x")
    outside.rename(place.www / "many")
    return keys


def fill_and_publish(place: Place, disk: Disk, service: Program) -> set[str]:
    """Bring `service` to where its left half waits for a full disk; the keys that it waits with."""
    disk.fill()
    keys = publish_many(place)
    service.until_said("journal.unavailable")
    return keys


def test_a_full_disk_is_said_once_and_waited_out(place: Place, disk: Disk) -> None:
    place.configure(journal={"url": disk.url})
    place.write("a.txt", "1")
    service = place.run(confined=("env", "WATCHDOG_USEC=1000000"))
    place.until_equal(service, {"a.txt"})

    keys = fill_and_publish(place, disk, service)
    service.until_notified(f"STATUS=journal unavailable: {disk.path}/journal.db: no space left on {HOLDING}")
    service.until_notified("WATCHDOG=1")
    disk.free()
    service.until_said("journal.recovered")
    place.until_equal(service, keys)
    service.until_said("refresh.attempted", 1 + MANY)
    ended = service.stop()
    status = place.start("status").wait()

    (unavailable,), (recovered,) = ended.said("journal.unavailable"), ended.said("journal.recovered")
    assert (unavailable["level"], recovered["level"]) == ("error", "info")
    assert "no space left" in unavailable["reason"]
    assert "make room" in unavailable["action"]
    assert 0 < recovered["lasted_s"] < PATIENCE_S
    assert (ended.code, status.code) == (0, 0)
    assert {line["key"] for line in ended.said("refresh.attempted", next="done")} == {"a.txt", *keys}


def test_a_disk_that_turns_read_only_is_waited_out_and_no_attempt_is_said_twice(
    gated: Place, gate: GatedOrigin, disk: Disk
) -> None:
    gated.configure(journal={"url": disk.url})
    service = gated.run()
    gate.shut()
    gated.write("a.txt", "1")
    gate.until_asked()

    keys = fill_and_publish(gated, disk, service)
    disk.fill()  # what the journal gave back when its connection was closed
    disk.turn_read_only()
    gate.open()
    service.until_said("refresh.attempted", key="a.txt")
    disk.turn_writable()
    disk.free()
    gated.until_equal(service, {"a.txt", *keys})
    service.until_said("refresh.attempted", 1 + MANY)
    ended = service.stop()

    assert len(ended.said("journal.unavailable")) == len(ended.said("journal.recovered")) == 1
    assert sorted(line["reqid"] for line in ended.said("refresh.attempted")) == sorted(
        call["reqid"] for call in gated.kodo.calls("prefetch")
    )
    assert ended.code == 0


def test_stopped_meanwhile_it_says_what_it_could_not_record_and_asks_again(
    gated: Place, gate: GatedOrigin, disk: Disk
) -> None:
    gated.configure(journal={"url": disk.url}, kodo={"timeouts": {"read": "1s"}})
    service = gated.run()
    gate.shut()
    gated.write("a.txt", "1")
    gate.until_asked()
    keys = fill_and_publish(gated, disk, service)
    disk.fill()  # what the journal gave back when its connection was closed
    disk.turn_read_only()
    gate.open()
    service.until_said("refresh.attempted", key="a.txt")

    ended = service.stop()
    status = gated.start("status", "--json").wait()
    disk.turn_writable()
    disk.free()
    restarted = gated.run()
    gated.until_equal(restarted, keys)
    stopped = restarted.stop()

    assert ended.code == 1
    (sentence,) = (text for text in ended.noise if "journal.db" in text)
    assert "settlements not recorded: 1; their keys" in sentence
    assert "asked for again at the next start" in sentence
    assert len(ended.said("refresh.attempted")) == len(ended.said("journal.unavailable")) == 1
    assert ended.said("journal.recovered") == []
    assert status.json["mirrors"][0]["keys"]["fresh"] == 0
    assert [line["keys"] for line in stopped.said("claims.recovered")] == [1]
    assert stopped.code == 0


def test_a_journal_that_is_replaced_by_garbage_ends_the_service(place: Place) -> None:
    place.write("a.txt")
    service = place.run()
    place.until_equal(service, {"a.txt"})

    garbage = place.root / "garbage"
    garbage.write_bytes(b"This is no journal at all.\n" * 500)
    garbage.rename(place.root / "journal.db")
    ended = service.wait()
    for leftover in place.root.glob("journal.db-*"):
        leftover.unlink()  # a small journal would be brought back from them
    again = place.start("run").wait()

    assert (ended.code, again.code) == (1, 1)
    for each in (ended, again):
        (sentence,) = each.noise
        assert sentence.startswith(f"mirrord: {place.root}/journal.db: ")
        assert "move the file" in sentence
    assert ended.said("journal.unavailable") == []


@pytest.mark.parametrize("command", ["run", "once"])
def test_without_the_journals_directory_nothing_starts(place: Place, command: str) -> None:
    place.configure(journal={"url": f"sqlite:///{place.root}/missing/journal.db"})
    place.write("a.txt")

    ended = place.start(command).wait()

    (sentence,) = ended.noise
    assert ended.code == 1
    assert sentence.startswith(f"mirrord: {place.root}/missing/journal.db: cannot be opened; its directory must exist")
    assert place.kodo.calls() == []
