"""All producers, by their names: what a suite that runs over each of them is parametrized with."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from tests.producers.couchdb import couchdb, couchdb_on_disk
from tests.producers.http_feeds import http_feeds
from tests.producers.jsonl import jsonl, jsonl_file
from tests.producers.producer import Producer
from tests.producers.resourcesync import resourcesync
from tests.producers.sitemap import sitemap, sitemap_index
from tests.producers.sse import sse
from tests.producers.syncthing import syncthing
from tests.producers.webhook import webhook_batched, webhook_binary, webhook_minio, webhook_structured

EVERY: Mapping[str, Callable[[Path], AbstractContextManager[Producer]]] = {
    "couchdb": couchdb,
    "couchdb-on-disk": couchdb_on_disk,
    "http-feeds": http_feeds,
    "jsonl": jsonl,
    "jsonl-file": jsonl_file,
    "resourcesync": resourcesync,
    "sitemap": sitemap,
    "sitemap-index": sitemap_index,
    "sse": sse,
    "syncthing": syncthing,
    "webhook-batched": webhook_batched,
    "webhook-binary": webhook_binary,
    "webhook-minio": webhook_minio,
    "webhook-structured": webhook_structured,
}
"""Each is given a folder of its own that is empty or not there yet; where its program is missing, it skips the test."""
