"""The official SDK, unchanged, against the sandbox: what it takes for Kodo, a client of ours may too."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import qiniu
from qiniu.http.default_client import qn_http_client
from qiniu.http.endpoint import Endpoint
from qiniu.http.region import Region, ServiceName
from qiniu.http.regions_provider import QueryRegionsProvider

from mirrord.kodo.etag import etag_of
from tests.sandbox.conftest import ScriptedOrigin
from tests.servers import CREDENTIALS, Sandbox, running_sandbox

# It signs with datetime.utcnow, deprecated since Python 3.12.
pytestmark = pytest.mark.filterwarnings("ignore:.*utcnow:DeprecationWarning")

HELLO = etag_of([b"hello"])


@pytest.fixture(autouse=True)
def _no_connection_left_open() -> Iterator[None]:
    yield
    qn_http_client.session.close()


def bucket_manager(kodo: Sandbox, secret_key: str = CREDENTIALS.secret_key) -> qiniu.BucketManager:
    here = [Endpoint.from_host(kodo.url)]
    region = Region("z0", services=dict.fromkeys(ServiceName, here))
    auth = qiniu.Auth(kodo.credentials.access_key, secret_key)
    return qiniu.BucketManager(auth, regions=[region], preferred_scheme="http")


@pytest.fixture
def buckets(kodo: Sandbox) -> qiniu.BucketManager:
    return bucket_manager(kodo)


def test_it_prefetches_and_stats(buckets: qiniu.BucketManager, origin: ScriptedOrigin) -> None:
    origin.page("/a%20%E4%B8%AD%3F.txt", b"hello", Content_Type="text/plain")

    pulled, info = buckets.prefetch("docs", "a 中?.txt")
    described, _ = buckets.stat("docs", "a 中?.txt")

    assert (pulled, info.status_code, info.ok()) == ({}, 200, True)
    assert info.req_id
    assert info.x_log
    assert (described["fsize"], described["hash"], described["mimeType"]) == (5, HELLO, "text/plain")


def test_it_finds_the_key_in_a_reply_with_an_object(tmp_path: Path, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"hello")
    with running_sandbox(tmp_path / "k", {"docs": origin.url}, prefetch_reply="object") as kodo:
        pulled, _ = bucket_manager(kodo).prefetch("docs", "a")

    assert pulled["key"] == "a"


@pytest.mark.parametrize(("key", "stored_as"), [("b", "b"), (None, HELLO)], ids=["key", "bucket-only"])
def test_it_fetches(buckets: qiniu.BucketManager, origin: ScriptedOrigin, key: str | None, stored_as: str) -> None:
    origin.page("/a?v=1", b"hello")

    fetched, _ = buckets.fetch(origin.url + "/a?v=1", "docs", key)

    assert fetched == {"hash": HELLO, "key": stored_as, "fsize": 5, "mimeType": "application/octet-stream"}


def test_it_lists_page_by_page(buckets: qiniu.BucketManager, origin: ScriptedOrigin) -> None:
    for key in ("d/中", "d/b", "d/a", "e"):
        origin.page("/" + key.replace("中", "%E4%B8%AD"), b"hello")
        buckets.prefetch("docs", key)

    first, first_ends, _ = buckets.list("docs", prefix="d/", limit=2)
    second, second_ends, _ = buckets.list("docs", prefix="d/", limit=2, marker=first["marker"])
    folded, _, _ = buckets.list("docs", delimiter="/")

    assert [item["key"] for item in first["items"] + second["items"]] == ["d/a", "d/b", "d/中"]
    assert (first_ends, second_ends) == (False, True)
    assert (folded["commonPrefixes"], [item["key"] for item in folded["items"]]) == (["d/"], ["e"])


def test_it_deletes(buckets: qiniu.BucketManager, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"hello")
    buckets.prefetch("docs", "a")

    deleted, info = buckets.delete("docs", "a")
    _, gone = buckets.delete("docs", "a")

    assert (deleted, info.status_code) == ({}, 200)
    assert (gone.status_code, gone.error) == (612, '{"error":"no such file or directory"}')


def test_it_batches(buckets: qiniu.BucketManager, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"hello")
    buckets.prefetch("docs", "a")

    found, _ = buckets.batch(qiniu.build_batch_stat("docs", ["a"]))
    _, partly = buckets.batch(qiniu.build_batch_stat("docs", ["a", "b"]))
    deleted, _ = buckets.batch(qiniu.build_batch_delete("docs", ["a"]))

    assert [(item["code"], item["data"]["hash"]) for item in found] == [(200, HELLO)]
    assert partly.status_code == 298
    assert deleted == [{"code": 200}]


def test_it_reads_the_mirror_source(buckets: qiniu.BucketManager, origin: ScriptedOrigin) -> None:
    info, _ = buckets.bucket_info("docs")

    assert info["source"] == origin.url


def test_it_discovers_the_sandbox_by_asking_for_regions(kodo: Sandbox, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"hello")
    auth = qiniu.Auth(kodo.credentials.access_key, kodo.credentials.secret_key)
    discovered = QueryRegionsProvider(auth.get_access_key(), "docs", [Endpoint.from_host(kodo.url)])

    pulled, info = qiniu.BucketManager(auth, regions=discovered).prefetch("docs", "a")

    assert (pulled, info.status_code) == ({}, 200)
    assert [call["operation"] for call in kodo.calls()] == ["query", "prefetch"]


def test_it_reports_an_origin_in_trouble_and_does_not_retry(
    kodo: Sandbox, buckets: qiniu.BucketManager, origin: ScriptedOrigin
) -> None:
    origin.page("/a", b"", 502)

    _, info = buckets.prefetch("docs", "a")

    assert (info.status_code, info.error) == (478, '{"error":"httpGet url failed: E502"}')
    assert len(kodo.calls("prefetch")) == 1


def test_it_is_refused_with_another_secret(kodo: Sandbox) -> None:
    stranger = bucket_manager(kodo, secret_key="guess")

    _, info = stranger.prefetch("docs", "a")

    assert (info.status_code, info.error) == (401, '{"error":"bad token"}')
