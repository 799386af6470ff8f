"""A feed, read by plain HTTP from its beginning, to the keys that are there by it."""

import gzip
import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from urllib.parse import unquote, urlsplit

import httpx

from tests.producers.couchdb import CouchDB
from tests.producers.followed import Followed
from tests.producers.process import PATIENCE_S
from tests.producers.producer import Producer
from tests.producers.receiver import receiving
from tests.producers.resourcesync import ResourceSync
from tests.producers.sitemap import Sitemap
from tests.producers.syncthing import API_KEY, Syncthing
from tests.producers.webhook import Webhook

HTTP = httpx.Client(trust_env=False, verify=False, limits=httpx.Limits(max_keepalive_connections=0), timeout=PATIENCE_S)
SITEMAP = "{http://www.sitemaps.org/schemas/sitemap/0.9}"
RESOURCESYNC = "{http://www.openarchives.org/rs/terms/}"

Told = Iterator[tuple[str, bool]]
"""Keys, and whether they are there, in the order in which a reader learns of it."""


def present(producer: Producer, happenings: int) -> set[str]:
    """The keys that are there by all that the feed tells from its beginning on, which is of so many happenings."""
    told = dict(_READERS[type(producer)](producer, happenings))
    return {key for key, there in told.items() if there}


def locations(url: str) -> list[str]:
    root = ET.fromstring(HTTP.get(url).raise_for_status().content)
    return [each.text or "" for each in root.iter(f"{SITEMAP}loc")]


def read_couchdb(producer: CouchDB, _: int) -> Told:
    for row in HTTP.get(f"{producer.database_url}/_changes").raise_for_status().json()["results"]:
        yield row["id"], not row.get("deleted", False)


def read_sitemap(producer: Sitemap, _: int) -> Told:
    root = ET.fromstring(HTTP.get(producer.feed_url).raise_for_status().content)
    documents = [root]
    if root.tag == f"{SITEMAP}sitemapindex":
        documents = [ET.fromstring(gzip.decompress(HTTP.get(url).content)) for url in locations(producer.feed_url)]
    for document in documents:
        for url in document.iter(f"{SITEMAP}loc"):
            yield key_of(producer, url.text or ""), True


def read_resourcesync(producer: ResourceSync, _: int) -> Told:
    (capabilities,) = locations(f"{producer.origin_url}/.well-known/resourcesync")
    assert capabilities == producer.feed_url
    for capability in locations(capabilities):
        for url in ET.fromstring(HTTP.get(capability).raise_for_status().content).iter(f"{SITEMAP}url"):
            says = url.find(f"{RESOURCESYNC}md")
            assert says is not None
            yield key_of(producer, url.findtext(f"{SITEMAP}loc", "")), says.get("change") != "deleted"


def read_followed(producer: Followed, happenings: int) -> Told:
    match producer.name:
        case "http-feeds":
            yield from _read_http_feeds(producer)
        case "sse":
            yield from _read_sse(producer, happenings)
        case _:
            for line in HTTP.get(producer.feed_url).raise_for_status().text.splitlines():
                yield _entry(line)


def _read_http_feeds(producer: Followed) -> Told:
    last = "null"
    while events := HTTP.get(producer.feed_url, params={"lastEventId": last}).raise_for_status().json():
        for event in events:
            yield event["subject"], event.get("method", "PUT") == "PUT"
        last = events[-1]["id"]


def _read_sse(producer: Followed, happenings: int) -> Told:
    with HTTP.stream("GET", producer.feed_url) as answer:
        for line in answer.iter_lines():
            if line.startswith("data:"):
                yield _entry(line.removeprefix("data:"))
                happenings -= 1
            if not happenings:
                return


def _entry(line: str) -> tuple[str, bool]:
    said = json.loads(line)
    return said["key"], said["op"] == "write"


def read_syncthing(producer: Syncthing, _: int) -> Told:
    asked = {"since": 0, "timeout": 1}
    for event in HTTP.get(producer.feed_url, params=asked, headers={"X-API-Key": API_KEY}).raise_for_status().json():
        if event["data"]["type"] == "file":
            yield event["data"]["path"], event["data"]["action"] != "deleted"


def read_webhook(producer: Webhook, happenings: int) -> Told:
    with receiving(producer) as receiver:
        yield from receiver.until_told(happenings)


_READERS: dict[type, Callable[..., Told]] = {
    CouchDB: read_couchdb,
    Followed: read_followed,
    ResourceSync: read_resourcesync,
    Sitemap: read_sitemap,
    Syncthing: read_syncthing,
    Webhook: read_webhook,
}


def key_of(producer: Producer, url: str) -> str:
    assert url.startswith(f"{producer.origin_url}/")
    return unquote(urlsplit(url).path)[1:]
