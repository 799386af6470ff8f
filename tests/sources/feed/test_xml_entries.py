"""Sitemaps as producers write them, and as nobody should: entries, or one sentence that says why not."""

import contextlib
import itertools
import time
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mirrord.model.change import Rejection
from mirrord.sources.feed.dialect import Limits, Unreadable
from mirrord.sources.feed.xml_entries import Entry, Link, XmlEntries

SITEMAP = "http://www.sitemaps.org/schemas/sitemap/0.9"
RS = "http://www.openarchives.org/rs/terms/"
FULL = f"""<?xml version="1.0" encoding="UTF-8"?>
<urlset xmlns="{SITEMAP}" xmlns:rs="{RS}" xmlns:image="http://www.google.com/schemas/sitemap-image/1.1"
        xmlns:xhtml="http://www.w3.org/1999/xhtml">
  <rs:ln rel="up" href="http://example.com/capabilitylist.xml"/>
  <rs:md capability="changelist" from="2013-01-03T00:00:00Z" until="2013-01-04T00:00:00Z"/>
  <!-- a comment -->
  <url>
    <loc>
      http://example.com/a?b=1&amp;c=2
    </loc>
    <xhtml:link rel="alternate" hreflang="de" href="http://example.com/de"/>
    <image:image><image:loc>http://example.com/picture.png</image:loc></image:image>
    <lastmod>2013-01-03T11:00:00Z</lastmod><changefreq>daily</changefreq>
    <rs:md change="updated" datetime="2013-01-03T12:00:00Z" hash="md5:1 sha-256:2" length="8876" type="text/html"/>
    <rs:ln rel="duplicate" href="http://mirror.example.com/a"/>
  </url>
  <url><loc><![CDATA[http://example.com/中文]]></loc></url>
</urlset>
"""
Found = list[Entry | Rejection]


def read(*chunks: bytes, limits: Limits = Limits()) -> tuple[XmlEntries, Found]:  # noqa: B008 - frozen
    entries = XmlEntries(limits)
    return entries, feed(entries, *chunks)


def feed(entries: XmlEntries, *chunks: bytes) -> Found:
    found = [each for chunk in chunks for each in entries.receive(chunk)]
    return [*found, *entries.end()]


def found_in(document: str | bytes, limits: Limits = Limits()) -> Found:  # noqa: B008 - frozen
    return read(document.encode() if isinstance(document, str) else document, limits=limits)[1]


def urlset(*urls: str) -> str:
    return f'<urlset xmlns="{SITEMAP}" xmlns:rs="{RS}">{"".join(f"<url>{url}</url>" for url in urls)}</urlset>'


def outcome(*chunks: bytes, limits: Limits = Limits()) -> Found | None:  # noqa: B008 - frozen
    with contextlib.suppress(Unreadable):
        return read(*chunks, limits=limits)[1]
    return None


def test_an_entry_says_what_concerns_us_and_nothing_of_pictures_and_translations() -> None:
    found = found_in(FULL)

    assert found == [
        Entry(
            "http://example.com/a?b=1&c=2",
            lastmod="2013-01-03T11:00:00Z",
            change="updated",
            datetime="2013-01-03T12:00:00Z",
            hash="md5:1 sha-256:2",
            length=8876,
        ),
        Entry("http://example.com/中文"),
    ]


def test_what_the_document_says_of_itself_is_known_before_its_first_entry() -> None:
    entries = XmlEntries(Limits())

    found = entries.receive(FULL.encode()[: FULL.index("<!--")])

    assert found == []
    assert entries.about.kind == "urlset"
    assert entries.about.capability == "changelist"
    assert (entries.about.since, entries.about.until) == ("2013-01-03T00:00:00Z", "2013-01-04T00:00:00Z")
    assert entries.about.links == (Link("up", "http://example.com/capabilitylist.xml"),)
    assert entries.about.link("index") is None


def test_only_what_an_element_says_itself_is_heard_and_a_document_once() -> None:
    document = urlset("<loc>http://a/<b>x</b>y</loc>").replace(
        "<url>", '<rs:md capability="changelist"/><rs:md capability="resourcelist"/><url>'
    )

    entries, found = read(document.encode())

    assert found == [Entry("http://a/y")]
    assert entries.about.capability == "changelist"


def test_an_index_names_documents_and_their_times() -> None:
    document = (
        f'<sitemapindex xmlns="{SITEMAP}" xmlns:rs="{RS}"><rs:md capability="resourcelist" at="2013" completed="2014"/>'
        '<sitemap><loc>http://a/1</loc><rs:md capability="resourcelist" from="1" until="2"/></sitemap></sitemapindex>'
    )

    entries, found = read(document.encode())

    assert found == [Entry("http://a/1", capability="resourcelist", since="1", until="2")]
    assert (entries.about.kind, entries.about.at, entries.about.completed) == ("sitemapindex", "2013", "2014")


@pytest.mark.parametrize(
    "namespace",
    [
        "http://www.sitemaps.org/schemas/sitemap/0.9",
        "https://www.sitemaps.org/schemas/sitemap/0.9",
        "http://www.sitemaps.org/schemas/sitemap/0.9/",
        "http://www.google.com/schemas/sitemap/0.84",
        "",
    ],
)
def test_every_namespace_that_sitemaps_were_ever_in_will_do(namespace: str) -> None:
    found = found_in(f'<urlset xmlns="{namespace}"><url><loc>http://a/</loc></url></urlset>')

    assert found == [Entry("http://a/")]


LONG = "is an entry of more than 100 characters"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        pytest.param("", Rejection(name="entry 1", reason="has no <loc>"), id="nothing"),
        pytest.param("<loc> \n </loc>", Rejection(name="entry 1", reason="has no <loc>"), id="white space"),
        pytest.param("<x><loc>http://a/</loc></x>", Rejection(name="entry 1", reason="has no <loc>"), id="too deep"),
        pytest.param(
            "<loc>http://a/1</loc><loc>http://a/2</loc>",
            Rejection(name="http://a/1", reason="has more than one <loc>"),
            id="two",
        ),
        pytest.param(f"<loc>http://a/{'x' * 100}</loc>", Rejection(name="entry 1", reason=LONG), id="long loc"),
        pytest.param(
            f"<loc>http://a/</loc><lastmod>{'x' * 100}</lastmod>",
            Rejection(name="http://a/", reason=LONG),
            id="long lastmod",
        ),
        pytest.param(
            f"<loc>http://a/{'x' * 80}</loc><loc>\u200b</loc>",
            Rejection(name=f"http://a/{'x' * 71}…", reason="has more than one <loc>"),
            id="a long name",
        ),
        pytest.param(
            "<loc>http://a/\u200b</loc><loc/>",
            Rejection(name="http://a/\\u200b", reason="has more than one <loc>"),
            id="a name that cannot be printed",
        ),
    ],
)
def test_an_entry_that_cannot_be_used_is_rejected_alone(url: str, said: Rejection) -> None:
    found = found_in(f"<urlset><url>{url}</url><url><loc>http://a/good</loc></url></urlset>", Limits(line=100))

    assert found == [said, Entry("http://a/good")]


@pytest.mark.parametrize(
    ("length", "number"),
    [
        ("8876", 8876),
        (" 0 ", 0),
        ("-1", None),
        ("", None),
        ("1e3", None),
        ("٣", None),
        ("9" * 19, None),
    ],
)
def test_a_length_is_a_number_or_nothing(length: str, number: int | None) -> None:
    found = found_in(urlset(f'<loc>http://a/</loc><rs:md length="{length}"/>'))

    assert found == [Entry("http://a/", length=number)]


@pytest.mark.parametrize(
    "document",
    [
        pytest.param("\n \r\n" + FULL, id="empty lines before the declaration"),
        pytest.param("\ufeff" + FULL, id="UTF-8 with a mark"),
    ],
)
def test_what_many_producers_get_wrong_does_no_harm(document: str) -> None:
    assert found_in(document) == found_in(FULL)


@pytest.mark.parametrize("encoding", ["UTF-16", "iso-8859-1", "US-ASCII", "utf-8"])
def test_other_encodings_are_read_when_they_are_what_they_say(encoding: str) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?>{urlset("<loc>http://a/&#233;</loc>", "<loc>http://a/b</loc>")}'

    found = found_in(text.encode(encoding))

    assert found == [Entry("http://a/é"), Entry("http://a/b")]


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
MANY_ATTRIBUTES = b"<urlset><a " + b"".join(b"x%d='' " % number for number in range(9999)) + b"/>"
MANY_PREFIXES = b"<urlset>" + b"".join(b"<a xmlns:p%d='u'/>" % number for number in range(999))
MANY_LINKS = f'<urlset xmlns:r="{RS}">' + '<r:ln href="http://a/"/>' * 20_000
BEGIN = f'<urlset xmlns="{SITEMAP}"><url><loc>'


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        pytest.param(b"", "is empty", id="nothing"),
        pytest.param(b" \n\r\t ", "is empty", id="white space"),
        pytest.param(b"Not here", "is not XML.*begins with 'Not here'", id="a sentence"),
        pytest.param(b"<!doctype html><title>Log in</title>", "is an HTML page", id="HTML 5"),
        pytest.param(b"<html><body>Log in<br>here</body></html>", "is an HTML page", id="HTML without a doctype"),
        pytest.param(b"<rss version='2.0'/>", "outermost element is 'rss'", id="RSS"),
        pytest.param(b"<urlset xmlns='http://a/'/>", "outermost element is '{http://a/}urlset'", id="another urlset"),
        pytest.param(
            f'<!DOCTYPE x [<!ENTITY l0 "ha">{LAUGHS}]>{BEGIN}&l9;</loc></url></urlset>'.encode(),
            "document type declaration",
            id="billion laughs",
        ),
        pytest.param(
            f'<!DOCTYPE x [<!ENTITY a "{"a" * 50_000}">]>{BEGIN}{"&a;" * 50_000}</loc></url></urlset>'.encode(),
            "document type declaration",
            id="quadratic blowup",
        ),
        pytest.param(
            f'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>{BEGIN}&a;</loc></url></urlset>'.encode(),
            "document type declaration",
            id="external entity",
        ),
        pytest.param(
            f'<!DOCTYPE urlset SYSTEM "http://127.0.0.1:9/x.dtd">{urlset()}'.encode(),
            "document type declaration",
            id="external DTD",
        ),
        pytest.param(f"{BEGIN}&nbsp;</loc></url></urlset>".encode(), "is broken XML: undefined entity", id="entity"),
        pytest.param(urlset("<loc>http://a/\xe9</loc>").encode("latin-1"), "is broken XML", id="Latin-1 unsaid"),
        pytest.param(f'<?xml version="1.0" encoding="UTF-16"?>{urlset()}'.encode(), "is not XML", id="no UTF-16"),
        pytest.param(
            f'<?xml version="1.0" encoding="gbk"?>{urlset()}'.encode("gbk"), "is in the encoding 'gbk'", id="GBK"
        ),
        pytest.param(b'<?xml version="1.0" encoding="unicode_escape"?><a/>', "is in the encoding", id="a codec"),
        pytest.param(urlset("<loc>http://a/\0</loc>").encode(), "is broken XML", id="NUL"),
        pytest.param(urlset("<loc>http://a/&#0;</loc>").encode(), "is broken XML", id="NUL by number"),
        pytest.param(b"\0\0\0\0", "is not XML", id="NULs"),
        pytest.param(f"{BEGIN}http://a/".encode(), "is cut off", id="cut in a text"),
        pytest.param(urlset()[:-5].encode(), "is cut off", id="cut in a tag"),
        pytest.param(b"<", "is cut off", id="cut at once"),
        pytest.param(f"{urlset()}<urlset/>".encode(), "is broken XML: junk after", id="something after it"),
        pytest.param(b"<urlset><url></urlset>", "is broken XML: mismatched tag", id="not nested"),
        pytest.param(b"<urlset><a:b/></urlset>", "is broken XML: unbound prefix", id="prefix of nothing"),
        pytest.param(b"<urlset>" + b"<a>" * 200, "more than 100 elements within each other", id="nested"),
        pytest.param(b"<urlset>" + b"<!--" + b"a" * 2**21, "has a tag or a comment of more than", id="endless comment"),
        pytest.param(b"<urlset a='" + b"a" * 2**21, "has a tag or a comment of more than", id="endless attribute"),
        pytest.param(
            b"<urlset>" + b"".join(b"<x%d/>" % n for n in range(9999)), "too many different names", id="elements"
        ),
        pytest.param(MANY_ATTRIBUTES, "too many different names", id="attributes"),
        pytest.param(MANY_PREFIXES, "different prefixes", id="prefixes"),
        pytest.param(MANY_LINKS.encode(), "too many links", id="links"),
    ],
)
def test_what_is_no_sitemap_is_told_in_one_sentence_and_stays_so(document: bytes, sentence: str) -> None:
    entries = XmlEntries(Limits())
    chunks = [document[start : start + 65536] for start in range(0, len(document), 65536)]

    with pytest.raises(Unreadable, match=sentence) as told:
        feed(entries, *chunks)

    assert str(told.value).isprintable()
    assert len(str(told.value)) < 250
    with pytest.raises(Unreadable, match=sentence):
        entries.receive(b"<url><loc>http://a/</loc></url></urlset>")
    assert outcome(*(document[n : n + 1] for n in range(min(len(document), 3000))), document[3000:]) is None


def test_a_document_of_too_many_entries_is_refused() -> None:
    document = urlset(*["<loc>http://a/</loc>"] * 11)

    assert len(found_in(document, Limits(entries=11))) == 11
    with pytest.raises(Unreadable, match="has more than 10 entries"):
        found_in(document, Limits(entries=10))


WRONG = urlset("", "<loc>1</loc><loc>2</loc>", "<loc>&#x4e2d;😀</loc>", f"<loc>b</loc>{'<c><d/></c>' * 9}")


@given(
    document=st.sampled_from([FULL.encode(), WRONG.encode(), FULL.replace("UTF-8", "UTF-16").encode("utf-16")]),
    cuts=st.lists(st.integers(0, 3000), max_size=30),
    damage=st.none() | st.tuples(st.integers(0, 3000), st.binary(max_size=3)),
)
@settings(max_examples=200, deadline=None)
@example(document=FULL.encode(), cuts=list(range(3000)), damage=None)
@example(document=FULL.replace("UTF-8", "UTF-16").encode("utf-16"), cuts=list(range(3000)), damage=None)
def test_it_does_not_matter_how_the_bytes_were_cut(
    document: bytes, cuts: list[int], damage: tuple[int, bytes] | None
) -> None:
    if damage:
        at, by = damage
        document = document[:at] + by + document[at + 1 :]
    edges = sorted({0, *cuts, len(document)})
    pieces = [document[start:end] for start, end in itertools.pairwise(edges)]

    assert outcome(*pieces) == outcome(document)


@given(st.binary(max_size=300) | st.text("<>/&;!-[]?=\"' \n urlsetloc#x0", max_size=100).map(str.encode))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_entries_or_unreadable(junk: bytes) -> None:
    outcome(junk)
    outcome(b"<urlset>" + junk)
    outcome(b"\xff\xfe" + junk)


@given(
    st.builds(
        Entry,
        loc=st.text(min_size=1),
        lastmod=st.none() | st.text(),
        change=st.none() | st.text(),
        datetime=st.none() | st.text(),
        hash=st.none() | st.text(),
        length=st.none() | st.integers(0),
    )
)
def test_an_entry_survives_being_a_row(entry: Entry) -> None:
    assert Entry.from_row(entry.as_row()) == entry


def test_memory_does_not_grow_with_the_document_and_time_only_with_its_length() -> None:
    url = f"<url><loc>http://example.com/{{}}/{'a-long-name/' * 8}</loc><lastmod>2013-01-03T11:00:00Z</lastmod></url>\n"
    entries, count, read_bytes = XmlEntries(Limits()), 0, 0
    began = time.process_time()

    tracemalloc.start()
    entries.receive(f'<urlset xmlns="{SITEMAP}">'.encode())
    for start in range(0, 40_000, 500):
        chunk = "".join(url.format(number) for number in range(start, start + 500)).encode()
        read_bytes += len(chunk)
        count += len(entries.receive(chunk))
    entries.receive(b"</urlset>")
    entries.end()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert count == 40_000
    assert read_bytes > 6.5 * 2**20
    assert peak < 2**20
    assert time.process_time() - began < 10


def test_a_long_comment_in_single_bytes_takes_no_longer_than_it_must() -> None:
    comment = b"<urlset><!--" + b"a" * 300_000 + b"--><url><loc>http://a/</loc></url></urlset>"
    began = time.process_time()

    found = outcome(*(comment[n : n + 1] for n in range(len(comment))))

    assert found == [Entry("http://a/")]
    assert time.process_time() - began < 5
