"""What arrives of lines, byte by byte, and what becomes of them while nobody takes them."""

import io
import os
import pty
import resource
import select
import socket
import struct
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from mirrord.sinks import ConsoleSink, JournalSink, StreamSink, is_journal

PATIENCE_S = 10.0
LONG = b"long " + b"x" * 1_000_000 + b"\n"
"""No pipe, socket or terminal holds this."""


@dataclass
class Channel:
    """A stream, and the descriptor at which it is read."""

    reading: int
    stream: io.TextIOWrapper

    def until(self, tail: bytes) -> bytes:
        """All that comes until this has come, with the ends of lines as they were written."""
        read = b""
        while not (written := read.replace(b"\r\n", b"\n")).endswith(tail):
            read += os.read(self.reading, 1 << 20)
        return written

    def drained(self) -> bytes:
        """All that is there, when there is room for more again."""
        read = b""
        while True:
            readable, _, _ = select.select([self.reading], [], [], 0)
            if not readable:
                readable, writable, _ = select.select([self.reading], [self.stream], [], PATIENCE_S)
                assert readable or writable
            if not readable:
                return read.replace(b"\r\n", b"\n")
            read += os.read(self.reading, 1 << 20)


@contextmanager
def channel(reading: int, writing: int) -> Iterator[Channel]:
    with os.fdopen(reading, "rb", buffering=0), os.fdopen(writing, "w") as stream:
        yield Channel(reading, stream)


@pytest.fixture
def pipe() -> Iterator[Channel]:
    with channel(*os.pipe()) as opened:
        yield opened


@pytest.fixture
def terminal() -> Iterator[Channel]:
    with channel(*pty.openpty()) as opened:
        yield opened


@pytest.fixture(params=["pipe", "named pipe", "pipe that never waits", "socket", "terminal"])
def some_channel(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Channel]:
    match request.param:
        case "named pipe":  # has no calls that do not wait
            os.mkfifo(tmp_path / "pipe")
            reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
            ends = reading, os.open(tmp_path / "pipe", os.O_WRONLY)
            os.set_blocking(reading, True)
        case "socket":
            theirs, ours = socket.socketpair()
            ends = theirs.detach(), ours.detach()
        case "terminal":
            ends = pty.openpty()
        case _:
            ends = os.pipe()
    os.set_blocking(ends[1], request.param != "pipe that never waits")
    with channel(*ends) as opened:
        yield opened


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    """Listens as journald does, at `tmp_path / "journal"`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "journal"))
        listener.settimeout(5)
        yield listener


@pytest.fixture
def journal(journald: socket.socket, tmp_path: Path) -> Iterator[JournalSink]:
    with closing(JournalSink(tmp_path / "journal")) as sink:
        yield sink


def line(event: str, level: str = "info", **fields: object) -> bytes:
    return orjson.dumps({"timestamp": "2026-01-02T03:04:05Z", "level": level, "event": event, **fields}) + b"\n"


def entry(listener: socket.socket) -> dict[str, str]:
    """The next entry in the journal's native protocol, from the datagram or the file passed with it."""
    payload, descriptors, _, _ = socket.recv_fds(listener, 1 << 16, 1)
    if descriptors:
        with os.fdopen(descriptors[0], "rb") as file:
            file.seek(0)
            payload = file.read()
    fields = {}
    rest = io.BytesIO(payload)
    while text := rest.readline():
        name, is_short, value = text[:-1].decode().partition("=")
        if not is_short:
            (size,) = struct.unpack("<Q", rest.read(8))
            value = rest.read(size).decode()
            assert rest.read(1) == b"\n"
        fields[name] = value
    return fields


def test_every_line_is_a_single_write() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with theirs, os.fdopen(ours.detach(), "w") as stream:
        StreamSink(stream).deliver(b"one line\n")

        assert theirs.recv(4096) == b"one line\n"


def test_a_stream_without_a_descriptor_is_written_to_as_well() -> None:
    stream = io.StringIO()

    taken = StreamSink(stream).deliver("目录\n".encode())

    assert taken
    assert stream.getvalue() == "目录\n"


def test_who_stands_still_is_waited_for_once_and_gets_whole_lines_later(some_channel: Channel) -> None:
    sink = StreamSink(some_channel.stream)
    waits = os.get_blocking(some_channel.stream.fileno())
    begun = time.monotonic()
    told = [b"%d " % n + b"ab\tc" * (n % 9 * 300) + b"\n" * (1 + n % 3) for n in range(1000)]

    taken = [text for text in told if sink.deliver(text)]
    took_s = time.monotonic() - begun
    read = some_channel.drained()
    taken += [text for text in (b"again\n", b"end\n") if sink.deliver(text)]

    assert taken[-2:] == [b"again\n", b"end\n"]
    assert len(taken) < 500
    assert took_s < 5  # waiting for each takes minutes
    assert read + some_channel.until(b"end\n") == b"".join(taken)
    assert os.get_blocking(some_channel.stream.fileno()) == waits


def test_a_line_that_was_cut_is_finished_before_the_next(some_channel: Channel) -> None:
    sink = StreamSink(some_channel.stream)

    taken = [sink.deliver(LONG), sink.deliver(b"lost\n")]
    with reading_on(some_channel) as read:
        while not sink.deliver(b"end\n"):
            select.select([], [some_channel.stream], [], PATIENCE_S)

    assert taken == [True, False]
    assert read == LONG + b"end\n"


def test_who_reads_slowly_gets_whole_lines(some_channel: Channel) -> None:
    sink = StreamSink(some_channel.stream)

    with reading_on(some_channel, at_most=1000) as read:
        taken = [sink.deliver(LONG[800_000:]) for _ in range(5)]
        while not sink.deliver(b"end\n"):
            select.select([], [some_channel.stream], [], PATIENCE_S)

    assert taken[0]
    assert read == LONG[800_000:] * sum(taken) + b"end\n"


@contextmanager
def reading_on(opened: Channel, at_most: int = 1 << 20) -> Iterator[bytearray]:
    """Somebody reads until a line `end` has come; on return it has, and that is what was read."""
    read = bytearray()

    def read_on() -> None:
        while not read.endswith((b"end\n", b"end\r\n")):
            read.extend(os.read(opened.reading, at_most))

    reader = threading.Thread(target=read_on, name="reader")
    reader.start()
    yield read
    reader.join(PATIENCE_S)
    assert not reader.is_alive()
    read[:] = read.replace(b"\r\n", b"\n")


def test_lines_of_several_threads_are_not_mixed(pipe: Channel) -> None:
    sink = StreamSink(pipe.stream)
    words = [b"%d" % n * 7000 + b"\n" for n in range(4)]

    with reading_on(pipe) as read:
        threads = [threading.Thread(target=lambda text=text: [sink.deliver(text) for _ in range(30)]) for text in words]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sink.deliver(b"end\n")

    assert sorted(read.splitlines(keepends=True)) == sorted(words * 30 + [b"end\n"])


def test_a_terminal_that_was_stopped_goes_on_where_it_was(terminal: Channel) -> None:
    sink = StreamSink(terminal.stream)
    sink.deliver(b"before\n")

    termios.tcflow(terminal.stream, termios.TCOOFF)  # as Ctrl-S does
    taken = [sink.deliver(b"meanwhile\n") for _ in range(100)]
    termios.tcflow(terminal.stream, termios.TCOON)
    sink.deliver(b"after\n")

    assert not any(taken)
    assert terminal.until(b"after\n") == b"before\nafter\n"


def test_a_reader_that_went_away_loses_lines_and_no_more(some_channel: Channel) -> None:
    sink = StreamSink(some_channel.stream)
    sink.deliver(b"before\n")
    instead, other = os.pipe()
    os.dup2(instead, some_channel.reading)  # the only one that reads is gone
    os.close(instead)

    taken = [sink.deliver(b"after\n") for _ in range(100)]

    os.close(other)
    assert not any(taken)


def test_a_stream_that_was_closed_loses_lines(pipe: Channel) -> None:
    sink = StreamSink(pipe.stream)
    pipe.stream.close()

    assert not sink.deliver(b"after\n")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_descriptor_that_was_closed_loses_lines(when: str, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as opened:
        stream = os.fdopen(os.dup(opened.fileno()), "w", closefd=False)
    number = stream.fileno()
    if when == "before":
        os.close(number)
    sink = StreamSink(stream)
    if when == "after":
        os.close(number)

    assert not sink.deliver(b"after\n")


def test_a_file_that_is_full_gets_whole_lines_when_there_is_room_again(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with (tmp_path / "log").open("w") as stream:
        sink = StreamSink(stream)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        try:
            taken = [sink.deliver(text) for text in (b"a" * 899 + b"\n", b"b" * 899 + b"\n", b"lost\n")]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        taken.append(sink.deliver(b"end\n"))

    assert taken == [True, True, False, True]
    assert (tmp_path / "log").read_bytes() == b"a" * 899 + b"\n" + b"b" * 899 + b"\n" + b"end\n"


def test_the_console_is_plain_text_that_drives_no_terminal() -> None:
    stream = io.StringIO()

    taken = ConsoleSink(StreamSink(stream), colors=False).deliver(
        line("scan.finished", files=3, name="a\x1b[31mred\x9b")
    )

    text = stream.getvalue()
    assert taken
    assert "[info     ] scan.finished" in text
    assert "files=3" in text
    assert r"name=a\x1b[31mred\x9b" in text
    assert "\x1b" not in text


def test_the_journal_gets_a_sentence_and_every_field(journald: socket.socket, journal: JournalSink) -> None:
    journal.deliver(
        line("refresh.attempted", "warning", key="a b/目录", reqid="r1", status=None, done=True, headers={"A": "b"})
    )

    fields = entry(journald)
    assert fields.pop("TIMESTAMP").endswith("Z")
    assert fields == {
        "MESSAGE": 'refresh.attempted key="a b/目录" reqid=r1 status=null done=true headers="{\\"A\\":\\"b\\"}"',
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "mirrord",
        "LEVEL": "warning",
        "EVENT": "refresh.attempted",
        "KEY": "a b/目录",
        "REQID": "r1",
        "DONE": "true",
        "HEADERS": '{"A":"b"}',
    }


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param(["docs", "pages"], "docs,pages", id="words"),
        pytest.param(["docs"], "docs", id="one word"),
        pytest.param([], "[]", id="nothing"),
        pytest.param([1, 2], "[1,2]", id="numbers"),
        pytest.param(["a,b", "c"], r'"[\"a,b\",\"c\"]"', id="a comma in it"),
        pytest.param(["a b", "c"], r'"[\"a b\",\"c\"]"', id="a space in it"),
        pytest.param(["", "c"], r'"[\"\",\"c\"]"', id="an empty one"),
        pytest.param([["a"], "c"], r'"[[\"a\"],\"c\"]"', id="a list in it"),
    ],
)
def test_a_list_of_words_reads_as_one_in_the_sentence_only(
    value: list[object], shown: str, journald: socket.socket, journal: JournalSink
) -> None:
    journal.deliver(line("service.started", mirrors=value))

    fields = entry(journald)
    assert fields["MESSAGE"] == f"service.started mirrors={shown}"
    assert fields["MIRRORS"] == orjson.dumps(value).decode()


def test_no_field_takes_the_place_of_one_of_the_journals_own(journald: socket.socket, journal: JournalSink) -> None:
    forged = {"message": "forged", "priority": 0, "syslog_identifier": "sudo", "_uid": 0, "2-b c": 1, "键": 2}

    journal.deliver(line("task.attempted", **forged))

    fields = entry(journald)
    assert fields["MESSAGE"].startswith("task.attempted message=forged")
    assert (fields["PRIORITY"], fields["SYSLOG_IDENTIFIER"]) == ("6", "mirrord")
    assert (fields["FIELD_MESSAGE"], fields["FIELD_PRIORITY"]) == ("forged", "0")
    assert (fields["UID"], fields["B_C"]) == ("0", "1")
    assert all(name and name.isascii() and not name.startswith("_") for name in fields)


def test_the_journal_keeps_a_traceback_in_one_entry(journald: socket.socket, journal: JournalSink) -> None:
    journal.deliver(line("service.failed", "error", exception="ValueError: two\nlines"))

    fields = entry(journald)
    assert fields["EXCEPTION"] == "ValueError: two\nlines"
    assert fields["MESSAGE"] == "service.failed\nValueError: two\nlines"
    assert fields["PRIORITY"] == "3"


def test_the_journal_gets_a_large_entry_whole(journald: socket.socket, journal: JournalSink) -> None:
    journal.deliver(line("task.attempted", error="x" * 1_000_000))

    assert entry(journald)["ERROR"] == "x" * 1_000_000


def test_a_stream_is_the_journal_when_it_is_the_one_that_was_named(pipe: Channel) -> None:
    status = os.fstat(pipe.stream.fileno())

    assert is_journal(pipe.stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
    assert not is_journal(pipe.stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"})
    assert not is_journal(pipe.stream, {})
    assert not is_journal(io.StringIO(), {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
