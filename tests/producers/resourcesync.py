"""PyPI `resync` behind nginx: a resource list as things were, and a change list that grows."""

import hashlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.producers.files import Files, url_of
from tests.producers.nginx import running_nginx
from tests.producers.process import Process
from tests.producers.producer import toml
from tests.producers.writer import Writer, running_writer

Entry = dict[str, str | int | float]
"""A resource, or a change of one, with the names of resync.Resource's arguments."""


class ResourceSync:
    """Found from /.well-known/resourcesync on; all lists are beside the files."""

    keeps_history = True
    takes_while_down = True
    name = "resourcesync"

    def __init__(self, origin_url: str, files: Files, server: Process, writer: Writer) -> None:
        self.origin_url = origin_url
        self.feed_url = f"{origin_url}/capabilitylist.xml"
        self._files = files
        self._server = server
        self._writer = writer
        self._current: dict[str, Entry] = {}
        self.snapshot()

    def settings(self) -> str:
        return toml(format="resourcesync", url=self.feed_url, poll_every="200ms")

    def publish(self, key: str, content: bytes) -> None:
        path = self._files.put(key, content)
        change = "updated" if key in self._current else "created"
        self._current[key] = {
            "uri": url_of(self.origin_url, key),
            "timestamp": path.stat().st_mtime,
            "length": len(content),
            "md5": hashlib.md5(content).hexdigest(),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        self._changes.append(self._current[key] | {"change": change, "ts_datetime": time.time()})
        self._write()

    def remove(self, key: str) -> None:
        self._files.drop(key)
        gone = self._current.pop(key)
        self._changes.append({"uri": gone["uri"], "change": "deleted", "ts_datetime": time.time()})
        self._write()

    def snapshot(self) -> None:
        """A new resource list of what there is, and a change list that begins there."""
        self._since = time.time()
        self._resources = list(self._current.values())
        self._changes: list[Entry] = []
        self._write()

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def kill(self) -> None:
        self._server.kill()

    def _write(self) -> None:
        self._writer.write({"since": self._since, "resources": self._resources, "changes": self._changes})


@contextmanager
def resourcesync(folder: Path) -> Iterator[ResourceSync]:
    files = Files(folder / "www")
    with running_nginx(files.root, folder / "nginx") as (url, server):
        command = [sys.executable, "-m", "tests.producers.resourcesync_writer", str(files.root), url]
        with running_writer(command, folder / "writer.log") as writer:
            yield ResourceSync(url, files, server, writer)
