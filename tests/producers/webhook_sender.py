"""Deliveries that wait in a folder to POSTs, oldest first, each again and again until it is answered with 2xx."""

import json
import sys
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path

BATCH = 10
_PAUSE_S = 0.05
"""MinIO waits 3 s."""
_GLANCE_S = 0.01
_TIMEOUT_S = 10


def send_on(waiting: Path, port: int, hook: str, token: str, how: str) -> None:
    """`how`: `probing` asks HEAD until somebody answers, as MinIO does first; `batching` joins bodies to an array."""
    if how == "probing":
        while _ask(port, "HEAD", hook, token) is None:
            time.sleep(_PAUSE_S)
    while True:
        oldest = sorted(waiting.glob("*.json"))[: BATCH if how == "batching" else 1]
        if not oldest:
            time.sleep(_GLANCE_S)
            continue
        deliveries = [json.loads(path.read_text()) for path in oldest]
        bodies = [delivery["body"].encode() for delivery in deliveries]
        body = b"[" + b",".join(bodies) + b"]" if how == "batching" else bodies[0]
        status = _ask(port, "POST", hook, token, deliveries[0]["headers"], body)
        if status is None or not 200 <= status <= 299:
            time.sleep(_PAUSE_S)
            continue
        for path in oldest:
            path.unlink()


def _ask(
    port: int, method: str, hook: str, token: str, headers: dict[str, str] | None = None, body: bytes | None = None
) -> int | None:
    """The status; None: nobody answered."""
    connection = HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request(method, hook, body, {**(headers or {}), "Authorization": f"Bearer {token}"})
        return connection.getresponse().status
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


if __name__ == "__main__":
    send_on(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
