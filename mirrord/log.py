"""Events and their fields in, whole masked lines out: JSON, the console's, or the journal's own entries.

A line is encoded once, as JSON, and masked there; console and journal render what came of it. So
every format shows the same values, and there is one place where a secret could slip through.
"""

import io
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO
from urllib.parse import quote

import orjson
import structlog

from mirrord.systemd import JOURNAL_SOCKET, Journal

Format = Literal["console", "journal", "json"]
Fields = Mapping[str, Any]

_MASK = "***"
_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z
# What journald or systemd itself reads something into (systemd.journal-fields(7)).
_RESERVED = re.compile(
    "(?:MESSAGE|MESSAGE_ID|PRIORITY|ERRNO|INVOCATION_ID|TID|(?:USER_)?UNIT|(?:SYSLOG|CODE|OBJECT|COREDUMP)_.*)"
)
_BARE = re.compile(r"[^\s\"=\x00-\x1f\x7f]+")
_CHATTY = ("alembic", "httpx", "uvicorn.access")  # their `info` is a developer's `debug`

_SECRET_NAME = re.compile(
    r"(?:^|_|up)(?:authorization|token|cookie|credentials?|passw(?:or)?d|secret|(?:api|private|secret)_?key)$"
)
_FREE_TEXT = frozenset({"error", "event", "exception", "stack", "url"})  # a key is never altered by a pattern
_CREDENTIALS = re.compile(
    r"(?P<scheme>\b(?:QBox|Qiniu|UpToken) +)[^\s\"',:]+:[^\s\"',]+"
    r"|(?P<http>\b(?:Basic|Bearer|basic|bearer) +)(?=[^\s\"',]*(?:\d|[a-z][A-Z]))[^\s\"',]{8,}"
    r"|(?P<header>(?i:authorization)[\"']?\s*[:=]\s*b?[\"']?)[^\"'\n]+"
    r"|(?P<name>(?i:passw(?:or)?d|secret_?key|token)(?:[\"']?\s*=|[\"']\s*:)\s*b?[\"']?)[^\s\"'&,]+"
    r"|(?P<user>://[^\s/@:]+:)[^\s/@]+(?=@)"
)
# In small letters: a line without any of these has nothing for the two patterns, but for a URL's password.
_MARKS = (
    *(b"authorization", b"token", b"cookie", b"credential", b"passw", b"secret", b"private"),
    *(b"api_key", b"apikey", b"api-key", b"qbox ", b"qiniu ", b"basic ", b"bearer "),
)


class Sink(Protocol):
    def deliver(self, line: bytes) -> bool:
        """Put out one JSON line that ends in a newline; False when it is lost. Never raises OSError."""

    def close(self) -> None: ...


def _fd_of(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except io.UnsupportedOperation:
        return None


class StreamSink:
    """Lines as they are, one write call each."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._fd = _fd_of(stream)

    def deliver(self, line: bytes) -> bool:
        if self._stream.closed:  # its number may by now be another file's
            return False
        try:
            if self._fd is None:
                self._stream.write(line.decode())
                self._stream.flush()
                return True
            while (written := os.write(self._fd, line)) < len(line):
                line = line[written:]
        except OSError:
            return False
        return True

    def close(self) -> None:
        """The stream is its owner's."""


class ConsoleSink:
    """Lines for a person; coloured when asked."""

    _CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # a name must not drive the terminal

    def __init__(self, stream: TextIO, *, colors: bool) -> None:
        self._out = StreamSink(stream)
        self._renderer = structlog.dev.ConsoleRenderer(
            colors=colors, sort_keys=False, exception_formatter=structlog.dev.plain_traceback
        )

    def deliver(self, line: bytes) -> bool:
        fields = {name: self._shown(value) for name, value in orjson.loads(line).items()}
        for name in ("exception", "stack"):
            if name in fields:
                fields[name] = str(fields[name])
        return self._out.deliver((self._renderer(None, fields["level"], fields) + "\n").encode())

    def _shown(self, value: Any) -> Any:
        return self._CONTROL.sub(lambda c: repr(c[0])[1:-1], value) if isinstance(value, str) else value

    def close(self) -> None:
        self._out.close()


class JournalSink:
    """Lines as journal entries: `journalctl` shows a sentence, and finds them by every field."""

    _PRIORITY: Mapping[str, str] = {"debug": "7", "info": "6", "warning": "4", "error": "3", "critical": "2"}
    _NOT_FACTS = frozenset({"timestamp", "level", "event", "exception", "stack"})

    def __init__(self, socket_path: Path) -> None:
        self._journal = Journal(socket_path)

    def deliver(self, line: bytes) -> bool:
        fields: Fields = orjson.loads(line)
        facts = [f"{name}={_logfmt(value)}" for name, value in fields.items() if name not in self._NOT_FACTS]
        sentence = " ".join([_text(fields["event"]), *facts])
        below = [_text(fields[name]) for name in ("stack", "exception") if name in fields]
        entry = [
            ("MESSAGE", "\n".join([sentence, *below])),
            ("PRIORITY", self._PRIORITY.get(fields["level"], "6")),
            ("SYSLOG_IDENTIFIER", "mirrord"),
        ]
        for name, value in fields.items():
            native_name = _native_name(name)
            if native_name and value is not None:
                entry.append((native_name, _text(value)))
        return self._journal.send(entry)

    def close(self) -> None:
        self._journal.close()


class Cover:
    """Puts `***` over every secret in an encoded line."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        whole = [_printable_text(secret) for secret in secrets if secret]
        forms = {form for text in whole for form in (text, repr(text)[1:-1], quote(text, safe=""))}
        self._forms = sorted(forms, key=len, reverse=True)
        self._marks = (*(orjson.dumps(form)[1:-1].lower() for form in self._forms), *_MARKS)

    def over(self, line: bytes) -> bytes:
        lowered = line.lower()
        for mark in self._marks:  # any() over a generator costs more, on every line
            if mark in lowered:
                break
        else:
            if not (b"@" in lowered and b"://" in lowered):
                return line
        fields = orjson.loads(line)
        covered = {name: self._covered(value, name) for name, value in fields.items()}
        covered.update(timestamp=fields["timestamp"], level=fields["level"])
        return orjson.dumps(covered, option=_OPTIONS)

    def _covered(self, value: Any, name: str) -> Any:
        match value:
            case None:
                return None
            case _ if _SECRET_NAME.search(name.lower().replace("-", "_")):
                return _MASK
            case dict():
                return {self._without_secrets(key): self._covered(item, key) for key, item in value.items()}
            case list():
                return [self._covered(item, name) for item in value]
            case str():
                text = self._without_secrets(value)
                return _CREDENTIALS.sub(_mask_credential, text) if name in _FREE_TEXT else text
            case _:
                return value

    def _without_secrets(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, _MASK)
        return text


class Pipeline:
    """Every logger in use holds this one object, so configuring again (a reload) reaches them all."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._cover = Cover()
        self._lost = 0

    def replace(self, sink: Sink, cover: Cover) -> None:
        previous, self._sink, self._cover = self._sink, sink, cover
        previous.close()  # after the exchange: other threads log on

    def __call__(self, _logger: object, level: str, fields: Fields) -> bytes:
        """structlog's last processor: the masked JSON line."""
        line = {"timestamp": None, "level": None, "event": None, **fields}
        line["timestamp"] = datetime.now(UTC)
        line["level"] = level
        if "exc_info" in line:
            raised = _raised(line.pop("exc_info"))
            if raised is not None:
                line["exception"] = "".join(traceback.format_exception(raised)).rstrip("\n")
        return self._cover.over(_encode(line))

    def put(self, line: bytes) -> None:
        if not self._sink.deliver(line):
            self._lost += 1
        elif self._lost:
            lost, self._lost = self._lost, 0
            if not self._sink.deliver(self(None, "warning", {"event": "lines.lost", "lines": lost})):
                self._lost += lost

    notset = debug = info = warning = error = critical = put  # what structlog calls, by level


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
        self._pipeline.put(self._pipeline(None, _level_name(record.levelno), fields))


class _Logger(structlog.BoundLoggerBase):
    """structlog's filtering logger, but `_filter_at` moves the level of loggers already in use."""


def _filter_at(level: int) -> None:
    for name, method in vars(structlog.make_filtering_bound_logger(level)).items():
        if not name.startswith("__"):
            setattr(_Logger, name, method)


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
    _PIPELINE.replace(_sink(chosen if reachable else "json", target, journal_socket), Cover(secrets))
    _filter_at(number)
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


def chosen_format(log_format: Literal["auto"] | Format, stream: TextIO, environ: Mapping[str, str]) -> Format:
    """What `auto` means for `stream`: console on a terminal, journal where systemd made it a journal stream."""
    if log_format != "auto":
        return log_format
    if stream.isatty():
        return "console"
    fd = _fd_of(stream)
    if fd is None or "JOURNAL_STREAM" not in environ:
        return "json"
    status = os.fstat(fd)
    return "journal" if environ["JOURNAL_STREAM"] == f"{status.st_dev}:{status.st_ino}" else "json"


def _sink(log_format: Format, stream: TextIO, journal_socket: Path) -> Sink:
    match log_format:
        case "console":
            return ConsoleSink(stream, colors=stream.isatty() and "NO_COLOR" not in os.environ)
        case "journal":
            return JournalSink(journal_socket)
        case "json":
            return StreamSink(stream)


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
            return {_printable_text(str(key)): _printable(item, depth + 1) for key, item in value.items()}
        case list() | tuple() | set() | frozenset() if depth < 8:
            return [_printable(item, depth + 1) for item in value]
        case _:
            return _printable_text(str(_stand_in(value)))


def _printable_text(text: str) -> str:
    """Bytes that were not UTF-8, as `os.fsdecode` leaves them, stand as `\\xNN`; other halves as `\\uNNNN`."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()


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


def _mask_credential(found: re.Match[str]) -> str:
    return f"{found[found.lastgroup or 0]}{_MASK}"


def _text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _logfmt(value: object) -> str:
    text = _text(value)
    return text if _BARE.fullmatch(text) else orjson.dumps(text).decode()


@lru_cache(maxsize=512)
def _native_name(name: str) -> str | None:
    """The journal's form of a field's name; None when no character of it is allowed there."""
    allowed = re.sub("[^A-Z0-9_]", "_", name.upper()).lstrip("_0123456789")
    return (f"FIELD_{allowed}" if _RESERVED.fullmatch(allowed) else allowed)[:64] or None
