"""What stays of a line when every secret in it is covered."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.masking import Cover, printable_text


def covered(*secrets: str, **fields: object) -> dict[str, Any]:
    """The fields of a line, covered."""
    line = {"timestamp": "2026-01-02T03:04:05Z", "level": "info", "event": "task.attempted", **fields}
    after = Cover(secrets).over(orjson.dumps(line) + b"\n")
    assert after.endswith(b"}\n")
    read: dict[str, Any] = orjson.loads(after)
    return read


@given(
    secret=st.text(st.characters(exclude_characters="*"), min_size=1),
    before=st.text(),
    after=st.text(),
    name=st.sampled_from(["key", "error", "exception", "event"]),
)
def test_no_secret_survives_in_any_text(secret: str, before: str, after: str, name: str) -> None:
    line = covered(secret, **{name: f"{before}{secret}{after}", f"x_{name}": [{secret: secret}]})

    assert "***" in line[name]
    assert secret not in line[name]
    assert line[f"x_{name}"] == [{"***": "***"}]


@pytest.mark.parametrize("shown", ["sk-\"9\\f'键/x", repr("sk-\"9\\f'键/x"), "sk-%229%5Cf%27%E9%94%AE%2Fx"])
def test_a_secret_is_covered_as_python_and_urls_write_it(shown: str) -> None:
    assert "***" in covered("sk-\"9\\f'键/x", key=f"a{shown}b")["key"]


def test_the_time_and_the_level_are_what_they_were() -> None:
    line = covered("info", "2026", event="info of 2026")

    assert line == {"timestamp": "2026-01-02T03:04:05Z", "level": "info", "event": "*** of ***"}


@pytest.mark.parametrize(
    "name",
    ["Authorization", "secret_key", "token", "X-Auth-Token", "uptoken", "password", "Set-Cookie", "api-key"],
)
def test_a_field_with_a_secrets_name_is_masked_at_any_depth(name: str) -> None:
    line = covered(headers={name: "v1"}, tried=[{name: ["v2"]}], **{name: "v3"})

    assert line["headers"] == {name: "***"}
    assert line["tried"] == [{name: "***"}]
    assert line[name] == "***"


def test_names_that_only_resemble_a_secrets_are_left_alone() -> None:
    fields = {"secret_key_file": "/etc/x", "tokens": 3, "token": None, "key": "a/token"}

    assert covered(**fields).items() >= fields.items()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sent Qiniu ak:c2lnbmVk= to rs", "sent Qiniu *** to rs"),
        ("illegal value b'QBox ak:c2lnbmVk'", "illegal value b'QBox ***'"),
        ("{'Authorization': 'Custom abc'}", "{'Authorization': '***'}"),
        ("got Bearer eyJhbGciOi.J9.x back", "got Bearer *** back"),
        ("GET https://joe:pass@example.com/a", "GET https://joe:***@example.com/a"),
        ("password=hunter2 refused", "password=*** refused"),
        ("bad token: it has expired", "bad token: it has expired"),
        ("Basic authentication failed", "Basic authentication failed"),
        ("Qiniu support asks for it", "Qiniu support asks for it"),
    ],
)
def test_credentials_are_masked_in_free_text_and_nowhere_else(text: str, shown: str) -> None:
    line = covered(error=text, key=text)

    assert line["error"] == shown
    assert line["key"] == text


def test_fields_alone_are_covered_as_those_of_a_line() -> None:
    fields = {"level": "the-secret", "token": "t", "n": 1}

    assert Cover(["the-secret"]).over_fields(fields) == {"level": "***", "token": "***", "n": 1}


@given(st.text(st.characters(codec=None)))
def test_any_text_becomes_one_that_utf_8_can_hold(text: str) -> None:
    printable = printable_text(text)

    assert printable.encode().decode() == printable
    assert printable == text or any("\ud800" <= character <= "\udfff" for character in text)
