"""What a probe makes of the beginning of a feed or a snapshot; who is asked is a real server."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from mirrord.decisions.feed_findings import Told
from mirrord.decisions.feed_keys import FeedKeys
from mirrord.decisions.findings import Sample, Subject
from mirrord.decisions.keymap import Selection
from mirrord.sources.feed.dialect import Dialect, Limits
from mirrord.sources.feed.fetching import Access, Fetcher
from mirrord.sources.feed.forms import JsonForm, SitemapForm
from mirrord.sources.feed.jsonl import JsonLines
from mirrord.sources.feed.pointers import Pointers
from mirrord.sources.feed.probing import ENTRIES_ENOUGH, PATIENCE, FeedProbe, SnapshotProbe
from mirrord.sources.feed.searching import ResourceSync
from mirrord.sources.feed.sse import Sse
from tests.servers import running_app

LIMITS = Limits()
SITEMAP = '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{}</urlset>'
INDEX = '<sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{}</sitemapindex>'


@dataclass
class Server:
    """Serves what it has by path; remembers what it was asked."""

    pages: Mapping[str, str]
    status: int = 200
    goes_on: bool = False
    """Whether no answer ever ends."""
    asked: list[str] = field(default_factory=list)

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/{rest:.*}", self._serve)
        return app

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path_qs)
        body = self.pages.get(request.path)
        kind = "text/event-stream" if self.goes_on else "text/plain"
        answer = web.StreamResponse(status=404 if body is None else self.status, headers={"Content-Type": kind})
        await answer.prepare(request)
        await answer.write((body or "").replace("{here}", f"http://{request.host}").encode())
        if self.goes_on:
            await asyncio.Event().wait()
        return answer


def keys(origin_url: str | None = None, exclude: tuple[str, ...] = ()) -> FeedKeys:
    return FeedKeys(origin_url=origin_url, key_prefix="", selection=Selection((), exclude), key_from=None)


def fed(server: Server, dialect: Callable[[str], Dialect], rules: FeedKeys | None = None) -> Told:
    """What a FeedProbe says of it."""

    async def ask(url: str) -> Told:
        fetcher = Fetcher(Access(user_agent="mirrord/t"), PATIENCE)
        quiet = timedelta(seconds=0.2)
        return await FeedProbe(dialect(url), fetcher, rules or keys(), lambda: datetime.now(UTC), quiet=quiet).ask()

    with running_app(server.application) as url:
        return asyncio.run(ask(url))


def compared(server: Server, form: SitemapForm | JsonForm) -> Told:
    """What a SnapshotProbe says of it; its origin is the server."""

    async def ask(url: str) -> Told:
        fetcher = Fetcher(Access(user_agent="mirrord/t"), PATIENCE)
        rules = keys(origin_url=url)
        probe = SnapshotProbe(f"{url}/s", form, fetcher, rules, lambda: datetime.now(UTC), subject=Subject.SNAPSHOT)
        return await probe.ask()

    with running_app(server.application) as url:
        return asyncio.run(ask(url))


def lines(url: str) -> JsonLines:
    return JsonLines(f"{url}/feed", pointers=Pointers(), limits=LIMITS)


def sse(url: str) -> Sse:
    return Sse(f"{url}/feed", pointers=Pointers(), heartbeat=timedelta(seconds=30), limits=LIMITS)


def loc(path: str) -> str:
    return f"<url><loc>{{here}}/{path}</loc></url>"


# -- what is read entry by entry -----------------------------------------------------------------------------


def test_the_first_key_that_is_still_there_is_the_one_to_try() -> None:
    server = Server(
        {
            "/feed": '{"seq": 1, "key": "gone.txt"}\n{"seq": 2, "key": "a/b c.txt", "size": 3}\n'
            '{"seq": 3, "key": "z"}\n{"seq": 4, "key": "gone.txt", "op": "remove"}\n'
            '{"seq": 5, "key": "a/b c.txt", "size": 5}\n'
        }
    )

    told = fed(server, lines)

    assert told == Told(entries=5, keys=3, sample=Sample(key="a/b c.txt", size_bytes=5, on_disk=False))
    assert server.asked == ["/feed"]


def test_a_feed_of_which_there_is_more_says_nothing_certain_of_sizes() -> None:
    page = "".join(f'{{"seq": {number}, "key": "{number}.txt", "size": 3}}\n' for number in range(2 * ENTRIES_ENOUGH))

    told = fed(Server({"/feed": page}), lines)

    assert told.sample == Sample(key="0.txt", size_bytes=None, on_disk=False)
    assert told.entries >= ENTRIES_ENOUGH
    assert not told.whole


@pytest.mark.parametrize(
    ("body", "entries", "names"),
    [
        pytest.param("", 0, 0, id="nothing-yet"),
        pytest.param('{"seq": 1, "key": "a", "op": "remove"}\n', 1, 1, id="removals-alone"),
    ],
)
def test_a_feed_without_a_key_that_is_there_has_none_to_try(body: str, entries: int, names: int) -> None:
    told = fed(Server({"/feed": body}), lines)

    assert told == Told(entries=entries, keys=names)


def test_names_that_are_no_keys_are_told_with_the_first_reason() -> None:
    told = fed(Server({"/feed": '{"seq": 1, "key": "a/"}\n{"seq": 2, "key": "b/"}\n'}), lines)

    assert (told.entries, told.keys, told.sample) == (2, 0, None)
    assert told.flaw == "a/: the name ends in a slash: it is a directory's"


def test_names_that_the_settings_leave_out_are_counted_and_no_flaw() -> None:
    told = fed(Server({"/feed": '{"seq": 1, "key": "a.tmp"}\n'}), lines, keys(exclude=("*.tmp",)))

    assert told == Told(entries=1, keys=0)


def test_lists_are_searched_for_their_entries() -> None:
    rs = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns:rs="http://www.openarchives.org/rs/terms/"'
    list_ = '<url><loc>{here}/list</loc><rs:md capability="changelist"/></url>'
    change = '<url><loc>{here}/a.txt</loc><rs:md change="created" datetime="2026-11-20T12:00:00Z"/></url>'
    server = Server(
        {
            "/feed": f'<urlset {rs}><rs:md capability="capabilitylist"/>{list_}</urlset>',
            "/list": f'<urlset {rs}><rs:md capability="changelist" from="2026-11-20T00:00:00Z"/>{change}</urlset>',
        }
    )

    told = fed(server, lambda url: ResourceSync(f"{url}/feed", overlap=timedelta(0), limits=LIMITS))

    assert server.asked == ["/feed", "/list"]
    assert (told.entries, told.keys, told.flaw.partition(": the name is a URL")[1]) == (1, 0, ": the name is a URL")


def test_an_endless_stream_is_listened_to_for_a_moment() -> None:
    told = fed(Server({"/feed": 'id: 1\ndata: {"key": "a.txt"}\n\n'}, goes_on=True), sse)

    assert told == Told(entries=1, keys=1, sample=Sample(key="a.txt", size_bytes=None, on_disk=False))


# -- what goes wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 404, 503])
def test_an_answer_that_is_not_the_feed_is_a_sentence(status: int) -> None:
    told = fed(Server({"/feed": "no"}, status=status), lines)

    assert str(status) in told.error
    assert not told.strange


@pytest.mark.parametrize(
    ("dialect", "body"),
    [pytest.param(lines, "<html></html>", id="jsonl"), pytest.param(sse, "hello", id="sse")],
)
def test_another_format_is_strange(dialect: Callable[[str], Dialect], body: str) -> None:
    told = fed(Server({"/feed": body}), dialect)

    assert told.error.startswith("what it answers ")
    assert told.strange


def test_a_stream_that_has_ended_for_good_is_told() -> None:
    told = fed(Server({"/feed": ""}, status=204), sse)

    assert "has ended (204)" in told.error


# -- what names every key ------------------------------------------------------------------------------------


def test_an_index_is_gone_down_until_there_is_a_key() -> None:
    server = Server(
        {
            "/s": INDEX.format("".join(f"<sitemap><loc>{{here}}/{number}</loc></sitemap>" for number in "123")),
            "/1": SITEMAP.format(""),
            "/2": SITEMAP.format(loc("a%20b.txt") + loc("c.txt")),
        }
    )

    told = compared(server, SitemapForm(LIMITS))

    assert server.asked == ["/s", "/1", "/2"]
    assert told == Told(entries=2, keys=2, sample=Sample(key="a b.txt", size_bytes=None, on_disk=False), whole=False)


def test_a_snapshot_in_one_piece_is_whole() -> None:
    told = compared(
        Server({"/s": '{"key": "a.txt", "size": 7}\n'}),
        JsonForm(JsonLines("http://here/s", pointers=Pointers(), limits=LIMITS)),
    )

    assert told == Told(entries=1, keys=1, sample=Sample(key="a.txt", size_bytes=7, on_disk=False))


def test_urls_of_another_site_are_no_keys() -> None:
    told = compared(
        Server({"/s": SITEMAP.format("<url><loc>https://other.example.com/a</loc></url>")}), SitemapForm(LIMITS)
    )

    assert (told.entries, told.keys) == (1, 0)
    assert "is not below" in told.flaw
