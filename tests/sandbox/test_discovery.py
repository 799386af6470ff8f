"""What `/v4/query` names: the io domains in their order, how long that holds, another region."""

from pathlib import Path

from tests.sandbox.conftest import Caller
from tests.servers import running_sandbox

QUERY = "/v4/query?ak=sandbox-access-key&bucket=docs"


def test_the_io_domains_are_named_in_their_order(tmp_path: Path) -> None:
    domains = ["127.0.0.1:9", "127.0.0.1:7", "127.0.0.1:8"]
    with running_sandbox(tmp_path, {"docs": None}, io_domains=domains, ttl_s=60) as kodo:
        answer = Caller(kodo.port, kodo.credentials).ask("GET", QUERY, authorization="")

    (region,) = answer.json["hosts"]
    assert (region["region"], region["ttl"]) == ("z0", 60)
    assert region["io"] == {"domains": domains}
    assert region["rs"] == region["uc"] == {"domains": [f"127.0.0.1:{kodo.port}"]}


def test_another_region_comes_second_and_nobody_is_there(tmp_path: Path) -> None:
    with running_sandbox(tmp_path, {"docs": None}, other_region=True) as kodo:
        answer = Caller(kodo.port, kodo.credentials).ask("GET", QUERY, authorization="")

    own, other = answer.json["hosts"]
    assert (own["region"], other["region"]) == ("z0", "z1")
    assert own["io"] == {"domains": [f"127.0.0.1:{kodo.port}"]}
    assert all(other[service] == {"domains": ["127.0.0.1:9"]} for service in ("io", "rs", "rsf", "api", "uc"))


def test_a_bucket_that_is_not_there_has_no_region(caller: Caller) -> None:
    answer = caller.ask("GET", QUERY.replace("docs", "none"), authorization="")

    assert (answer.status, answer.json) == (631, {"error": "no such bucket"})
