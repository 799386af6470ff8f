"""GET /changes?since=SEQ&limit=COUNT to the lines of a history behind that one; without them, to all of them."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.producers.history import History


class Lines(BaseHTTPRequestHandler):
    history: History
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a body waits until its head is acknowledged

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        query = {"since": "0", **{name: values[0] for name, values in parse_qs(asked.query).items()}}
        since, limit = query["since"], query.get("limit")
        if asked.path != "/changes" or not since.isdecimal() or not (limit or "0").isdecimal():
            self.send_error(404 if asked.path != "/changes" else 400)
            return
        behind = self.history.entries(int(since))[: None if limit is None else int(limit)]
        body = b"".join(json.dumps(entry).encode() + b"\n" for entry in behind)
        self.send_response(200)
        self.send_header("Content-Type", "application/jsonl")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(port: int, history: Path) -> None:
    Lines.history = History(history)
    ThreadingHTTPServer(("127.0.0.1", port), Lines).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
