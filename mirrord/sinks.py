"""Whole masked JSON lines in; out to a stream, to a person's console or to the journal, whoever stands still there."""

import io
import os
import re
import select
import stat
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from threading import RLock
from typing import Any, Protocol, TextIO

import orjson
import structlog

from mirrord.systemd import Journal

_PATIENCE_S = 0.25  # as long as a journal that stands still is waited for
# A terminal that is ready has room for 256 bytes, but asks again before each of those that it may translate, and then
# waits where it has none (n_tty and pty of Linux): these go alone.
_FOR_A_TERMINAL = re.compile(rb"[^\b\t\n\r]{1,128}|[\b\t\n\r]")
_BARE = re.compile(r"[^\s\"=\x00-\x1f\x7f]+")
# What journald or systemd itself reads something into (systemd.journal-fields(7)).
_RESERVED = re.compile(
    "(?:MESSAGE|MESSAGE_ID|PRIORITY|ERRNO|INVOCATION_ID|TID|(?:USER_)?UNIT|(?:SYSLOG|CODE|OBJECT|COREDUMP)_.*)"
)


class Sink(Protocol):
    def deliver(self, line: bytes) -> bool:
        """Put out one JSON line that ends in a newline; False when it is lost. Never raises OSError."""

    def close(self) -> None: ...


class StreamSink:
    """Lines as they are. Whoever reads them and stands still is waited for once, not at every line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._out = _writer(stream)
        self._begun = b""
        """What is missing of a line that was put out in part: it goes out before the next one."""
        self._lock = RLock()  # a finalizer may log in the midst of a line

    def deliver(self, line: bytes) -> bool:
        if self._stream.closed:  # its number may by now be another file's
            return False
        with self._lock:
            if self._begun:
                self._begun = self._begun[self._out.write(self._begun) :]
                if self._begun:
                    return False
            taken = self._out.write(line)
            if taken < len(line):
                self._begun = line[taken:] if taken else b""
            return taken > 0

    def close(self) -> None:
        """The stream is its owner's."""


class ConsoleSink:
    """Lines for a person; coloured when asked."""

    _CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # a name must not drive the terminal

    def __init__(self, out: Sink, *, colors: bool) -> None:
        self._out = out
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
        fields: Mapping[str, Any] = orjson.loads(line)
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


def fd_of(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except io.UnsupportedOperation:
        return None


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether systemd connected `stream` to the journal: JOURNAL_STREAM is its device and inode (systemd.exec(5))."""
    fd = fd_of(stream)
    if fd is None or "JOURNAL_STREAM" not in environ:
        return False
    status = os.fstat(fd)
    return environ["JOURNAL_STREAM"] == f"{status.st_dev}:{status.st_ino}"


class _Writer(Protocol):
    def write(self, line: bytes) -> int:
        """How many bytes were taken. Never raises OSError."""


def _writer(stream: TextIO) -> _Writer:
    fd = fd_of(stream)
    if fd is None:
        return _ToText(stream)
    try:
        is_file = stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError:  # closed by its owner, as every write will find
        is_file = False
    return _ToFile(fd) if is_file else _ToReader(fd)


class _ToText:
    """A stream that is nothing to the system."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, line: bytes) -> int:
        try:
            self._stream.write(line.decode())
            self._stream.flush()
        except OSError:
            return 0
        return len(line)


class _ToFile:
    """Nobody has to read before it takes more."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, line: bytes) -> int:
        taken = 0
        try:
            while taken < len(line):
                taken += os.write(self._fd, line[taken:])
        except OSError:  # such as a full disk
            pass
        return taken


class _ToReader:
    """Somebody reads at the other end of a pipe, a socket or a terminal, or stands still there.

    The descriptor is shared with whoever started us: whether its calls wait is not ours to change.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._is_terminal = os.isatty(fd)
        self._never_waits = not self._is_terminal and hasattr(os, "RWF_NOWAIT")
        """Until the kernel says otherwise; pipes and sockets have such calls from Linux 6.4 on."""
        self._stands_still = False

    def write(self, line: bytes) -> int:
        if self._stands_still and not self._is_ready():
            return 0
        taken = 0
        patient_until: float | None = None
        while taken < len(line):
            try:
                taken += self._write_now(self._piece(line, taken))
            except BlockingIOError:
                now = time.monotonic()
                patient_until = patient_until or now + _PATIENCE_S
                if self._stands_still or now >= patient_until or not self._is_ready(patient_until - now):
                    self._stands_still = True
                    break
            except OSError:
                break
            else:
                self._stands_still = False
        return taken

    def _piece(self, line: bytes, at: int) -> bytes:
        """What is taken without waiting when the other end is ready for anything."""
        if self._is_terminal:
            return next(_FOR_A_TERMINAL.finditer(line, at))[0]
        return line[at : at + select.PIPE_BUF]

    def _write_now(self, piece: bytes) -> int:
        """Raises BlockingIOError where that would have to wait."""
        if self._never_waits:
            try:
                return os.pwritev(self._fd, (piece,), -1, os.RWF_NOWAIT)
            except BlockingIOError:
                raise
            except OSError:  # not known there, or what the plain call says as well
                self._never_waits = False
        if not self._is_ready():
            raise BlockingIOError
        return os.write(self._fd, piece)  # another writer may have filled it since; that is what `pwritev` is for

    def _is_ready(self, within_s: float = 0.0) -> bool:
        readiness = select.poll()  # no two calls may share one, and who handles a signal may log during another's
        readiness.register(self._fd, select.POLLOUT)
        return bool(readiness.poll(within_s * 1000))


def _text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _logfmt(value: object) -> str:
    if isinstance(value, list) and value and all(_is_word(item) for item in value):
        return ",".join(value)
    text = _text(value)
    return text if _BARE.fullmatch(text) else orjson.dumps(text).decode()


def _is_word(item: object) -> bool:
    return isinstance(item, str) and "," not in item and _BARE.fullmatch(item) is not None


@lru_cache(maxsize=512)
def _native_name(name: str) -> str | None:
    """The journal's form of a field's name; None when no character of it is allowed there."""
    allowed = re.sub("[^A-Z0-9_]", "_", name.upper()).lstrip("_0123456789")
    return (f"FIELD_{allowed}" if _RESERVED.fullmatch(allowed) else allowed)[:64] or None
