"""`mirrord refresh`: what it makes due without a service, and that a running one asks for it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirrord.model.step import Done, Park
from tests.cli.asking import asked
from tests.e2e.place import Place, place_at
from tests.journal.ledger import DELETE, Ledger, change, ended


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings of one mirror; the journal does not exist yet."""
    path = tmp_path / "config.toml"
    path.write_text(
        f"""
        kodo = {{ access_key = "ak", secret_key = "the-secret" }}
        journal = {{ url = "sqlite:///{tmp_path}/journal.db" }}
        [[mirror]]
        name = "docs"
        bucket = "newdocs"
        source = {{ kind = "directory", path = "{tmp_path}" }}
        """
    )
    path.chmod(0o600)
    return path


@pytest.fixture
def ledger(config: Path) -> Iterator[Ledger]:
    """The journal: a key in every state, named for it; `gone` is kept in the bucket."""
    ledger = Ledger(config.parent / "journal.db")
    ledger.record(*(change(key) for key in ("fresh", "parked", "held", "gone", "unlinked")))
    ledger.settle(*(ended(row, Park() if row.key == "parked" else Done(), 1) for row in ledger.claim(0)))
    ledger.record(change("unlinked", None, 2), rules=DELETE)
    ledger.release(3)
    ledger.settle(*(ended(row, Park(), 3) for row in ledger.claim(3)), rules=DELETE)
    ledger.record(change("held", None, 5), rules=DELETE)
    ledger.record(change("gone", None, 5))
    ledger.record(change("claimed", "1", 5))
    ledger.claim(5)
    ledger.record(change("stale", "1", 6))
    yield ledger
    ledger.close()


UNSERVED = "mirrord: no service works with this journal: nothing is asked before one runs\n"
STATES = {
    "fresh": "fresh",
    "parked": "parked",
    "held": "held",
    "gone": "fresh",
    "claimed": "claimed",
    "stale": "stale",
    "unlinked": "parked",
}


def test_every_key_that_the_origin_has_is_made_due(config: Path, ledger: Ledger) -> None:
    ended = asked(config, "refresh", "docs", "--all", columns=200)

    assert (ended.exit_code, ended.stderr) == (0, UNSERVED)
    assert ended.stdout == (
        "docs: 3 keys made due, 1 key to be asked for once more when the call that is out has ended, "
        "1 key held for removal, 2 keys gone at the origin, left alone\n"
    )
    assert ledger.states() == STATES | {"fresh": "stale", "parked": "stale"}


def test_named_keys_are_made_due_and_what_cannot_be_is_named_with_what_can_be_done(
    config: Path, ledger: Ledger
) -> None:
    ended = asked(config, "refresh", "docs", "fresh", "held", "gone", "unlinked", "nowhere")

    assert (ended.exit_code, ended.stdout) == (1, "docs: 1 key made due\n")
    assert ended.stderr.splitlines() == [
        UNSERVED.strip(),
        "mirrord: 'held' is a removal that is held: mirrord release docs",
        "mirrord: 'gone' is gone at the origin: there is nothing to refresh",
        "mirrord: 'unlinked' is a removal that is parked: mirrord retry docs unlinked",
        "mirrord: 'nowhere' is unknown: no scan has seen it",
    ]
    assert ledger.states() == STATES | {"fresh": "stale"}


def test_when_no_key_could_be_taken_that_is_said(config: Path, ledger: Ledger) -> None:
    ended = asked(config, "refresh", "docs", "held")

    assert (ended.exit_code, ended.stdout) == (1, "docs: no key made due\n")


def test_programs_are_told_in_a_document(config: Path, ledger: Ledger) -> None:
    ended = asked(config, "refresh", "docs", "--all", "--json")

    assert ended.exit_code == 0
    assert json.loads(ended.stdout) == {
        "mirror": "docs",
        "due": 3,
        "after_call": 1,
        "left": {"held": 1, "gone": 2},
        "keys_left": [],
    }


# -- beside a service --------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with place_at(tmp_path) as here:
        yield here


def test_a_running_service_asks_for_what_a_person_asks_for(place: Place) -> None:
    place.write("a.txt")
    place.write("b.txt")
    place.kodo.fail(operation="prefetch", key="b.txt", status=404, times=1)
    program = place.run()
    program.until_said("refresh.attempted", key="a.txt", next="done")
    program.until_said("refresh.attempted", key="b.txt", next="park")

    refreshed = asked(place.settings, "refresh", "docs", "a.txt")
    program.until_said("refresh.attempted", 2, key="a.txt", next="done")
    retried = asked(place.settings, "retry", "docs", "--all")  # parked by now: settled before that claim was made
    program.until_said("refresh.attempted", key="b.txt", next="done")

    assert (refreshed.exit_code, retried.stdout) == (0, "docs: 1 key made due\n")
    assert program.stop().code == 0
