"""What happened at an origin, a JSON line each in one file: written by tests, read by the servers of feeds."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import NotRequired, TypedDict


class Entry(TypedDict):
    seq: int
    """From 1 on, without gaps."""
    key: str
    op: str
    """`write` or `remove`."""
    version: NotRequired[str]
    time: str


class History:
    """One writes, others read while it does; a line that is not whole yet is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.touch()

    def append(self, key: str, content: bytes | None) -> None:
        """`content` None: it was removed."""
        entry: Entry = {
            "seq": len(self.entries()) + 1,
            "key": key,
            "op": "remove" if content is None else "write",
            "time": datetime.now(UTC).isoformat(),
        }
        if content is not None:
            entry["version"] = hashlib.sha256(content).hexdigest()
        with self.path.open("ab") as file:
            file.write(json.dumps(entry).encode() + b"\n")

    def entries(self, after: int = 0) -> list[Entry]:
        """Those behind the one of this `seq`."""
        *whole, _ = self.path.read_bytes().split(b"\n")
        return [json.loads(line) for line in whole[after:]]
