"""The notify protocol and the journal's, spoken to real datagram sockets."""

import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from mirrord.systemd import Journal, Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket that listens as PID 1 does, and the NOTIFY_SOCKET that names it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@mirrord-test-{uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name.replace("@", "\0", 1) if request.param == "abstract" else name)
        listener.settimeout(5)
        yield listener, name


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "journal"))
        listener.settimeout(5)
        yield listener


def received(listener: socket.socket) -> dict[str, str]:
    lines = listener.recv(4096).decode().split("\n")
    return dict(line.split("=", 1) for line in lines)


def test_every_message_arrives_as_one_datagram_of_assignments(systemd: tuple[socket.socket, str]) -> None:
    listener, name = systemd
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": name})

    taken = [
        notifier.ready("17 keys stale"),
        notifier.status("all fresh"),
        notifier.reloading(1_234_567_890),
        notifier.watchdog(),
        notifier.extend_timeout(timedelta(seconds=1.5)),
        notifier.stopping(),
    ]

    assert all(taken)
    assert [received(listener) for _ in taken] == [
        {"READY": "1", "STATUS": "17 keys stale"},
        {"STATUS": "all fresh"},
        {"RELOADING": "1", "MONOTONIC_USEC": "1234567"},
        {"WATCHDOG": "1"},
        {"EXTEND_TIMEOUT_USEC": "1500000"},
        {"STOPPING": "1"},
    ]


def test_a_status_cannot_smuggle_in_another_assignment(systemd: tuple[socket.socket, str]) -> None:
    listener, name = systemd
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": name})

    notifier.status("docs: 目录\nWATCHDOG=trigger\r\nMAINPID=1")

    assert received(listener) == {"STATUS": "docs: 目录 WATCHDOG=trigger MAINPID=1"}


def test_a_long_status_stays_below_what_systemd_takes(systemd: tuple[socket.socket, str]) -> None:
    listener, name = systemd
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": name})

    notifier.ready("键" * 5000)

    assert len(listener.recv(65536)) < 4096


def test_a_status_that_is_not_utf_8_is_sent_readable(systemd: tuple[socket.socket, str]) -> None:
    listener, name = systemd
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": name})

    notifier.status("caf\udce9")

    assert received(listener) == {"STATUS": r"caf\udce9"}


def test_without_a_socket_nothing_is_sent_and_nothing_fails() -> None:
    notifier = Notifier.from_environment({"WATCHDOG_USEC": "60000000"})

    taken = notifier.ready("up")

    assert not taken
    assert notifier.failures == 0
    assert notifier.watchdog_interval is None


def test_a_send_that_fails_is_counted_and_not_raised(tmp_path: Path) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": str(tmp_path / "nobody")})

    taken = [notifier.ready("up"), notifier.watchdog()]

    assert taken == [False, False]
    assert notifier.failures == 2


def test_a_listener_that_stopped_reading_holds_nobody_up_for_long(systemd: tuple[socket.socket, str]) -> None:
    _, name = systemd
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": name})

    while notifier.watchdog():  # until the queue is full
        pass

    assert notifier.failures == 1


def test_children_do_not_inherit_what_was_meant_for_us() -> None:
    environ = {
        "NOTIFY_SOCKET": "/run/systemd/notify",
        "WATCHDOG_USEC": "60000000",
        "WATCHDOG_PID": "42",
        "LANG": "C",
    }

    Notifier.from_environment(environ, pid=42)

    assert environ == {"LANG": "C"}


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        pytest.param({"WATCHDOG_USEC": "60000000"}, timedelta(seconds=30), id="for whoever asks"),
        pytest.param({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "42"}, timedelta(seconds=30), id="for us"),
        pytest.param({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "7"}, None, id="for another process"),
        pytest.param({}, None, id="no watchdog"),
        pytest.param({"WATCHDOG_USEC": "0"}, None, id="zero"),
        pytest.param({"WATCHDOG_USEC": "soon"}, None, id="not a number"),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_must(environ: dict[str, str], interval: timedelta | None) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": "/run/systemd/notify", **environ}, pid=42)

    assert notifier.watchdog_interval == interval


def test_a_journal_entry_is_one_datagram_with_many_lines_in_the_binary_form(
    journald: socket.socket, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "journal")

    taken = journal.send([("MESSAGE", "two\nlines"), ("KEY", "目录/a b.txt")])
    journal.close()

    assert taken
    assert journald.recv(4096) == (
        b"MESSAGE\n" + struct.pack("<Q", 9) + b"two\nlines\n" + "KEY=目录/a b.txt\n".encode()
    )


def test_an_entry_that_no_datagram_holds_is_passed_as_a_sealed_file(journald: socket.socket, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")

    taken = journal.send([("MESSAGE", "x" * 3_000_000)])
    journal.close()

    assert taken
    content, descriptors, _, _ = socket.recv_fds(journald, 4096, 1)
    with os.fdopen(descriptors[0], "rb") as file:
        seals = fcntl.fcntl(file, fcntl.F_GET_SEALS)
        file.seek(0)
        assert content == b""
        assert file.read() == b"MESSAGE=" + b"x" * 3_000_000 + b"\n"
        assert seals & fcntl.F_SEAL_WRITE
        assert seals & fcntl.F_SEAL_SHRINK


def test_a_journal_that_stands_still_is_waited_for_once(journald: socket.socket, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    while journal.send([("MESSAGE", "until the queue is full")]):
        pass

    refused = [journal.send([("MESSAGE", "lost")]) for _ in range(200)]  # 50 s, if each were waited for
    journald.recv(4096)
    taken = journal.send([("MESSAGE", "there is room again")])
    journal.close()

    assert not any(refused)
    assert taken


def test_a_journal_that_is_restarted_is_found_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    before = journal.send([("MESSAGE", "nobody listens")])

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "journal"))
        after = journal.send([("MESSAGE", "somebody does")])
    journal.close()

    assert (before, after) == (False, True)
