"""What comes out for what was logged, and who else is told."""

import io
import logging
import os
import socket
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

from mirrord import log
from mirrord.model.attempt import Outcome

SECRET = "sk-\"9\\f'键/x"
FORMATS = ["json", "console", "journal"]


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    log.listen_to(None)
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


@pytest.fixture(params=FORMATS)
def written(
    request: pytest.FixtureRequest, stream: io.TextIOWrapper, journald: socket.socket, tmp_path: Path
) -> Callable[[], str]:
    """Logging is on in one format, with SECRET as a secret; the call gives all that came out for one line."""
    log.configure(request.param, "debug", [SECRET], stream, tmp_path / "journal")

    def read() -> str:
        if request.param != "journal":
            return Path(stream.name).read_text()
        return journald.recv(65536).decode("utf-8", "replace")  # a length is no text

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


@pytest.mark.parametrize(
    ("level", "told"),
    [
        ("debug", ["debug", "info", "warning", "error", "critical"]),
        ("INFO", ["info", "warning", "error", "critical"]),
        ("warning", ["warning", "error", "critical"]),
        ("error", ["error", "critical"]),
    ],
)
def test_what_is_below_the_level_is_not_put_out(level: str, told: list[str], stream: io.TextIOWrapper) -> None:
    log.configure("json", level, stream=stream)
    logger, library = structlog.get_logger(), logging.getLogger("watchdog")

    for name in ("debug", "info", "warning", "error", "critical"):
        getattr(logger, name)("task.attempted")
        getattr(library, name)("said so")

    assert [line["level"] for line in lines(stream) if "logger" not in line] == told
    assert [line["level"] for line in lines(stream) if "logger" in line] == told


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


Heard = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def heard() -> Heard:
    """What a listener is told, from now on."""
    told: Heard = []
    log.listen_to(lambda level, fields: told.append((level, dict(fields))))
    return told


@pytest.mark.parametrize("level", ["debug", "info", "warning", "critical"])
def test_who_listens_hears_all_from_info_on_whatever_is_put_out(
    level: str, stream: io.TextIOWrapper, heard: Heard
) -> None:
    log.configure("json", level, stream=stream)
    logger = structlog.get_logger().bind(mirror="docs")

    for name in ("debug", "info", "warning", "error", "critical"):
        getattr(logger, name)("task.attempted", token="abc")

    levels = ["debug", "info", "warning", "error", "critical"]
    assert heard == [(name, {"mirror": "docs", "event": "task.attempted", "token": "abc"}) for name in levels[1:]]
    assert [line["level"] for line in lines(stream)] == levels[levels.index(level) :]


def test_who_listens_hears_of_an_exception_as_text(stream: io.TextIOWrapper, heard: Heard) -> None:
    log.configure("json", "critical", stream=stream)

    try:
        fail(ValueError("bad"))
    except ValueError:
        structlog.get_logger().exception("task.failed")

    ((_, fields),) = heard
    assert fields.keys() == {"event", "exception"}
    assert fields["exception"].endswith("ValueError: bad")


def test_what_libraries_say_is_not_heard(stream: io.TextIOWrapper, heard: Heard) -> None:
    log.configure("json", "info", stream=stream)

    logging.getLogger("watchdog").error("bad")

    assert len(lines(stream)) == 1
    assert heard == []


def test_a_reload_does_not_end_the_listening(stream: io.TextIOWrapper, heard: Heard) -> None:
    log.configure("json", "info", stream=stream)
    logger = structlog.get_logger()
    logger.info("service.started")
    log.configure("json", "error", stream=stream)

    logger.info("settings.reloaded")

    assert [fields["event"] for _, fields in heard] == ["service.started", "settings.reloaded"]
    assert [line["event"] for line in lines(stream)] == ["service.started"]


def test_when_nobody_listens_any_more_nobody_is_told(stream: io.TextIOWrapper, heard: Heard) -> None:
    log.configure("json", "warning", stream=stream)

    log.listen_to(None)
    structlog.get_logger().info("task.attempted")
    structlog.get_logger().error("task.attempted")

    assert heard == []
    assert [line["level"] for line in lines(stream)] == ["error"]


def test_lines_are_captured_while_somebody_listens(stream: io.TextIOWrapper, heard: Heard) -> None:
    log.configure("json", "info", stream=stream)

    with structlog.testing.capture_logs() as captured:
        structlog.get_logger().info("service.stopped")

    assert captured == [{"event": "service.stopped", "log_level": "info"}]
    assert heard == []


def test_lost_lines_are_heard(heard: Heard) -> None:
    stream = io.StringIO()
    log.configure("json", "info", stream=stream)
    stream.close()

    structlog.get_logger().info("task.attempted")

    assert [fields["event"] for _, fields in heard] == ["task.attempted"]


def test_masked_fields_are_those_of_a_line(stream: io.TextIOWrapper) -> None:
    log.configure("json", "info", ["the-secret"], stream)
    fields = {
        "event": "task.attempted",
        "level": "with the-secret",
        "key": "a/the-secret\udcff",
        "lag": timedelta(seconds=1.5),
        "headers": {"Authorization": "Qiniu a:b"},
        "error": "password=hunter2",
        "exc_info": ValueError("the-secret"),
        "attempt": 3,
    }

    shown = log.masked(fields)

    assert shown == {
        "event": "task.attempted",
        "level": "with ***",
        "key": r"a/***\xff",
        "lag": 1.5,
        "headers": {"Authorization": "***"},
        "error": "password=***",
        "exception": "ValueError: ***",
        "attempt": 3,
    }
    structlog.get_logger().info(**fields)
    (line,) = lines(stream)
    assert {name: line[name] for name in shown if name != "level"} | {"level": "with ***"} == shown


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


def test_lost_lines_are_counted_in_a_later_line(heard: Heard) -> None:
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
    assert heard[-1] == ("warning", {"event": "lines.lost", "lines": 2})


def test_a_line_cut_in_the_middle_is_finished_after_a_reload() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as reader, os.fdopen(writing, "w") as stream:
        log.configure("json", "info", stream=stream)
        structlog.get_logger().info("task.attempted", error="x" * 100_000)
        log.configure("json", "info", stream=stream)
        first = reader.read1(1 << 20)

        structlog.get_logger().info("service.stopped")

        cut, last = (orjson.loads(line) for line in (first + reader.read1(1 << 20)).splitlines())
    assert (cut["error"], last["event"]) == ("x" * 100_000, "service.stopped")


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


def test_lines_that_the_journal_did_not_take_are_reported_when_it_does(journald: socket.socket, tmp_path: Path) -> None:
    log.configure("journal", "info", stream=io.StringIO(), journal_socket=tmp_path / "journal")
    full = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text()) + 1
    for _ in range(full + 50):  # at most the first lost one is waited for
        structlog.get_logger().info("task.attempted")

    for _ in range(full):
        journald.recv(65536)
    structlog.get_logger().info("service.stopped")

    assert b"EVENT=service.stopped\n" in journald.recv(65536)
    report = journald.recv(65536)
    assert b"EVENT=lines.lost\n" in report
    assert b"LINES=50\n" in report


def test_without_a_journal_lines_go_to_the_stream(stream: io.TextIOWrapper, tmp_path: Path) -> None:
    log.configure("journal", "info", stream=stream, journal_socket=tmp_path / "nothing")

    structlog.get_logger().info("service.started")

    assert [line["event"] for line in lines(stream)] == ["journal.missed", "service.started"]


def test_the_console_is_coloured_on_a_terminal_unless_that_is_declined() -> None:
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen, os.fdopen(theirs, "w") as stream:
        log.configure("auto", "info", stream=stream)

        structlog.get_logger().error("service.failed", exception="not a traceback")

        shown = screen.read(4096).decode()
    assert ("\x1b[" in shown) == ("NO_COLOR" not in os.environ)
    assert "service.failed" in shown
