"""Senders of webhooks: as MinIO with a `queue_dir`, and as the `cloudevents` library in each of its modes."""

import hashlib
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote_plus

from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from tests.producers.files import Files
from tests.producers.process import LOOPBACK, Process, free_port, running
from tests.producers.producer import toml
from tests.servers import running_origin

TOKEN = "webhook-token-that-nobody-may-read"
BUCKET = "origin"
MIRROR = "docs"
"""The name of the mirror whose hook is called, unless a test says otherwise."""


@dataclass(frozen=True)
class Happening:
    """What there is to tell of one key."""

    number: int
    at_ns: int
    key: str
    content: bytes | None
    """None: removed."""

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(self.at_ns / 1e9, UTC)


@dataclass(frozen=True)
class Delivery:
    headers: Mapping[str, str]
    body: bytes


def minio(told: Happening) -> Delivery:
    """MinIO's log entry with one S3 record: the key is query-escaped, `sequencer` is nanoseconds in hex."""
    name = "s3:ObjectRemoved:Delete" if told.content is None else "s3:ObjectCreated:Put"
    at = told.at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{told.at.microsecond // 1000:03}Z"
    thing: dict[str, object] = {"key": quote_plus(told.key), "sequencer": f"{told.at_ns:X}"}
    if told.content is not None:
        etag = hashlib.md5(told.content).hexdigest()
        thing |= {"size": len(told.content), "eTag": etag, "contentType": "application/octet-stream"}
    record = {
        "eventVersion": "2.0",
        "eventSource": "minio:s3",
        "awsRegion": "",
        "eventTime": at,
        "eventName": name,
        "userIdentity": {"principalId": "minio"},
        "requestParameters": {"principalId": "minio", "region": "", "sourceIPAddress": LOOPBACK},
        "responseElements": {"x-amz-id-2": "0", "x-amz-request-id": f"{told.at_ns:X}"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "Config",
            "bucket": {"name": BUCKET, "ownerIdentity": {"principalId": "minio"}, "arn": f"arn:aws:s3:::{BUCKET}"},
            "object": thing,
        },
        "source": {"host": LOOPBACK, "port": "", "userAgent": "MinIO"},
    }
    entry = {"EventName": name, "Key": f"{BUCKET}/{told.key}", "Records": [record]}
    return Delivery({"Content-Type": "application/json"}, json.dumps(entry).encode())


def binary(told: Happening) -> Delivery:
    """Attributes are `ce-` headers, percent-encoded where they are not ASCII; the body is the data."""
    message = to_binary_event(_cloud_event(told))
    return Delivery(message.headers, message.body)


def structured(told: Happening) -> Delivery:
    message = to_structured_event(_cloud_event(told))
    return Delivery(message.headers, message.body)


def batched(told: Happening) -> Delivery:
    """One element of a batch: the sender joins those that wait."""
    return Delivery({"Content-Type": "application/cloudevents-batch+json"}, JSONFormat().write(_cloud_event(told)))


def _cloud_event(told: Happening) -> CloudEvent:
    """The subject is the key as it is; what happened is the end of the type."""
    attributes = {
        "id": f"{told.number}-{told.at_ns}",
        "source": "/files",
        "type": f"org.example.file.{'deleted' if told.content is None else 'updated'}",
        "subject": told.key,
        "time": told.at,
        "datacontenttype": "application/json",
    }
    return CloudEvent(attributes, {} if told.content is None else {"size": len(told.content)})


class Webhook:
    """Deliveries wait in a folder until the hook has answered each with 2xx, oldest first, however often it takes.

    Every start and kill of the sender may make it deliver again what it has not seen accepted.
    """

    keeps_history = True
    takes_while_down = True

    def __init__(
        self,
        name: str,
        origin_url: str,
        files: Files,
        waiting: Path,
        sender: Process,
        port: int,
        form: Callable[[Happening], Delivery],
    ) -> None:
        self.name = name
        self.origin_url = origin_url
        self._port = port
        self._files = files
        self._waiting = waiting
        self._sender = sender
        self._form = form
        self._numbers = itertools.count(1)

    def settings(self) -> str:
        return toml(format="webhook", listen=f"{LOOPBACK}:{self._port}", token=TOKEN)

    def publish(self, key: str, content: bytes) -> None:
        self._files.put(key, content)
        self._tell(key, content)

    def remove(self, key: str) -> None:
        self._files.drop(key)
        self._tell(key, None)

    def waiting(self) -> int:
        """How many deliveries have not been accepted yet."""
        return sum(path.suffix == ".json" for path in self._waiting.iterdir())

    def give_up(self) -> None:
        """Never deliver what waits. The sender must not run."""
        for path in self._waiting.glob("*.json"):
            path.unlink()

    def start(self) -> None:
        self._sender.start()

    def stop(self) -> None:
        self._sender.stop()

    def kill(self) -> None:
        self._sender.kill()

    def _tell(self, key: str, content: bytes | None) -> None:
        told = Happening(next(self._numbers), time.time_ns(), key, content)
        delivery = self._form(told)
        incoming = self._waiting / "incoming"
        incoming.write_text(json.dumps({"headers": dict(delivery.headers), "body": delivery.body.decode()}))
        incoming.replace(self._waiting / f"{told.number:09}.json")


@contextmanager
def webhook_minio(folder: Path, *, mirror: str = MIRROR) -> Iterator[Webhook]:
    with _running(folder, "webhook-minio", minio, mirror) as producer:
        yield producer


@contextmanager
def webhook_binary(folder: Path, *, mirror: str = MIRROR) -> Iterator[Webhook]:
    with _running(folder, "webhook-binary", binary, mirror) as producer:
        yield producer


@contextmanager
def webhook_structured(folder: Path, *, mirror: str = MIRROR) -> Iterator[Webhook]:
    with _running(folder, "webhook-structured", structured, mirror) as producer:
        yield producer


@contextmanager
def webhook_batched(folder: Path, *, mirror: str = MIRROR) -> Iterator[Webhook]:
    with _running(folder, "webhook-batched", batched, mirror) as producer:
        yield producer


@contextmanager
def _running(folder: Path, name: str, form: Callable[[Happening], Delivery], mirror: str) -> Iterator[Webhook]:
    files = Files(folder / "www")
    waiting = folder / "waiting"
    waiting.mkdir()
    port = free_port()
    how = "probing" if form is minio else "batching" if form is batched else "singly"
    hook = f"/hooks/{mirror}"
    command = [sys.executable, "-m", "tests.producers.webhook_sender", str(waiting), str(port), hook, TOKEN, how]
    with running_origin(files.root) as origin_url, running(Process(command, folder / "sender.log")) as sender:
        yield Webhook(name, origin_url, files, waiting, sender, port, form)
