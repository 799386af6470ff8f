"""Requests against the seed documents and the published interface."""

from collections.abc import Callable
from urllib.parse import parse_qs

import pytest
import yarl
from hypothesis import given
from hypothesis import strategies as st

from mirrord.kodo.entry import decode_entry
from mirrord.kodo.protocol import (
    BATCH_MOST,
    Host,
    Request,
    async_fetch,
    async_state,
    batch_stat,
    bucket_info,
    delete,
    fetch,
    glb_fetch,
    list_objects,
    prefetch,
    purge,
    query_hosts,
    stat,
)

ENTRY = "bmV3ZG9jczpmaW5kLm1hbi50eHQ="
URL = "aHR0cDovL3Fpbml1LmNvbS9pbmRleC5odG1s"
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("request_", "host", "method", "target"),
    [
        pytest.param(prefetch("newdocs", "find.man.txt"), Host.IO, "POST", f"/prefetch/{ENTRY}", id="prefetch-seed"),
        pytest.param(
            glb_fetch("http://qiniu.com/index.html", "newdocs", "find.man.txt"),
            Host.API, "POST", f"/glb/fetch/{URL}/to/{ENTRY}", id="glb-fetch-seed",
        ),
        pytest.param(
            fetch("http://qiniu.com/index.html", "newdocs", "find.man.txt"),
            Host.IO, "POST", f"/fetch/{URL}/to/{ENTRY}", id="fetch",
        ),
        pytest.param(
            fetch("http://qiniu.com/index.html", "newdocs", None),
            Host.IO, "POST", f"/fetch/{URL}/to/bmV3ZG9jcw==", id="fetch-without-a-key",
        ),
        pytest.param(stat("newdocs", "find.man.txt"), Host.RS, "GET", f"/stat/{ENTRY}", id="stat"),
        pytest.param(delete("newdocs", "find.man.txt"), Host.RS, "POST", f"/delete/{ENTRY}", id="delete"),
        pytest.param(
            delete("newdocs", "find.man.txt", "Fh8xVqod2MQ1mocfI4S4KpRL6D98"),
            Host.RS, "POST", f"/delete/{ENTRY}/cond/aGFzaD1GaDh4VnFvZDJNUTFtb2NmSTRTNEtwUkw2RDk4",
            id="delete-of-a-hash",
        ),
    ],
)  # fmt: skip
def test_a_question_becomes_the_documented_request(request_: Request, host: Host, method: str, target: str) -> None:
    assert request_ == Request(host, target, b"", method, signed=True)


def test_discovery_is_the_one_call_without_a_signature() -> None:
    request = query_hosts("AK-_1", "newdocs")

    assert request == Request(Host.UC, "/v4/query?ak=AK-_1&bucket=newdocs", b"", "GET", signed=False)


def test_a_batch_is_a_form_of_one_operation_a_key() -> None:
    request = batch_stat("newdocs", ["find.man.txt", "a?&=/中.txt"])

    first, second = request.body.decode("ascii").split("&")
    assert (request.host, request.method, request.target) == (Host.RS, "POST", "/batch")
    assert first == f"op=/stat/{ENTRY}"
    assert decode_entry(second.removeprefix("op=/stat/")) == ("newdocs", "a?&=/中.txt")


@pytest.mark.parametrize("count", [0, BATCH_MOST + 1])
def test_a_batch_of_more_or_less_than_kodo_takes_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 1000"):
        batch_stat("newdocs", ["a"] * count)


@given(st.text(st.characters(codec="utf-8"), max_size=50), st.sampled_from([prefetch, delete, stat]))
def test_every_key_is_one_segment_of_ascii(key: str, build: Callable[[str, str], Request]) -> None:
    target = build("newdocs", key).target

    assert target.isascii()
    assert target.count("/") == 2
    assert decode_entry(target.rpartition("/")[2]) == ("newdocs", key)


URL_OF_A = "http://origin.example.com/a.bin"


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        pytest.param(
            async_fetch(URL_OF_A, "newdocs", "a.bin"),
            '{"url":"http://origin.example.com/a.bin","bucket":"newdocs","key":"a.bin",'
            '"file_type":0,"ignore_same_key":false}',
            id="plain",
        ),
        pytest.param(
            async_fetch(URL_OF_A, "newdocs", "中.bin", etag="Fh8xVqod2MQ1mocfI4S4KpRL6D98", host="www.example.com"),
            '{"url":"http://origin.example.com/a.bin","bucket":"newdocs","key":"中.bin",'
            '"host":"www.example.com","etag":"Fh8xVqod2MQ1mocfI4S4KpRL6D98","file_type":0,"ignore_same_key":false}',
            id="with-etag-and-host",
        ),
    ],
)
def test_an_asynchronous_fetch_is_json_and_overwrites(request_: Request, body: str) -> None:
    assert request_ == Request(
        Host.API, "/sisyphus/fetch", body.encode(), scheme="qiniu", content_type="application/json"
    )


@pytest.mark.parametrize(
    ("request_", "host", "method", "target"),
    [
        pytest.param(
            async_state("eyJ6b25lIjoiejAifQ=="),
            Host.API, "GET", "/sisyphus/fetch?id=eyJ6b25lIjoiejAifQ%3D%3D", id="state-of-a-task",
        ),
        pytest.param(bucket_info("new.docs"), Host.UC, "POST", "/v2/bucketInfo?bucket=new.docs", id="bucket-info"),
    ],
)  # fmt: skip
def test_what_takes_only_one_scheme_says_so(request_: Request, host: Host, method: str, target: str) -> None:
    assert request_ == Request(host, target, method=method, scheme="qiniu")


@given(
    st.text(st.characters(codec="utf-8"), max_size=30) | st.text("".join(map(chr, range(33, 127)))),
    st.sampled_from(
        [async_state, bucket_info, lambda text: query_hosts(text, text), lambda text: list_objects(text, text)]
    ),
)
def test_a_query_is_sent_as_it_was_signed_and_read_as_it_was_meant(text: str, build: Callable[[str], Request]) -> None:
    target = build(text).target

    assert yarl.URL(f"http://kodo.example{target}").raw_path_qs == target  # what aiohttp writes
    for value in parse_qs(target.partition("?")[2], strict_parsing=bool(text)).values():
        assert value in ([text], ["1000"])


def test_urls_that_a_cdn_shall_forget_go_to_the_one_host_of_all_cdns_as_json() -> None:
    request = purge(["http://cdn.example.com/%E4%B8%AD", "https://cdn.example.com/b"])

    assert (request.host, request.method, request.target) == (Host.FUSION, "POST", "/v2/tune/refresh")
    assert request.body == b'{"urls":["http://cdn.example.com/%E4%B8%AD","https://cdn.example.com/b"]}'
    assert (request.content_type, request.signed, request.scheme) == ("application/json", True, None)
