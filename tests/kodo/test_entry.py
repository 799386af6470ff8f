"""Entries and URLs against Kodo's documents, the official SDK, and their own inverse."""

from urllib.parse import unquote

import pytest
import qiniu
from hypothesis import given
from hypothesis import strategies as st

from mirrord.kodo.entry import decode_entry, decode_url, encode_entry, encode_url, origin_url

ENTRIES = [
    pytest.param("qiniuphotos", "gogopher.jpg", "cWluaXVwaG90b3M6Z29nb3BoZXIuanBn", id="data-formats"),
    pytest.param("newdocs", "find.man.txt", "bmV3ZG9jczpmaW5kLm1hbi50eHQ=", id="seed"),
    pytest.param("demo", "2013-02-09-07-39-20.jpg", "ZGVtbzoyMDEzLTAyLTA5LTA3LTM5LTIwLmpwZw==", id="stat-sample"),
    pytest.param("qiniuphotos", None, "cWluaXVwaG90b3M=", id="bucket-only"),
    pytest.param("qiniuphotos", "", "cWluaXVwaG90b3M6", id="empty-key"),
    pytest.param("qiniuphotos", "012ts>a", "cWluaXVwaG90b3M6MDEydHM-YQ==", id="dash"),
    pytest.param("qiniuphotos", "012ts?a", "cWluaXVwaG90b3M6MDEydHM_YQ==", id="underscore"),
    pytest.param("b", "a:b/c", "YjphOmIvYw==", id="second-colon"),
    pytest.param("b", "/lead/slash", "YjovbGVhZC9zbGFzaA==", id="leading-slash"),
    pytest.param("b", "a//b", "YjphLy9i", id="double-slash"),
    pytest.param("b", "中文 空格.txt", "YjrkuK3mlocg56m65qC8LnR4dA==", id="chinese"),
    pytest.param("b", "a?b&c=d#e%20+~.txt", "YjphP2ImYz1kI2UlMjArfi50eHQ=", id="reserved"),
    pytest.param("b", "😀", "Yjrwn5iA", id="astral"),
    pytest.param("b", "\u00e9.txt", "YjrDqS50eHQ=", id="composed"),
    pytest.param("b", "e\u0301.txt", "YjplzIEudHh0", id="decomposed"),
    pytest.param("qiniuphotos", "z1/gogopher.jpg", "cWluaXVwaG90b3M6ejEvZ29nb3BoZXIuanBn", id="multi-region"),
]

URLS = [
    pytest.param("http://qiniu.com/index.html", "aHR0cDovL3Fpbml1LmNvbS9pbmRleC5odG1s", id="seed"),
    pytest.param("https://sarah.qiniudemo.com/1.png", "aHR0cHM6Ly9zYXJhaC5xaW5pdWRlbW8uY29tLzEucG5n", id="fetch-doc"),
]

buckets = st.text(min_size=1).filter(lambda name: ":" not in name)
keys = st.none() | st.text()


@pytest.mark.parametrize(("bucket", "key", "encoded"), ENTRIES)
def test_an_entry_encodes_as_documented_and_decodes_back(bucket: str, key: str | None, encoded: str) -> None:
    assert encode_entry(bucket, key) == encoded
    assert decode_entry(encoded) == (bucket, key)


@pytest.mark.parametrize(("url", "encoded"), URLS)
def test_a_url_encodes_as_documented_and_decodes_back(url: str, encoded: str) -> None:
    assert encode_url(url) == encoded
    assert decode_url(encoded) == url


@given(buckets, keys)
def test_every_entry_round_trips(bucket: str, key: str | None) -> None:
    assert decode_entry(encode_entry(bucket, key)) == (bucket, key)


@given(buckets, keys)
def test_entries_are_those_of_the_official_sdk(bucket: str, key: str | None) -> None:
    assert encode_entry(bucket, key) == qiniu.entry(bucket, key)


@given(st.text())
def test_every_url_text_round_trips_as_in_the_official_sdk(url: str) -> None:
    assert encode_url(url) == qiniu.urlsafe_base64_encode(url)
    assert decode_url(encode_url(url)) == url


@pytest.mark.parametrize("bucket", ["", "a:b"])
def test_a_name_that_cannot_be_a_bucket_is_refused(bucket: str) -> None:
    with pytest.raises(ValueError, match="cannot name a bucket"):
        encode_entry(bucket, "key")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("bmV3ZG9jczpmaW5kLm1hbi50eHQ", "not padded", id="padding-lost"),
        pytest.param("b!V3", "not padded", id="foreign-character"),
        pytest.param("Yjpá", "not padded", id="not-ascii"),
        pytest.param("YjphPz4+", "not URL-safe", id="ordinary-alphabet"),
        pytest.param("Yjr_", "not UTF-8", id="not-utf-8"),
        pytest.param("OmtleQ==", "names no bucket", id="no-bucket"),
        pytest.param("", "names no bucket", id="empty"),
    ],
)
def test_what_is_no_entry_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode_entry(text)


@pytest.mark.parametrize(
    ("base", "key", "url"),
    [
        pytest.param("http://o", "a/b.txt", "http://o/a/b.txt", id="no-slash"),
        pytest.param("http://o/", "a/b.txt", "http://o/a/b.txt", id="slash"),
        pytest.param("http://o/sub/", "a", "http://o/sub/a", id="below-a-path"),
        pytest.param("http://o", "/a", "http://o//a", id="leading-slash-stays-its-own-key"),
        pytest.param("http://o", "a b?c#d&e%20+~:", "http://o/a%20b%3Fc%23d%26e%2520%2B~%3A", id="reserved"),
        pytest.param("http://o", "中", "http://o/%E4%B8%AD", id="chinese"),
        pytest.param("http://o", "", "http://o/", id="empty-key"),
    ],
)  # fmt: skip
def test_a_key_is_appended_to_the_origin(base: str, key: str, url: str) -> None:
    assert origin_url(base, key) == url


@given(st.text())
def test_the_origin_reads_back_the_very_key(key: str) -> None:
    assert unquote(origin_url("http://o", key).removeprefix("http://o/"), errors="strict") == key
