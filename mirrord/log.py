"""Events and their fields in, whole masked lines out: JSON, the console's, or the journal's own entries.

A line is encoded once, as JSON, and masked there; console and journal render what came of it. So
every format shows the same values, and there is one place where a secret could slip through.
"""

import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TextIO

import orjson
import structlog

from mirrord.masking import Cover, printable_text
from mirrord.sinks import ConsoleSink, JournalSink, Sink, StreamSink, is_journal
from mirrord.systemd import JOURNAL_SOCKET

Format = Literal["console", "journal", "json"]
Fields = Mapping[str, Any]
Hear = Callable[[str, Fields], None]

_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z
_CHATTY = ("alembic", "httpx", "uvicorn.access")  # their `info` is a developer's `debug`
_NUMBERS = {name.lower(): number for name, number in logging.getLevelNamesMapping().items()}


class Pipeline:
    """Every logger in use holds this one object, so configuring again (a reload) reaches them all."""

    def __init__(self, sink: Sink) -> None:
        self.level = logging.NOTSET
        """What is put out at least."""
        self.hear: Hear | None = None
        """Who is told of every line from `info` on, put out or not."""
        self._sink = sink
        self._cover = Cover()
        self._lost = 0

    def replace(self, sink: Sink, cover: Cover, level: int) -> None:
        previous, self._sink, self._cover, self.level = self._sink, sink, cover, level
        previous.close()  # after the exchange: other threads log on

    def __call__(self, _logger: object, level: str, fields: Fields) -> bytes:
        """structlog's last processor: the masked JSON line."""
        hear = self.hear  # another thread may end the listening
        if hear is not None:
            number = _NUMBERS[level]
            if number >= logging.INFO:
                fields = _with_exception_told(fields)
                hear(level, fields)
            if number < self.level:
                raise structlog.DropEvent
        return self.line(level, fields)

    def line(self, level: str, fields: Fields) -> bytes:
        line = {"timestamp": None, "level": None, "event": None, **_with_exception_told(fields)}
        line["timestamp"] = datetime.now(UTC)
        line["level"] = level
        return self._cover.over(_encode(line))

    def put(self, line: bytes) -> None:
        if not self._sink.deliver(line):
            self._lost += 1
        elif self._lost:
            lost, self._lost = self._lost, 0
            fields, hear = {"event": "lines.lost", "lines": lost}, self.hear
            if not self._sink.deliver(self.line("warning", fields)):
                self._lost += lost
            elif hear is not None:
                hear("warning", fields)

    notset = debug = info = warning = error = critical = put  # what structlog calls, by level

    def masked(self, fields: Fields) -> dict[str, Any]:
        return self._cover.over_fields(orjson.loads(_encode({**_with_exception_told(fields)})))


class StdlibHandler(logging.Handler):
    """What libraries say through `logging` and `warnings`, in the same form."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__()
        self._pipeline = pipeline

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = {"event": _message(record), "logger": record.name}
        if record.stack_info:
            fields["stack"] = record.stack_info
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        self._pipeline.put(self._pipeline.line(_level_name(record.levelno), fields))


class _Logger(structlog.BoundLoggerBase):
    """structlog's filtering logger, but `_filter_at` moves the level of loggers already in use."""


def _filter_at(level: int) -> None:
    for name, method in vars(structlog.make_filtering_bound_logger(level)).items():
        if not name.startswith("__"):
            setattr(_Logger, name, method)


@lru_cache(maxsize=1)  # for as long as it is the same: a line cut in the middle is finished after a reload, too
def _lines_to(stream: TextIO) -> StreamSink:
    return StreamSink(stream)


_PIPELINE = Pipeline(StreamSink(sys.stderr))
_PROCESSORS: list[structlog.types.Processor] = [_PIPELINE]  # one list for good: capture_logs() swaps its items


def configure(
    log_format: Literal["auto"] | Format,
    level: str,
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
    journal_socket: Path = JOURNAL_SOCKET,
) -> None:
    """Send every line of structlog, `logging` and `warnings` to `stream` (stderr) or the journal.

    Called again it takes effect for loggers already in use. Raises KeyError for an unknown `level`.
    """
    target = sys.stderr if stream is None else stream
    number = logging.getLevelNamesMapping()[level.upper()]
    chosen = chosen_format(log_format, target, os.environ)
    reachable = chosen != "journal" or journal_socket.is_socket()
    _PIPELINE.replace(_sink(chosen if reachable else "json", target, journal_socket), Cover(secrets), number)
    _filter()
    structlog.configure(
        processors=_PROCESSORS,
        wrapper_class=_Logger,
        context_class=dict,
        logger_factory=lambda *_: _PIPELINE,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=number, handlers=[StdlibHandler(_PIPELINE)], force=True)
    logging.captureWarnings(capture=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(number, logging.WARNING) if number > logging.DEBUG else 0)
    if not reachable:
        structlog.get_logger().warning("journal.missed", path=journal_socket, instead="json")


def listen_to(hear: Hear | None) -> None:
    """Tell `hear` the level and the fields of every line of structlog from `info` on, whatever level is put out.

    It is told before the line goes out, from the thread that logs, also of lines that are lost: it must be quick and
    raise nothing. Secrets are not masked; `event` is among the fields, the time is not, an exception stands as the text
    of its traceback. What libraries say through `logging` is not told. It lasts until another one is named, None being
    nobody, and needs `configure`, before or after.
    """
    _PIPELINE.hear = hear
    _filter()


def masked(fields: Fields) -> dict[str, Any]:
    """The same fields as a line has them: what JSON can hold, every secret covered."""
    return _PIPELINE.masked(fields)


def chosen_format(log_format: Literal["auto"] | Format, stream: TextIO, environ: Mapping[str, str]) -> Format:
    """What `auto` means for `stream`: console on a terminal, journal where systemd made it a journal stream."""
    if log_format != "auto":
        return log_format
    if stream.isatty():
        return "console"
    return "journal" if is_journal(stream, environ) else "json"


def _filter() -> None:
    """Calls below what is put out cost nothing, but for those that somebody is told of."""
    _filter_at(_PIPELINE.level if _PIPELINE.hear is None else min(_PIPELINE.level, logging.INFO))


def _sink(log_format: Format, stream: TextIO, journal_socket: Path) -> Sink:
    match log_format:
        case "console":
            return ConsoleSink(_lines_to(stream), colors=stream.isatty() and "NO_COLOR" not in os.environ)
        case "journal":
            return JournalSink(journal_socket)
        case "json":
            return _lines_to(stream)


def _with_exception_told(fields: Fields) -> Fields:
    """With the text of a traceback instead of `exc_info`."""
    if "exc_info" not in fields:
        return fields
    told = {name: value for name, value in fields.items() if name != "exc_info"}
    raised = _raised(fields["exc_info"])
    if raised is not None:
        told["exception"] = "".join(traceback.format_exception(raised)).rstrip("\n")
    return told


def _encode(line: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(line, _stand_in, _OPTIONS)
    except orjson.JSONEncodeError:  # half a character in a file name, an integer past 64 bits, a dict in itself
        return orjson.dumps(_printable(line), _stand_in, _OPTIONS)


def _stand_in(value: object) -> object:
    match value:
        case timedelta():
            return value.total_seconds()
        case bytes():
            return value.decode("utf-8", "backslashreplace")
        case Mapping():
            return dict(value)
        case tuple() | set() | frozenset():
            return list(value)
        case _:
            return str(value)


def _printable(value: object, depth: int = 0) -> object:
    """`value` in types and texts that every JSON reader takes."""
    match value:
        case Enum():
            return _printable(value.value, depth)
        case int() if not -(2**63) <= value < 2**64:
            return str(value)
        case None | bool() | int() | float() | datetime() | timedelta():
            return value
        case Mapping() if depth < 8:
            return {printable_text(str(key)): _printable(item, depth + 1) for key, item in value.items()}
        case list() | tuple() | set() | frozenset() if depth < 8:
            return [_printable(item, depth + 1) for item in value]
        case _:
            return printable_text(str(_stand_in(value)))


def _raised(exc_info: object) -> BaseException | None:
    """The exception meant by any of the forms that `exc_info` may have."""
    match exc_info:
        case BaseException():
            return exc_info
        case (_, BaseException() as exc, _):
            return exc
        case None | False | (_, None, _):
            return None
        case _:
            return sys.exception()


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):  # a library's slip in its own format string
        return f"{record.msg} {record.args!r}"


def _level_name(number: int) -> str:
    steps = ((50, "critical"), (40, "error"), (30, "warning"), (20, "info"))
    return next((name for level, name in steps if number >= level), "debug")
