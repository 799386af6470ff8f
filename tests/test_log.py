"""What comes out for what was logged, byte by byte, in each of the three formats."""

import io
import logging
import os
import socket
import struct
import traceback
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from mirrord import log
from mirrord.model.attempt import Outcome

SECRET = "sk-\"9\\f'键/x"
FORMATS = ["json", "console", "journal"]


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    log.configure("json", "info", stream=io.StringIO())
    structlog.get_logger().info("test.ended")  # lines lost until here are reported here, not in the next test
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("alembic", "httpx", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    """Listens as journald does, at `tmp_path / "journal"`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "journal"))
        listener.settimeout(5)
        yield listener


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[io.TextIOWrapper]:
    with (tmp_path / "stderr").open("w+", encoding="utf-8") as opened:
        yield opened


def fail(exc: Exception) -> None:
    raise exc


def lines(stream: io.TextIOWrapper) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in Path(stream.name).read_bytes().splitlines()]


def entry(listener: socket.socket) -> dict[str, str]:
    """The next entry in the journal's native protocol, from the datagram or the file passed with it."""
    payload, descriptors, _, _ = socket.recv_fds(listener, 1 << 16, 1)
    if descriptors:
        with os.fdopen(descriptors[0], "rb") as file:
            file.seek(0)
            payload = file.read()
    fields = {}
    rest = io.BytesIO(payload)
    while line := rest.readline():
        name, is_short, text = line[:-1].decode().partition("=")
        if not is_short:
            (size,) = struct.unpack("<Q", rest.read(8))
            text = rest.read(size).decode()
            assert rest.read(1) == b"\n"
        fields[name] = text
    return fields


@pytest.fixture(params=FORMATS)
def written(
    request: pytest.FixtureRequest, stream: io.TextIOWrapper, journald: socket.socket, tmp_path: Path
) -> Callable[[], str]:
    """Logging is on in one format, with SECRET as a secret; the call gives all that came out for one line."""
    log.configure(request.param, "debug", [SECRET], stream, tmp_path / "journal")

    def read() -> str:
        if request.param != "journal":
            return Path(stream.name).read_text()
        return "\n".join(f"{name}={value}" for name, value in entry(journald).items())

    return read


def test_a_line_is_one_json_object_that_begins_with_when_how_grave_and_what(
    stream: io.TextIOWrapper,
) -> None:
    log.configure("json", "info", stream=stream)

    structlog.get_logger().bind(mirror="docs").info(
        "refresh.attempted",
        key="目录/a b.txt",
        status=None,
        outcome=Outcome.TIMED_OUT,
        lag=timedelta(milliseconds=1500),
        seen_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        headers={"X-Reqid": "r"},
    )

    (line,) = lines(stream)
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "event": "refresh.attempted",
        "mirror": "docs",
        "key": "目录/a b.txt",
        "status": None,
        "outcome": "timed-out",
        "lag": 1.5,
        "seen_at": "2026-01-02T03:04:05Z",
        "headers": {"X-Reqid": "r"},
    }


def test_every_line_is_a_single_write() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs, os.fdopen(os.dup(ours.fileno()), "w") as stream:
        log.configure("json", "info", stream=stream)

        structlog.get_logger().info("scan.finished", files=3)

        written = theirs.recv(4096)
        assert written.endswith(b"\n")
        assert orjson.loads(written)["files"] == 3


def test_a_stream_without_a_descriptor_is_written_to_as_well() -> None:
    stream = io.StringIO()
    log.configure("json", "info", stream=stream)

    structlog.get_logger().info("scan.finished")

    assert orjson.loads(stream.getvalue())["event"] == "scan.finished"


@pytest.mark.parametrize(
    ("level", "heard"),
    [
        ("debug", ["debug", "info", "warning", "error", "critical"]),
        ("INFO", ["info", "warning", "error", "critical"]),
        ("warning", ["warning", "error", "critical"]),
        ("error", ["error", "critical"]),
    ],
)
def test_what_is_below_the_level_is_not_heard(level: str, heard: list[str], stream: io.TextIOWrapper) -> None:
    log.configure("json", level, stream=stream)
    logger, library = structlog.get_logger(), logging.getLogger("watchdog")

    for name in ("debug", "info", "warning", "error", "critical"):
        getattr(logger, name)("task.attempted")
        getattr(library, name)("said so")

    assert [line["level"] for line in lines(stream) if "logger" not in line] == heard
    assert [line["level"] for line in lines(stream) if "logger" in line] == heard


def test_configuring_again_reaches_loggers_in_use(stream: io.TextIOWrapper) -> None:
    logger = structlog.get_logger()
    log.configure("json", "warning", stream=io.StringIO())
    logger.warning("task.attempted")

    log.configure("json", "debug", ["new-secret"], stream)
    logger.debug("task.attempted", error="new-secret")

    (line,) = lines(stream)
    assert (line["level"], line["error"]) == ("debug", "***")


def test_lines_can_be_captured_from_loggers_in_use(stream: io.TextIOWrapper) -> None:
    logger = structlog.get_logger()
    log.configure("json", "info", stream=stream)
    logger.info("service.started")
    log.configure("json", "info", stream=stream)

    with structlog.testing.capture_logs() as captured:
        logger.info("service.stopped")

    assert [line["event"] for line in captured] == ["service.stopped"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param("caf\udce9/\udcff", r"caf\xe9/\xff", id="a name that is not UTF-8"),
        pytest.param("\ud800", r"\ud800", id="half a character"),
        pytest.param(2**70, str(2**70), id="an integer past 64 bits"),
        pytest.param({404: "x"}, {"404": "x"}, id="keys that are no text"),
        pytest.param({Outcome.REFUSED: 2**70}, {"refused": str(2**70)}, id="an enum as key"),
        pytest.param(Path("/srv/www"), "/srv/www", id="a path"),
        pytest.param(Path("/srv/\udcff"), r"/srv/\xff", id="a path that is not UTF-8"),
        pytest.param(b"a\xff", r"a\xff", id="bytes"),
        pytest.param({"a"}, ["a"], id="a set"),
        pytest.param(MappingProxyType({"a": "b"}), {"a": "b"}, id="a mapping that is no dict"),
        pytest.param(float("nan"), None, id="not a number"),
        pytest.param(ValueError("bad"), "bad", id="an exception"),
        pytest.param(datetime(2026, 1, 2), "2026-01-02T00:00:00Z", id="a naive time"),  # noqa: DTZ001
    ],
)
def test_whatever_is_logged_becomes_valid_json(value: object, shown: object, stream: io.TextIOWrapper) -> None:
    log.configure("json", "info", stream=stream)

    structlog.get_logger().info("change.rejected", name=value)

    assert lines(stream)[0]["name"] == shown


def test_a_value_that_contains_itself_is_logged_once(stream: io.TextIOWrapper) -> None:
    log.configure("json", "info", stream=stream)
    value: dict[str, object] = {}
    value["self"] = value

    structlog.get_logger().info("change.rejected", name=value)

    assert lines(stream)[0]["event"] == "change.rejected"


def test_a_field_cannot_forge_the_level_or_the_time(stream: io.TextIOWrapper) -> None:
    log.configure("json", "info", stream=stream)

    structlog.get_logger().info("task.attempted", level="error", timestamp="never")

    assert lines(stream)[0]["level"] == "info"
    assert lines(stream)[0]["timestamp"] != "never"


def test_a_secret_in_a_field_is_masked(written: Callable[[], str]) -> None:
    structlog.get_logger().info("task.attempted", key=f"a{SECRET}b", headers={"X": [f"<{SECRET}>"]})

    assert_hidden(written())


def test_a_secret_in_an_event_is_masked(written: Callable[[], str]) -> None:
    structlog.get_logger().info(f"task.{SECRET}")

    assert_hidden(written())


def test_a_secret_in_a_traceback_is_masked(written: Callable[[], str]) -> None:
    try:
        fail(ValueError(f"{SECRET} or {SECRET!r}"))
    except ValueError:
        structlog.get_logger().exception("task.failed")

    text = written()
    assert "Traceback (most recent call last)" in text
    assert_hidden(text)


def test_a_secret_in_a_librarys_message_is_masked(written: Callable[[], str]) -> None:
    logging.getLogger("aiohttp").debug("sent %s as %r", SECRET, {"k": SECRET})

    assert_hidden(written())


def test_a_secret_in_a_warning_is_masked(written: Callable[[], str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")

        warnings.warn(f"{SECRET} is weak", UserWarning, stacklevel=1)

    text = written()
    assert "py.warnings" in text
    assert_hidden(text)


def assert_hidden(text: str) -> None:
    assert "***" in text
    for form in (SECRET, repr(SECRET)[1:-1], orjson.dumps(SECRET).decode()[1:-1]):
        assert form not in text


@given(
    secret=st.text(st.characters(blacklist_characters="*"), min_size=1),
    before=st.text(),
    after=st.text(),
    name=st.sampled_from(["key", "error", "exception", "level", "event"]),
)
def test_no_secret_survives_in_any_text(secret: str, before: str, after: str, name: str) -> None:
    stream = io.StringIO()
    log.configure("json", "info", [secret], stream)

    structlog.get_logger().info("task.attempted", **{"name": f"{before}{secret}{after}", f"x_{name}": [secret]})

    line = orjson.loads(stream.getvalue())
    assert "***" in line["name"]
    assert secret not in line["name"]
    assert line[f"x_{name}"] == ["***"]


@pytest.mark.parametrize(
    "name",
    ["Authorization", "secret_key", "token", "X-Auth-Token", "uptoken", "password", "Set-Cookie", "api-key"],
)
def test_a_field_with_a_secrets_name_is_masked_at_any_depth(name: str, stream: io.TextIOWrapper) -> None:
    log.configure("json", "info", stream=stream)

    structlog.get_logger().info("task.attempted", headers={name: "v1"}, tried=[{name: ["v2"]}], **{name: "v3"})

    (line,) = lines(stream)
    assert line["headers"] == {name: "***"}
    assert line["tried"] == [{name: "***"}]
    assert line[name] == "***"


def test_names_that_only_resemble_a_secrets_are_left_alone(stream: io.TextIOWrapper) -> None:
    log.configure("json", "info", stream=stream)

    structlog.get_logger().info("task.attempted", secret_key_file="/etc/x", tokens=3, token=None, key="a/token")

    (line,) = lines(stream)
    assert (line["secret_key_file"], line["tokens"], line["token"], line["key"]) == (
        "/etc/x",
        3,
        None,
        "a/token",
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sent Qiniu ak:c2lnbmVk= to rs", "sent Qiniu *** to rs"),
        ("illegal value b'QBox ak:c2lnbmVk'", "illegal value b'QBox ***'"),
        ("{'Authorization': 'Custom abc'}", "{'Authorization': '***'}"),
        ("got Bearer eyJhbGciOi.J9.x back", "got Bearer *** back"),
        ("GET https://joe:pass@example.com/a", "GET https://joe:***@example.com/a"),
        ("password=hunter2 refused", "password=*** refused"),
        ("bad token: it has expired", "bad token: it has expired"),
        ("Basic authentication failed", "Basic authentication failed"),
        ("Qiniu support asks for it", "Qiniu support asks for it"),
    ],
)
def test_credentials_are_masked_in_free_text_and_nowhere_else(text: str, shown: str, stream: io.TextIOWrapper) -> None:
    log.configure("json", "info", stream=stream)

    structlog.get_logger().info("task.attempted", error=text, key=text)

    assert lines(stream)[0]["error"] == shown
    assert lines(stream)[0]["key"] == text


def test_an_exception_is_told_whole_with_its_cause(stream: io.TextIOWrapper) -> None:
    log.configure("json", "info", stream=stream)

    try:
        try:
            fail(OSError("disk gone"))
        except OSError as exc:
            raise ValueError("journal gone") from exc
    except ValueError as exc:
        expected = "".join(traceback.format_exception(exc)).rstrip()
        structlog.get_logger().error("service.failed", exc_info=exc)

    assert lines(stream)[0]["exception"] == expected
    assert "exc_info" not in lines(stream)[0]


def test_there_is_no_exception_field_when_nothing_was_raised(stream: io.TextIOWrapper) -> None:
    log.configure("json", "info", stream=stream)

    structlog.get_logger().exception("service.failed")
    logging.getLogger("asyncio").exception("nothing either")

    assert ["exception" in line for line in lines(stream)] == [False, False]


def test_libraries_speak_in_the_same_form(stream: io.TextIOWrapper) -> None:
    log.configure("json", "info", stream=stream)

    try:
        fail(ValueError("bad"))
    except ValueError:
        logging.getLogger("asyncio").exception("task %s failed", "a")

    (line,) = lines(stream)
    assert (line["level"], line["event"], line["logger"]) == ("error", "task a failed", "asyncio")
    assert line["exception"].endswith("ValueError: bad")


def test_a_librarys_slip_in_its_format_loses_nothing(stream: io.TextIOWrapper) -> None:
    log.configure("json", "info", stream=stream)

    logging.getLogger("watchdog").warning("%d files", "many")

    assert lines(stream)[0]["event"] == "%d files ('many',)"


def test_a_line_of_httpx_for_every_request_is_for_developers(stream: io.TextIOWrapper) -> None:
    log.configure("json", "info", stream=stream)

    logging.getLogger("httpx").info("HTTP Request: POST …")
    logging.getLogger("httpx").warning("slow")

    assert [line["event"] for line in lines(stream)] == ["slow"]


def test_a_reader_that_went_away_does_not_stop_the_service() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        log.configure("json", "info", stream=stream)
        os.close(reading)

        structlog.get_logger().info("task.attempted")

    structlog.get_logger().info("task.attempted", after="the stream was closed")


def test_lost_lines_are_counted_in_a_later_line() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with os.fdopen(reading, "rb") as reader, os.fdopen(writing, "w") as stream:
        log.configure("json", "info", stream=stream)
        os.write(writing, b"x" * os.fpathconf(writing, "PC_PIPE_BUF") * 1024)  # full: as much as fits

        structlog.get_logger().info("task.attempted", attempt=1)
        structlog.get_logger().info("task.attempted", attempt=2)
        reader.read1(1 << 30)
        structlog.get_logger().info("task.attempted", attempt=3)

        third, report = (orjson.loads(line) for line in reader.read1(1 << 20).splitlines())
    assert third["attempt"] == 3
    assert (report["level"], report["event"], report["lines"]) == ("warning", "lines.lost", 2)


def test_auto_is_the_console_on_a_terminal() -> None:
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as stream:
        chosen = log.chosen_format("auto", stream, {"JOURNAL_STREAM": "1:2"})
    os.close(ours)

    assert chosen == "console"


def test_auto_is_the_journal_where_systemd_connected_the_stream_to_it(stream: io.TextIOWrapper) -> None:
    status = os.fstat(stream.fileno())

    chosen = log.chosen_format("auto", stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})

    assert chosen == "journal"


@pytest.mark.parametrize("environ", [{}, {"JOURNAL_STREAM": "1:2"}, {"JOURNAL_STREAM": ""}])
def test_auto_is_json_everywhere_else(environ: dict[str, str], stream: io.TextIOWrapper) -> None:
    assert log.chosen_format("auto", stream, environ) == "json"
    assert log.chosen_format("auto", io.StringIO(), environ) == "json"


def test_the_journal_gets_a_sentence_and_every_field(journald: socket.socket, tmp_path: Path) -> None:
    log.configure("journal", "info", stream=io.StringIO(), journal_socket=tmp_path / "journal")

    structlog.get_logger().warning(
        "refresh.attempted", key="a b/目录", reqid="r1", status=None, done=True, headers={"A": "b"}
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


def test_no_field_takes_the_place_of_one_of_the_journals_own(journald: socket.socket, tmp_path: Path) -> None:
    log.configure("journal", "info", stream=io.StringIO(), journal_socket=tmp_path / "journal")

    structlog.get_logger().info(
        "task.attempted", message="forged", priority=0, syslog_identifier="sudo", _uid=0, **{"2-b c": 1, "键": 2}
    )

    fields = entry(journald)
    assert fields["MESSAGE"].startswith("task.attempted message=forged")
    assert (fields["PRIORITY"], fields["SYSLOG_IDENTIFIER"]) == ("6", "mirrord")
    assert (fields["FIELD_MESSAGE"], fields["FIELD_PRIORITY"]) == ("forged", "0")
    assert (fields["UID"], fields["B_C"]) == ("0", "1")
    assert all(name and name.isascii() and not name.startswith("_") for name in fields)


def test_the_journal_keeps_a_traceback_in_one_entry(journald: socket.socket, tmp_path: Path) -> None:
    log.configure("journal", "info", stream=io.StringIO(), journal_socket=tmp_path / "journal")

    structlog.get_logger().error("service.failed", exc_info=ValueError("two\nlines"))

    fields = entry(journald)
    assert fields["EXCEPTION"] == "ValueError: two\nlines"
    assert fields["MESSAGE"] == "service.failed\nValueError: two\nlines"
    assert fields["PRIORITY"] == "3"


def test_the_journal_gets_a_large_entry_whole(journald: socket.socket, tmp_path: Path) -> None:
    log.configure("journal", "info", stream=io.StringIO(), journal_socket=tmp_path / "journal")

    structlog.get_logger().info("task.attempted", error="x" * 1_000_000)

    assert entry(journald)["ERROR"] == "x" * 1_000_000


def test_lines_that_the_journal_did_not_take_are_reported_when_it_does(journald: socket.socket, tmp_path: Path) -> None:
    log.configure("journal", "info", stream=io.StringIO(), journal_socket=tmp_path / "journal")
    full = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text()) + 1
    for _ in range(full + 50):  # at most the first lost one is waited for
        structlog.get_logger().info("task.attempted")

    for _ in range(full):
        entry(journald)
    structlog.get_logger().info("service.stopped")

    assert entry(journald)["EVENT"] == "service.stopped"
    report = entry(journald)
    assert (report["EVENT"], report["LINES"]) == ("lines.lost", "50")


def test_without_a_journal_lines_go_to_the_stream(stream: io.TextIOWrapper, tmp_path: Path) -> None:
    log.configure("journal", "info", stream=stream, journal_socket=tmp_path / "nothing")

    structlog.get_logger().info("service.started")

    assert [line["event"] for line in lines(stream)] == ["journal.missed", "service.started"]


def test_the_console_is_plain_text_off_a_terminal(stream: io.TextIOWrapper) -> None:
    log.configure("console", "info", stream=stream)

    structlog.get_logger().info("scan.finished", files=3, name="a\x1b[31mred\x9b")

    text = Path(stream.name).read_text()
    assert "[info     ] scan.finished" in text
    assert "files=3" in text
    assert r"name=a\x1b[31mred\x9b" in text
    assert "\x1b" not in text


def test_the_console_is_coloured_on_a_terminal_unless_that_is_declined() -> None:
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen, os.fdopen(theirs, "w") as stream:
        log.configure("auto", "info", stream=stream)

        structlog.get_logger().error("service.failed", exception="not a traceback")

        shown = screen.read(4096).decode()
    assert ("\x1b[" in shown) == ("NO_COLOR" not in os.environ)
    assert "service.failed" in shown
