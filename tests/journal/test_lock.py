"""One service a journal: a second is refused, a dead one is not in the way."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mirrord.journal.errors import JournalUnavailable
from mirrord.journal.lock import ServiceLock
from tests.journal.conftest import OpenLedger

HOLD = """
import sys
from pathlib import Path
from mirrord.journal.lock import ServiceLock
lock = ServiceLock(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
sys.stdin.readline()
"""


def test_a_second_holder_is_refused_until_the_first_lets_go(file: Path) -> None:
    first, second = ServiceLock(file), ServiceLock(file)

    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    second.release()


def test_who_holds_it_already_still_does(file: Path) -> None:
    lock, other = ServiceLock(file), ServiceLock(file)

    assert lock.acquire()
    assert lock.acquire()
    lock.release()

    assert other.acquire()
    other.release()


def test_kill_9_frees_it(file: Path) -> None:
    lock = ServiceLock(file)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        held = process.stdout.readline()
        meanwhile = lock.acquire()
        process.kill()

    assert held == "True\n"
    assert not meanwhile
    assert process.returncode == -signal.SIGKILL
    assert lock.acquire()
    lock.release()


def test_asking_who_holds_it_takes_nothing(file: Path) -> None:
    lock, asking = ServiceLock(file), ServiceLock(file)

    before = asking.is_held()
    made = file.with_name("journal.db.lock").exists()
    lock.acquire()
    meanwhile = (asking.is_held(), lock.is_held())
    lock.release()

    assert (before, made) == (False, False)
    assert meanwhile == (True, True)
    assert asking.is_held() is False
    assert lock.acquire()
    lock.release()


def test_asking_is_never_in_the_way_of_one_that_wants_it(file: Path) -> None:
    lock, asking, over = ServiceLock(file), ServiceLock(file), threading.Event()
    lock.acquire()
    lock.release()

    def ask() -> None:
        while not over.is_set():
            asking.is_held()

    thread = threading.Thread(target=ask)
    thread.start()
    taken = []
    for _ in range(2000):
        taken.append(lock.acquire())
        lock.release()
    over.set()
    thread.join()

    assert all(taken)


def test_the_dead_hold_nothing(file: Path) -> None:
    lock = ServiceLock(file)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        meanwhile = lock.is_held()
        process.kill()

    assert meanwhile is True
    assert lock.is_held() is False


def test_letting_go_of_what_is_not_held_is_nothing(file: Path) -> None:
    ServiceLock(file).release()


def test_the_file_stays_and_is_nobody_elses_business(file: Path) -> None:
    lock = ServiceLock(file)
    lock.acquire()
    lock.release()

    left = file.with_name("journal.db.lock")
    assert left.stat().st_mode & 0o777 == 0o600


def test_a_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalUnavailable, match=r"missing/journal\.db\.lock"):
        ServiceLock(tmp_path / "missing" / "journal.db").acquire()


def test_one_journal_has_one_service(open_ledger: OpenLedger) -> None:
    one, other = open_ledger(), open_ledger()

    assert one.journal.become_service()
    assert not other.journal.become_service()
    one.close()
    assert other.journal.become_service()
