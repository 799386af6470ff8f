import pytest

from mirrord.sources.feed.claims import etag_of, rejection, text_of


@pytest.mark.parametrize(
    ("value", "etag"),
    [
        ('"abc"', "abc"),
        ('W/"abc"', "abc"),
        ("abc", "abc"),
        ('"', '"'),
        ('""', None),
        ("", None),
        (None, None),
        (17, None),
        (["abc"], None),
    ],
    ids=repr,
)
def test_an_etag_is_told_without_what_http_puts_around_it(value: object, etag: str | None) -> None:
    assert etag_of(value) == etag


def test_only_text_that_is_not_empty_is_text() -> None:
    assert [text_of(value) for value in ("a", "", None, 1, {})] == ["a", None, None, None, None]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("中文", "中文"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), "caf\\xe9"),
        ("\ud83d", "\\ud83d"),
        (None, "(without a name)"),
        ({"a": 1}, "(without a name)"),
        ("x" * 201, "x" * 200 + "…"),
    ],
    ids=["chinese", "not UTF-8", "half a pair", "none", "no text", "long"],
)
def test_a_rejection_can_always_be_printed(name: object, shown: str) -> None:
    assert rejection(name, "so").name == shown
