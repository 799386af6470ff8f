"""From any ResourceSync document to the lists, over documents that the `resync` library writes."""

import pytest
from resync import CapabilityList, ChangeList, Resource, ResourceDump, ResourceList, SourceDescription
from resync.list_base import ListBase

from mirrord.sources.feed.dialect import Limits, Unreadable
from mirrord.sources.feed.discovery import Found, after, names_documents, search, well_known
from mirrord.sources.feed.xml_entries import About, Entry, Link, XmlEntries

SITE = "http://example.com"
DESCRIPTION = f"{SITE}/.well-known/resourcesync"
CAPABILITIES = f"{SITE}/dataset1/capabilitylist.xml"
RESOURCES = f"{SITE}/dataset1/resourcelist.xml"
CHANGES = f"{SITE}/dataset1/changelist.xml"


def documents() -> dict[str, ListBase]:
    """A source, whole."""
    description = SourceDescription()
    description.add_capability_list(CAPABILITIES)
    capabilities = CapabilityList()
    capabilities.up = DESCRIPTION
    resources, changes = ResourceList(), ChangeList()
    capabilities.add_capability(name="resourcelist", uri=RESOURCES)
    capabilities.add_capability(name="resourcedump", uri=f"{SITE}/dataset1/resourcedump.xml")
    capabilities.add_capability(name="changelist", uri=CHANGES)
    resources.add(Resource(f"{SITE}/a"))
    changes.add(Resource(f"{SITE}/a", change="updated"))
    for each in (resources, changes):
        each.up = CAPABILITIES
    return {DESCRIPTION: description, CAPABILITIES: capabilities, RESOURCES: resources, CHANGES: changes}


def walked(url: str, source: dict[str, ListBase]) -> tuple[Found, list[str]]:
    """Everything found from one document on, and what was read for it."""
    found, read = search(url), []
    while found.read_next:
        at = found.read_next[0]
        read.append(at)
        document = XmlEntries(Limits())
        entries = [*document.receive(source[at].as_xml().encode()), *document.end()]
        wanted = [each for each in entries if isinstance(each, Entry)] if names_documents(document.about) else []
        found = after(found, at, document.about, wanted)
    return found, read


@pytest.mark.parametrize(
    ("begin", "read"),
    [
        pytest.param(DESCRIPTION, [DESCRIPTION, CAPABILITIES], id="description"),
        pytest.param(CAPABILITIES, [CAPABILITIES], id="capability list"),
        pytest.param(RESOURCES, [RESOURCES, CAPABILITIES], id="resource list"),
        pytest.param(CHANGES, [CHANGES, CAPABILITIES], id="change list"),
    ],
)
def test_both_lists_are_found_from_wherever_one_begins(begin: str, read: list[str]) -> None:
    found, were_read = walked(begin, documents())

    assert found.resource_lists == (RESOURCES,)
    assert found.change_lists == (CHANGES,)
    assert were_read == read


def test_a_source_describes_itself_below_its_host_whatever_the_path() -> None:
    assert well_known("https://example.com:8443/files/of/mine/") == "https://example.com:8443/.well-known/resourcesync"


def test_a_list_without_a_way_up_is_all_there_is() -> None:
    found, _ = walked(RESOURCES, {RESOURCES: ResourceList()})

    assert (found.resource_lists, found.change_lists) == ((RESOURCES,), ())


def test_a_part_of_an_index_leads_to_the_index() -> None:
    part = f"{SITE}/changes/3.xml"
    source = documents()
    source[part] = ChangeList()
    source[part].up = CAPABILITIES
    source[part].index = CHANGES

    found, read = walked(part, source)

    assert found.change_lists == (CHANGES,)
    assert read == [part, CHANGES, CAPABILITIES]


def test_a_part_that_says_it_is_its_own_index_is_read_all_the_same() -> None:
    source = documents()
    source[CHANGES].index = CHANGES

    found, _ = walked(CHANGES, source)

    assert found.change_lists == (CHANGES,)


def test_all_sets_of_a_source_are_found_and_each_once() -> None:
    source = documents()
    other = f"{SITE}/dataset2/capabilitylist.xml"
    source[DESCRIPTION].add_capability_list(other)
    source[DESCRIPTION].add_capability_list(CAPABILITIES + "#again")
    source[other] = CapabilityList()
    source[other].add_capability(name="resourcelist", uri=f"{SITE}/dataset2/resourcelist.xml")
    source[other].add_capability(name="changelist", uri=CHANGES)
    source[CAPABILITIES + "#again"] = source[CAPABILITIES]

    found, _ = walked(DESCRIPTION, source)

    assert found.resource_lists == (RESOURCES, f"{SITE}/dataset2/resourcelist.xml")
    assert found.change_lists == (CHANGES,)


def test_indexes_of_descriptions_and_capability_lists_lead_down() -> None:
    index = About(kind="sitemapindex", capability="capabilitylist")
    description = About(kind="sitemapindex", capability="description")

    lists = after(
        search(DESCRIPTION), DESCRIPTION, index, [Entry("http://a/1"), Entry("http://a/2"), Entry("http://a/1")]
    )
    described = after(search(DESCRIPTION), DESCRIPTION, description, [Entry("http://a/1")])

    assert lists.read_next == ("http://a/1", "http://a/2")
    assert described.read_next == ("http://a/1",)


def test_addresses_are_made_absolute_and_what_is_not_in_the_web_is_left_out() -> None:
    about = About(kind="urlset", capability="capabilitylist")
    entries = [Entry(loc, capability="changelist") for loc in ("c.xml", "file:///etc/passwd", "http://[", "https:///x")]

    found = after(search(CAPABILITIES), CAPABILITIES, about, entries)

    assert found.change_lists == (f"{SITE}/dataset1/c.xml",)


def test_a_plain_sitemap_is_a_resource_list() -> None:
    found = after(search(RESOURCES), RESOURCES, About(kind="urlset"))

    assert found.resource_lists == (RESOURCES,)
    assert found.read_next == ()


def test_documents_that_lead_in_circles_come_to_an_end() -> None:
    about = About(kind="urlset", capability="description")

    found = search("http://a/1")
    for url in ("http://a/1", "http://a/2"):
        found = after(found, url, about, [Entry("http://a/1"), Entry("http://a/2")])

    assert found.read_next == ()


def test_what_leads_to_documents_without_end_is_unreadable() -> None:
    about = About(kind="urlset", capability="description")

    with pytest.raises(Unreadable, match="leads to more than 1000 documents"):
        after(search("http://a/"), "http://a/", about, [Entry(f"http://a/{number}") for number in range(1000)])


def test_a_dump_is_no_list() -> None:
    dump = XmlEntries(Limits())
    dump.receive(ResourceDump().as_xml().encode())

    with pytest.raises(Unreadable, match="is a 'resourcedump', not a list"):
        after(search("http://a/"), "http://a/", dump.about)


def test_links_of_other_kinds_lead_nowhere() -> None:
    about = About(kind="urlset", capability="changelist", links=(Link("describedby", "http://a/about"),))

    assert after(search(CHANGES), CHANGES, about).read_next == ()
