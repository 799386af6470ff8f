"""Both token schemes against the published vectors and the official SDK."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
import qiniu as sdk
from hypothesis import given
from hypothesis import strategies as st

from mirrord.kodo.auth import FORM, JSON, Credentials, qbox, qiniu, qiniu_date, same_token

MINE = Credentials("MY_ACCESS_KEY", "MY_SECRET_KEY")
SHORT = Credentials("ak", "sk")
SEED = "/prefetch/bmV3ZG9jczpmaW5kLm1hbi50eHQ="
BATCH = b"op=stat%2FbmV3ZG9jczphLnR4dA%3D%3D&op=stat%2FbmV3ZG9jczpiLnR4dA%3D%3D"
TASK = b'{"url":"http://origin.example.com/a.bin","bucket":"newdocs","key":"a.bin","file_type":0}'
DATE = {"X-Qiniu-Date": "20260102T030405Z"}
TYPE = {"Content-Type": FORM}
IO = "iovip.qiniuio.com"


@pytest.mark.parametrize(
    ("target", "body", "content_type", "signature"),
    [
        pytest.param(
            "/move/bmV3ZG9jczpmaW5kX21hbi50eHQ=/bmV3ZG9jczpmaW5kLm1hbi50eHQ=",
            b"", None, "FXsYh0wKHYPEsIAgdPD9OfjkeEM=", id="Q1-documented",
        ),
        pytest.param(SEED, b"", None, "j4osfqjd5GB4j-5OBEfDve_IMjo=", id="Q2-seed-prefetch"),
        pytest.param(SEED, b"", FORM, "j4osfqjd5GB4j-5OBEfDve_IMjo=", id="Q2-whatever-the-content-type"),
        pytest.param(
            "/glb/fetch/aHR0cDovL3Fpbml1LmNvbS9pbmRleC5odG1s/to/bmV3ZG9jczpmaW5kLm1hbi50eHQ=",
            b"", None, "8TU9DWTq1Ka1zsASa5NbSk1GiuE=", id="Q3-seed-glb-fetch",
        ),
        pytest.param(
            "/fetch/aHR0cDovL3Fpbml1LmNvbS9pbmRleC5odG1s/to/bmV3ZG9jcw==",
            b"", None, "BYAGZStnAMjbtZ6-G8pEgBHEcOA=", id="Q3b-bucket-only",
        ),
        pytest.param(
            "/list?bucket=newdocs&limit=2&prefix=00", b"", None, "ZkvNRhKViz3jAS48vL89qJXWKwI=", id="Q4-query"
        ),
        pytest.param(
            "/list?bucket=newdocs&prefix=%E4%B8%AD%2F&limit=1000",
            b"", None, "1tkMm8ZQ1-7ZaTj0m8Yt-GpAe7I=", id="Q4b-escaped-query",
        ),
        pytest.param(
            "/list?bucket=newdocs&prefix=中/&limit=1000",
            b"", None, "ftp0_vM6VrYPfoedi_iqAhw8bmY=", id="Q4b-unescaped-query",
        ),
        pytest.param("/batch", BATCH, FORM, "bHdcjRuI8hweFiTWHtNs2VPBzZY=", id="Q5-form-body"),
        pytest.param("/v2/tune/refresh", b"{}", JSON, "ckTB2xiIyIHZmi4O4iN3XjXr7t8=", id="Q6-json-body"),
    ],
)  # fmt: skip
def test_qbox_gives_the_published_signatures(
    target: str, body: bytes, content_type: str | None, signature: str
) -> None:
    assert qbox(MINE, target, body, content_type) == f"QBox MY_ACCESS_KEY:{signature}"


@pytest.mark.parametrize(
    ("body", "content_type", "signature"),
    [
        pytest.param(b"", None, "qfWnqF1E_vfzjZnReCVkcSMl29M=", id="bare-line-feed"),
        pytest.param(b"name=test&language=go", FORM, "h8gBb1Adb2Jgoys1N8sRVAnNvpw=", id="form"),
    ],
)
def test_qbox_gives_the_signatures_of_the_official_tests(body: bytes, content_type: str | None, signature: str) -> None:
    assert qbox(SHORT, "", body, content_type) == f"QBox ak:{signature}"


@pytest.mark.parametrize(
    ("method", "target", "host", "headers", "body", "signature"),
    [
        pytest.param("POST", SEED, IO, TYPE | DATE, b"", "Rl1RpJJaPFv0kLK7dMB6Vpdl9mQ=", id="N1"),
        pytest.param("POST", SEED, IO, TYPE, b"", "h8yb_pj594ejJP10nqSxFGaH-nU=", id="N2-no-date"),
        pytest.param("POST", SEED, IO, DATE, b"", "W4DjBRUMTkafeHFpZ4-0cvVPGsU=", id="N2b-no-content-type"),
        pytest.param(
            "GET", "/list?bucket=newdocs&limit=2&prefix=00", "rsf-z0.qiniuapi.com", TYPE | DATE,
            b"", "NqGQjsB8wAp4GhB0Bgqp7lJdTEo=", id="N3-get",
        ),
        pytest.param(
            "POST", "/batch", "rs-z0.qiniuapi.com", TYPE | DATE,
            BATCH, "fAcRoxzz-xzYOU2zjPXCOs_q3yc=", id="N4-form-body",
        ),
        pytest.param(
            "POST", "/sisyphus/fetch", "api-z0.qiniuapi.com", {"Content-Type": JSON} | DATE,
            TASK, "b82nmtal_xBp-Mp8HBfarHsgV50=", id="N5-json-body",
        ),
        pytest.param(
            "POST", SEED, "127.0.0.1:8080", TYPE | DATE,
            b"", "AFpo8TUVpStRVGCV2PHclMz34gI=", id="N6-host-with-port",
        ),
    ],
)  # fmt: skip
def test_qiniu_gives_the_published_signatures(
    method: str, target: str, host: str, headers: dict[str, str], body: bytes, signature: str
) -> None:
    lowered = {name.lower(): value for name, value in headers.items()}

    assert qiniu(MINE, method, target, host, headers, body) == f"Qiniu MY_ACCESS_KEY:{signature}"
    assert qiniu(MINE, method, target, host, lowered, body) == f"Qiniu MY_ACCESS_KEY:{signature}"


def test_qiniu_signs_its_own_headers_sorted_and_ignores_nameless_ones() -> None:
    headers = {
        "X-Qiniu-": "a",
        "X-Qiniu": "b",
        "X-Qiniu-Bbb": "BBB",
        "X-Qiniu-Aaa": "DDD",
        "Content-Type": FORM,
        "Authorization": "c",
    }

    header = qiniu(SHORT, "GET", "/mkfile/sdf.jpg?s=er3&df", "upload.qiniup.com", headers, b"name=test&language=go")

    assert header == "Qiniu ak:PUFPWsEUIpk_dzUvvxTTmwhp3p4="


paths = st.text("abc%/=-_:.", max_size=30).map(lambda text: f"/p{text}")
queries = st.text("abc%/=-_:.&", max_size=30)
bodies = st.text(max_size=30)
types = st.sampled_from([None, FORM, JSON])


@given(paths, queries, bodies, types)
def test_qbox_agrees_with_the_official_sdk(path: str, query: str, body: str, content_type: str | None) -> None:
    target = f"{path}?{query}" if query else path

    expected = sdk.Auth("MY_ACCESS_KEY", "MY_SECRET_KEY").token_of_request(f"http://h{target}", body, content_type)

    assert qbox(MINE, target, body.encode(), content_type) == f"QBox {expected}"


@given(paths, queries, bodies, types, st.dictionaries(st.text("Xab-", min_size=1), bodies))
def test_qiniu_agrees_with_the_official_sdk(
    path: str, query: str, body: str, content_type: str | None, own: dict[str, str]
) -> None:
    target = f"{path}?{query}" if query else path
    oracle = sdk.QiniuMacAuth("MY_ACCESS_KEY", "MY_SECRET_KEY")
    canonical = {sdk.canonical_mime_header_key(f"X-Qiniu-{name}"): value for name, value in own.items()}
    headers = canonical | ({"Content-Type": content_type} if content_type else {})

    expected = oracle.token_of_request(
        "POST", "h:1", f"http://h:1{target}", oracle.qiniu_headers(canonical), content_type, body
    )

    assert qiniu(MINE, "POST", target, "h:1", headers, body.encode()) == f"Qiniu {expected}"


def test_a_date_is_written_in_utc() -> None:
    assert qiniu_date(datetime(2006, 1, 2, 15, 4, 5, tzinfo=UTC)) == "20060102T150405Z"
    assert qiniu_date(datetime(2006, 1, 2, 23, 4, 5, tzinfo=timezone(timedelta(hours=8)))) == "20060102T150405Z"


def test_credentials_never_show_the_secret() -> None:
    assert "MY_SECRET_KEY" not in f"{MINE!r} {MINE}"
    assert "MY_ACCESS_KEY" in repr(MINE)


def test_tokens_compare_by_content_whatever_they_contain() -> None:
    assert same_token("QBox ä", "QBox ä")
    assert not same_token("QBox a", "QBox ä")
