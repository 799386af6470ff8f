"""Bytes as they come to whole lines, however they were cut; a line that is too long is told, not kept."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TooLong:
    """Stands for a line of more bytes than are read; `begins` is how it begins."""

    begins: bytes


_SHOWN = 80


class Lines:
    """Ends of lines are LF or CR LF. Holds at most `most` bytes and the chunk that it is given."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._shown = min(_SHOWN, most)
        """Of a line that is too long, so much is there however it was cut."""
        self._rest = bytearray()
        self._skipping = False
        """Inside a line that was told as too long."""

    def receive(self, chunk: bytes) -> list[bytes | TooLong]:
        """The lines that are whole now, without their ends."""
        if b"\n" not in chunk:
            self._rest += chunk
            return self._overlong()
        *whole, rest = chunk.split(b"\n")
        whole[0] = bytes(self._rest) + whole[0]
        if self._skipping:  # what was kept is of a line already told
            whole.pop(0)
            self._skipping = False
        self._rest = bytearray(rest)
        return [*map(self._line, whole), *self._overlong()]

    def rest(self) -> bytes:
        """What came after the last end of a line."""
        return b"" if self._skipping else bytes(self._rest)

    def _line(self, line: bytes) -> bytes | TooLong:
        return line.removesuffix(b"\r") if len(line) <= self._most else TooLong(line[: self._shown])

    def _overlong(self) -> list[bytes | TooLong]:
        if self._skipping:
            self._rest.clear()
            return []
        if len(self._rest) <= self._most:
            return []
        told = TooLong(bytes(self._rest[: self._shown]))
        self._rest.clear()
        self._skipping = True
        return [told]
