"""npm `pouchdb-server` as a CouchDB: a document for each file, its id the key."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import httpx

from tests.producers.files import Files
from tests.producers.node import node, package
from tests.producers.process import LOOPBACK, Process, free_port, running
from tests.producers.producer import toml
from tests.servers import running_origin


class CouchDB:
    """Ids that begin with `_` are CouchDB's own: such keys it does not take.

    Known of version 4.2.0: `seq` is an integer, answers have no `pending`, `feed=eventsource` is ignored.
    """

    takes_while_down = False

    def __init__(self, name: str, origin_url: str, files: Files, server: Process, url: str, *, on_disk: bool) -> None:
        self.name = name
        self.origin_url = origin_url
        self.database_url = f"{url}/files"
        self.keeps_history = on_disk
        self._files = files
        self._server = server
        self._client = httpx.Client(trust_env=False, verify=False)

    def settings(self) -> str:
        return toml(format="couchdb", url=self.database_url, poll_every="200ms")

    def publish(self, key: str, content: bytes) -> None:
        self._files.put(key, content)
        self._document("PUT", key, {"size": len(content)})

    def remove(self, key: str) -> None:
        self._files.drop(key)
        self._document("DELETE", key)

    def start(self) -> None:
        self._server.start()
        self.create()

    def stop(self) -> None:
        self._server.stop()

    def kill(self) -> None:
        self._server.kill()

    def create(self) -> None:
        """Make the database, unless it is there."""
        answer = self._client.put(self.database_url)
        assert answer.status_code in {201, 412}, answer.text

    def close(self) -> None:
        self._client.close()

    def _document(self, method: str, key: str, content: object = None) -> None:
        url = f"{self.database_url}/{quote(key, safe='')}"
        found = self._client.get(url)
        revision = {"rev": found.json()["_rev"]} if found.status_code == 200 else {}
        answer = self._client.request(method, url, params=revision, json=content)
        assert answer.is_success, answer.text


@contextmanager
def couchdb(folder: Path) -> Iterator[CouchDB]:
    """In memory: a restart forgets everything, and its sequence begins anew."""
    with _running(folder, "couchdb", "--in-memory", on_disk=False) as producer:
        yield producer


@contextmanager
def couchdb_on_disk(folder: Path) -> Iterator[CouchDB]:
    """With LevelDB, which keeps all."""
    with _running(folder, "couchdb-on-disk", "--dir", str(folder / "database"), on_disk=True) as producer:
        yield producer


@contextmanager
def _running(folder: Path, name: str, *storage: str, on_disk: bool) -> Iterator[CouchDB]:
    program = package("pouchdb-server") / "bin" / "pouchdb-server"
    port = free_port()
    (folder / "database").mkdir(parents=True)
    files = Files(folder / "www")
    (folder / "config.json").write_text(f'{{"log": {{"file": "{folder}/requests.log"}}}}')
    arguments = ["--host", LOOPBACK, "--port", str(port), "--config", str(folder / "config.json"), "--no-stdout-logs"]
    command = [node(), str(program), *storage, *arguments]
    url = f"http://{LOOPBACK}:{port}"
    with (
        running_origin(files.root) as origin_url,
        running(Process(command, folder / "server.log", port=port)) as server,
    ):
        producer = CouchDB(name, origin_url, files, server, url, on_disk=on_disk)
        try:
            producer.create()
            yield producer
        finally:
            producer.close()
