"""Kodo, the origin or the way there is ill for a while: few calls meanwhile, nothing lost, all healed afterwards."""

import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from aiohttp import web

from mirrord.model.row import State
from tests.e2e import bucket
from tests.e2e.place import CREDENTIALS, GatedOrigin, Place, place_at
from tests.kodo.raw_server import OK, saying, serving, tls_for
from tests.servers import running_app, running_sandbox

FEW = 60
"""Calls during an outage, whatever number of keys is stale."""


class Ill:
    """An origin that answers 502 while it is ill."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.ill = threading.Event()
        self.asked: list[str] = []
        """Keys given out, in order."""

    def application(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.get("/{rest:(?s:.*)}", self._serve)])
        return app

    async def _serve(self, request: web.Request) -> web.Response:
        if self.ill.is_set():
            return web.Response(status=502, text="<html>bad gateway</html>", content_type="text/html")
        key = unquote(request.raw_path)[1:]
        self.asked.append(key)
        return web.Response(body=(self._directory / key).read_bytes())


@contextmanager
def place_before(root: Path, origin: Ill) -> Iterator[Place]:
    """A place whose bucket is filled from `origin`."""
    www = root / "www"
    www.mkdir()
    with (
        running_app(origin.application) as url,
        running_sandbox(root / "kodo", {"docs": url}, credentials=CREDENTIALS) as kodo,
    ):
        place = Place(root, www, url, kodo)
        place.configure()
        try:
            yield place
        finally:
            place.close()


def settings(place: Place, **changed: Any) -> None:
    place.configure({"retry": {"first_delay": "1s"}, **changed})


def pulls(place: Place) -> list[dict[str, Any]]:
    return [call for call in place.kodo.calls() if call["operation"] in {"prefetch", "fetch", "async-fetch"}]


# -- the account ---------------------------------------------------------------------------------------


def test_a_wrong_secret_costs_a_call_or_two_and_one_error_line_and_heals_by_a_restart(place: Place) -> None:
    keys = [f"{n:04}.txt" for n in range(1000)]
    for key in keys:
        (place.www / key).write_bytes(key.encode())
    place.configure({"retry": {"first_delay": "1s"}})
    place.kodo.change_secret("another-secret-that-nobody-typed")
    service = place.run()
    service.until_said("scan.finished")
    service.until_said("refresh.attempted", next="hold")
    service.send(signal.SIGTERM)
    ended = service.wait()
    calls = len(place.kodo.calls())
    errors = [line for line in ended.lines if line["level"] == "error"]
    place.kodo.change_secret(CREDENTIALS.secret_key)

    healed = place.run()
    place.until_equal(healed, keys[::20])
    healed.until(lambda: place.report().keys[State.FRESH] == len(keys))

    assert calls < 10
    assert [line["event"] for line in errors] == ["refresh.attempted"]
    assert "secret" in errors[0]["action"]
    assert healed.said("refresh.attempted", next="park") == []
    assert len({line["key"] for line in healed.said("refresh.attempted", next="done")}) == len(keys)


def test_a_frozen_account_is_probed_slowly_and_goes_on_by_itself(place: Place) -> None:
    service = place.run()
    place.write("before.txt")
    service.until(lambda: place.report().complete)
    place.kodo.freeze()
    for n in range(50):
        place.write(f"{n}.txt")
    held = service.until_said("refresh.attempted", next="hold")

    status = place.start("status", "--json").wait().json["mirrors"][0]
    place.kodo.thaw()
    ended = service.stop()
    again = place.run()
    place.until_equal(again, {f"{n}.txt" for n in range(50)})

    assert held[0]["status"] == 419
    assert [each["name"] for each in status["conditions"]] == ["held"]
    assert len([line for line in ended.lines if line["level"] == "error"]) == 1
    assert again.said("refresh.attempted", next="park") == []


def test_a_wrong_clock_is_told_apart_from_a_wrong_key(place: Place) -> None:
    place.configure(kodo={"scheme": "qiniu"})
    place.kodo.skew(20 * 60)
    place.write("a.txt")

    ended = place.once()

    (line,) = ended.said("refresh.attempted")
    assert (line["status"], line["next"]) == (403, "hold")
    assert "clock is 20 min behind" in line["error"]
    assert "NTP" in line["action"]


# -- the origin ----------------------------------------------------------------------------------------


def test_an_ill_origin_is_asked_seldom_and_all_keys_are_healed_oldest_first(tmp_path: Path) -> None:
    origin = Ill(tmp_path / "www")
    with place_before(tmp_path, origin) as place:
        settings(place)
        service = place.run()
        place.write("first.txt")
        service.until_said("refresh.attempted", next="done")
        origin.ill.set()
        origin.asked.clear()
        place.kodo.forget_calls()
        keys = [f"{n:04}.txt" for n in range(1000)]
        for key in keys[:500]:
            place.write(key, key)
        (opened,) = service.until_said("breaker.opened", cause="origin")
        for key in keys[500:]:
            place.write(key, key)
        service.until(lambda: len(pulls(place)) > 20 or bool(service.said("breaker.closed")), "a probe")
        status = place.start("status", "--json").wait().json["mirrors"][0]
        during = len(pulls(place))
        origin.ill.clear()
        (closed,) = service.until_said("breaker.closed", cause="origin")
        place.until_equal(service, keys)
        service.until(lambda: len(service.said("refresh.attempted", next="done")) >= 1001)

    asked = [key for key in origin.asked if key in set(keys)]
    assert during <= FEW
    assert (opened["status"], opened["level"]) == (478, "warning")
    assert "502" in opened["error"]
    assert [each["name"] for each in status["conditions"]] == ["origin"]
    assert closed["lasted_s"] > 0
    assert service.said("refresh.attempted", next="park") == []
    assert len(asked) == len(set(asked)) == 1000
    older = [asked.index(key) for key in keys[:500]]
    newer = [asked.index(key) for key in keys[500:]]
    assert sum(older) / 500 < sum(newer) / 500


def test_the_origins_own_refusal_is_not_taken_for_ours(tmp_path: Path) -> None:
    www = tmp_path / "www"
    www.mkdir()

    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=403, text="<html>go away</html>", content_type="text/html")

    def build() -> web.Application:
        app = web.Application()
        app.add_routes([web.get("/{rest:.*}", refuse)])
        return app

    with (
        running_app(build) as url,
        running_sandbox(tmp_path / "kodo", {"docs": url}, credentials=CREDENTIALS, pass_through=True) as kodo,
    ):
        place = Place(tmp_path, www, url, kodo)
        place.configure({"retry": {"first_delay": "10ms", "max_attempts": 3}})
        place.write("a.txt")
        ended = place.once()
        place.close()

    lines = ended.said("refresh.attempted")
    assert {(line["status"], line["outcome"]) for line in lines} == {(403, "origin-failing")}
    assert [line["next"] for line in lines] == ["retry", "retry", "park"]


# -- throttling ----------------------------------------------------------------------------------------


def test_a_server_that_allows_so_many_a_second_is_soon_asked_that_often(place: Place) -> None:
    keys = {f"{n:04}.txt" for n in range(600)}
    for key in keys:
        place.write(key)
    place.kodo.throttle(100, 573)

    service = place.run()
    place.until_equal(service, keys)
    service.until(lambda: len(service.said("refresh.attempted", next="done")) >= len(keys))

    refused = [call for call in place.kodo.calls("prefetch") if call["status"] == 573]
    later = [call for call in place.kodo.calls("prefetch")[300:] if call["status"] == 573]
    assert service.said("pace.lowered")
    assert service.said("refresh.attempted", next="park") == []
    assert 0 < len(refused) < 200
    assert len(later) < 100


# -- slow pulls ----------------------------------------------------------------------------------------


def test_a_pull_that_outlasts_the_read_timeout_is_waited_for_not_repeated(place: Place) -> None:
    place.configure(kodo={"timeouts": {"connect": "5s", "read": "1s"}})
    place.kodo.fail(operation="prefetch", delay_s=4.0, times=1)
    place.write("slow.txt", "all of it")

    service = place.run()
    (late,) = service.until_said("refresh.attempted", outcome="timed-out")
    (found,) = service.until_said("pull.confirmed")
    place.until_equal(service, {"slow.txt"})
    service.until(lambda: place.report().complete)

    assert (late["status"], late["next"]) == (None, "retry")
    assert found["key"] == "slow.txt"
    assert len(place.kodo.calls("prefetch")) == 1
    assert place.kodo.max_overlap("docs") == {"slow.txt": 1}


def test_a_slow_pull_is_waited_for_over_a_kill(place: Place) -> None:
    place.configure(kodo={"timeouts": {"connect": "5s", "read": "1s"}})
    place.kodo.fail(operation="prefetch", delay_s=4.0, times=1)
    place.write("slow.txt", "all of it")
    service = place.run()
    service.until_said("refresh.attempted", outcome="timed-out")
    service.until(lambda: place.report().keys[State.CLAIMED] == 0)

    service.send(signal.SIGKILL)
    service.wait()
    again = place.run()
    again.until_said("pull.confirmed")

    assert len(place.kodo.calls("prefetch", at_least=1)) == 1
    assert place.kodo.read("docs", "slow.txt") == b"all of it"


def test_a_change_during_a_slow_pull_is_asked_for_once_that_has_ended(place: Place) -> None:
    place.configure(kodo={"timeouts": {"connect": "5s", "read": "1s"}})
    place.kodo.fail(operation="prefetch", delay_s=3.0, times=1)
    place.write("slow.txt", "old")
    service = place.run()
    service.until_said("refresh.attempted", outcome="timed-out")

    place.write("slow.txt", "new and longer")
    place.until_equal(service, {"slow.txt"})

    assert place.kodo.max_overlap("docs") == {"slow.txt": 1}


def test_a_large_file_is_fetched_without_waiting_and_confirmed(place: Place) -> None:
    place.configure({"origin_url": place.origin, "async_above": "1KiB"})
    place.write("large.bin", b"x" * 4096)
    place.write("small.bin", b"x" * 512)

    service = place.run()
    place.until_equal(service, {"large.bin", "small.bin"})
    (line,) = service.until_said("refresh.attempted", key="large.bin")

    (accepted,) = service.said("pull.accepted")
    assert (line["operation"], line["status"], line["outcome"], line["next"]) == (
        "async-fetch",
        200,
        "refreshed",
        "done",
    )
    assert line["reqid"] == accepted["reqid"]
    assert [call["key"] for call in place.kodo.calls("async-fetch") if call["method"] == "POST"] == ["large.bin"]
    assert [call["key"] for call in place.kodo.calls("prefetch")] == ["small.bin"]


def test_an_asynchronous_fetch_survives_a_kill_and_is_not_asked_twice(place: Place) -> None:
    place.configure({"origin_url": place.origin, "async_above": "1KiB"})
    place.kodo.fail(operation="async-pull", delay_s=4.0, times=1)
    place.write("large.bin", b"y" * 4096)
    service = place.run()
    service.until_said("pull.accepted")
    service.until(lambda: place.report().keys[State.CLAIMED] == 0)

    service.send(signal.SIGKILL)
    service.wait()
    again = place.run()
    (line,) = again.until_said("refresh.attempted", key="large.bin")
    place.until_equal(again, {"large.bin"})

    assert (line["operation"], line["outcome"], line["attempt"]) == ("async-fetch", "refreshed", 1)
    assert line["duration_s"] >= 3
    assert len([call for call in place.kodo.calls("async-fetch") if call["method"] == "POST"]) == 1


def test_two_server_side_timeouts_lead_to_an_asynchronous_fetch(place: Place) -> None:
    place.configure({"origin_url": place.origin})
    place.kodo.fail(operation="prefetch", status=504)
    place.write("a.txt", "content")

    service = place.run()
    place.until_equal(service, {"a.txt"})
    service.until_said("refresh.attempted", outcome="refreshed")

    lines = service.said("refresh.attempted")
    assert [(line["operation"], line["status"]) for line in lines] == [
        ("prefetch", 504),
        ("prefetch", 504),
        ("async-fetch", 200),
    ]


# -- the way there -------------------------------------------------------------------------------------


def test_kodo_out_of_reach_is_one_clear_line_a_call_and_is_made_up_for(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with place_at(tmp_path) as place:
        hosts = dict.fromkeys(("uc", "io", "rs", "rsf", "api", "fusion"), f"http://127.0.0.1:{port}")
        place.configure({"retry": {"first_delay": "200ms"}}, kodo={"hosts": hosts})
        keys = {f"{n:03}.txt" for n in range(300)}
        for key in keys:
            place.write(key)
        service = place.run()
        service.until_said("breaker.opened", cause="kodo")
        failed = service.said("refresh.attempted")

        with running_sandbox(tmp_path / "other", {"docs": place.origin}, port=port, credentials=CREDENTIALS) as kodo:
            service.until_said("breaker.closed", cause="kodo")
            service.until(lambda: len(service.said("refresh.attempted", next="done")) >= len(keys))
            held = {key for key in keys if kodo.read("docs", key) == b"x"}
            service.stop()

    assert held == keys
    assert len(failed) <= FEW
    for line in failed:
        assert (line["status"], line["outcome"], line["next"]) == (None, "unavailable", "retry")
        assert "refused" in line["error"]
        assert f"127.0.0.1:{port}" in line["error"]


def test_once_gives_up_when_kodo_cannot_be_reached(tmp_path: Path) -> None:
    with place_at(tmp_path) as place:
        hosts = dict.fromkeys(("uc", "io", "rs", "rsf", "api", "fusion"), "http://127.0.0.1:9")
        place.configure({"retry": {"first_delay": "10ms", "max_delay": "100ms"}}, kodo={"hosts": hosts})
        place.write("a.txt")
        began = time.monotonic()
        ended = place.once()

    assert ended.code == 1
    assert "a.txt" in ended.out
    assert time.monotonic() - began < 45
    assert ended.said("refresh.attempted", next="park") == []


@pytest.mark.parametrize("cut", [True, False], ids=["in-mid-reply", "before-any-answer"])
def test_a_connection_that_breaks_is_looked_after_before_it_is_tried_again(place: Place, cut: bool) -> None:
    place.kodo.fail(operation="prefetch", times=1, **({"cut": True} if cut else {"drop": True}))
    place.write("a.txt", "content")

    service = place.run()
    place.until_equal(service, {"a.txt"})
    service.until_said("refresh.attempted", next="done")

    first, *_ = service.said("refresh.attempted")
    assert (first["status"], first["outcome"], first["next"]) == (None, "unavailable", "retry")
    assert "\n" not in first["error"]
    assert place.kodo.max_overlap("docs") == {"a.txt": 1}


NOWHERE = {"a-name-that-nobody-knows": "cannot be resolved", "a-certificate-of-another": "certificate"}


@pytest.mark.parametrize("case", NOWHERE)
def test_a_host_that_is_not_kodo_is_one_clear_line_and_loses_nothing(place: Place, tmp_path: Path, case: str) -> None:
    with _not_kodo(case, tmp_path) as url:
        place.configure(kodo={"hosts": dict.fromkeys(("uc", "io", "rs", "rsf", "api", "fusion"), url)})
        place.write("a.txt")
        service = place.run()
        (line, *_) = service.until_said("refresh.attempted")
        service.stop()

    place.configure()
    again = place.run()
    place.until_equal(again, {"a.txt"})

    assert (line["status"], line["outcome"], line["next"]) == (None, "unavailable", "retry")
    assert NOWHERE[case] in line["error"]
    assert url.rpartition("/")[2].partition(":")[0] in line["error"]
    assert "Errno" not in line["error"]
    assert len(line["error"]) < 200


@contextmanager
def _not_kodo(case: str, directory: Path) -> Iterator[str]:
    """A URL where Kodo is not."""
    if case == "a-name-that-nobody-knows":
        yield "http://kodo.invalid"
        return
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed here")
    tls, _ = tls_for(directory, "DNS:somebody.example.com")
    with serving(saying(OK), tls) as server:
        yield server.url


# -- what a bad day must not cost --------------------------------------------------------------------------


def mirror_already(root: Path, count: int) -> None:
    """Files that the bucket holds, before anything runs at `root`."""
    (root / "www").mkdir()
    keys = [f"{n:03}.txt" for n in range(count)]
    for key in keys:
        (root / "www" / key).write_bytes(key.encode())
    bucket.put(root, [(key, key.encode()) for key in keys])


def test_a_first_run_waits_for_the_account_and_then_compares(tmp_path: Path) -> None:
    mirror_already(tmp_path, 300)
    with place_at(tmp_path) as place:
        place.configure({"first_run": "compare"})
        place.kodo.change_secret("another-secret-that-nobody-typed")
        service = place.run()
        (postponed,) = service.until_said("inventory.postponed")
        ended = service.stop()
        place.kodo.change_secret(CREDENTIALS.secret_key)
        again = place.run()
        again.until_said("scan.finished")
        again.until(lambda: place.start("status").wait().code == 0)

        assert postponed["level"] == "error"
        assert "secret key" in postponed["action"]
        assert [line["event"] for line in ended.lines if line["level"] == "error"] == ["inventory.postponed"]
        assert ended.said("refresh.attempted") == []
        assert pulls(place) == []


def test_few_keys_that_an_outage_gave_up_come_back_when_it_is_over(tmp_path: Path) -> None:
    origin = Ill(tmp_path / "www")
    with place_before(tmp_path, origin) as place:
        place.configure({"retry": {"first_delay": "10ms", "max_delay": "50ms", "max_attempts": 3}})
        service = place.run()
        origin.ill.set()
        keys = {f"{n}.txt" for n in range(4)}
        for key in keys:
            place.write(key)
        service.until_said("refresh.attempted", 4, next="park")
        origin.ill.clear()
        place.write("another.txt")
        (revived,) = service.until_said("keys.revived")
        place.until_equal(service, keys)

    assert revived["keys"] == 4


def test_a_stop_in_the_middle_of_slow_pulls_accuses_nobody(gated: Place, gate: GatedOrigin) -> None:
    service = gated.run()
    gated.write("first.txt")
    service.until(lambda: gated.start("status").wait().code == 0)
    gate.shut()
    for n in range(20):
        gated.write(f"{n}.txt")
    gate.until_asked(1 + 12)

    service.send(signal.SIGTERM)
    service.until_notified("STOPPING=1")
    service.send(signal.SIGTERM)
    ended = service.wait()
    status = gated.start("status", "--json").wait().json["mirrors"][0]

    assert ended.code == 0
    assert ended.said("breaker.opened") == []
    assert status["conditions"] == []
    assert {line["next"] for line in ended.said("refresh.attempted", outcome="timed-out")} == {"retry"}


def test_once_that_cannot_compare_records_nothing_and_compares_the_next_time(tmp_path: Path) -> None:
    mirror_already(tmp_path, 50)
    with place_at(tmp_path) as place:
        place.configure({"first_run": "compare"})
        place.kodo.change_secret("another-secret-that-nobody-typed")
        refused = place.once()
        place.kodo.change_secret(CREDENTIALS.secret_key)
        again = place.once()

        assert refused.code == 1
        assert "secret key" in "".join(refused.noise)
        assert again.code == 0
        assert pulls(place) == []


def test_a_first_run_that_waits_says_so_to_who_asks(tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "a.txt").write_bytes(b"a")
    with place_at(tmp_path) as place:
        place.configure({"first_run": "compare"})
        place.kodo.freeze()
        service = place.run()
        service.until_said("inventory.postponed")

        def told() -> list[str]:
            status = place.start("status", "--json").wait().json
            return [each["name"] for each in status["mirrors"][0]["conditions"]]

        service.until(lambda: told() == ["listing"])
        shown = place.start("status").wait()

    assert "waits for the bucket's listing" in " ".join(shown.out.split())
