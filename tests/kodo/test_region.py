"""An answer of `/v4/query` of every shape: the bucket's own region, or nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.kodo.protocol import Host
from mirrord.kodo.region import Region, read_region


def own(ttl: object = 86400, **domains: object) -> dict[str, Any]:
    return {"region": "z0", "ttl": ttl, **{name: {"domains": each} for name, each in domains.items()}}


def test_the_first_region_is_the_buckets_own_and_all_its_domains_count() -> None:
    said = {
        "hosts": [
            own(io=["iovip.qiniuio.com", "iovip-z0.qbox.me"], rs=["rs-z0.qiniuapi.com"], up=["up.qiniup.com"]),
            own(io=["iovip-na0.qiniuio.com"], api=["api-na0.qiniuapi.com"]),
        ]
    }

    assert read_region(said) == Region(
        name="z0",
        domains={Host.IO: ("iovip.qiniuio.com", "iovip-z0.qbox.me"), Host.RS: ("rs-z0.qiniuapi.com",)},
        ttl_s=86400,
    )


@pytest.mark.parametrize(
    ("domains", "used"),
    [
        pytest.param(["a.example", "a.example", "b.example"], ("a.example", "b.example"), id="twice"),
        pytest.param(["127.0.0.1:9470", "[::1]:80"], ("127.0.0.1:9470", "[::1]:80"), id="with-a-port"),
        pytest.param(
            ["evil/path", "user@host", "http://x", "", "a b", None, {}, "ok.example"], ("ok.example",), id="no-names"
        ),
    ],
)
def test_what_is_no_name_of_a_server_is_not_asked(domains: list[object], used: tuple[str, ...]) -> None:
    region = read_region({"hosts": [own(io=domains)]})

    assert region is not None
    assert region.domains[Host.IO] == used


@pytest.mark.parametrize(("ttl", "kept"), [(0, 60), (-5, 60), (61, 61), (10**12, 604_800), ("120", 120)], ids=str)
def test_an_answer_is_good_for_a_minute_to_a_week(ttl: object, kept: float) -> None:
    region = read_region({"hosts": [own(ttl, io=["a.example"])]})

    assert region is not None
    assert region.ttl_s == kept


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(None, id="nothing"),
        pytest.param({}, id="no-hosts"),
        pytest.param({"hosts": []}, id="no-region"),
        pytest.param({"hosts": ["z0"]}, id="a-region-of-text"),
        pytest.param({"hosts": [{"io": {"domains": ["io.example.com"]}}]}, id="no-ttl"),
        pytest.param({"hosts": [own("soon", io=["io.example.com"])]}, id="ttl-is-no-number"),
        pytest.param({"hosts": [own(io=[])]}, id="no-domain"),
        pytest.param({"hosts": [{"ttl": 100, "io": "io.example.com"}]}, id="a-service-of-text"),
        pytest.param({"hosts": [own(io=[1, None, {}])]}, id="domains-that-are-no-text"),
        pytest.param([1, 2], id="a-list"),
    ],
)
def test_an_answer_of_any_other_shape_is_no_region(said: object) -> None:
    assert read_region(said) is None


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["hosts", "ttl", "io", "rs", "domains", "region"]), inner)
    ),
    max_leaves=12,
)


@given(_VALUES | st.fixed_dictionaries({"hosts": st.lists(_VALUES, min_size=1, max_size=2)}))
def test_any_json_is_a_region_or_none(said: object) -> None:
    region = read_region(said)

    assert region is None or (region.domains and 60 <= region.ttl_s <= 604_800)
