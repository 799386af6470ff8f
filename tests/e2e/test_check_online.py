"""`mirrord check --online`, and the same findings of `run`: the program, a sandbox, an origin."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from tests.e2e.place import CREDENTIALS, PATIENCE_S, Place
from tests.servers import running_app, running_sandbox

KEYS = {"access_key": CREDENTIALS.access_key, "secret_key": CREDENTIALS.secret_key}

Finding = dict[str, str]


class Silent:
    """An origin that takes every request and answers none before the test is over."""

    def __init__(self) -> None:
        self.url = ""
        self._asked, self._over = threading.Event(), threading.Event()

    @property
    def is_silent(self) -> bool:
        return not self._over.is_set()

    def until_asked(self) -> None:
        assert self._asked.wait(PATIENCE_S)

    def end(self) -> None:
        self._over.set()

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self._serve)
        return app

    async def _serve(self, request: web.Request) -> web.Response:
        self._asked.set()
        await asyncio.get_running_loop().run_in_executor(None, self._over.wait)
        return web.Response()


@pytest.fixture
def silent() -> Iterator[Silent]:
    origin = Silent()
    with running_app(origin.application) as origin.url:
        yield origin
        origin.end()


def levels(findings: list[Finding]) -> dict[str, str]:
    """Of one mirror, in the order in which they are shown."""
    return {each["subject"]: each["level"] for each in findings}


def the(subject: str, findings: list[Finding]) -> Finding:
    (found,) = (each for each in findings if each["subject"] == subject)
    return found


def asked(place: Place) -> list[str]:
    return [call["operation"] for call in place.kodo.calls()]


def at(url: str) -> dict[str, Any]:
    """The [kodo] of settings that pin everything to another sandbox than the place's."""
    return {"hosts": dict.fromkeys(("uc", "io", "rs", "rsf", "api"), url)} | KEYS


@pytest.mark.parametrize("scheme", ["qbox", "qiniu"])
def test_good_settings_are_all_ok(place: Place, scheme: str) -> None:
    place.write("a.txt", "hello")
    place.configure({"origin_url": place.origin}, kodo={"hosts": {"uc": place.kodo.url}, "scheme": scheme} | KEYS)

    ended = place.start("check", "--online", "--json").wait()

    assert ended.code == 0, ended
    assert set(levels(ended.json["findings"]).values()) == {"ok"}
    told = {each["subject"] for each in ended.json["findings"] if each["reqid"]}
    assert told == {"credentials", "bucket", "clock", "mirror source", "stat"}
    assert list(levels(ended.json["findings"])) == [
        "region",
        "credentials",
        "bucket",
        "clock",
        "mirror source",
        "stat",
        "origin",
    ]
    assert asked(place) == ["query", "bucket-info", "stat"]
    assert ended.lines == ended.noise == []


def test_the_table_names_every_mirror_and_fits_80_columns(place: Place) -> None:
    place.write("a.txt", "hello")
    other = {"name": "pages", "bucket": "pages", "origin_url": "http://127.0.0.1:9/elsewhere"}
    place.configure({"origin_url": place.origin}, other)

    ended = place.start("check", "--online").wait()

    assert ended.code == 0  # nobody answers there, which is a warning: Kodo may see it otherwise
    table, _, advices = ended.out.partition("pages, mirror source: ")
    assert "usable" in table
    rows = [line.split()[0] for line in table.splitlines() if line.startswith((" docs ", " pages "))]
    assert rows == ["docs"] * 7 + ["pages"] * 7
    assert "warning" in table
    assert "ERROR" not in table
    assert "pages, origin: " in advices
    assert "\x1b" not in ended.out
    assert max(map(len, table.splitlines()[1:])) <= 80


def test_a_wrong_secret_is_an_error_and_asked_of_kodo_but_once(place: Place) -> None:
    place.write("a.txt", "hello")
    wrong = "not-the-secret-that-kodo-knows"
    place.configure({"origin_url": place.origin}, kodo=at(place.kodo.url) | {"secret_key": wrong})

    ended = place.start("check", "--online").wait()

    assert ended.code == 1
    (row,) = (line for line in ended.out.splitlines() if "ERROR" in line)
    assert row.split()[:3] == ["docs", "credentials", "ERROR"]
    assert "(X-Reqid" in ended.out
    assert "usable" not in ended.out
    assert "docs, credentials: check access_key" in ended.out
    assert wrong not in ended.out
    assert len(asked(place)) < 4


def test_an_unknown_bucket_is_an_error(place: Place) -> None:
    place.configure({"bucket": "no-such-bucket"})

    ended = place.start("check", "--online", "--json").wait()

    assert ended.code == 1
    assert the("bucket", ended.json["findings"])["level"] == "error"
    assert levels(ended.json["findings"]).get("credentials") in {None, "ok"}
    assert "stat" not in levels(ended.json["findings"])
    assert len(asked(place)) < 4


@pytest.mark.parametrize(("operation", "code"), [("prefetch", 1), ("fetch", 0)])
def test_a_bucket_without_source_is_an_error_for_prefetch_alone(place: Place, operation: str, code: int) -> None:
    place.write("a.txt", "hello")
    with running_sandbox(place.root / "bare", {"docs": None}, credentials=CREDENTIALS) as kodo:
        place.configure({"operation": operation, "origin_url": place.origin}, kodo=at(kodo.url))

        ended = place.start("check", "--online", "--json").wait()

    found = the("mirror source", ended.json["findings"])
    assert ended.code == code
    assert found["level"] == ("error" if code else "ok")
    assert ("console" in found["advice"]) == bool(code)


def test_another_origin_url_than_the_buckets_source_is_a_warning(place: Place) -> None:
    place.write("a.txt", "hello")
    place.configure({"origin_url": place.origin.replace("127.0.0.1", "localhost")})

    ended = place.start("check", "--online", "--json").wait()

    found = the("mirror source", ended.json["findings"])
    assert (ended.code, found["level"]) == (0, "warning")
    assert place.origin in found["says"]
    assert "localhost" in found["says"]


@pytest.mark.parametrize(("operation", "code"), [("prefetch", 0), ("fetch", 1), ("glb-fetch", 1)])
def test_an_origin_that_is_down_is_an_error_where_its_url_is_needed(place: Place, operation: str, code: int) -> None:
    place.write("a.txt", "hello")
    place.configure({"operation": operation, "origin_url": "http://127.0.0.1:9"})

    ended = place.start("check", "--online", "--json").wait()

    assert ended.code == code
    assert the("origin", ended.json["findings"])["level"] == ("error" if code else "warning")


@pytest.mark.parametrize(("scheme", "code"), [("qiniu", 1), ("qbox", 0)])
def test_a_clock_that_is_wrong_has_one_remedy(place: Place, scheme: str, code: int) -> None:
    place.write("a.txt", "hello")
    place.configure({"origin_url": place.origin}, kodo={"hosts": {"uc": place.kodo.url}, "scheme": scheme} | KEYS)
    place.kodo.skew(-1200)

    ended = place.start("check", "--online", "--json").wait()

    assert ended.code == code
    advices = {each["advice"] for each in ended.json["findings"] if each["level"] != "ok"}
    assert advices == {"set this machine's clock and keep it right with NTP: Kodo allows 15 minutes"}


def test_settings_that_are_wrong_in_themselves_end_with_78_and_kodo_is_asked_all_the_same(place: Place) -> None:
    place.configure({"source": {"path": str(place.root / "nowhere")}})

    ended = place.start("check", "--online", "--json").wait()

    assert ended.code == 78
    assert len(ended.json["problems"]) == 1
    assert levels(ended.json["findings"])["bucket"] == "ok"


def test_offline_nobody_is_asked(place: Place) -> None:
    ended = place.start("check", "--json").wait()

    assert ended.code == 0
    assert "findings" not in ended.json
    assert asked(place) == []


def test_ctrl_c_ends_it(place: Place, silent: Silent) -> None:
    place.write("a.txt", "hello")
    place.configure({"origin_url": silent.url})
    program = place.start("check", "--online", anew=True)
    silent.until_asked()

    program.send(signal.SIGINT)

    assert program.wait().code == 130


def test_the_service_says_what_it_doubts_and_works_all_the_same(place: Place) -> None:
    place.write("a.txt", "hello")
    place.configure({"origin_url": place.origin.replace("127.0.0.1", "localhost")})
    program = place.run()

    (line,) = program.until_said("preflight.doubted")
    place.until_equal(program, ["a.txt"])
    ended = program.stop()

    assert (line["level"], line["mirror"], line["subject"]) == ("warning", "docs", "mirror source")
    assert place.origin in line["says"]
    assert "origin_url" in line["advice"]
    assert ended.code == 0
    assert not ended.said("preflight.passed")


def test_the_service_says_of_every_mirror_that_nothing_is_doubtful(place: Place) -> None:
    place.write("a.txt", "hello")
    place.configure({}, {"name": "pages", "bucket": "pages"})
    program = place.run()

    lines = program.until_said("preflight.passed", 2)

    assert [line["mirror"] for line in lines] == ["docs", "pages"]
    assert not program.stop().said("preflight.doubted")


def test_a_stop_does_not_wait_for_it(place: Place, silent: Silent) -> None:
    place.write("a.txt", "hello")
    place.configure({"origin_url": silent.url, "first_run": "adopt"})
    program = place.run()
    silent.until_asked()

    ended = program.stop()

    assert ended.code == 0
    assert silent.is_silent
    assert not ended.said("preflight.passed")
    assert not ended.said("preflight.doubted")


def test_a_terminal_is_steered_by_nobody_elses_words(place: Place) -> None:
    place.write("a\x1b[2J.txt", "hello")
    place.configure({"origin_url": place.origin})
    environment = {"PATH": os.environ.get("PATH", ""), "MIRRORD_CONFIG": str(place.settings), "TERM": "xterm"}

    ended = subprocess.run(
        [sys.executable, "-m", "mirrord", "check", "--online"], env=environment, capture_output=True, check=False
    )

    assert ended.returncode == 0, ended.stderr
    assert b"\x1b" not in ended.stdout
