"""`mirrord retry` without a service: what it makes due, what it says of the others, how it ends."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirrord.journal.lock import ServiceLock
from mirrord.model.step import Done, Park
from tests.cli.asking import asked, settings_in
from tests.journal.ledger import DELETE, Ledger, change, ended

UNSERVED = "mirrord: no service works with this journal: nothing is asked before one runs\n"
STATES = {"www/a 中.txt": "parked", "www/b.txt": "parked", "www/ok.txt": "fresh", "www/new.txt": "stale"}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings of two mirrors, the keys of `docs` below `www/`; no secret, and no journal yet."""
    return settings_in(tmp_path, 'key_prefix = "www/"')


@pytest.fixture
def ledger(config: Path) -> Iterator[Ledger]:
    """The journal: of `docs` two keys are parked, one is fresh and one is stale."""
    ledger = Ledger(config.parent / "journal.db")
    ledger.record(*(change(key) for key in STATES if STATES[key] != "stale"))
    ledger.settle(
        *(ended(row, Park() if STATES[row.key] == "parked" else Done(), 1, status=404) for row in ledger.claim(0))
    )
    ledger.record(change("www/new.txt", "1", 5))
    yield ledger
    ledger.close()


def test_all_that_is_parked_is_made_due(config: Path, ledger: Ledger) -> None:
    ended = asked(config, "retry", "docs", "--all")

    assert (ended.exit_code, ended.stdout, ended.stderr) == (0, "docs: 2 keys made due\n", UNSERVED)
    assert ledger.states() == STATES | {"www/a 中.txt": "stale", "www/b.txt": "stale"}


def test_the_named_keys_are_made_due_and_no_others(config: Path, ledger: Ledger) -> None:
    ended = asked(config, "retry", "docs", "www/a 中.txt")

    assert (ended.exit_code, ended.stdout, ended.stderr) == (0, "docs: 1 key made due\n", UNSERVED)
    assert ledger.states() == STATES | {"www/a 中.txt": "stale"}


def test_keys_that_are_not_parked_or_not_known_are_named_and_the_rest_is_done(config: Path, ledger: Ledger) -> None:
    ended = asked(config, "retry", "docs", "www/b.txt", "www/ok.txt", "b.txt", "www/none~", "www/x\x1b[2J", columns=200)

    assert (ended.exit_code, ended.stdout) == (1, "docs: 1 key made due\n")
    assert ended.stderr.splitlines() == [
        UNSERVED.strip(),
        "mirrord: 'www/ok.txt' is not parked but fresh; to have it asked for: mirrord refresh docs www/ok.txt",
        "mirrord: 'b.txt' is unknown; 'www/b.txt' is not: give keys whole, with the key_prefix",
        "mirrord: 'www/none~' is unknown: the mirror's include and exclude patterns leave it out",
        r"mirrord: 'www/x\x1b[2J' is unknown: no scan has seen it",
    ]
    assert ledger.states() == STATES | {"www/b.txt": "stale"}


def test_programs_are_told_in_a_document(config: Path, ledger: Ledger) -> None:
    ended = asked(config, "retry", "docs", "www/b.txt", "b.txt", "--json")

    document = json.loads(ended.stdout)
    (left,) = document.pop("keys_left")
    assert (ended.exit_code, ended.stderr) == (1, "")
    assert document == {"mirror": "docs", "due": 1, "after_call": 0, "left": {"unknown": 1}}
    assert (left["key"], left["why"], left["state"]) == ("b.txt", "unknown", None)
    assert "www/b.txt" in left["hint"]


def test_where_nothing_is_parked_that_is_said(config: Path, ledger: Ledger) -> None:
    ended = asked(config, "retry", "pages", "--all")

    assert (ended.exit_code, ended.stdout) == (0, "pages: nothing is parked\n")


def test_a_running_service_needs_no_word(config: Path, ledger: Ledger) -> None:
    lock = ServiceLock(ledger.file)
    lock.acquire()

    ended = asked(config, "retry", "docs", "--all")
    lock.release()

    assert (ended.exit_code, ended.stderr) == (0, "")


def test_a_held_removal_is_none_of_its_business(config: Path, ledger: Ledger) -> None:
    ledger.record(change("www/ok.txt", None, 9), rules=DELETE)

    ended = asked(config, "retry", "docs", "www/ok.txt")

    assert (ended.exit_code, ended.stdout) == (1, "docs: no key made due\n")
    assert ended.stderr == "mirrord: 'www/ok.txt' is a removal that is held: mirrord release docs\n"


def test_a_name_that_is_no_text_is_an_unknown_key(config: Path, ledger: Ledger) -> None:
    ended = asked(config, "retry", "pages", "\udcff")

    assert ended.exit_code == 1
    assert "is unknown" in ended.stderr


def test_a_key_like_an_option_can_be_named(config: Path, ledger: Ledger) -> None:
    ledger.record(change("-rf"), mirror="pages")
    ledger.settle(*(ended(row, Park(), 1) for row in ledger.claim(0, mirror="pages")))

    done = asked(config, "retry", "pages", "--", "-rf")

    assert (done.exit_code, done.stdout) == (0, "pages: 1 key made due\n")


@pytest.mark.parametrize("command", ["retry", "refresh"])
@pytest.mark.parametrize("keys", [(), ("www/b.txt", "--all")], ids=["neither", "both"])
def test_either_keys_or_all_are_to_be_given(config: Path, ledger: Ledger, command: str, keys: tuple[str, ...]) -> None:
    ended = asked(config, command, "docs", *keys)

    assert (ended.exit_code, ended.stdout) == (2, "")
    assert "--all" in ended.stderr
    assert ledger.states() == STATES


@pytest.mark.parametrize("command", [("retry", "doc", "--all"), ("refresh", "doc", "--all"), ("explain", "doc", "k")])
def test_a_mirror_that_there_is_not_is_wrong_usage(config: Path, command: tuple[str, ...]) -> None:
    ended = asked(config, *command)

    assert (ended.exit_code, ended.stdout) == (2, "")
    for part in ("'doc'", "docs", "pages"):
        assert part in ended.stderr


@pytest.mark.parametrize("command", [("retry", "docs", "k"), ("refresh", "docs", "k"), ("explain", "docs", "k")])
def test_a_journal_that_cannot_be_used_is_one_sentence(config: Path, command: tuple[str, ...]) -> None:
    (config.parent / "journal.db").write_bytes(b"this is no database" * 100)

    ended = asked(config, *command)

    assert (ended.exit_code, ended.stdout) == (1, "")
    assert "journal.db" in ended.stderr
    assert ended.exception is None or isinstance(ended.exception, SystemExit)
