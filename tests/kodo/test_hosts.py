"""Which servers are asked for a bucket: pinned, or discovered, kept fresh, and used on when nobody can be asked."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from structlog.testing import capture_logs

from mirrord.decisions.verdict import judge
from mirrord.kodo.exchange import Answer, Base, NoAnswer, Timeouts, base_of
from mirrord.kodo.hosts import PINNED, UC, Hosts
from mirrord.kodo.protocol import Host
from mirrord.kodo.wire import Wire
from mirrord.model.attempt import Fault, Operation, Outcome, Reply, Silence
from tests.fakes.sender import LATE, UNREACHABLE, FakeSender, answer
from tests.servers import CREDENTIALS, running_sandbox

UC_1, UC_2, UC_3 = (base_of(url).authority for url in UC)
IO = Base("https", "io.example.com")
PIN = {Host.UC: "http://uc.example:9"}
T = TypeVar("T")


def region(ttl: float = 100, name: str = "z0", **domains: str) -> dict[str, Any]:
    return {"region": name, "ttl": ttl, **{service: {"domains": [each]} for service, each in domains.items()}}


Z0 = answer({"hosts": [region(io="io.example.com", rs="rs.example.com")]})
NO_BUCKET = answer({"error": "no such bucket"}, 631)


@dataclass
class Bench:
    """Hosts over a network and a clock that a test moves."""

    pinned: dict[Host, str] = field(default_factory=dict)
    says: dict[str, Answer | NoAnswer] = field(default_factory=dict)
    time: float = 1000.0
    wire: FakeSender = field(init=False)
    hosts: Hosts = field(init=False)

    def __post_init__(self) -> None:
        self.wire = FakeSender(self.says)
        self.hosts = Hosts(
            wire=self.wire, access_key="AK", pinned=self.pinned, user_agent="mirrord/t", clock=lambda: self.time
        )

    async def io(self, bucket: str = "docs") -> tuple[Base, ...] | Reply:
        found = await self.hosts.bases(Host.IO, bucket)
        return found if isinstance(found, Reply) else tuple(found)

    async def why(self) -> Reply:
        found = await self.io()
        assert isinstance(found, Reply)
        return found


def on(bench: Bench, does: Callable[[Bench], Awaitable[T]]) -> T:
    async def done() -> T:
        return await does(bench)

    return asyncio.run(done())


def test_a_pinned_host_is_believed_and_nobody_is_asked() -> None:
    bench = Bench(pinned=PIN | {Host.IO: "https://io.example.com:8443/"})

    bases = on(bench, Bench.io)

    assert bases == (Base("https", "io.example.com:8443"),)
    assert bench.wire.sent == []


@pytest.mark.parametrize(("pinned", "urls"), [({}, UC), (PIN, tuple(PIN.values()))], ids=["known", "pinned"])
def test_discovery_itself_has_known_names_or_a_pinned_one(pinned: dict[Host, str], urls: tuple[str, ...]) -> None:
    bases = on(Bench(pinned=pinned), lambda bench: bench.hosts.bases(Host.UC, "docs"))

    assert not isinstance(bases, Reply)
    assert tuple(map(str, bases)) == urls


def test_the_sandbox_names_itself_for_every_service(tmp_path: Path) -> None:
    async def all_of(url: str) -> list[Any]:
        wire = Wire(timeouts=Timeouts(connect=timedelta(seconds=20), read=timedelta(seconds=20)))
        key = CREDENTIALS.access_key
        hosts = Hosts(wire=wire, access_key=key, pinned={Host.UC: url}, user_agent="mirrord/t", clock=float)
        try:
            return [await hosts.bases(host, "docs") for host in (Host.IO, Host.RS, Host.RSF, Host.API)]
        finally:
            await wire.close()

    with running_sandbox(tmp_path, {"docs": None}) as kodo:
        found = asyncio.run(all_of(kodo.url))
        calls = kodo.calls()

    (call,) = calls
    assert [[str(base) for base in bases] for bases in found] == [[kodo.url]] * 4
    assert call["target"] == f"/v4/query?ak={CREDENTIALS.access_key}&bucket=docs"


@pytest.mark.parametrize(
    ("pinned", "uc", "scheme"),
    [({}, UC_1, "https"), (PIN, "uc.example:9", "http")],
    ids=["https-by-default", "as-pinned"],
)
def test_the_hosts_found_are_asked_as_the_one_that_told(pinned: dict[Host, str], uc: str, scheme: str) -> None:
    bench = Bench(pinned=pinned, says={uc: Z0})

    assert on(bench, Bench.io) == (Base(scheme, "io.example.com"),)


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(UNREACHABLE, id="unreachable"),
        pytest.param(LATE, id="late"),
        pytest.param(answer(status=599), id="fails"),
        pytest.param(answer({"error": "not found"}, 404), id="does-not-know-the-call"),
        pytest.param(answer(b"<html>", 200, x_reqid="", content_type="text/html"), id="a-portal"),
        pytest.param(answer({"error": "no"}, 403, x_reqid=""), id="a-proxys-403"),
        pytest.param(answer(b"<html>", 403, content_type="text/html"), id="a-page"),
        pytest.param(answer({"hosts": []}), id="knows-no-hosts"),
    ],
)
def test_a_host_that_cannot_say_is_followed_by_the_next(first: Answer | NoAnswer) -> None:
    bench = Bench(says={UC_1: first, UC_2: UNREACHABLE, UC_3: Z0})

    assert on(bench, Bench.io) == (IO,)
    assert bench.wire.hosts == [UC_1, UC_2, UC_3]


def test_a_pinned_host_is_not_followed_by_others() -> None:
    bench = Bench(pinned=PIN)

    reply = on(bench, Bench.why)

    assert bench.wire.hosts == ["uc.example:9"]
    assert (reply.status, reply.silence) == (None, Silence.CONNECT_FAILED)
    assert reply.error == "the region of bucket docs could not be asked of http://uc.example:9: no connection"


@pytest.mark.parametrize(
    ("status", "told", "outcome", "fault"),
    [
        (401, 401, Outcome.REFUSED, Fault.ACCOUNT),
        (403, 403, Outcome.REFUSED, Fault.ACCOUNT),
        (419, 419, Outcome.REFUSED, Fault.ACCOUNT),
        (631, 631, Outcome.REFUSED, Fault.ACCOUNT),
        (612, 631, Outcome.REFUSED, Fault.ACCOUNT),
        (573, 573, Outcome.THROTTLED, Fault.SERVICE),
        (599, 599, Outcome.UNAVAILABLE, Fault.SERVICE),
        (404, None, Outcome.UNAVAILABLE, Fault.SERVICE),
        (400, None, Outcome.UNAVAILABLE, Fault.SERVICE),
        (504, None, Outcome.UNAVAILABLE, Fault.SERVICE),
    ],
)
@pytest.mark.parametrize("operation", [Operation.PREFETCH, Operation.DELETE])
def test_a_refusal_concerns_the_bucket_and_never_looks_like_an_answer_about_a_key(
    operation: Operation, status: int, told: int | None, outcome: Outcome, fault: Fault
) -> None:
    bench = Bench(pinned=PIN, says={"uc.example:9": answer({"error": "so it is"}, status)})

    reply = on(bench, Bench.why)

    verdict = judge(operation, reply)
    shown = "so it is" if told else f"status {status}: so it is"
    assert reply.error == f"the region of bucket docs could not be asked of http://uc.example:9: {shown}"
    assert (reply.status, reply.reqid) == (told, "abc")
    assert (verdict.outcome, verdict.fault) == (outcome, fault)


def test_a_refusal_without_words_is_not_taken_for_an_origins() -> None:
    bench = Bench(pinned=PIN, says={"uc.example:9": answer(status=401)})

    reply = on(bench, Bench.why)

    assert (reply.error or "").endswith("http://uc.example:9: no error text in the reply")
    assert judge(Operation.PREFETCH, reply).fault is Fault.ACCOUNT


def test_what_one_host_refuses_is_not_asked_of_the_next() -> None:
    bench = Bench(says={UC_1: NO_BUCKET, UC_2: Z0})

    assert on(bench, Bench.why).status == 631
    assert bench.wire.hosts == [UC_1]


def test_of_several_failures_the_one_that_qiniu_told_is_told() -> None:
    bench = Bench(says={UC_1: UNREACHABLE, UC_2: answer({"error": "busy"}, 503), UC_3: UNREACHABLE})

    reply = on(bench, Bench.why)

    assert (reply.status, reply.error) == (
        503,
        "the region of bucket docs could not be asked of https://kodo-config.qiniuapi.com: busy",
    )


def test_a_host_that_hangs_is_given_up() -> None:
    class Hanging(FakeSender):
        async def send(self, *_: object, **__: object) -> Answer | NoAnswer:
            raise TimeoutError  # what a call ends with whose time is over

    bench = Bench(pinned=PIN)
    hosts = Hosts(wire=Hanging(), access_key="AK", pinned=PIN, user_agent="mirrord/t", clock=float)

    reply = on(bench, lambda _: hosts.bases(Host.IO, "docs"))

    assert isinstance(reply, Reply)
    assert reply.status is None
    assert (reply.error or "").endswith("no answer within 6 s")


def test_an_answer_is_good_for_the_time_that_it_says() -> None:
    async def at_four_times(bench: Bench) -> list[int]:
        asked = []
        for bench.time in (1000.0, 1099.0, 1101.0, 1150.0):
            await bench.io()
            asked.append(len(bench.wire.sent))
        return asked

    assert on(Bench(says={UC_1: Z0}), at_four_times) == [1, 1, 2, 2]


def test_an_old_answer_is_used_when_it_is_over_and_nobody_can_be_asked() -> None:
    async def after_a_year(bench: Bench) -> list[object]:
        await bench.io()
        bench.says.clear()
        bench.time += 365 * 86400
        return [await bench.io(), await bench.io()]

    bench = Bench(says={UC_1: Z0})
    with capture_logs() as lines:
        found = on(bench, after_a_year)

    assert found == [(IO,), (IO,)]
    assert bench.wire.hosts == [UC_1, UC_1, UC_2, UC_3]
    (unknown,) = (line for line in lines if line["event"] == "region.unknown")
    assert unknown["action"].startswith("none: the hosts of the last answer are used")


def test_every_bucket_is_asked_for_on_its_own() -> None:
    async def two_buckets(bench: Bench) -> None:
        for bucket in ("docs", "pages", "docs", "pages"):
            await bench.io(bucket)

    bench = Bench(says={UC_1: Z0})
    on(bench, two_buckets)

    assert [sent.url.rpartition("=")[2] for sent in bench.wire.sent] == ["docs", "pages"]


@pytest.mark.parametrize("said", [Z0, NO_BUCKET], ids=["found", "refused"])
def test_many_who_ask_at_once_share_one_question(said: Answer) -> None:
    async def fifty(bench: Bench) -> list[object]:
        async with asyncio.TaskGroup() as tasks:
            asking = [tasks.create_task(bench.io()) for _ in range(50)]
        return [task.result() for task in asking]

    bench = Bench(says={UC_1: said})
    found = on(bench, fifty)

    assert found == [found[0]] * 50
    assert len(bench.wire.sent) == 1


def test_after_a_failure_nobody_is_asked_for_a_while_that_grows() -> None:
    async def two_minutes_and_a_half(bench: Bench) -> list[float]:
        asked: list[float] = []
        bench.wire.on_sent = lambda _: asked.append(bench.time - 1000)
        for _ in range(1500):
            await bench.why()
            bench.time += 0.1
        return asked

    with capture_logs() as lines:
        asked = on(Bench(pinned=PIN), two_minutes_and_a_half)

    assert asked == pytest.approx([0, 1, 3, 7, 15, 31, 63, 123], abs=0.3)
    (line,) = lines
    assert (line["event"], line["log_level"], line["bucket"]) == ("region.unknown", "warning", "docs")
    assert set(line) == {"event", "log_level", "bucket", "error", "reqid", "action"}


def test_an_outage_is_said_when_it_begins_and_when_it_is_over() -> None:
    async def out_and_back_twice(bench: Bench) -> None:
        for said in (NO_BUCKET, NO_BUCKET, Z0, Z0, NO_BUCKET, NO_BUCKET, Z0):
            bench.says[UC_1] = said
            bench.time += 200
            await bench.io()

    with capture_logs() as lines:
        on(Bench(), out_and_back_twice)

    assert [line["event"] for line in lines] == [
        "region.unknown",
        "region.discovered",
        "region.unknown",
        "region.discovered",
    ]
    assert lines[0] == {
        "event": "region.unknown",
        "log_level": "warning",
        "bucket": "docs",
        "error": "the region of bucket docs could not be asked of https://uc.qiniuapi.com: no such bucket",
        "reqid": "abc",
        "action": "check the bucket's name and the key pair",
    }
    assert lines[1] == {
        "event": "region.discovered",
        "log_level": "info",
        "bucket": "docs",
        "region": "z0",
        "io": ["https://io.example.com"],
        "ttl_s": 100,
    }


def test_several_domains_are_tried_in_turn_and_those_of_other_regions_never() -> None:
    names = [f"io-{n}.example.com" for n in range(3)]
    said = {"hosts": [{"ttl": 100, "io": {"domains": names}}, region(io="io-na0.example.com")]}

    async def failing_one_after_the_other(bench: Bench) -> list[object]:
        asked: list[object] = []
        for _ in range(4):
            bases = await bench.io()
            assert not isinstance(bases, Reply)
            asked.append([base.authority for base in bases])
            bench.hosts.failed(bases[0], "it failed")
            bench.time += 1
        return asked

    asked = on(Bench(says={UC_1: answer(said)}), failing_one_after_the_other)

    assert asked == [names, names[1:], names[2:], names[:1]]


def test_a_service_that_the_region_does_not_have_can_be_pinned() -> None:
    reply = on(Bench(says={UC_1: Z0}), lambda bench: bench.hosts.bases(Host.API, "docs"))

    assert isinstance(reply, Reply)
    assert reply.error == "Qiniu names no api host for bucket docs; pin one in [kodo.hosts]"


@pytest.mark.parametrize(
    ("pinned", "found", "asked"),
    [
        pytest.param({}, "z0", 1, id="discovered"),
        pytest.param({Host.IO: "https://io.example.com"}, "z0", 1, id="half-pinned"),
        pytest.param({Host.IO: "http://a", Host.RS: "http://b"}, PINNED, 0, id="pinned"),
    ],
)
def test_a_region_has_a_name_unless_nobody_needs_it(pinned: dict[Host, str], found: str, asked: int) -> None:
    bench = Bench(pinned=pinned, says={UC_1: Z0})

    assert on(bench, lambda bench: bench.hosts.region("docs")) == found
    assert len(bench.wire.sent) == asked


def test_a_region_that_nobody_tells_is_a_reply() -> None:
    reply = on(Bench(says={UC_1: NO_BUCKET}), lambda bench: bench.hosts.region("docs"))

    assert isinstance(reply, Reply)
    assert reply.status == 631


@asynccontextmanager
async def keeping_fresh(bench: Bench) -> AsyncIterator[None]:
    """With `keep_fresh` running; it is cancelled at the end."""
    async with asyncio.TaskGroup() as tasks:
        keeper = tasks.create_task(bench.hosts.keep_fresh(), name="keep-fresh")
        await asyncio.sleep(0)
        try:
            yield
        finally:
            keeper.cancel()


async def until_asked(bench: Bench, times: int) -> None:
    """Returns when the last one has been answered, too."""
    async with asyncio.timeout(20):
        while len(bench.wire.sent) < times:
            more = asyncio.Event()
            bench.wire.on_sent = lambda _, more=more: more.set()
            await more.wait()
        for _ in range(5):
            await asyncio.sleep(0)


def test_an_answer_is_refreshed_in_the_background_when_half_of_its_time_is_over() -> None:
    async def half_of_the_time(bench: Bench) -> list[object]:
        await bench.io()
        bench.time += 49
        async with keeping_fresh(bench):
            early = len(bench.wire.sent)
        bench.time += 1
        bench.says[UC_1] = answer({"hosts": [region(io="moved.example.com")]})
        async with keeping_fresh(bench):
            await until_asked(bench, 2)
        bench.says.clear()
        return [early, await bench.io()]

    bench = Bench(says={UC_1: Z0})
    early, bases = on(bench, half_of_the_time)

    assert early == 1
    assert bases == (Base("https", "moved.example.com"),)
    assert len(bench.wire.sent) == 2


def test_a_bucket_that_is_asked_for_later_is_refreshed_as_well() -> None:
    async def later(bench: Bench) -> None:
        async with keeping_fresh(bench):
            await bench.io()
            bench.time += 50
            await until_asked(bench, 2)

    bench = Bench(says={UC_1: Z0})
    on(bench, later)

    assert bench.wire.hosts == [UC_1, UC_1]


def test_a_refresh_that_fails_leaves_the_hosts_and_is_tried_again_after_a_while() -> None:
    async def failing(bench: Bench) -> list[object]:
        await bench.io()
        bench.says.clear()
        bench.time += 50
        async with keeping_fresh(bench):
            await until_asked(bench, 4)
        async with keeping_fresh(bench):
            pass
        asked = len(bench.wire.sent)
        bench.says[UC_1] = Z0  # all are frozen: that one thaws first
        bench.time += 1
        async with keeping_fresh(bench):
            await until_asked(bench, 5)
        return [asked, await bench.io()]

    bench = Bench(says={UC_1: Z0})
    asked, bases = on(bench, failing)

    assert asked == 4
    assert bases == (IO,)


def test_keeping_fresh_what_nobody_asked_for_asks_nobody() -> None:
    async def idle(bench: Bench) -> None:
        async with keeping_fresh(bench):
            bench.time += 10**6
            await asyncio.sleep(0)

    bench = Bench(says={UC_1: Z0})
    on(bench, idle)

    assert bench.wire.sent == []


@pytest.mark.parametrize(
    ("pinned", "base"),
    [
        ({}, Base("https", "fusion.qiniuapi.com")),
        ({Host.FUSION: "http://127.0.0.1:9"}, Base("http", "127.0.0.1:9")),
    ],
    ids=["known", "pinned"],
)
def test_the_host_of_all_cdns_is_known_without_asking(pinned: dict[Host, str], base: Base) -> None:
    bench = Bench(pinned=pinned)

    async def fusion(bench: Bench) -> object:
        return await bench.hosts.bases(Host.FUSION, "docs")

    assert on(bench, fusion) == (base,)
    assert bench.wire.sent == []
