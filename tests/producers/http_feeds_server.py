"""GET /files?lastEventId=&timeout= to the next batch of CloudEvents of a history (http-feeds, README)."""

import json
import sys
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.producers.history import Entry, History

BATCH = 5
"""So that a few files are several batches."""
_GLANCE_S = 0.01


def compacted(entries: list[Entry]) -> list[Entry]:
    """Only the latest of each subject."""
    latest = {entry["key"]: entry["seq"] for entry in entries}
    return [entry for entry in entries if latest[entry["key"]] == entry["seq"]]


def position(event_id: str) -> int:
    """Where an event is, or was before a compaction. Raises ValueError."""
    return int(event_id.partition("::")[0])


def event(entry: Entry, source: str) -> dict[str, object]:
    told: dict[str, object] = {
        "specversion": "1.0",
        "id": f"{entry['seq']:013}::{uuid.uuid5(uuid.NAMESPACE_URL, entry['time'])}",
        "type": "org.example.files",
        "source": source,
        "time": entry["time"],
        "subject": entry["key"],
    }
    if entry["op"] == "remove":
        return told | {"method": "DELETE"}
    return told | {"datacontenttype": "application/json", "data": {"version": entry["version"]}}


class Feed(BaseHTTPRequestHandler):
    history: History
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a body waits until its head is acknowledged

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(asked.query).items()}
        last = query.get("lastEventId", "null")
        try:
            after = 0 if last == "null" else position(last)
            patience_s = float(query.get("timeout", "0")) / 1000
        except ValueError:
            self.send_error(400)
            return
        if asked.path != "/files":
            self.send_error(404)
            return
        self._answer([event(entry, f"http://{self.headers['Host']}/files") for entry in self._next(after, patience_s)])

    def _next(self, after: int, patience_s: float) -> list[Entry]:
        deadline = time.monotonic() + patience_s
        while not (behind := self.history.entries(after)) and time.monotonic() < deadline:
            time.sleep(_GLANCE_S)
        return compacted(behind)[:BATCH]

    def _answer(self, events: list[dict[str, object]]) -> None:
        body = json.dumps(events).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/cloudevents-batch+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(port: int, history: Path) -> None:
    Feed.history = History(history)
    ThreadingHTTPServer(("127.0.0.1", port), Feed).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
