"""Snapshots from a real server: what has not changed is not fetched again, and half a look is never believed."""

import asyncio
import json
import sqlite3
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mirrord.sources.feed.dialect import Limits, Unreadable
from mirrord.sources.feed.fetching import Unreachable
from mirrord.sources.feed.forms import JsonForm, SitemapForm
from mirrord.sources.feed.jsonl import JsonLines
from mirrord.sources.feed.pointers import Pointers
from mirrord.sources.feed.snapshot import Form, State
from mirrord.sources.feed.walk import LOOKS_MOST, Walk
from tests.sources.feed.site import Site, fetcher, running_site, sitemap

LIMITS = Limits()
HOUR = timedelta(hours=1)


@pytest.fixture(name="site")
def running() -> Iterator[Site]:
    with running_site() as site:
        yield site


@asynccontextmanager
async def walking(
    site: Site, first: str, form: Form | None = None, *, fresh_for: timedelta = timedelta(0), limits: Limits = LIMITS
) -> AsyncIterator[Walk]:
    walk = Walk(
        "snapshot",
        f"{site.url}/{first}",
        form or SitemapForm(limits),
        fetcher(),
        limits,
        fresh_for=fresh_for,
        now=lambda: datetime.now(UTC),
    )
    try:
        async with asyncio.timeout(60):
            yield walk
    finally:
        await walk.close()


async def refresh(walk: Walk) -> State:
    return await walk.refresh(datetime.now(UTC))


def keys(walk: Walk, site: Site) -> list[str]:
    return sorted(mention.name.removeprefix(f"{site.url}/") for named in walk.named() for mention in named.mentions)


def dated(*names: str) -> dict[str, str | None]:
    return dict.fromkeys(names, "2026-01-01T00:00:00Z")


def test_an_unchanged_sitemap_is_asked_for_and_not_read_again(site: Site) -> None:
    site.put_sitemap("sitemap.xml", dated("a", "b"))

    async def scenario() -> None:
        async with walking(site, "sitemap.xml") as walk:
            first = await refresh(walk)
            second = await refresh(walk)

            assert first.version == second.version
            assert first.asked_at < second.asked_at
            assert keys(walk, site) == ["a", "b"]

    asyncio.run(scenario())
    assert site.answered == [("sitemap.xml", 200), ("sitemap.xml", 304)]


def test_of_an_index_only_what_has_changed_is_read(site: Site) -> None:
    site.put_index("index.xml", "1.xml", "2.xml.gz")
    site.put_sitemap("1.xml", dated("a"))
    site.put_sitemap("2.xml.gz", dated("b", "c"))

    async def scenario() -> None:
        async with walking(site, "index.xml") as walk:
            first = await refresh(walk)
            assert keys(walk, site) == ["a", "b", "c"]
            site.forget()

            unchanged = await refresh(walk)
            assert unchanged.version == first.version
            assert site.answered == [("index.xml", 304), ("1.xml", 304), ("2.xml.gz", 304)]

            site.put_sitemap("2.xml.gz", dated("b", "d"))
            site.forget()
            changed = await refresh(walk)
            assert changed.version != first.version
            assert [path for path, status in site.answered if status == 200] == ["2.xml.gz"]
            assert keys(walk, site) == ["a", "b", "d"]

            site.put_index("index.xml", "1.xml")
            await refresh(walk)
            assert keys(walk, site) == ["a"]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(500, "", id="500"),
        pytest.param(404, "", id="404"),
        pytest.param(200, sitemap("http://h", dated("x", "y", "z"))[:-40], id="cut off"),
        pytest.param(200, "<!doctype html><title>sorry</title>", id="HTML"),
        pytest.param(200, "", id="nothing"),
    ],
)
def test_when_one_document_fails_nothing_of_the_look_is_seen(site: Site, status: int, body: str) -> None:
    site.put_index("index.xml", "1.xml", "2.xml")
    site.put_sitemap("1.xml", dated("a"))
    site.put_sitemap("2.xml", dated("b"))

    async def scenario() -> None:
        async with walking(site, "index.xml") as walk:
            first = await refresh(walk)
            site.put_index("index.xml", "1.xml", "2.xml", "3.xml")
            site.put_sitemap("1.xml", dated("moved"))
            site.put_sitemap("3.xml", dated("a"))
            site.put("2.xml", body)
            site.statuses["2.xml"] = status

            for _ in range(2):
                with pytest.raises((Unreachable, Unreadable), match=r"/2\.xml"):
                    await refresh(walk)
                assert keys(walk, site) == ["a", "b"]

            site.statuses.clear()
            site.put_sitemap("2.xml", dated("b"))
            site.forget()
            after = await refresh(walk)
            assert after.version != first.version
            assert keys(walk, site) == ["a", "b", "moved"]
            assert ("1.xml", 200) not in site.answered  # it was read when the other one could not be

    asyncio.run(scenario())


def test_an_url_that_moves_while_documents_are_read_is_not_missed(site: Site) -> None:
    site.put_index("index.xml", "1.xml", "2.xml")
    site.put_sitemap("1.xml", dated("a"))
    site.put_sitemap("2.xml", dated("moves", "b"))

    def move(path: str) -> None:
        if path == "2.xml":  # the first one has been read without it
            site.put_sitemap("1.xml", dated("a", "moves"))
            site.put_sitemap("2.xml", dated("b"))

    site.before = move

    async def scenario() -> None:
        async with walking(site, "index.xml") as walk:
            state = await refresh(walk)
            assert state.steady
            assert keys(walk, site) == ["a", "b", "moves"]

    asyncio.run(scenario())


def test_documents_that_are_never_at_rest_are_told_apart(site: Site) -> None:
    site.put_index("index.xml", "1.xml", "2.xml")
    site.put_sitemap("1.xml", dated("a"))
    count = iter(range(100))

    def change(path: str) -> None:
        if path == "2.xml":
            site.put_sitemap("2.xml", dated(f"b{next(count)}"))

    site.before = change

    async def scenario() -> None:
        async with walking(site, "index.xml") as walk:
            state = await refresh(walk)
            assert not state.steady
            assert keys(walk, site) == ["a", f"b{LOOKS_MOST - 1}"]

            site.before = lambda _: None
            assert (await refresh(walk)).steady

    asyncio.run(scenario())


def test_a_remark_that_is_new_at_every_look_does_not_unsettle_it(site: Site) -> None:
    site.put_index("index.xml", "1.xml")
    count = iter(range(100))
    site.before = lambda path: site.put(
        "1.xml", sitemap(site.url, dated("a"), f"<!-- {next(count)} -->") if path == "1.xml" else "<"
    )

    async def scenario() -> None:
        async with walking(site, "index.xml") as walk:
            first, second = await refresh(walk), await refresh(walk)
            assert first.steady
            assert second.steady
            assert first.version != second.version

    asyncio.run(scenario())


def test_circles_come_to_an_end(site: Site) -> None:
    site.put_index("index.xml", "index.xml", "other.xml")
    site.put_index("other.xml", "index.xml", "1.xml")
    site.put_sitemap("1.xml", dated("a"))

    async def scenario() -> None:
        async with walking(site, "index.xml") as walk:
            await refresh(walk)
            assert keys(walk, site) == ["a"]

    asyncio.run(scenario())
    assert set(site.asked) == {"index.xml", "other.xml", "1.xml"}


def test_an_index_of_more_documents_than_the_protocol_allows_is_refused(site: Site) -> None:
    site.put_index("index.xml", *(f"{number}.xml" for number in range(50_001)))

    async def scenario() -> None:
        async with walking(site, "index.xml") as walk:
            with pytest.raises(Unreadable, match="more than 50000 documents"):
                await refresh(walk)

    asyncio.run(scenario())
    assert site.asked == ["index.xml"]


def test_more_entries_than_are_allowed_are_refused(site: Site) -> None:
    site.put_sitemap("sitemap.xml", dated("a", "b", "c"))

    async def scenario() -> None:
        async with walking(site, "sitemap.xml", limits=Limits(entries=2)) as walk:
            with pytest.raises(Unreadable, match=r"sitemap\.xml: has more than 2 entries"):
                await refresh(walk)

    asyncio.run(scenario())


def test_mirrors_that_come_together_share_one_walk(site: Site) -> None:
    site.put_index("index.xml", "1.xml")
    site.put_sitemap("1.xml", dated("a"))

    async def scenario() -> None:
        async with walking(site, "index.xml", fresh_for=HOUR) as walk:
            async with asyncio.TaskGroup() as tasks:
                looks = [tasks.create_task(refresh(walk)) for _ in range(5)]
            assert len({look.result() for look in looks}) == 1
            once = list(site.asked)

            assert await refresh(walk) == looks[0].result()
            assert site.asked == once

            strictly = await walk.refresh(datetime.now(UTC), strictly=True)
            assert strictly.asked_at > looks[0].result().asked_at
            assert len(site.asked) > len(once)

    asyncio.run(scenario())


def test_who_reads_while_another_mirror_looks_again_sees_one_look(site: Site) -> None:
    site.put_index("index.xml", "1.xml", "2.xml")
    site.put_sitemap("1.xml", dated(*(f"{number:05}" for number in range(5000))))
    site.put_sitemap("2.xml", dated("b"))

    async def scenario() -> None:
        async with walking(site, "index.xml") as walk:
            await refresh(walk)
            reading = walk.named()
            begun = [mention.name for mention in next(reading).mentions]

            site.put_sitemap("1.xml", dated("b"))
            site.put_sitemap("2.xml", dated("c"))
            await refresh(walk)

            rest = [mention.name for named in reading for mention in named.mentions]
            assert len(begun) + len(rest) == 5001
            assert keys(walk, site) == ["b", "c"]

    asyncio.run(scenario())


def test_a_look_that_is_cancelled_leaves_what_was(site: Site) -> None:
    site.put_index("index.xml", "1.xml")
    site.put_sitemap("1.xml", dated("a"))
    go_on, reached = threading.Event(), threading.Event()

    def wait(path: str) -> None:
        if path == "1.xml":
            reached.set()
            go_on.wait(10)

    async def scenario() -> None:
        async with walking(site, "index.xml") as walk:
            await refresh(walk)
            site.put_index("index.xml", "1.xml", "1.xml?")
            site.put_sitemap("1.xml", dated("b"))
            site.before = wait
            async with asyncio.TaskGroup() as tasks:
                look = tasks.create_task(refresh(walk))
                await asyncio.get_running_loop().run_in_executor(None, reached.wait, 10)
                look.cancel()
            go_on.set()

            assert keys(walk, site) == ["a"]
            site.put_index("index.xml", "1.xml")
            await refresh(walk)
            assert keys(walk, site) == ["b"]

    asyncio.run(scenario())


def test_a_look_that_is_cancelled_within_a_document_leaves_what_was(site: Site) -> None:
    site.put_sitemap("sitemap.xml", dated("a"))

    async def scenario() -> None:
        async with walking(site, "sitemap.xml") as walk:
            await refresh(walk)
            site.put_sitemap("sitemap.xml", dated(*(f"{number:05}" for number in range(20_000))))
            for steps in range(5, 60, 5):
                async with asyncio.TaskGroup() as tasks:
                    look = tasks.create_task(walk.refresh(datetime.now(UTC)))
                    for _ in range(steps):
                        await asyncio.sleep(0)
                    look.cancel()
                assert look.cancelled()
                assert keys(walk, site) == ["a"]

            await refresh(walk)
            assert len(keys(walk, site)) == 20_000

    asyncio.run(scenario())


def test_closing_leaves_nothing_on_disk_and_may_be_said_again(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    site.put_sitemap("sitemap.xml", dated("a"))

    async def scenario() -> list[Path]:
        async with walking(site, "sitemap.xml") as walk:
            await refresh(walk)
            there = list(tmp_path.iterdir())
            await walk.close()
        return there

    assert len(asyncio.run(scenario())) == 1
    assert list(tmp_path.iterdir()) == []


def test_looks_in_vain_that_lead_to_new_documents_every_time_fill_no_disk(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    async def scenario() -> list[str]:
        async with walking(site, "index.xml") as walk:
            for number in range(5):
                site.put_index("index.xml", f"{number}.xml", "missing.xml")
                site.put_sitemap(f"{number}.xml", dated("a"))
                with pytest.raises(Unreachable):
                    await refresh(walk)
            (shelf,) = tmp_path.rglob("shelf.db")
            with closing(sqlite3.connect(shelf)) as database:
                return [url for (url,) in database.execute("SELECT url FROM documents ORDER BY url")]

    assert asyncio.run(scenario()) == [f"{site.url}/4.xml", f"{site.url}/index.xml"]


def test_a_disk_that_does_not_do_is_a_failed_look(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))
    site.put_sitemap("sitemap.xml", dated("a"))

    async def scenario() -> None:
        async with walking(site, "sitemap.xml") as walk:
            with pytest.raises(Unreadable, match="cannot be set aside on disk"):
                await refresh(walk)
            (tmp_path / "not there").mkdir()
            await refresh(walk)
            assert keys(walk, site) == ["a"]

    asyncio.run(scenario())


def test_what_a_document_cannot_say_is_told_once(site: Site) -> None:
    site.headers["sitemap.txt"] = {"Content-Type": "text/plain"}
    site.put("sitemap.txt", f"{site.url}/a\nwhat is this\n" + "".join(f"{site.url}/{n}\n" for n in range(5000)))

    async def scenario() -> None:
        async with walking(site, "sitemap.txt") as walk:
            await refresh(walk)
            assert [each.name for named in walk.named() for each in named.bad] == ["what is this"]

    asyncio.run(scenario())


def test_the_loop_goes_on_while_a_large_sitemap_is_read(site: Site) -> None:
    site.put_sitemap("sitemap.xml", dated(*(f"some/folder/{number:06}.html" for number in range(20_000))))

    async def scenario() -> float:
        worst, over = 0.0, asyncio.Event()

        async def measure() -> None:
            nonlocal worst
            before = time.thread_time()  # the loop's own work: how long others have the processor is not its fault
            while not over.is_set():
                await asyncio.sleep(0)
                now = time.thread_time()
                worst, before = max(worst, now - before), now

        async with walking(site, "sitemap.xml") as walk:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(measure())
                await refresh(walk)
                over.set()
            assert sum(len(named.mentions) for named in walk.named()) == 20_000
        return worst

    assert asyncio.run(scenario()) < 0.2


# -- pages of JSON ---------------------------------------------------------------------------------------


def paged(site: Site) -> JsonForm:
    pointers = Pointers(next="/next", items="/items", key="/key", version="/version")
    return JsonForm(JsonLines(f"{site.url}/list", pointers=pointers, limits=LIMITS))


def page(following: str | None, *names: str) -> str:
    items = [{"key": name, "version": "1"} for name in names]
    return json.dumps({"items": items} | ({} if following is None else {"next": f"/{following}"}))


def test_pages_are_followed_to_the_last(site: Site) -> None:
    site.put("list", page("list?2", "a"))
    site.put("list?2", page("list?3", "b"))
    site.put("list?3", page(None, "c"))

    async def scenario() -> None:
        async with walking(site, "list", paged(site)) as walk:
            assert (await refresh(walk)).steady
            assert keys(walk, site) == ["a", "b", "c"]

    asyncio.run(scenario())


def test_pages_that_lead_back_are_not_taken_for_all_there_is(site: Site) -> None:
    site.put("list", page("list?2", "a"))
    site.put("list?2", page("list?3", "b"))
    site.put("list?3", page("list?2", "c"))

    async def scenario() -> None:
        async with walking(site, "list", paged(site)) as walk:
            with pytest.raises(Unreadable, match=r"/list\?…: leads back to|leads back to"):
                await refresh(walk)

    asyncio.run(scenario())


def test_a_manifest_that_is_cut_off_within_a_line_is_not_taken_for_all_there_is(site: Site) -> None:
    site.put("list", '{"seq": 1, "key": "a", "version": "1"}\n{"seq": 2, "key": "b", "ver')

    async def scenario() -> None:
        form = JsonForm(JsonLines(f"{site.url}/list", pointers=Pointers(), limits=LIMITS))
        async with walking(site, "list", form) as walk:
            with pytest.raises(Unreadable, match="/list: is not JSON"):
                await refresh(walk)

    asyncio.run(scenario())


def test_a_manifest_that_is_being_written_is_looked_at_again(site: Site) -> None:
    lines = [f'{{"seq": {number}, "key": "{name}", "version": "1"}}\n' for number, name in enumerate("abc")]
    written = iter(["".join(lines[:1]), "".join(lines)])
    site.before = lambda path: site.put(path, next(written, "".join(lines)))

    async def scenario() -> None:
        form = JsonForm(JsonLines(f"{site.url}/list", pointers=Pointers(), limits=LIMITS))
        async with walking(site, "list", form) as walk:
            await refresh(walk)
            assert keys(walk, site) == ["a", "b", "c"]

    asyncio.run(scenario())
