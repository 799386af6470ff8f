"""Change lists that the `resync` library writes, followed; and what their entries and those of resource lists say."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resync import ChangeList as Changes
from resync import Resource, ResourceList
from resync.list_base import ListBase

from mirrord.model.change import Rejection
from mirrord.model.mention import Mention
from mirrord.sources.feed.dialect import Head, Limits, Reset, Unreadable
from mirrord.sources.feed.resourcesync import ChangeList, mention_of
from mirrord.sources.feed.xml_entries import Entry, XmlEntries

SITE = "http://example.com"
CHANGES = f"{SITE}/changelist.xml"
OVERLAP = timedelta(minutes=5)
MD5, SHA = "1584abdf8ebdc9802ac0c6a7402c03b6", "854f61290e2e197a11bc91063afce22e43f8ccc655237050ace766adc68dc784"
LATER = datetime(2026, 1, 1, tzinfo=UTC)


def at(day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(2013, 1, day, hour, minute, tzinfo=UTC)


def text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


FIRST = at(1)


def change(name: str, when: datetime | None, kind: str = "updated", **more: object) -> Resource:
    said = {"ts_datetime": when.timestamp()} if when else {}
    return Resource(f"{SITE}/{name}", change=kind, **said, **more)


def changes(
    *resources: Resource, since: datetime | None = FIRST, until: datetime | None = None, **more: object
) -> Changes:
    made = Changes(resources=list(resources), **more)
    made.md_from = since.timestamp() if since else None
    made.md_until = until.timestamp() if until else None
    return made


def index_of(*parts: tuple[str, datetime | None, datetime | None], since: datetime | None = FIRST) -> str:
    made = changes(since=since)
    made.sitemapindex = True
    for name, begins, until in parts:
        made.resources.append(
            Resource(
                f"{SITE}/{name}",
                md_from=begins and text(begins),
                md_until=until and text(until),
            )
        )
    return made.as_xml()


Documents = Mapping[str, ListBase | str]


@dataclass
class Follower:
    """Asks as the engine does, of documents in memory."""

    dialect: ChangeList = field(default_factory=lambda: ChangeList(CHANGES, overlap=OVERLAP, limits=Limits()))
    cursor: str | None = None
    mentions: list[Mention] = field(default_factory=list)
    bad: list[Rejection] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def follow(self, documents: Documents, date: datetime | None = LATER) -> "Follower":
        """Until it is caught up; what was read since is all there is in `mentions`, `bad` and `asked`."""
        self.mentions, self.bad, self.asked = [], [], []
        while not self.ask_once(documents, date):
            assert len(self.asked) < 20
        return self

    def ask_once(self, documents: Documents, date: datetime | None = LATER) -> bool:
        ask = self.dialect.ask(self.cursor, wait=False)
        self.asked.append(ask.url.removeprefix(f"{SITE}/"))
        document = documents[ask.url.removeprefix(f"{SITE}/")]
        headers = {"date": date.strftime("%a, %d %b %Y %H:%M:%S GMT")} if date else {}
        reading = self.dialect.read(Head(status=200, headers=headers, url=ask.url), self.cursor, wait=False)
        body = document if isinstance(document, str) else document.as_xml()
        batches = [*reading.receive(body.encode())]
        last, end = reading.end()
        for batch in (*batches, last):
            self.mentions += batch.mentions
            self.bad += batch.bad
            self.cursor = batch.cursor or self.cursor
        return end.caught_up

    def names(self) -> list[str]:
        return [each.name.removeprefix(f"{SITE}/") for each in self.mentions]


# -- entries ---------------------------------------------------------------------------------------------


def mention_in(document: ListBase) -> Mention:
    entries = XmlEntries(Limits())
    (entry,) = entries.receive(document.as_xml().encode())
    assert isinstance(entry, Entry)
    return mention_of(Entry.from_row(entry.as_row()), document="one")


def test_an_entry_of_a_resource_list_says_its_hash_length_and_time() -> None:
    resources = ResourceList()
    resources.add(Resource(f"{SITE}/a", timestamp=at(2, 13).timestamp(), md5=MD5, sha256=SHA, length=14599))

    said = mention_in(resources)

    assert said == Mention(name=f"{SITE}/a", token=f"sha-256:{SHA}", size_bytes=14599, modified=at(2, 13), at=at(2, 13))


def test_an_entry_of_a_change_list_says_when_it_happened_and_when_it_was_modified() -> None:
    said = mention_in(changes(change("a", at(3, 11), "created", timestamp=at(1, 1).timestamp(), length=7)))

    assert said == Mention(
        name=f"{SITE}/a", token=f"{at(3, 11).isoformat()} 7 bytes", size_bytes=7, modified=at(1, 1), at=at(3, 11)
    )


def test_version_1_0_says_with_lastmod_when_it_happened() -> None:
    said = mention_in(changes(change("a", at(3, 11)), spec_version="1.0"))

    assert (said.token, said.at, said.modified) == (at(3, 11).isoformat(), at(3, 11), at(3, 11))


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_what_is_deleted_has_neither_size_nor_time_of_modification(version: str) -> None:
    said = mention_in(changes(change("a", at(3, 18), "deleted", length=7), spec_version=version))

    assert (said.removed, said.size_bytes, said.modified, said.at) == (True, None, None, at(3, 18))


@pytest.mark.parametrize(
    ("hashes", "token"),
    [
        pytest.param("md5:1 \n   sha-256:2 sha-1:3", "sha-256:2", id="several"),
        pytest.param("md5:1 sha-1:3", "sha-1:3", id="no SHA-256"),
        pytest.param("MD5:aB", "md5:aB", id="case"),
        pytest.param("sha-256: md5:1", "md5:1", id="empty"),
        pytest.param("sha-256:f4OxZX_x_DF:x", "sha-256:f4OxZX_x_DF:x", id="not hexadecimal"),
        pytest.param("crc32:1 md5", f"{at(2).isoformat()} 5 bytes", id="none that is known"),
        pytest.param("", f"{at(2).isoformat()} 5 bytes", id="none"),
    ],
)
def test_of_several_hashes_the_best_is_believed(hashes: str, token: str) -> None:
    said = mention_of(Entry(f"{SITE}/a", lastmod=text(at(2)), hash=hashes, length=5), document="one")

    assert said.token == token


@pytest.mark.parametrize(
    ("entry", "as_of", "token"),
    [
        pytest.param(Entry("a"), LATER, "in one", id="nothing"),
        pytest.param(Entry("a", length=5), LATER, "in one 5 bytes", id="length"),
        pytest.param(Entry("a", lastmod="2013-01-02"), None, "2013-01-02 in one", id="day"),
        pytest.param(Entry("a", lastmod="2013-01-02"), at(2), "2013-01-02 in one", id="day that lasts"),
        pytest.param(Entry("a", lastmod="2013-01-02"), LATER, "2013-01-02", id="day long ago"),
        pytest.param(Entry("a", lastmod="2013-01-02", datetime="?"), LATER, "2013-01-02", id="datetime that is none"),
    ],
)
def test_an_entry_without_hash_and_time_is_of_its_document(entry: Entry, as_of: datetime | None, token: str) -> None:
    assert mention_of(entry, document="one", as_of=as_of).token == token


# -- one list --------------------------------------------------------------------------------------------


def test_a_change_list_is_read_in_its_order_and_of_the_same_thing_the_last_word_counts() -> None:
    document = changes(
        change("a.html", at(2, 12), "created", length=4339),
        change("b.pdf", at(2, 13)),
        change("c.tiff", at(2, 19), "deleted"),
        change("a.html", at(2, 20), length=5426),
    )

    follower = Follower().follow({"changelist.xml": document})

    assert follower.names() == ["b.pdf", "c.tiff", "a.html"]
    assert [each.removed for each in follower.mentions] == [False, True, False]
    assert [each.size_bytes for each in follower.mentions] == [None, None, 5426]
    assert follower.bad == []
    assert json.loads(follower.cursor or "")["at"] == at(2, 20).isoformat()


def test_what_is_older_than_the_overlap_is_not_told_again() -> None:
    old, recent, last = change("old", at(2, 1)), change("recent", at(2, 12)), change("last", at(2, 12, 5))
    follower = Follower().follow({"changelist.xml": changes(old, recent, last)})

    follower.follow({"changelist.xml": changes(old, recent, last, change("late", at(2, 12)), change("new", at(2, 13)))})

    assert follower.names() == ["recent", "last", "late", "new"]


def test_only_a_list_that_was_read_before_and_is_no_index_is_asked_for_conditionally() -> None:
    follower = Follower().follow({"changelist.xml": changes()})

    first = follower.dialect.ask(None, wait=False)
    ask = follower.dialect.ask(follower.cursor, wait=True)

    assert (first.url, first.conditional) == (CHANGES, False)
    assert (ask.url, ask.conditional, ask.waits) == (CHANGES, True, False)


def test_an_entry_without_a_time_is_told_every_time_with_the_same_token_until_it_comes_again() -> None:
    first = changes(change("timed", at(2, 1)), change("untimed", None))
    grown = changes(change("timed", at(2, 1)), change("untimed", None), change("x", at(3)))
    again = changes(change("timed", at(2, 1)), change("untimed", None), change("x", at(3)), change("untimed", None))
    follower, tokens = Follower(), []

    for document in (first, grown, grown, again):
        follower.follow({"changelist.xml": document})
        tokens += [each.token for each in follower.mentions if each.name == f"{SITE}/untimed"]

    assert tokens[0] == tokens[1] == tokens[2]
    assert tokens[3] not in {tokens[0], None}


def test_what_was_removed_and_is_there_again_is_never_told_as_removed() -> None:
    """Whether the removal says its time or not, and however often it is read."""
    document = changes(
        change("a", None, "deleted"),
        change("a", at(1, 1), "created"),
        change("b", at(3), "deleted"),
        change("b", at(3), "created"),
    )

    follower = Follower().follow({"changelist.xml": document}).follow({"changelist.xml": document})

    assert follower.names() == ["a", "b"]
    assert not any(each.removed for each in follower.mentions)


def test_an_entry_without_a_time_is_another_one_in_the_next_list() -> None:
    tokens = [
        Follower().follow({"changelist.xml": changes(change("untimed", None), since=since)}).mentions[0].token
        for since in (at(1), at(2))
    ]

    assert tokens[0] != tokens[1]


def test_a_change_of_an_unknown_kind_is_rejected_alone() -> None:
    document = changes(change("a", at(2)), change("b", at(2)), change("c", at(2))).as_xml()
    document = document.replace('change="updated"', 'change="renamed"', 1).replace('change="updated"', "", 1)

    follower = Follower().follow({"changelist.xml": document})

    assert follower.names() == ["c"]
    assert [(each.name, each.reason) for each in follower.bad] == [
        (f"{SITE}/a", "its change 'renamed' is none that is known"),
        (f"{SITE}/b", "does not say how it changed"),
    ]


def test_a_list_that_begins_after_what_was_read_is_a_gap() -> None:
    follower = Follower().follow({"changelist.xml": changes(change("a", at(2, 12)))})

    with pytest.raises(Reset, match=r"begins at 2013-01-03.* and was read up to 2013-01-02") as reset:
        follower.follow({"changelist.xml": changes(change("b", at(3, 1)), since=at(3))})

    assert reset.value.gap


def test_a_list_that_begins_where_the_one_before_ended_is_none() -> None:
    follower = Follower().follow({"changelist.xml": changes(change("a", at(2, 12)), until=at(3))})

    follower.follow({"changelist.xml": changes(change("b", at(3, 1)), since=at(3))})

    assert follower.names() == ["b"]


def test_a_list_in_which_nothing_has_happened_yet_is_read_up_to_its_beginning() -> None:
    follower = Follower().follow({"changelist.xml": changes(since=at(2))})

    follower.follow({"changelist.xml": changes(change("early", at(1)), change("b", at(2, 1)), since=at(2))})

    assert follower.names() == ["early", "b"]


def test_a_list_in_which_nothing_ever_happened_leaves_a_gap_all_the_same() -> None:
    follower = Follower().follow({"changelist.xml": changes(since=at(2))})

    with pytest.raises(Reset, match="was read up to 2013-01-02T00:00"):
        follower.follow({"changelist.xml": changes(since=at(3))})


def test_a_time_that_is_still_to_come_does_not_make_the_rest_old() -> None:
    wrong = change("clock-is-wrong", at(28))
    follower = Follower().follow({"changelist.xml": changes(wrong)}, date=at(2, 12))

    follower.follow({"changelist.xml": changes(change("a", at(2, 12, 30)), wrong)}, date=at(2, 13))

    assert follower.names() == ["a", "clock-is-wrong"]


def test_without_a_date_the_times_of_the_list_are_believed() -> None:
    follower = Follower().follow({"changelist.xml": changes(change("a", at(2)))}, date=None)

    assert json.loads(follower.cursor or "")["at"] == at(2).isoformat()


# -- an index --------------------------------------------------------------------------------------------


def three_days(*today: Resource) -> Documents:
    return {
        "changelist.xml": index_of(("1.xml", at(1), at(2)), ("2.xml", at(2), at(3)), ("3.xml", at(3), None)),
        "1.xml": changes(change("a", at(1, 12)), change("b", at(1, 13)), since=at(1), until=at(2)),
        "2.xml": changes(change("b", at(2, 12), "deleted"), since=at(2), until=at(3)),
        "3.xml": changes(*today, since=at(3)),
    }


def test_all_lists_of_an_index_are_read_in_turn_and_then_only_the_open_one() -> None:
    follower = Follower().follow(three_days(change("c", at(3, 12))))
    first, asked_first = follower.names(), follower.asked

    follower.follow(three_days(change("c", at(3, 12)), change("d", at(3, 13))))

    assert first == ["a", "b", "b", "c"]
    assert asked_first == ["changelist.xml", "1.xml", "2.xml", "3.xml"]
    assert follower.names() == ["c", "d"]
    assert follower.asked == ["changelist.xml", "3.xml"]
    assert not follower.dialect.ask(follower.cursor, wait=True).conditional


def test_a_closed_list_in_which_nothing_happened_at_its_end_is_not_read_for_ever() -> None:
    documents = {"changelist.xml": index_of(("1.xml", at(1), at(2)), ("2.xml", at(2), None))}
    documents |= {"1.xml": changes(change("a", at(1, 1)), until=at(2)), "2.xml": changes(since=at(2))}
    follower = Follower().follow(documents).follow(documents)
    follower.follow(documents | {"2.xml": changes(change("b", at(2, 1)), since=at(2))})

    follower.follow(documents)

    assert follower.asked == ["changelist.xml", "2.xml"]


def test_the_cursor_alone_says_what_is_still_to_be_read() -> None:
    documents = three_days(change("c", at(3, 12)))
    before = Follower()
    before.ask_once(documents)
    before.ask_once(documents)

    after_restart = Follower(cursor=before.cursor).follow(documents)

    assert after_restart.asked == ["2.xml", "3.xml"]
    assert after_restart.names() == ["b", "c"]


def test_lists_that_are_named_out_of_order_are_read_in_order() -> None:
    documents = dict(three_days(change("c", at(3, 12))))
    documents["changelist.xml"] = index_of(("3.xml", at(3), None), ("2.xml", at(2), at(3)), ("1.xml", at(1), at(2)))

    follower = Follower().follow(documents)

    assert follower.names() == ["a", "b", "b", "c"]


def test_lists_without_times_are_all_read_and_none_makes_another_old() -> None:
    documents = dict(three_days(change("c", at(3, 12))))
    documents["changelist.xml"] = index_of(
        ("3.xml", None, None), ("2.xml", None, None), ("1.xml", None, None), ("3.xml", None, None)
    )

    follower = Follower().follow(documents)

    assert follower.names() == ["c", "b", "a", "b"]
    assert follower.asked == ["changelist.xml", "3.xml", "2.xml", "1.xml"]
    assert json.loads(follower.cursor or "")["at"] == at(3, 12).isoformat()


@pytest.mark.parametrize("since", [at(3), None], ids=["the index says so", "its first list says so"])
def test_an_index_that_has_forgotten_what_was_not_read_is_a_gap(since: datetime | None) -> None:
    follower = Follower().follow({"changelist.xml": changes(change("a", at(1, 12)))})

    with pytest.raises(Reset, match="begins at 2013-01-03") as reset:
        follower.follow({"changelist.xml": index_of(("3.xml", at(3), None), since=since)})

    assert reset.value.gap


def test_a_list_that_grows_into_an_index_is_followed_on() -> None:
    follower = Follower().follow({"changelist.xml": changes(change("a", at(1, 12)), change("b", at(1, 13)))})

    follower.follow(three_days(change("c", at(3, 12))))

    assert follower.names() == ["b", "b", "c"]


def test_an_index_that_becomes_a_list_again_is_asked_for_conditionally_again() -> None:
    follower = Follower().follow(three_days())

    follower.follow({"changelist.xml": changes(since=at(1))})

    assert follower.dialect.ask(follower.cursor, wait=True).conditional


# -- what is no change list ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        pytest.param(ResourceList(), "its capability is 'resourcelist'", id="resource list"),
        pytest.param("<urlset><url><loc>http://a/</loc></url></urlset>", "capability is 'not given'", id="sitemap"),
        pytest.param("<html></html>", "is an HTML page", id="page"),
        pytest.param(changes(change("a", at(2))).as_xml()[:-20], "is cut off", id="cut off"),
        pytest.param(index_of(*[("x", None, None)] * 10_001), "of more than 10000 lists", id="endless index"),
        pytest.param(index_of(("../[", None, None)).replace(f"{SITE}/../", "http://"), "is no URL", id="no URL"),
        pytest.param(index_of(("x", None, None)).replace(f"{SITE}/x", "file:///etc/passwd"), "is no URL", id="a file"),
    ],
)
def test_what_is_no_change_list_is_unreadable(document: ListBase | str, sentence: str) -> None:
    follower = Follower()

    with pytest.raises(Unreadable, match=sentence):
        follower.follow({"changelist.xml": document})

    assert follower.cursor is None


def test_a_list_of_very_many_changes_is_told_in_parts() -> None:
    url = '<url><loc>http://example.com/{}</loc><rs:md change="deleted"/></url></urlset>'
    urls = "".join(url.removesuffix("</urlset>").format(number) for number in range(20_010))
    document = changes().as_xml().replace("</urlset>", urls + url.format(0)).encode()
    dialect = ChangeList(CHANGES, overlap=OVERLAP, limits=Limits())
    reading = dialect.read(Head(status=200, headers={}, url=CHANGES), None, wait=False)

    parts = [*reading.receive(document[:-500]), *reading.receive(document[-500:])]
    last, _ = reading.end()

    assert len(parts) == 1
    assert parts[0].cursor is None
    assert len(parts[0].mentions) + len(last.mentions) == 20_011


def test_an_index_within_an_index_is_unreadable() -> None:
    index = index_of(("changelist.xml", None, None))

    with pytest.raises(Unreadable, match="an index of change lists within another one"):
        Follower().follow({"changelist.xml": index})


# -- laws ------------------------------------------------------------------------------------------------


@given(
    steps=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.booleans(), st.booleans()), max_size=12),
    looks=st.lists(st.integers(0, 12), max_size=4).map(sorted),
)
@settings(max_examples=150, deadline=None)
def test_whenever_one_looks_what_was_told_last_is_what_the_list_says_last(
    steps: list[tuple[str, int, bool, bool]], looks: list[int]
) -> None:
    clock, happened = FIRST, []
    for number, (name, minutes, removed, timed) in enumerate(steps):
        clock += timedelta(minutes=minutes)
        happened.append(change(name, clock if timed else None, "deleted" if removed else "updated", length=number))
    follower, told = Follower(), {}

    for look in (*looks, len(happened)):
        follower.follow({"changelist.xml": changes(*happened[:look])})
        told |= {each.name: each.size_bytes for each in follower.mentions}

        assert told == {each.uri: None if each.change == "deleted" else each.length for each in happened[:look]}


@given(st.lists(st.integers(0, 1500), max_size=15))
@settings(max_examples=50, deadline=None)
def test_it_does_not_matter_how_the_bytes_were_cut(cuts: list[int]) -> None:
    body = changes(change("a", at(2)), change("b", None), change("c", at(3), "deleted")).as_xml().encode()
    head = Head(status=200, headers={}, url=CHANGES)
    dialect = ChangeList(CHANGES, overlap=OVERLAP, limits=Limits())

    def read(edges: list[int]) -> tuple[list[Mention], str | None]:
        reading = dialect.read(head, None, wait=False)
        batches = [batch for start, end in itertools.pairwise(edges) for batch in reading.receive(body[start:end])]
        last, _ = reading.end()
        return [each for batch in (*batches, last) for each in batch.mentions], last.cursor

    assert read(sorted({0, *cuts, len(body)})) == read([0, len(body)])
