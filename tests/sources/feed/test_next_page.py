import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirrord.sources.feed.dialect import Head, Unreadable
from mirrord.sources.feed.next_page import is_url, linked, pointed, with_query

HOME = "https://feed.test/changes?a=1"


def head(link: str = "", url: str = HOME) -> Head:
    return Head(status=200, headers={"link": link} if link else {}, url=url)


@pytest.mark.parametrize(
    ("link", "url"),
    [
        pytest.param('<https://feed.test/p2>; rel="next"', "https://feed.test/p2", id="absolute"),
        pytest.param("</p2?x=1&y>; rel=next", "https://feed.test/p2?x=1&y", id="relative, plain token"),
        pytest.param("<?page=2>;rel=next", "https://feed.test/changes?page=2", id="a query"),
        pytest.param(
            '</a,b;c>; title="x, <y>; rel=no"; REL="prev Next"', "https://feed.test/a,b;c", id="odd but right"
        ),
        pytest.param('</1>; rel=prev, </2>; rel="next", </3>; rel=last', "https://feed.test/2", id="among others"),
        pytest.param("</1>; rel=prev; rel=next", None, id="only the first rel counts"),
        pytest.param('</1>; rel=next; anchor="/other"', None, id="of another page"),
        pytest.param("</1>; rel=nextish", None, id="another relation"),
        pytest.param("<//>", None, id="no relation"),
        pytest.param("next", None, id="no link"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_the_next_page_is_the_one_that_is_linked_so(link: str, url: str | None) -> None:
    assert linked(head(link), HOME) == url


@pytest.mark.parametrize("link", ["https://else.test/p2", "//else.test/p", "http://feed.test/p2", "ftp://feed.test/"])
def test_a_page_of_another_origin_is_refused(link: str) -> None:
    with pytest.raises(Unreadable, match="out of reach"):
        linked(head(f"<{link}>; rel=next"), HOME)


@pytest.mark.parametrize(
    ("said", "page"),
    [
        (None, None),
        ("", None),
        (False, None),
        (0, 0),
        ("tok=/", "tok=/"),
        ("/p2", "https://feed.test/p2"),
        ("?p=2", "https://feed.test/changes?p=2"),
        ("https://feed.test/é", "https://feed.test/%C3%A9"),
    ],
)
def test_a_pointer_leads_to_a_page_or_to_what_to_ask(said: object, page: object) -> None:
    led = pointed(said, head(), HOME)

    assert led == page
    assert is_url(led) == str(page).startswith("https://")


@given(st.text(max_size=40), st.text(max_size=40))
@settings(max_examples=200)
def test_no_link_is_too_strange(link: str, said: str) -> None:
    pages: list[object] = []

    with contextlib.suppress(Unreadable):
        pages.append(linked(head(f"<{link}>; rel=next"), HOME))
    with contextlib.suppress(Unreadable):
        pages.append(pointed(f"/{said}", head(), HOME))

    assert all(page is None or str(page).startswith("https://feed.test/") for page in pages)


@pytest.mark.parametrize(
    ("url", "query", "asked"),
    [
        ("http://h/f", {}, "http://h/f"),
        ("http://h/f?b=2&since=1&c#x", {"since": "ä&="}, "http://h/f?b=2&c&since=%C3%A4%26%3D"),
        ("http://h/f?sin%63e=1", {"since": "2"}, "http://h/f?since=2"),
        ("http://h/f?", {"since": "\ud800"}, "http://h/f?since=%ED%A0%80"),
    ],
)
def test_our_parameters_take_the_place_of_the_address_own(url: str, query: dict[str, str], asked: str) -> None:
    assert with_query(url, query) == asked
