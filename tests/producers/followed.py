"""A feed that is a history and a server of it: all that the producers of our own servers have in common."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.producers.files import Files
from tests.producers.history import History
from tests.producers.process import LOOPBACK, Process, free_port, running
from tests.producers.producer import toml
from tests.servers import running_origin


class Followed:
    """The server reads the history, so that what happens while it is down is told when it is up again."""

    keeps_history = True
    takes_while_down = True

    def __init__(
        self, name: str, form: str, origin_url: str, feed_url: str, files: Files, history: History, server: Process
    ) -> None:
        """`form`: what the settings call it."""
        self.name = name
        self._form = form
        self.origin_url = origin_url
        self.feed_url = feed_url
        self._files = files
        self._history = history
        self._server = server

    def settings(self) -> str:
        return toml(format=self._form, url=self.feed_url, poll_every="200ms")

    def publish(self, key: str, content: bytes) -> None:
        self._files.put(key, content)
        self._history.append(key, content)

    def tell(self, key: str) -> None:
        """Publish nothing, and say so all the same."""
        self._history.append(key, b"")

    def remove(self, key: str) -> None:
        self._files.drop(key)
        self._history.append(key, None)

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def kill(self) -> None:
        self._server.kill()


@contextmanager
def running_followed(folder: Path, name: str, module: str, path: str) -> Iterator[Followed]:
    """`module` is run with a port and the history's file; `path` is where its feed is."""
    files = Files(folder / "www")
    history = History(folder / "history.jsonl")
    port = free_port()
    command = [sys.executable, "-m", module, str(port), str(history.path)]
    with (
        running_origin(files.root) as origin_url,
        running(Process(command, folder / "server.log", port=port)) as server,
    ):
        yield Followed(name, name, origin_url, f"http://{LOOPBACK}:{port}{path}", files, history, server)
