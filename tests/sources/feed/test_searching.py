"""From whatever address a person has to the change lists, which are then followed in turn."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from mirrord.sources.feed.dialect import Limits, Reset, Unreadable
from mirrord.sources.feed.fetching import Fetcher, Unreachable
from mirrord.sources.feed.searching import ResourceSync
from tests.sources.feed.site import Site, entry, fetcher, resourcesync, running_site

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
WELL_KNOWN = ".well-known/resourcesync"


def at(minutes: int) -> datetime:
    return FIRST + timedelta(minutes=minutes)


@pytest.fixture(name="site")
def running() -> Iterator[Site]:
    with running_site() as site:
        put_set(site, "")
        site.put(
            WELL_KNOWN, resourcesync("description", entry(f"{site.url}/capabilities.xml", capability="capabilitylist"))
        )
        yield site


def put_set(site: Site, prefix: str) -> None:
    """A capability list, a resource list and an empty change list."""
    named = (entry(f"{site.url}/{prefix}{each}s.xml", capability=f"{each}list") for each in ("resource", "change"))
    site.put(f"{prefix}capabilities.xml", resourcesync("capabilitylist", *named, up=f"{site.url}/{WELL_KNOWN}"))
    up = f"{site.url}/{prefix}capabilities.xml"
    site.put(f"{prefix}resources.xml", resourcesync("resourcelist", entry(f"{site.url}/{prefix}old"), up=up, at=FIRST))
    put_changes(site, prefix)


def put_changes(site: Site, prefix: str, *changed: tuple[str, int], since: datetime = FIRST) -> None:
    """Keys, each with the minute it was changed in."""
    entries = (entry(f"{site.url}/{key}", change="updated", datetime=at(minute)) for key, minute in changed)
    up = f"{site.url}/{prefix}capabilities.xml"
    site.put(f"{prefix}changes.xml", resourcesync("changelist", *entries, up=up, from_=since))


@dataclass
class Reader:
    """Goes on from where it was, as the engine does."""

    site: Site
    dialect: ResourceSync
    cursor: str | None = None
    told: dict[str, str | None] = field(default_factory=dict)
    """Names and versions; what the overlap tells again is not news."""
    news: list[str] = field(default_factory=list)

    def until_caught_up(self) -> list[str]:
        """What is new."""
        self.news.clear()
        asyncio.run(self._read_on())
        return [name.removeprefix(f"{self.site.url}/") for name in self.news]

    async def _read_on(self) -> None:
        asking = fetcher()
        try:
            async with asyncio.timeout(20):
                while not await self._read(asking):
                    pass
        finally:
            await asking.close()

    async def _read(self, asking: Fetcher) -> bool:
        async with asking.get(self.dialect.ask(self.cursor, wait=False)) as got:
            reading = self.dialect.read(got.head, self.cursor, wait=False)
            batches = [batch async for chunk in got.chunks() for batch in reading.receive(chunk)]
            last, end = reading.end()
        for batch in (*batches, last):
            self.news += [each.name for each in batch.mentions if self.told.get(each.name) != each.token]
            self.told |= {each.name: each.token for each in batch.mentions}
            self.cursor = batch.cursor or self.cursor
        return bool(end.caught_up)


def reader(site: Site, begin: str) -> Reader:
    return Reader(site, ResourceSync(f"{site.url}/{begin}", overlap=timedelta(minutes=5), limits=Limits()))


@pytest.mark.parametrize("begin", [WELL_KNOWN, "capabilities.xml", "resources.xml", "changes.xml"])
def test_from_any_document_the_change_list_is_found_and_followed(site: Site, begin: str) -> None:
    put_changes(site, "", ("a", 1))
    reading = reader(site, begin)

    first = reading.until_caught_up()
    site.forget()
    put_changes(site, "", ("a", 1), ("b", 60))
    second = reading.until_caught_up()

    assert (first, second) == (["a"], ["b"])
    assert site.asked == ["changes.xml"]


@pytest.mark.parametrize("status", [404, 500])
def test_a_change_list_that_is_given_is_followed_whatever_is_above_it(site: Site, status: int) -> None:
    site.statuses["capabilities.xml"] = status
    put_changes(site, "", ("a", 1))

    assert reader(site, "changes.xml").until_caught_up() == ["a"]
    assert "capabilities.xml" not in site.asked


def test_a_part_of_a_change_list_leads_to_its_index(site: Site) -> None:
    up, links = f"{site.url}/capabilities.xml", {"index": f"{site.url}/changes.xml"}
    for name, minute in (("1.xml", 1), ("2.xml", 60)):
        change = entry(f"{site.url}/in-{name}", change="created", datetime=at(minute))
        site.put(name, resourcesync("changelist", change, up=up, links=links, from_=at(minute - 1)))
    parts = [
        entry(f"{site.url}/1.xml", tag="sitemap", from_=at(0), until=at(59)),
        entry(f"{site.url}/2.xml", tag="sitemap", from_=at(59)),
    ]
    site.put("changes.xml", resourcesync("changelist", *parts, kind="sitemapindex", up=up, from_=at(0)))

    assert reader(site, "1.xml").until_caught_up() == ["in-1.xml", "in-2.xml"]


def test_without_a_change_list_the_sentence_says_what_to_do(site: Site) -> None:
    resources = entry(f"{site.url}/resources.xml", capability="resourcelist")
    site.put("capabilities.xml", resourcesync("capabilitylist", resources))

    for begin in (WELL_KNOWN, "capabilities.xml", "resources.xml"):
        with pytest.raises(Unreadable, match=r'leads to no change list; .* format = "sitemap"'):
            reader(site, begin).until_caught_up()


def test_what_is_missing_on_the_way_is_not_passed_over(site: Site) -> None:
    site.statuses["capabilities.xml"] = 404

    with pytest.raises(Unreachable, match=r"capabilities\.xml"):
        reader(site, WELL_KNOWN).until_caught_up()


def test_the_change_lists_of_several_sets_are_followed_in_turn(site: Site) -> None:
    put_set(site, "other-")
    sets = (entry(f"{site.url}/{each}capabilities.xml", capability="capabilitylist") for each in ("", "other-"))
    site.put(WELL_KNOWN, resourcesync("description", *sets))
    put_changes(site, "", ("a", 1))
    put_changes(site, "other-", ("b", 2))
    reading = reader(site, WELL_KNOWN)

    first = reading.until_caught_up()
    put_changes(site, "other-", ("b", 2), ("c", 60))
    second = reading.until_caught_up()
    put_changes(site, "", ("a", 1), ("d", 120))
    site.forget()
    third = reading.until_caught_up()

    assert (first, second, third) == (["a", "b"], ["c"], ["d"])
    assert site.asked == ["changes.xml", "other-changes.xml"]


def test_each_of_several_lists_has_its_own_gap(site: Site) -> None:
    put_set(site, "other-")
    sets = (entry(f"{site.url}/{each}capabilities.xml", capability="capabilitylist") for each in ("", "other-"))
    site.put(WELL_KNOWN, resourcesync("description", *sets))
    put_changes(site, "other-", ("b", 2))
    reading = reader(site, WELL_KNOWN)
    reading.until_caught_up()
    put_changes(site, "other-", ("c", 70), since=at(60))

    with pytest.raises(Reset, match="begins at 2026-01-01T01:00:00"):
        reading.until_caught_up()
