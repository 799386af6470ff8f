"""What `--json` prints is what docs/commands.md says, field by field, in every situation here."""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mirrord.decisions.staleness import IntakeRules, NewKeys
from mirrord.model.attempt import Operation, Outcome
from mirrord.model.condition import Condition
from mirrord.model.coverage import Coverage
from mirrord.model.pending import Pending
from mirrord.model.step import Done, Park, Retry
from tests.cli.asking import asked, settings_in
from tests.e2e.place import Place, place_at
from tests.journal.ledger import DELETE, MIRROR, Ledger, at, change, ended, place

PAGE = (Path(__file__).parent.parent.parent / "docs" / "commands.md").read_text("utf-8")
WITH_MORE = {"mirror of once": "mirror", "parked row": "row", "explain": "row", "check --online": "check"}
"""What a form has besides its own fields."""
WITHOUT = {"mirror of once": {"failing"}}
SIMPLE = {"text": str, "whole number": int, "number": (int, float), "yes or no": bool, "null": type(None)}

Form = dict[str, str]


def forms() -> dict[str, Form]:
    """Each form's fields, and what is said of their values."""
    sections = re.findall(r"^### (.+?)\n(.*?)(?=^### |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    own = {name: dict(re.findall(r"^\| `(\w+)` \| (.+?) \| ", text, re.MULTILINE)) for name, text in sections}
    return {
        name: {field: said for field, said in (own.get(WITH_MORE.get(name, ""), {}) | fields).items()
               if field not in WITHOUT.get(name, ())}
        for name, fields in own.items()
    }  # fmt: skip


FORMS = forms()


def check(value: Any, said: str, where: str) -> None:
    """That the value is what the page says of it."""
    said, nullable, _ = said.partition(", or null")
    if value is None and nullable:
        return
    if said.startswith("list of "):
        assert isinstance(value, list), where
        for number, each in enumerate(value):
            check(each, said.removeprefix("list of "), f"{where}[{number}]")
    elif said == "time":
        assert datetime.fromisoformat(value).tzinfo is not None, where
    elif said in {"counts", "times"}:
        for name, each in value.items():
            check(each, {"counts": "whole number", "times": "time"}[said], f"{where}.{name}")
    elif said in SIMPLE:
        assert isinstance(value, SIMPLE[said]), (where, value)
    else:
        assert value.keys() == FORMS[said].keys(), where
        for name, each in value.items():
            check(each, FORMS[said][name], f"{where}.{name}")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings, and a journal with keys in every state."""
    config = settings_in(tmp_path)
    ledger = Ledger(tmp_path / "journal.db")
    ledger.record(change("parked"), change("failing"), change("pending"), change("fresh"))
    failed = {"status": 404, "reqid": "r", "outcome": Outcome.ORIGIN_MISSING, "error": "gone"}
    pull = Pending(operation=Operation.PREFETCH, began_at=at(0), until=at(10**9), put_after=1, looks=3, reqid="r")
    for row in ledger.claim(0):
        match row.key:
            case "parked":
                ledger.settle(ended(row, Park(), 1, **failed))
            case "failing":
                ledger.settle(ended(row, Retry(timedelta(0)), 1, **failed))
            case "pending":
                ledger.settle(ended(row, Retry(timedelta(0)), 1, outcome=Outcome.TIMED_OUT, pending=pull))
            case _:
                ledger.settle(ended(row, Done(), 1, status=200, bucket_hash="Fh"))
    ledger.record(change("held"), rules=IntakeRules(new_keys=NewKeys.FRESH))
    ledger.record(change("held", None, 5), rules=DELETE)
    held = Condition(name="held", since=at(3), until=at(10**9), reason="no such bucket", status=631, reqid="r")
    ledger.run(ledger.journal.set_conditions(MIRROR, [held]))
    ledger.run(ledger.journal.cover(MIRROR, Coverage(complete_as_of=at(1), lost_since=at(7), lost_reason="overflow")))
    ledger.close()
    return config


@pytest.mark.parametrize(
    ("form", "arguments"),
    [
        ("status", "status"),
        ("explain", "explain docs parked"),
        ("explain", "explain docs pending"),
        ("explain", "explain docs held"),
        ("explain", "explain docs fresh"),
        ("explain of an unknown key", "explain docs frech"),
        ("parked", "parked"),
        ("refresh, retry", "refresh docs fresh held nowhere"),
        ("refresh, retry", "retry docs parked fresh"),
        ("refresh, retry", "refresh docs --all"),
        ("release", "release docs"),
        ("release", "release docs --drop"),
        ("journal vacuum", "journal vacuum --dry-run"),
        ("journal backup", "journal backup {directory}/copy.db"),
    ],
)
def test_every_field_of_a_document_is_described_and_is_what_is_said(config: Path, form: str, arguments: str) -> None:
    told = asked(config, *arguments.format(directory=config.parent).split(), "--json")

    check(json.loads(told.stdout), form, form)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Place]:
    with place_at(tmp_path) as here:
        here.write("a.txt")
        here.kodo.fail(operation="prefetch", status=404)
        yield here


def test_the_documents_of_commands_that_look_at_the_origin_are_described_too(served: Place) -> None:
    for form in ("plan", "once", "plan", "check", "check --online"):
        told = served.start(*form.split(), "--json").wait()

        check(told.json, form, form)


def test_feeds_are_described_with_how_far_they_were_read(tmp_path: Path) -> None:
    config, source = settings_in(tmp_path), "feed jsonl http://127.0.0.1:9/"
    feed = '{ kind = "feed", format = "jsonl", url = "http://127.0.0.1:9/" }'
    config.write_text(re.sub(r'(name = "docs".*?source = )\{.*?\}', rf"\g<1>{feed}", config.read_text()))
    ledger = Ledger(tmp_path / "journal.db")
    ledger.record(cursor=place(source, "{}", event_at=5))
    ledger.close()

    document = json.loads(asked(config, "status", "--json").stdout)

    assert document["mirrors"][0]["sources"] != []
    check(document, "status", "status")
