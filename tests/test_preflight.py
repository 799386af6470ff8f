"""What a preflight asks, what it makes of the answers, and which file it tries; origins are real servers."""

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from mirrord.decisions import findings
from mirrord.decisions.feed_findings import Posted, Told
from mirrord.decisions.findings import Finding, Level, Sample, Served, Subject, Wanted
from mirrord.decisions.keymap import Selection
from mirrord.decisions.statuses import CLOCK_ADVICE
from mirrord.kodo.auth import Credentials
from mirrord.kodo.client import KodoClient
from mirrord.kodo.entry import decode_entry
from mirrord.kodo.exchange import Timeouts
from mirrord.kodo.hosts import Hosts
from mirrord.kodo.protocol import Host, Request, Scheme
from mirrord.kodo.wire import Wire
from mirrord.model.attempt import Operation, Reply, Silence
from mirrord.preflight import SURELY_ABSENT, Kodo, Preflight, sample, warn
from tests.fakes.kodo import OK, failing
from tests.servers import CREDENTIALS, running_app, running_origin, running_sandbox

SILENT = Reply(status=None, silence=Silence.TIMED_OUT, error="no answer")
UNREACHED = Reply(status=None, silence=Silence.CONNECT_FAILED, error="refused")
STRANGER = Reply(status=401, error="log in to this network")
ABSENT = failing(612, "no such file or directory")
TIMEOUTS = Timeouts(connect=timedelta(seconds=20), read=timedelta(seconds=20))
FILE = Sample(key="a/b c.txt", size_bytes=5)
WANTED = Wanted(
    mirror="docs",
    bucket="newdocs",
    operation=Operation.PREFETCH,
    origin_url=None,
    verify=True,
)
EVERYTHING = Selection()
OK_, WARNING, ERROR = Level.OK, Level.WARNING, Level.ERROR


@dataclass(frozen=True, kw_only=True)
class Info:
    """Implements mirrord.decisions.findings.BucketInfo."""

    source: Sequence[str] = ("http://origin.example.com",)
    host: str = ""
    region: str = "z0"
    private: bool = False


@dataclass
class FakeKodo:
    """Implements mirrord.preflight.Kodo; remembers what it was asked."""

    region_: str | Reply = "z0"
    info: tuple[Reply, Info | None] = (OK, Info())
    stat: Reply = OK
    asked: list[str] = field(default_factory=list)
    hangs: str = ""
    """What is never answered."""
    hanging: asyncio.Event = field(default_factory=asyncio.Event)

    async def region(self, bucket: str) -> str | Reply:
        await self._asked("region")
        return self.region_

    async def bucket_info(self, bucket: str) -> tuple[Reply, Info | None]:
        await self._asked("info")
        return self.info

    async def ask(self, bucket: str, request: Request) -> Reply:
        assert request.method == "GET"
        assert request.host is Host.RS
        await self._asked(f"stat {decode_entry(request.target.rpartition('/')[2])[1]}")
        return self.stat

    async def _asked(self, what: str) -> None:
        self.asked.append(what)
        if what == self.hangs:
            self.hanging.set()
            await asyncio.Event().wait()


@dataclass
class Origin:
    """An origin that answers as it is told, and remembers by whom it was asked."""

    answer: Callable[[web.Request], web.StreamResponse]
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self._serve)
        return app

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((request.method, request.raw_path, headers))
        return self.answer(request)


@dataclass
class FakeProbe:
    """Implements mirrord.preflight.Probe; None: it never answers."""

    told: Told | Posted | None
    subject: Subject = Subject.FEED

    async def ask(self) -> Told | Posted:
        if self.told is None:
            await asyncio.Event().wait()
        assert self.told is not None
        return self.told


def examined(
    kodo: Kodo,
    wanted: Wanted = WANTED,
    tried: Sample | None = None,
    call_most_s: float = 20,
    probes: Sequence[FakeProbe] = (),
) -> dict[Subject, Finding]:
    """The findings, by what they are about."""

    async def examine() -> list[Finding]:
        wire = Wire(timeouts=TIMEOUTS)
        most = timedelta(seconds=call_most_s)
        preflight = Preflight(
            wanted=wanted,
            kodo=kodo,
            wire=wire,
            sample=lambda: tried,
            user_agent="mirrord/t",
            probes=probes,
            call_most=most,
        )
        try:
            return await preflight.examine()
        finally:
            await wire.close()

    found = asyncio.run(examine())
    by_subject = {each.subject: each for each in found}
    assert list(by_subject) == [subject for subject in Subject if subject in by_subject]
    assert len(by_subject) == len(found)
    assert all(each.mirror == wanted.mirror for each in found)
    assert all(bool(each.advice) == (each.level is not OK_) for each in found)
    return by_subject


def levels(found: dict[Subject, Finding]) -> dict[str, str]:
    return {subject.value: finding.level.value for subject, finding in found.items()}


# -- what is asked -------------------------------------------------------------------------------------------


def test_a_mirror_that_is_right_is_asked_about_three_times_and_is_ok() -> None:
    kodo = FakeKodo(stat=replace(OK, skew_s=-0.4, size_bytes=5))

    found = examined(kodo)

    assert kodo.asked == ["region", "info", f"stat {SURELY_ABSENT}"]
    assert levels(found) == dict.fromkeys(
        ["region", "credentials", "bucket", "clock", "mirror source", "stat", "origin"], "ok"
    )
    assert "no file to try" in found[Subject.ORIGIN].says


@pytest.mark.parametrize(
    ("status", "subject"),
    [(401, "credentials"), (419, "credentials"), (631, "bucket"), (612, "bucket")],
    ids=str,
)
def test_an_account_or_bucket_that_is_refused_is_asked_nothing_more(status: int, subject: str) -> None:
    kodo = FakeKodo(info=(failing(status), None))

    found = examined(kodo, tried=FILE)

    assert kodo.asked == ["region", "info"]
    assert levels(found)[subject] == "error"
    assert list(levels(found).values()).count("error") == 1
    assert not found.keys() & {Subject.SOURCE, Subject.STAT, Subject.ORIGIN}


@pytest.mark.parametrize(
    ("stat", "expected"),
    [
        pytest.param(
            ABSENT,
            {"credentials": "warning", "bucket": "ok", "mirror source": "warning", "stat": "ok"},
            id="not-meant-for-the-mirror",
        ),
        pytest.param(failing(403), {"credentials": "error", "mirror source": "warning"}, id="for-everything"),
        pytest.param(failing(401), {"credentials": "error", "mirror source": "warning"}, id="and-401"),
        pytest.param(
            UNREACHED, {"credentials": "error", "mirror source": "warning", "stat": "error"}, id="and-no-answer"
        ),
    ],
)
def test_a_403_of_bucket_info_alone_does_not_condemn_the_key_pair(stat: Reply, expected: dict[str, str]) -> None:
    found = examined(FakeKodo(info=(failing(403), None), stat=stat))

    assert levels(found) == {"region": "ok"} | expected


@pytest.mark.parametrize(
    "info",
    [
        pytest.param(failing(404), id="404"),
        pytest.param(failing(405), id="405"),
        pytest.param(failing(503), id="503"),
        pytest.param(UNREACHED, id="no-answer"),
        pytest.param(STRANGER, id="another-servers-401"),
        pytest.param(Reply(status=200), id="another-servers-200"),
    ],
)
def test_without_bucket_info_stat_tells_of_credentials_and_bucket(info: Reply) -> None:
    kodo = FakeKodo(info=(info, None), stat=ABSENT)

    found = examined(kodo, tried=FILE)

    assert kodo.asked == ["region", "info", "stat a/b c.txt"]
    assert levels(found) == {
        "region": "ok",
        "credentials": "ok",
        "bucket": "ok",
        "mirror source": "warning",
        "stat": "ok",
    }
    assert "could not be asked" in found[Subject.SOURCE].says


@pytest.mark.parametrize(
    ("stat", "expected"),
    [
        pytest.param(failing(401), {"credentials": "error"}, id="refused"),
        pytest.param(failing(419), {"credentials": "error"}, id="frozen"),
        pytest.param(failing(631), {"credentials": "ok", "bucket": "error"}, id="no-such-bucket"),
        pytest.param(STRANGER, {"credentials": "warning", "stat": "error"}, id="somebody-in-between"),
    ],
)
def test_what_only_stat_refuses_is_said_once(stat: Reply, expected: dict[str, str]) -> None:
    found = examined(FakeKodo(info=(failing(404), None), stat=stat))

    assert levels(found) == {"region": "ok", "mirror source": "warning"} | expected


@pytest.mark.parametrize(
    ("region", "expected", "asked"),
    [
        pytest.param(failing(401), {"credentials": "error"}, ["region"], id="key-unknown"),
        pytest.param(failing(419), {"credentials": "error"}, ["region"], id="frozen"),
        pytest.param(failing(631), {"bucket": "error"}, ["region"], id="no-such-bucket"),
        pytest.param(
            SILENT,
            {"region": "error", "credentials": "warning", "mirror source": "warning"},
            ["region"],
            id="uc-is-silent",
        ),
        pytest.param(
            failing(503),
            {"region": "error", "credentials": "ok", "bucket": "ok", "mirror source": "ok"},
            ["region", "info"],
            id="not-now",
        ),
        pytest.param(
            STRANGER,
            {"region": "error", "credentials": "ok", "bucket": "ok", "mirror source": "ok"},
            ["region", "info"],
            id="another-servers-401",
        ),
    ],
)
def test_without_a_region_only_what_needs_none_is_asked(
    region: Reply, expected: dict[str, str], asked: list[str]
) -> None:
    kodo = FakeKodo(region_=region)

    found = examined(kodo)

    assert kodo.asked == asked
    found.pop(Subject.ORIGIN, None)
    assert levels(found) == expected


@pytest.mark.parametrize(
    ("hangs", "doubted"),
    [("region", Subject.REGION), ("info", Subject.SOURCE), (f"stat {SURELY_ABSENT}", Subject.STAT)],
)
def test_an_answer_that_does_not_come_is_waited_for_but_so_long(hangs: str, doubted: Subject) -> None:
    found = examined(FakeKodo(hangs=hangs), call_most_s=0.05)

    assert "no answer within 0.05 s" in found[doubted].says


# -- the clock -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("skew_s", "level", "says"),
    [
        (59.0, OK_, "within 59 s"),
        (-61.0, WARNING, "61 s ahead of"),
        (800.0, WARNING, "13 min behind"),
        (-1200.0, WARNING, "20 min ahead of"),
        (4 * 3600.0, WARNING, "4 h behind"),
        (-5 * 86400.0, WARNING, "5 days ahead of"),
    ],
)
def test_a_clock_that_kodo_does_not_mind_is_doubted_from_a_minute_on(skew_s: float, level: Level, says: str) -> None:
    found = examined(FakeKodo(info=(replace(OK, skew_s=skew_s), Info()), stat=replace(OK, skew_s=0.0)))

    assert found[Subject.CLOCK].level is level
    assert says in found[Subject.CLOCK].says


SKEWED = replace(failing(403, "request time is too skewed"), skew_s=-1200.0)


@pytest.mark.parametrize("skew_s", [-1200.0, None], ids=["told", "not told"])
def test_a_clock_for_which_kodo_refuses_everything_is_the_one_thing_to_mend(skew_s: float | None) -> None:
    refusal = replace(SKEWED, skew_s=skew_s)

    found = examined(FakeKodo(info=(refusal, None), stat=refusal))

    doubted = {subject: each for subject, each in found.items() if each.level is not OK_}
    assert [subject for subject, each in found.items() if each.level is ERROR] == [Subject.CLOCK]
    assert {each.advice for each in doubted.values()} == {CLOCK_ADVICE}
    assert Subject.CREDENTIALS in doubted


def test_a_clock_for_which_kodo_refuses_what_no_mirror_needs_is_doubted_only() -> None:
    found = examined(FakeKodo(info=(SKEWED, None), stat=ABSENT))

    assert levels(found) == {
        "region": "ok",
        "credentials": "ok",
        "bucket": "ok",
        "clock": "warning",
        "mirror source": "warning",
        "stat": "ok",
    }
    assert found[Subject.SOURCE].advice == found[Subject.CLOCK].advice == CLOCK_ADVICE
    assert "are refused from" not in found[Subject.CLOCK].says


def test_a_403_by_a_right_clock_is_about_permissions() -> None:
    found = examined(FakeKodo(info=(replace(failing(403), skew_s=3.0), None), stat=failing(403)))

    assert found[Subject.CLOCK].level is OK_
    assert "may change this bucket" in found[Subject.CREDENTIALS].advice


@pytest.mark.parametrize(
    ("answer", "advice"), [(UNREACHED, "between this machine and Kodo"), (failing(599), "ask again later")]
)
def test_a_kodo_that_is_down_is_one_thing_to_mend(answer: Reply, advice: str) -> None:
    found = examined(FakeKodo(info=(answer, None), stat=answer))

    doubted = {subject: each.advice for subject, each in found.items() if each.level is not OK_}
    assert doubted.keys() == {Subject.CREDENTIALS, Subject.SOURCE, Subject.STAT}
    (only,) = set(doubted.values())
    assert advice in only


def test_what_kodo_said_has_its_reqid() -> None:
    refused = replace(failing(401), reqid="its-reqid")

    found = examined(FakeKodo(info=(refused, None)))

    assert found[Subject.CREDENTIALS].reqid == "its-reqid"
    assert found[Subject.REGION].reqid is None


def test_of_a_clock_that_nobody_told_nothing_is_said() -> None:
    assert Subject.CLOCK not in examined(FakeKodo())


# -- the mirror source ---------------------------------------------------------------------------------------


def source_of(source: Sequence[str], host: str = "", **wanted: object) -> Finding:
    info = Info(source=source, host=host)
    return findings.about_source(replace(WANTED, **wanted), OK, info)  # type: ignore[arg-type]  # as they are


@pytest.mark.parametrize(
    ("source", "origin_url"),
    [
        pytest.param(["http://o.example.com/"], "http://o.example.com", id="a-trailing-slash"),
        pytest.param(["http://O.Example.com:80"], "http://o.example.com", id="case-and-the-usual-port"),
        pytest.param(["http://other.example.com", "http://o.example.com"], "http://o.example.com", id="one-of-several"),
        pytest.param(["http://o.example.com"], None, id="nothing-to-compare-with"),
    ],
)
def test_a_source_that_the_settings_do_not_contradict_is_ok(source: list[str], origin_url: str | None) -> None:
    assert source_of(source, origin_url=origin_url).level is OK_


def test_a_source_that_is_an_address_with_the_origins_name_as_its_host_is_the_origin() -> None:
    found = source_of(["http://192.0.2.1"], "o.example.com", origin_url="http://o.example.com")

    assert found.level is OK_
    assert "o.example.com" in found.says


@pytest.mark.parametrize(
    "source",
    ["https://o.example.com", "http://o.example.com:8080", "http://example.com", "http://o.example.com/www"],
    ids=["scheme", "port", "host", "path"],
)
def test_a_source_that_is_not_the_origin_url_is_a_warning(source: str) -> None:
    found = source_of([source], origin_url="http://o.example.com")

    assert found.level is WARNING
    assert f"Kodo pulls from {source}, origin_url is http://o.example.com" in found.says


@pytest.mark.parametrize(
    ("source", "says"),
    [
        pytest.param("http://o.example.com/www/", "has a path", id="a-path"),
        pytest.param("http://o.example.com ", "not the bare", id="a-blank"),
        pytest.param("http://o.example.com?x=secret", "not the bare", id="a-query"),
        pytest.param("o.example.com", "not the bare", id="no-scheme"),
        pytest.param("http://u:secret@o.example.com:x/", "not the bare", id="no-port"),
    ],
)
def test_a_source_that_is_more_than_a_site_is_a_warning(source: str, says: str) -> None:
    found = source_of([source])

    assert found.level is WARNING
    assert says in found.says
    assert "secret" not in found.says


def test_a_bucket_without_source_is_an_error_for_prefetch_and_nothing_to_others() -> None:
    assert source_of([]).level is ERROR
    assert source_of([], operation=Operation.FETCH, origin_url="http://o.example.com").level is OK_
    assert source_of(["http://x.example.com"], operation=Operation.GLB_FETCH, origin_url="http://y").level is OK_


SITES = st.one_of(st.just("o.example.com"), st.text())
URLS = st.builds("{}{}{}".format, st.sampled_from(["http://", "https://", "ftp://", ""]), SITES, st.text())


@given(source=st.lists(URLS), host=SITES, location=URLS)
def test_whatever_kodo_and_the_origin_write_is_judged(source: list[str], host: str, location: str) -> None:
    found = source_of(source, host, origin_url="http://o.example.com")
    redirected = findings.about_origin(WANTED, FILE, "http://o.example.com", Served(status=302, location=location))

    assert found.level is not OK_ or "o.example.com" in found.says
    assert redirected.says.isascii()
    assert redirected.says.isprintable()


# -- stat ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stat", "level", "says"),
    [
        pytest.param(replace(OK, size_bytes=7), OK_, "a/b c.txt is in the bucket, 7 bytes", id="stored"),
        pytest.param(ABSENT, OK_, "a/b c.txt is not in the bucket yet", id="not-stored"),
        pytest.param(failing(403), WARNING, "not permitted", id="not-permitted"),
        pytest.param(failing(401), ERROR, "refused", id="refused"),
        pytest.param(failing(573), WARNING, "573", id="throttled"),
        pytest.param(failing(599), WARNING, "599", id="failing"),
        pytest.param(failing(404), ERROR, "404", id="not-the-right-host"),
        pytest.param(UNREACHED, ERROR, "refused", id="no-answer"),
        pytest.param(Reply(status=200), ERROR, "did not come from Kodo", id="hijacked"),
    ],
)
def test_every_answer_to_stat_is_judged(stat: Reply, level: Level, says: str) -> None:
    found = examined(FakeKodo(stat=stat, info=(OK, Info(source=()))), tried=FILE)

    assert found[Subject.STAT].level is level
    assert says in found[Subject.STAT].says
    assert found[Subject.CREDENTIALS].level is OK_


def test_a_stat_that_is_not_permitted_matters_only_where_it_verifies() -> None:
    found = examined(FakeKodo(stat=failing(403)), replace(WANTED, verify=False))

    assert found[Subject.STAT].level is OK_


# -- the origin ----------------------------------------------------------------------------------------------


def origin_found(
    answer: Callable[[web.Request], web.StreamResponse], *, of_source: bool = False
) -> tuple[Finding, Origin]:
    """What comes of an origin that answers so, as `origin_url` or as the bucket's mirror source."""
    origin = Origin(answer)
    with running_app(origin.application) as url:
        kodo = FakeKodo(info=(OK, Info(source=(url,))))
        found = examined(kodo, replace(WANTED, origin_url=None if of_source else url), FILE)
    return found[Subject.ORIGIN], origin


def answering(status: int, **headers: str) -> Callable[[web.Request], web.StreamResponse]:
    return lambda _: web.Response(status=status, headers=headers)


def ranged(request: web.Request) -> web.StreamResponse:
    if request.method == "HEAD":
        return web.Response(status=501)
    assert request.headers["Range"] == "bytes=0-0"
    return web.Response(status=206, body=b"h", headers={"Content-Range": "bytes 0-0/5"})


@pytest.mark.parametrize(
    ("answer", "level", "as_source", "says"),
    [
        pytest.param(lambda _: web.Response(body=b"hello"), OK_, OK_, "serves", id="200"),
        pytest.param(ranged, OK_, OK_, "serves", id="no-head-but-a-range"),
        pytest.param(lambda _: web.Response(body=b"hell"), WARNING, WARNING, "4 bytes, the file has 5", id="size"),
        pytest.param(
            lambda _: web.Response(body=b"hell", headers={"Content-Encoding": "br"}), OK_, OK_, "serves", id="packed"
        ),
        pytest.param(answering(404), ERROR, WARNING, "has no a/b c.txt (404)", id="404"),
        pytest.param(answering(403), ERROR, WARNING, "refuses", id="403"),
        pytest.param(answering(401), ERROR, WARNING, "refuses", id="401"),
        pytest.param(answering(500), ERROR, WARNING, "answers 500", id="500"),
        pytest.param(answering(405), ERROR, WARNING, "answers 405", id="neither-head-nor-get"),
        pytest.param(answering(429), WARNING, WARNING, "answers 429", id="429"),
        pytest.param(
            answering(302, Location="https://login.example.com/?token=secret"),
            WARNING,
            WARNING,
            "to https://login.example.com (302)",
            id="302",
        ),
        pytest.param(answering(304), WARNING, WARNING, "to nowhere", id="304"),
    ],
)
def test_every_answer_of_an_origin_is_judged(
    answer: Callable[[web.Request], web.StreamResponse], level: Level, as_source: Level, says: str
) -> None:
    own, _ = origin_found(answer)
    sources, _ = origin_found(answer, of_source=True)

    assert (own.level, sources.level) == (level, as_source)
    assert says in own.says
    assert "secret" not in own.says


def test_an_origin_is_asked_as_by_a_stranger_for_one_file() -> None:
    _, origin = origin_found(lambda _: web.Response(body=b"hello"))

    ((method, path, headers),) = origin.requests
    assert (method, path) == ("HEAD", "/a/b%20c.txt")
    assert headers["user-agent"] == "mirrord/t"
    assert "authorization" not in headers


def test_a_source_is_asked_under_the_name_that_kodo_uses() -> None:
    origin = Origin(lambda _: web.Response(body=b"hello"))
    with running_app(origin.application) as url:
        found = examined(FakeKodo(info=(OK, Info(source=(url,), host="o.example.com"))), tried=FILE)

    assert origin.requests[0][2]["host"] == "o.example.com"
    assert found[Subject.ORIGIN].level is OK_


def test_an_origin_url_with_a_path_is_asked_below_it() -> None:
    origin = Origin(lambda _: web.Response(body=b"hello"))
    with running_app(origin.application) as url:
        examined(FakeKodo(), replace(WANTED, origin_url=f"{url}/www", operation=Operation.FETCH), FILE)

    assert [path for _, path, _ in origin.requests] == ["/www/a/b%20c.txt"]


@pytest.mark.parametrize(
    ("operation", "level"), [(Operation.PREFETCH, WARNING), (Operation.FETCH, ERROR), (Operation.GLB_FETCH, ERROR)]
)
def test_an_origin_that_does_not_answer_is_an_error_where_its_url_is_needed(operation: Operation, level: Level) -> None:
    with running_app(web.Application) as url:
        pass  # gone again

    found = examined(FakeKodo(), replace(WANTED, origin_url=url, operation=operation), FILE)

    assert found[Subject.ORIGIN].level is level
    assert "no answer" in found[Subject.ORIGIN].says


def test_an_origin_is_asked_even_when_kodo_refuses() -> None:
    with running_app(Origin(answering(404)).application) as url:
        found = examined(FakeKodo(info=(failing(401), None)), replace(WANTED, origin_url=url), FILE)

    assert levels(found) == {"region": "ok", "credentials": "error", "origin": "error"}


# -- the feed ------------------------------------------------------------------------------------------------

NAMED = Sample(key="a/b c.txt", size_bytes=4, on_disk=False)


def test_the_first_key_that_a_feed_or_its_snapshot_names_is_tried() -> None:
    origin, kodo = Origin(lambda _: web.Response(body=b"hell")), FakeKodo()
    probes = [FakeProbe(Told()), FakeProbe(Told(entries=1, keys=1, sample=NAMED), Subject.SNAPSHOT)]
    with running_app(origin.application) as url:
        found = examined(kodo, replace(WANTED, origin_url=url), probes=probes)

    assert kodo.asked[-1] == "stat a/b c.txt"
    assert [path for _, path, _ in origin.requests] == ["/a/b%20c.txt"]
    assert (found[Subject.FEED].level, found[Subject.SNAPSHOT].level, found[Subject.ORIGIN].level) == (OK_, OK_, OK_)
    assert "the first key is a/b c.txt" in found[Subject.SNAPSHOT].says


def test_a_file_of_the_directory_is_rather_tried_than_a_key_of_the_feed() -> None:
    kodo = FakeKodo()

    found = examined(kodo, tried=FILE, probes=[FakeProbe(Told(sample=Sample(key="z", size_bytes=1, on_disk=False)))])

    assert kodo.asked[-1] == "stat a/b c.txt"
    assert found[Subject.FEED].level is OK_


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        pytest.param(lambda _: web.Response(body=b"hello"), "5 bytes, the feed says 4", id="size"),
        pytest.param(answering(404), "but the feed names it", id="404"),
    ],
)
def test_what_a_feed_names_and_the_origin_has_not_may_have_changed_since(
    answer: Callable[[web.Request], web.StreamResponse], says: str
) -> None:
    with running_app(Origin(answer).application) as url:
        probes = [FakeProbe(Told(entries=1, keys=1, sample=NAMED))]
        found = examined(FakeKodo(), replace(WANTED, origin_url=url, operation=Operation.FETCH), probes=probes)

    assert found[Subject.ORIGIN].level is WARNING
    assert says in found[Subject.ORIGIN].says


def test_without_a_key_the_origin_is_not_asked() -> None:
    posted = Posted(address="127.0.0.1:9478", path="/hooks/docs", shown=("a token",))

    found = examined(FakeKodo(), probes=[FakeProbe(posted)])

    assert "/hooks/docs with a token" in found[Subject.FEED].says
    assert found[Subject.ORIGIN].says == "not asked: there is no key to try"


def test_a_feed_is_waited_for_but_so_long() -> None:
    found = examined(FakeKodo(), call_most_s=0.05, probes=[FakeProbe(None)])

    assert found[Subject.FEED].level is ERROR
    assert found[Subject.FEED].says == "no answer within 0.05 s"


# -- the file to try -----------------------------------------------------------------------------------------


def sampled(root: Path, selection: Selection = EVERYTHING, prefix: str = "", *, links: bool = False) -> Sample | None:
    return sample(root, selection, prefix, follow_symlinks=links)


def test_the_sample_is_a_selected_file_under_its_key(tmp_path: Path) -> None:
    (tmp_path / "skipped").mkdir()
    (tmp_path / "skipped" / "a.html").write_text("x")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "a.html").write_text("hello")
    (tmp_path / "a.txt").write_text("x")
    os.mkfifo(tmp_path / "pipe.html")

    found = sampled(tmp_path, Selection(["*.html"], ["skipped/"]), "v2/")

    assert found == Sample(key="v2/deep/er/a.html", size_bytes=5)


def test_a_name_that_can_be_no_key_is_not_the_sample(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).write_text("x")

    assert sampled(tmp_path) is None


def test_a_hidden_file_is_the_sample_only_where_there_is_no_other(tmp_path: Path) -> None:
    (tmp_path / ".htaccess").write_text("x")

    alone = sampled(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_text("hello")
    with_another = sampled(tmp_path)

    assert (alone and alone.key, with_another and with_another.key) == (".htaccess", "sub/a.txt")


def test_links_are_followed_only_where_they_are_to_be(tmp_path: Path) -> None:
    (tmp_path / ".real").write_text("hello")
    (tmp_path / "link.txt").symlink_to(tmp_path / ".real")

    unfollowed, followed = sampled(tmp_path), sampled(tmp_path, links=True)

    assert unfollowed == Sample(key=".real", size_bytes=5)
    assert followed == Sample(key="link.txt", size_bytes=5)


def test_no_link_is_followed_out_of_the_tree(tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.txt").write_text("x")
    (tmp_path / "www" / "a.txt").symlink_to(tmp_path / "elsewhere" / "a.txt")
    (tmp_path / "www" / "sub").symlink_to(tmp_path / "elsewhere")

    assert sampled(tmp_path / "www", links=True) is None


@pytest.mark.parametrize("name", ["empty", "nowhere", "file"])
def test_where_there_is_nothing_to_try_there_is_no_sample(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")

    assert sampled(tmp_path / name) is None


def test_of_a_large_tree_only_the_beginning_is_looked_at(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"{number}.tmp").touch()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "a.txt").touch()  # the twelfth

    found = [sample(tmp_path, EVERYTHING, "", follow_symlinks=False, entries_most=most) for most in (11, 12)]

    assert found == [None, Sample(key="a/a.txt", size_bytes=0)]


# -- of the service ------------------------------------------------------------------------------------------


def test_doubts_are_logged_as_warnings_and_a_mirror_without_any_once() -> None:
    bad = FakeKodo(info=(replace(failing(631), reqid="its-reqid"), None))
    mirrors = [(replace(WANTED, mirror="docs"), bad), (replace(WANTED, mirror="pages"), FakeKodo())]
    wire = Wire(timeouts=TIMEOUTS)
    preflights = [
        Preflight(wanted=wanted, kodo=kodo, wire=wire, sample=lambda: None, user_agent="t") for wanted, kodo in mirrors
    ]

    with capture_logs() as lines:
        asyncio.run(warn(preflights))

    doubted, passed = lines
    assert (doubted["event"], doubted["log_level"]) == ("preflight.doubted", "warning")
    assert (doubted["mirror"], doubted["subject"], doubted["reqid"]) == ("docs", "bucket", "its-reqid")
    assert doubted["says"]
    assert doubted["advice"]
    assert (passed["event"], passed["log_level"], passed["mirror"]) == ("preflight.passed", "info", "pages")


def test_it_can_be_cut_short() -> None:
    kodo = FakeKodo(hangs="info")

    async def cut() -> None:
        wire = Wire(timeouts=TIMEOUTS)
        preflight = Preflight(wanted=WANTED, kodo=kodo, wire=wire, sample=lambda: None, user_agent="t")
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            warning = tasks.create_task(warn([preflight]), name="preflight")
            await kodo.hanging.wait()
            warning.cancel()

    with capture_logs() as lines:
        asyncio.run(cut())

    assert lines == []


# -- against the sandbox -------------------------------------------------------------------------------------


@pytest.fixture
def www(tmp_path: Path) -> Path:
    directory = tmp_path / "www"
    directory.mkdir()
    (directory / "a.txt").write_text("hello")
    return directory


def examined_at(
    url: str,
    wanted: Wanted = WANTED,
    credentials: Credentials = CREDENTIALS,
    *,
    scheme: Scheme = "qbox",
    pinned: Sequence[Host] = (Host.UC,),
) -> dict[Subject, Finding]:
    """By the real client."""
    wire = Wire(timeouts=TIMEOUTS)
    hosts = Hosts(
        wire=wire,
        access_key=credentials.access_key,
        pinned=dict.fromkeys(pinned, url),
        user_agent="ua",
        clock=float,
    )
    kodo = KodoClient(
        wire=wire,
        hosts=hosts,
        credentials=credentials,
        scheme=scheme,
        user_agent="t",
        now=lambda: datetime.now(UTC),
    )

    async def examine() -> list[Finding]:
        tried = Sample(key="a.txt", size_bytes=5)
        try:
            preflight = Preflight(wanted=wanted, kodo=kodo, wire=wire, sample=lambda: tried, user_agent="t")
            return await preflight.examine()
        finally:
            await wire.close()

    with capture_logs():  # what discovery says
        return {each.subject: each for each in asyncio.run(examine())}


@pytest.mark.parametrize("scheme", ["qbox", "qiniu"])
@pytest.mark.parametrize(
    ("pinned", "region", "asked"),
    [
        pytest.param([Host.UC], "z0", ["query", "bucket-info", "stat"], id="discovered"),
        pytest.param([Host.UC, Host.IO, Host.RS], "pinned", ["bucket-info", "stat"], id="pinned"),
    ],
)
def test_the_sandbox_finds_nothing_wrong(
    tmp_path: Path, www: Path, scheme: Scheme, pinned: list[Host], region: str, asked: list[str]
) -> None:
    with running_origin(www) as origin, running_sandbox(tmp_path / "kodo", {"newdocs": origin}) as kodo:
        found = examined_at(kodo.url, replace(WANTED, origin_url=origin), scheme=scheme, pinned=pinned)

        assert set(levels(found).values()) == {"ok"}, found
        assert found.keys() == set(Subject) - {Subject.FEED, Subject.SNAPSHOT}
        assert found[Subject.REGION].says == region
        assert [call["operation"] for call in kodo.calls()] == asked


@pytest.mark.parametrize(
    ("bucket", "credentials", "subject", "asked"),
    [
        pytest.param(
            "newdocs",
            Credentials(CREDENTIALS.access_key, "wrong"),
            Subject.CREDENTIALS,
            ["query", "bucket-info"],
            id="wrong-secret",
        ),
        pytest.param("newdocs", Credentials("wrong", "wrong"), Subject.CREDENTIALS, ["query"], id="wrong-access-key"),
        pytest.param("olddocs", CREDENTIALS, Subject.BUCKET, ["query"], id="unknown-bucket"),
        pytest.param("bare", CREDENTIALS, Subject.SOURCE, ["query", "bucket-info", "stat"], id="no-source"),
    ],
)
def test_the_sandbox_says_what_is_wrong(
    tmp_path: Path, www: Path, bucket: str, credentials: Credentials, subject: Subject, asked: list[str]
) -> None:
    with running_origin(www) as origin, running_sandbox(tmp_path / "kodo", {"newdocs": origin, "bare": None}) as kodo:
        found = examined_at(kodo.url, replace(WANTED, bucket=bucket), credentials)

        assert [each.subject for each in found.values() if each.level is ERROR] == [subject]
        assert [call["operation"] for call in kodo.calls()] == asked


def test_the_sandbox_freezes_an_account(tmp_path: Path) -> None:
    with running_sandbox(tmp_path / "kodo", {"newdocs": None}) as kodo:
        kodo.freeze()

        found = examined_at(kodo.url)

    assert "frozen" in found[Subject.CREDENTIALS].advice


@pytest.mark.parametrize(("scheme", "level"), [("qiniu", ERROR), ("qbox", WARNING)])
def test_a_clock_that_the_sandbox_does_not_take_is_what_is_wrong(tmp_path: Path, scheme: Scheme, level: Level) -> None:
    with running_sandbox(tmp_path / "kodo", {"newdocs": None}) as kodo:
        kodo.skew(-1200)

        found = examined_at(kodo.url, scheme=scheme)

    assert found[Subject.CLOCK].level is level
    assert "20 min ahead of Kodo's" in found[Subject.CLOCK].says
    assert {each.advice for each in found.values() if each.level is not OK_} == {CLOCK_ADVICE}
    assert [each.subject for each in found.values() if each.level is ERROR] == [Subject.CLOCK] * (level is ERROR)
    assert (found[Subject.CREDENTIALS].level is OK_, Subject.STAT in found) == (scheme == "qbox", scheme == "qbox")
