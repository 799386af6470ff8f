"""npm `sitemap` behind nginx: a sitemap of all files, written anew at every change."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tests.producers.files import Files, url_of
from tests.producers.nginx import running_nginx
from tests.producers.node import node, package
from tests.producers.process import Process
from tests.producers.producer import toml
from tests.producers.writer import Writer, running_writer

_SCRIPT = Path(__file__).with_name("sitemap_writer.mjs")
PER_SITEMAP = 4
"""So that a few files are several sitemaps below one index."""


class Sitemap:
    """The sitemap is beside the files. nginx's ETag of it is the second and the size of its last change, no more."""

    keeps_history = True
    takes_while_down = True

    def __init__(
        self, name: str, origin_url: str, files: Files, server: Process, writer: Writer, document: str
    ) -> None:
        self.name = name
        self.origin_url = origin_url
        self.feed_url = f"{origin_url}/{document}"
        self._files = files
        self._server = server
        self._writer = writer
        self._changed: dict[str, str] = {}
        """Key to when it was changed, as `lastmod` has it."""
        self._write()

    def settings(self) -> str:
        return toml(format="sitemap", url=self.feed_url, poll_every="200ms")

    def publish(self, key: str, content: bytes) -> None:
        path = self._files.put(key, content)
        self._changed[key] = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="milliseconds")
        self._write()

    def remove(self, key: str) -> None:
        self._files.drop(key)
        del self._changed[key]
        self._write()

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def kill(self) -> None:
        self._server.kill()

    def _write(self) -> None:
        self._writer.write(
            [{"url": url_of(self.origin_url, key), "lastmodISO": changed} for key, changed in self._changed.items()]
        )


@contextmanager
def sitemap(folder: Path) -> Iterator[Sitemap]:
    """One document, `sitemap.xml`."""
    with _running(folder, "sitemap", "sitemap.xml", per_sitemap=0) as producer:
        yield producer


@contextmanager
def sitemap_index(folder: Path) -> Iterator[Sitemap]:
    """`sitemap-index.xml`, and gzipped sitemaps below it that have other names every time."""
    with _running(folder, "sitemap-index", "sitemap-index.xml", per_sitemap=PER_SITEMAP) as producer:
        yield producer


@contextmanager
def _running(folder: Path, name: str, document: str, *, per_sitemap: int) -> Iterator[Sitemap]:
    package("sitemap")
    files = Files(folder / "www")
    with running_nginx(files.root, folder / "nginx") as (url, server):
        command = [node(), str(_SCRIPT), str(files.root / document), url, str(per_sitemap)]
        with running_writer(command, folder / "writer.log") as writer:
            yield Sitemap(name, url, files, server, writer, document)
