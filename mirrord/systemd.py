"""What the service tells systemd, a datagram at a time: its state (sd_notify(3)) and its journal entries."""

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterable, MutableMapping
from datetime import timedelta
from pathlib import Path
from typing import Self

JOURNAL_SOCKET = Path("/run/systemd/journal/socket")
_SEND_TIMEOUT_S = 0.25  # a stalled reader blocks senders after net.unix.max_dgram_qlen messages
_STATUS_CHARS = 512  # systemd drops messages longer than 4096 bytes; a character has at most four
_MICROSECOND = timedelta(microseconds=1)


class Notifier:
    """Every message returns whether systemd took it; without a socket nothing is sent and nothing fails."""

    def __init__(self, socket_name: str | None, watchdog_interval: timedelta | None = None) -> None:
        """`socket_name` is a path, or `@` and an abstract name; None where no systemd listens."""
        self.watchdog_interval = watchdog_interval
        """How often `watchdog` is wanted: half of what systemd allows. None: never."""
        self.failures = 0
        """Messages that systemd did not take."""
        self._address: str | None = socket_name
        if socket_name is not None and socket_name.startswith("@"):
            self._address = "\0" + socket_name[1:]

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str], pid: int | None = None) -> Self:
        """What systemd told process `pid` (None: this one), taken out of `environ`: children are not it."""
        socket_name = environ.pop("NOTIFY_SOCKET", None) or None
        watchdog_usec = environ.pop("WATCHDOG_USEC", "")
        watchdog_pid = environ.pop("WATCHDOG_PID", "")
        ours = not watchdog_pid or watchdog_pid == str(os.getpid() if pid is None else pid)
        wanted = ours and socket_name is not None and watchdog_usec.isdecimal() and int(watchdog_usec) > 0
        return cls(socket_name, int(watchdog_usec) * _MICROSECOND / 2 if wanted else None)

    def ready(self, status: str) -> bool:
        """Started; also the end of every reload, a refused one too."""
        return self._send("READY=1", _status(status))

    def status(self, text: str) -> bool:
        """What `systemctl status` shows, on one line."""
        return self._send(_status(text))

    def stopping(self) -> bool:
        return self._send("STOPPING=1")

    def reloading(self, monotonic_ns: int) -> bool:
        """`monotonic_ns` is CLOCK_MONOTONIC now: without it `systemctl reload` of a notify-reload unit hangs."""
        return self._send("RELOADING=1", f"MONOTONIC_USEC={monotonic_ns // 1000}")

    def watchdog(self) -> bool:
        return self._send("WATCHDOG=1")

    def extend_timeout(self, by: timedelta) -> bool:
        """Start or stop may take `by` from now on; to be repeated while it takes longer."""
        return self._send(f"EXTEND_TIMEOUT_USEC={by // _MICROSECOND}")

    def _send(self, *assignments: str) -> bool:
        if self._address is None:
            return False
        message = "\n".join(assignments).encode("utf-8", "backslashreplace")
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(_SEND_TIMEOUT_S)
                sender.sendto(message, self._address)
        except OSError:  # the service works without an audience
            self.failures += 1
            return False
        return True


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())[:_STATUS_CHARS]}"  # a newline would begin another assignment


class Journal:
    """Journal entries in the native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL)."""

    def __init__(self, path: Path = JOURNAL_SOCKET) -> None:
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        timeval = struct.pack("ll", 0, int(_SEND_TIMEOUT_S * 1_000_000))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)  # spares a poll() an entry
        self._flags = 0

    def send(self, fields: Iterable[tuple[str, str]]) -> bool:
        """Whether journald took the entry. One that stands still is waited for once, not at every entry."""
        entry = b"".join(_journal_field(name, text) for name, text in fields)
        try:
            self._send(entry)
        except OSError:
            self._flags = socket.MSG_DONTWAIT
            return False
        self._flags = 0
        return True

    def close(self) -> None:
        self._socket.close()

    def _send(self, entry: bytes) -> None:
        try:
            self._socket.sendto(entry, self._flags, self._path)
        except OSError as exc:
            if exc.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                raise
            self._send_by_descriptor(entry)

    def _send_by_descriptor(self, entry: bytes) -> None:
        """What no datagram can hold goes as a memory file, sealed: journald takes no other from us."""
        with os.fdopen(os.memfd_create("mirrord", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "wb") as file:
            file.write(entry)
            file.flush()
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, seals)
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", file.fileno()))
            self._socket.sendmsg([], [rights], self._flags, self._path)


def _journal_field(name: str, text: str) -> bytes:
    encoded = text.encode("utf-8", "backslashreplace")
    if b"\n" in encoded:
        return b"%b\n%b%b\n" % (name.encode(), struct.pack("<Q", len(encoded)), encoded)
    return b"%b=%b\n" % (name.encode(), encoded)
