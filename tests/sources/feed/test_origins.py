import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from mirrord.sources.feed.origins import Astray, Origin, follow, is_allowed, is_told, leads, origin_of, parse_url

HOME = Origin("http", "feed.example.com", 80)
ALLOWED = frozenset({"cdn.example.com", "files.example.com:8443", "[::1]"})


@pytest.mark.parametrize(
    ("there", "leads_there", "told"),
    [
        pytest.param("http://feed.example.com/a", True, True, id="the same"),
        pytest.param("http://FEED.example.com:80/a", True, True, id="written otherwise"),
        pytest.param("https://feed.example.com/a", True, True, id="over https"),
        pytest.param("https://feed.example.com:8443/a", True, False, id="over https, on a port of its own"),
        pytest.param("http://feed.example.com:8080/a", False, False, id="another port"),
        pytest.param("http://www.feed.example.com/a", False, False, id="a name below"),
        pytest.param("http://feed.example.com.evil/a", False, False, id="a name above"),
        pytest.param("http://feed.example.com@evil/a", False, False, id="a login"),
    ],
)
def test_a_feed_leads_within_its_origin(there: str, leads_there: bool, told: bool) -> None:
    origin = origin_of(parse_url(there))

    assert (leads(HOME, origin), is_told(HOME, origin)) == (leads_there, told)


def test_https_is_not_left_and_its_secrets_are_not_told_over_http() -> None:
    home = Origin("https", "feed.example.com", 443)

    assert not leads(home, HOME)
    assert not is_told(home, HOME)


@pytest.mark.parametrize(
    ("there", "allowed"),
    [
        ("https://cdn.example.com/", True),
        ("http://CDN.example.com:8080/", True),
        ("https://files.example.com:8443/", True),
        ("https://files.example.com/", False),
        ("http://[::1]:8080/", True),
        ("http://[::2]:8080/", False),
        ("https://a.cdn.example.com/", False),
    ],
)
def test_a_host_is_allowed_by_its_name_or_with_its_port(there: str, allowed: bool) -> None:
    assert is_allowed(origin_of(parse_url(there)), ALLOWED) == allowed


@pytest.mark.parametrize(
    ("at", "location"),
    [
        pytest.param("http://feed.example.com/", "https://feed.example.com:8443/", id="upgrade of home"),
        pytest.param("http://cdn.example.com/", "http://feed.example.com/", id="home again"),
        pytest.param("http://cdn.example.com/", "https://feed.example.com/", id="home again, over https"),
        pytest.param("http://other.example.com/", "/b", id="where we are"),
        pytest.param("http://other.example.com/", "https://other.example.com/", id="where we are, over https"),
        pytest.param("http://feed.example.com/", "https://files.example.com:8443/", id="allowed"),
    ],
)
def test_these_are_followed(at: str, location: str) -> None:
    url = follow(parse_url(at), location, home=HOME, allowed=ALLOWED)

    assert str(url) == str(parse_url(at).join(location))


@pytest.mark.parametrize(
    ("at", "location", "sentence"),
    [
        (
            "http://feed.example.com/",
            "//me:hidden@evil.example.com:81/a?hidden",
            "the feed sends us to evil.example.com:81, which allow_redirects_to does not name",
        ),
        (
            "http://feed.example.com/",
            "http://[::2]/",
            "the feed sends us to [::2], which allow_redirects_to does not name",
        ),
        (
            "https://feed.example.com/",
            "http://cdn.example.com/",
            "the feed sends us from https to http, at cdn.example.com",
        ),
        ("http://feed.example.com/", "http://[::1", "the feed sends us to what is not a URL"),
        ("http://feed.example.com/", "file:///etc/passwd", "file:/etc/passwd is not a URL of http or https"),
    ],
)
def test_these_are_not_followed(at: str, location: str, sentence: str) -> None:
    with pytest.raises(Astray) as caught:
        follow(parse_url(at), location, home=HOME, allowed=ALLOWED)

    assert str(caught.value) == sentence


urls = st.builds(
    "{}{}{}".format,
    st.sampled_from(["http:", "https:", "HTTP:", "", "ftp:"]),
    st.sampled_from(["//", "/", "\\\\", "///", "/\\", ""]),
    st.text("aé.@:%/\\?#[]1-0_ \t\n\0。２", max_size=20),
)


@settings(max_examples=200)
@given(urls)
def test_who_is_checked_is_who_is_asked(text: str) -> None:
    """The library that connects reads URLs by itself: it must find the same origin there."""
    try:
        url = parse_url(text)
    except Astray:
        return

    read = URL(str(url), encoded=True)

    assert Origin(read.scheme, read.raw_host or "", read.port or 0) == origin_of(url)


@settings(max_examples=200)
@given(urls)
def test_wherever_we_are_sent_we_stay_where_we_may_be(location: str) -> None:
    try:
        url = follow(parse_url("http://feed.example.com/a"), location, home=HOME, allowed=ALLOWED)
    except Astray:
        return

    assert leads(HOME, origin_of(url)) or is_allowed(origin_of(url), ALLOWED)
    assert not url.userinfo
