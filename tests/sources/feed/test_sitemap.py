"""What a sitemap's entries say of versions, and sitemaps that are lists of URLs."""

import itertools
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirrord.model.change import Rejection
from mirrord.model.mention import Mention
from mirrord.sources.feed.dialect import Head, Limits, Unreadable
from mirrord.sources.feed.sitemap import Sitemap, mention_of
from mirrord.sources.feed.xml_entries import Entry

LONG_AFTER = datetime(2030, 1, 1, tzinfo=UTC)
NOON = datetime(2026, 11, 5, 12, tzinfo=UTC)
XML = b"<urlset xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'><url><loc>http://a/1</loc></url></urlset>"


def mention(lastmod: str | None, as_of: datetime = LONG_AFTER, document: str = "one") -> Mention:
    return mention_of(Entry("http://a/", lastmod), as_of=as_of, document=document)


def read(*chunks: bytes, kind: str = "text/plain; charset=utf-8", limits: Limits = Limits()) -> list[Entry | Rejection]:  # noqa: B008 - frozen
    sitemap = Sitemap(Head(status=200, headers={"content-type": kind}, url="http://a/sitemap"), limits)
    found = [each for chunk in chunks for each in sitemap.receive(chunk)]
    return [*found, *sitemap.end()]


@pytest.mark.parametrize(
    ("lastmod", "token", "modified"),
    [
        pytest.param("2026-11-05T12:00:00Z", "2026-11-05T12:00:00+00:00", NOON, id="to a second"),
        pytest.param("2026-11-05T20:00:00+08:00", "2026-11-05T12:00:00+00:00", NOON, id="in another zone"),
        pytest.param(
            "2026-11-05T12:00:00.5Z", "2026-11-05T12:00:00.500000+00:00", NOON + timedelta(seconds=0.5), id="fraction"
        ),
        pytest.param("2026-11-05T12:00:00", "2026-11-05T12:00:00+00:00", None, id="in nobody knows which zone"),
    ],
)
def test_a_time_to_a_second_names_a_version_by_itself(lastmod: str, token: str, modified: datetime | None) -> None:
    said = mention(lastmod, as_of=NOON)

    assert said == Mention(name="http://a/", removed=False, token=token, modified=modified, at=modified)


@pytest.mark.parametrize(
    ("lastmod", "over"),
    [
        pytest.param("2026-11-05", datetime(2026, 11, 6, 14, tzinfo=UTC), id="day"),
        pytest.param("2026-12-31", datetime(2027, 1, 1, 14, tzinfo=UTC), id="last day of a year"),
        pytest.param("2028-02-29", datetime(2028, 3, 1, 14, tzinfo=UTC), id="leap day"),
        pytest.param("2026-11", datetime(2026, 12, 1, 14, tzinfo=UTC), id="month"),
        pytest.param("2026-12", datetime(2027, 1, 1, 14, tzinfo=UTC), id="last month"),
        pytest.param("2026", datetime(2027, 1, 1, 14, tzinfo=UTC), id="year"),
    ],
)
def test_a_period_names_a_version_once_it_is_over_everywhere(lastmod: str, over: datetime) -> None:
    during = mention(lastmod, as_of=over)
    elsewhere = mention(lastmod, as_of=over, document="another")
    afterwards = mention(lastmod, as_of=over + timedelta(seconds=1))

    assert during.token == f"{lastmod} in one"
    assert elsewhere.token == f"{lastmod} in another"
    assert afterwards.token == lastmod
    assert during.modified is afterwards.modified is None


def test_a_minute_is_no_second() -> None:
    during = mention("2026-11-05T12:00Z", as_of=NOON)
    afterwards = mention("2026-11-05T12:00Z", as_of=NOON + timedelta(days=1))

    assert (during.token, during.modified) == ("2026-11-05T12:00:00+00:00 in one", None)
    assert (afterwards.token, afterwards.modified) == ("2026-11-05T12:00:00+00:00", None)


@pytest.mark.parametrize(
    "lastmod",
    [None, "", "yesterday", "2026-02-30", "2026-13", "2026-00", "2026-11-00", "0000", "9999", "9999-12-31", "٢٠٢٦"],
)
def test_without_a_time_every_version_of_the_document_may_be_another_one(lastmod: str | None) -> None:
    said = mention(lastmod)

    assert said == Mention(name="http://a/", token="in one")


@given(st.none() | st.text() | st.from_regex(r"\d{4}(-\d\d){0,2}([T ]\d\d(:\d\d){1,2}[Z+]?)?", fullmatch=True))
def test_any_lastmod_gives_a_token(lastmod: str | None) -> None:
    assert mention(lastmod).token


@given(st.dates(min_value=date(2, 1, 1), max_value=date(9000, 1, 1)), st.integers(0, 47))
def test_no_day_is_over_while_it_lasts_anywhere(day: datetime, hours: int) -> None:
    somewhere = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=12) + timedelta(hours=hours)

    said = mention(day.isoformat(), as_of=somewhere)

    assert said.token == f"{day.isoformat()} in one"


def test_a_list_of_urls_is_a_sitemap_too() -> None:
    found = read("\ufeffhttp://a/1\r\n\n  HTTPS://a/中 \nhttp://a/\xff".encode() + b"\xff\nftp://a/\n/b\nhttp://a/last")

    assert found == [
        Entry("http://a/1"),
        Entry("HTTPS://a/中"),
        Rejection(name="http://a/ÿ\\xff", reason="is not UTF-8"),
        Rejection(name="ftp://a/", reason="is no URL"),
        Rejection(name="/b", reason="is no URL"),
        Entry("http://a/last"),
    ]


def test_a_line_that_is_too_long_is_rejected_alone() -> None:
    found = read(b"http://a/1\nhttp://a/too-long\nhttp://a/2\n", limits=Limits(line=12))

    assert found == [
        Entry("http://a/1"),
        Rejection(name="http://a/too", reason="is a line of more than 12 bytes"),
        Entry("http://a/2"),
    ]


def test_a_list_of_too_many_urls_is_refused() -> None:
    with pytest.raises(Unreadable, match="more than 2 entries"):
        read(b"http://a/1\nhttp://a/2\nhttp://a/3\n", limits=Limits(entries=2))


@pytest.mark.parametrize("kind", ["text/plain", "text/xml", "application/xml; charset=utf-8", "text/html", ""])
@pytest.mark.parametrize("document", [XML, b"\n " + XML, b"\xef\xbb\xbf" + XML, XML.decode().encode("utf-16")])
def test_xml_is_known_whatever_it_is_called(kind: str, document: bytes) -> None:
    assert read(document, kind=kind) == [Entry("http://a/1")]


@pytest.mark.parametrize(
    ("document", "sentence"),
    [(b"", "is empty"), (b"<!doctype html>", "HTML"), (b"Log in first, please", "is not XML"), (b"http:/", "not XML")],
)
def test_a_text_that_is_neither_is_unreadable(document: bytes, sentence: str) -> None:
    with pytest.raises(Unreadable, match=sentence):
        read(document)


@given(
    document=st.sampled_from(
        [XML, "\ufeff\n http://a/1\r\nhttp://a/中\n\nx".encode(), b"\n\n http://a/\n", b"http://"]
    ),
    cuts=st.lists(st.integers(0, 100), max_size=20),
)
@settings(max_examples=100, deadline=None)
def test_it_does_not_matter_how_the_bytes_were_cut(document: bytes, cuts: list[int]) -> None:
    edges = sorted({0, *cuts, len(document)})

    assert read(*(document[start:end] for start, end in itertools.pairwise(edges))) == read(document)
