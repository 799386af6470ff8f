"""Between two settings: what stops, starts, is adjusted, or has to wait for a restart."""

from pathlib import Path
from typing import Any

import pytest

from mirrord.renewal import renewal
from mirrord.settings import Settings


def mirror(name: str, **given: Any) -> dict[str, Any]:
    return {"name": name, "bucket": f"{name}-bucket", "source": {"kind": "directory", "path": f"/srv/{name}"}} | given


def settings(*mirrors: dict[str, Any], **sections: Any) -> Settings:
    kodo = {"access_key": "ak", "secret_key": "sk"} | sections.pop("kodo", {})
    return Settings.model_validate({"kodo": kodo, "mirror": mirrors or [mirror("docs")]} | sections)


def test_the_same_settings_change_nothing() -> None:
    found = renewal(settings(), settings())

    assert (found.stop, found.start, found.adjust, found.needs_restart) == ((), (), (), ())


def test_mirrors_come_and_go() -> None:
    present, wanted = settings(mirror("a"), mirror("b")), settings(mirror("b"), mirror("c"))

    found = renewal(present, wanted)

    assert found.stop == ("a",)
    assert [each.name for each in found.start] == ["c"]
    assert found.adjust == ()
    assert found.effective == wanted


@pytest.mark.parametrize(
    "given",
    [
        {"pace": {"concurrency": 3}},
        {"pace": {"per_second": 7}},
        {"retry": {"max_attempts": 3}},
        {"removal_limit": {"count": 3}},
        {"cdn": {"urls": ["https://cdn.example.com"]}},
        {"pace": {"concurrency": 3}, "retry": {"first_delay": "2s"}},
    ],
    ids=str,
)
def test_what_a_running_mirror_can_take_stops_nothing(given: dict[str, Any]) -> None:
    found = renewal(settings(mirror("docs")), settings(mirror("docs", **given)))

    assert (found.stop, found.start) == ((), ())
    assert [each.name for each in found.adjust] == ["docs"]


@pytest.mark.parametrize(
    "given",
    [
        {"bucket": "another"},
        {"key_prefix": "web/"},
        {"exclude": ["*.tmp"]},
        {"on_removed": "delete"},
        {"verify": "off"},
        {"source": {"kind": "directory", "path": "/srv/docs", "settle": "1s"}},
        {
            "source": {"kind": "feed", "format": "couchdb", "url": "https://feed.example.com/db"},
            "origin_url": "http://o",
        },
        {"bucket": "another", "pace": {"concurrency": 3}},
    ],
    ids=str,
)
def test_anything_else_makes_another_mirror_of_it(given: dict[str, Any]) -> None:
    found = renewal(settings(mirror("docs"), mirror("b")), settings(mirror("docs", **given), mirror("b")))

    assert found.stop == ("docs",)
    assert [each.name for each in found.start] == ["docs"]
    assert found.adjust == ()


def test_what_the_process_was_started_with_stays_and_is_named() -> None:
    present = settings(kodo={"hosts": {"io": "http://a"}}, status={"listen": "127.0.0.1:1"})
    wanted = settings(
        kodo={"secret_key": "other", "hosts": {"io": "http://b"}},
        journal={"url": "sqlite:////tmp/other.db"},
        status={"listen": "127.0.0.1:2"},
        log={"level": "debug"},
    )

    found = renewal(present, wanted)

    assert set(found.needs_restart) == {"kodo.secret_key", "kodo.hosts.io", "journal.url", "status.listen"}
    assert found.effective.kodo == present.kodo
    assert found.effective.log == wanted.log
    assert renewal(found.effective, wanted).needs_restart == found.needs_restart  # said as long as it is so


def test_the_order_of_mirrors_means_nothing(tmp_path: Path) -> None:
    found = renewal(settings(mirror("a"), mirror("b")), settings(mirror("b"), mirror("a")))

    assert (found.stop, found.start, found.adjust) == ((), (), ())
