"""Documents that a snapshot is made of: which entries are kept, which lead on, and what cannot be all there is."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from mirrord.model.mention import Mention
from mirrord.sources.feed.dialect import Head, Limits, Unreadable
from mirrord.sources.feed.forms import REJECTIONS_MOST, JsonForm, ResourceListForm, SitemapForm
from mirrord.sources.feed.jsonl import JsonLines
from mirrord.sources.feed.pointers import Pointers
from mirrord.sources.feed.snapshot import Form, Leaf, Row
from tests.sources.feed.site import entry, index, resourcesync, sitemap

SITE = "http://example.com"
LIMITS = Limits()
MADE = datetime(2026, 1, 2, 12, tzinfo=UTC)
SITEMAP, RESOURCES = SitemapForm(LIMITS), ResourceListForm(LIMITS)
LINES = JsonForm(JsonLines(f"{SITE}/list", pointers=Pointers(), limits=LIMITS))


def read(form: Form, body: str, kind: str = "application/xml") -> tuple[Leaf, Sequence[Row]]:
    leaf = form.begin(Head(status=200, headers={"content-type": kind}, url=f"{SITE}/some/document"))
    rows = [*leaf.receive(body.encode()), *leaf.end()]
    return leaf, rows


def mentions(form: Form, body: str, document: str = "v1") -> list[Mention]:
    return [form.mention(row, as_of=MADE, document=document) for row in read(form, body)[1]]


def names(form: Form, body: str) -> list[str]:
    return [mention.name.removeprefix(f"{SITE}/") for mention in mentions(form, body)]


def test_a_sitemap_names_files_and_an_index_names_documents() -> None:
    of_files, of_documents = sitemap(SITE, {"a": None}), index(f"{SITE}/1.xml", "/2.xml", "3.xml", "mailto:x@y")

    assert names(SITEMAP, of_files) == ["a"]
    assert list(read(SITEMAP, of_files)[0].children) == []
    assert names(SITEMAP, of_documents) == []
    assert list(read(SITEMAP, of_documents)[0].children) == [
        f"{SITE}/1.xml",
        f"{SITE}/2.xml",
        f"{SITE}/some/3.xml",
    ]


@pytest.mark.parametrize(
    ("lastmod", "same"),
    [
        pytest.param("2026-01-02T11:59:59Z", True, id="a second"),
        pytest.param("2025-12-31", True, id="a day that is over"),
        pytest.param("2026-01-02", False, id="today"),
        pytest.param("2026-01-02T11:59Z", False, id="a minute that is not over everywhere"),
        pytest.param(None, False, id="nothing"),
    ],
)
def test_a_version_that_may_still_change_is_as_good_as_its_document(lastmod: str | None, same: bool) -> None:
    body = sitemap(SITE, {"a": lastmod})

    tokens = {mentions(SITEMAP, body, document)[0].token for document in ("v1", "v2")}

    assert (len(tokens) == 1) == same
    assert mentions(SITEMAP, body, "v1") == mentions(SITEMAP, body, "v1")


def test_a_list_of_lines_may_be_cut_off_unseen_and_xml_may_not() -> None:
    assert read(SITEMAP, sitemap(SITE, {"a": None}))[0].closed
    assert not read(SITEMAP, f"{SITE}/a\n", "text/plain")[0].closed
    assert not read(LINES, '{"seq": 1, "key": "a"}\n')[0].closed


DESCRIPTION = resourcesync(
    "description", entry("sets/1.xml", capability="capabilitylist"), entry("sets/2.xml"), entry("x", capability="?")
)
CAPABILITIES = resourcesync(
    "capabilitylist",
    entry("list.xml", capability="resourcelist"),
    entry("changes.xml", capability="changelist"),
    entry("dump.xml", capability="resourcedump"),
    up=f"{SITE}/.well-known/resourcesync",
)
CHANGES = resourcesync("changelist", entry(f"{SITE}/a", change="deleted"), up="/capabilities.xml")
PART = resourcesync("resourcelist", entry(f"{SITE}/a"), up="/capabilities.xml", links={"index": "/index.xml"}, at=MADE)
INDEX = resourcesync(
    "resourcelist", entry(f"{SITE}/1.xml", tag="sitemap"), entry("2.xml", tag="sitemap"), kind="sitemapindex", at=MADE
)
SETS = resourcesync("capabilitylist", entry("1.xml", tag="sitemap"), kind="sitemapindex")


@pytest.mark.parametrize(
    ("body", "children", "found"),
    [
        pytest.param(DESCRIPTION, ["some/sets/1.xml", "some/sets/2.xml"], [], id="description"),
        pytest.param(CAPABILITIES, ["some/list.xml"], [], id="capability list"),
        pytest.param(SETS, ["some/1.xml"], [], id="index of capability lists"),
        pytest.param(CHANGES, ["capabilities.xml"], [], id="change list"),
        pytest.param(INDEX, ["1.xml", "some/2.xml"], [], id="index"),
        pytest.param(PART, ["index.xml"], ["a"], id="part of a list"),
        pytest.param(sitemap(SITE, {"a": None}), [], ["a"], id="sitemap"),
    ],
)
def test_every_document_leads_to_the_resource_lists(body: str, children: list[str], found: list[str]) -> None:
    leaf, _ = read(RESOURCES, body)

    assert list(leaf.children) == [f"{SITE}/{child}" for child in children]
    assert names(RESOURCES, body) == found
    assert leaf.made_at == (MADE if body in (PART, INDEX) else None)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        pytest.param(
            resourcesync("capabilitylist", entry("c.xml", capability="changelist")),
            "leads to no resource list",
            id="changes only",
        ),
        pytest.param(resourcesync("description"), "leads to no resource list", id="empty description"),
        pytest.param(
            resourcesync("changelist"), "does not say where its capability list is", id="change list without a way up"
        ),
    ],
)
def test_what_leads_nowhere_is_not_taken_for_an_empty_origin(body: str, sentence: str) -> None:
    with pytest.raises(Unreadable, match=sentence):
        read(RESOURCES, body)


def test_of_entries_that_cannot_be_used_a_thousand_are_kept() -> None:
    body = f"{SITE}/a\n" + "no url\n" * (REJECTIONS_MOST + 5)

    assert len(read(SITEMAP, body, "text/plain")[0].bad) == REJECTIONS_MOST


def test_lines_of_json_name_what_is_there() -> None:
    body = '{"seq": 1, "key": "a", "version": "v"}\n{"seq": 2, "key": "b", "op": "remove"}\n{"key": "c"}'

    found = mentions(LINES, body, "d1")

    assert [(each.name, each.token) for each in found] == [("a", "v"), ("c", "in d1")]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param('[{"key": "a", "version": "1"}]', id="array"),
        pytest.param('[\n  {"key": "a",\n   "version": "1"\n  }\n]\n', id="array of many lines"),
        pytest.param('{"key": "a", "version": "1"}', id="line without its end"),
    ],
)
def test_json_in_any_form_is_whole(body: str) -> None:
    assert names(LINES, body) == ["a"]


@pytest.mark.parametrize("last", ['{"seq": 2, "ke', '{"seq": 2, "key": "b"', "{"])
def test_lines_of_json_that_are_cut_off_are_refused(last: str) -> None:
    with pytest.raises(Unreadable, match="is not JSON"):
        read(LINES, f'{{"seq": 1, "key": "a", "version": "1"}}\n{last}')
