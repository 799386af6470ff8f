"""An origin for the lab: files below /srv on port 8000. While /run/origin-shut exists, answers wait."""

import os
import sys
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

SHUT = "/run/origin-shut"


class Origin(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        print(f"asked {self.path}", file=sys.stderr, flush=True)
        while os.path.exists(SHUT):  # noqa: PTH110 - this file runs by itself, on any Python
            time.sleep(0.02)
        super().do_GET()


ThreadingHTTPServer(("127.0.0.1", 8000), partial(Origin, directory=sys.argv[1])).serve_forever()
