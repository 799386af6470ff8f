"""Backups: of one moment while others write, whole, for their owner alone, and in nobody's place unless asked."""

import os
import sqlite3
from pathlib import Path

import pytest

from mirrord.journal import schema
from mirrord.journal.backup import Backup, back_up, objection
from mirrord.journal.errors import JournalForbidden, JournalUnavailable
from mirrord.journal.report import report
from tests.journal.conftest import OpenLedger
from tests.journal.ledger import MIRROR, Ledger, change, url_of
from tests.journal.older import REVISIONS, STATES, fill
from tests.journal.processes import start

RECORD_PAIRS = """
import sys
from pathlib import Path
from tests.journal.ledger import Ledger, change
ledger = Ledger(Path(sys.argv[1]))
for number in range(1_000_000):
    ledger.record(change(f"k{number}"), change(f"l{number}"))
    print(number, flush=True)
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Where a backup goes; nothing is there, or in its directory."""
    (tmp_path / "backups").mkdir()
    return tmp_path / "backups" / "copy.db"


def test_a_backup_is_one_file_for_its_owner_with_all_that_there_was(ledger: Ledger, copy: Path) -> None:
    ledger.record(change("a"), change("b"))
    ledger.record(change("c"), mirror="other")

    made = back_up(url_of(ledger.file), copy)

    assert made == Backup(file=copy, size_bytes=copy.stat().st_size, revision=schema.HEAD, keys={MIRROR: 2, "other": 1})
    assert copy.stat().st_mode & 0o777 == 0o600
    assert list(copy.parent.iterdir()) == [copy]


@pytest.mark.parametrize("name", ["a %3f?#b.db", "ü" * 120, "-n", "file:x?mode=memory"])
def test_a_backup_may_have_any_name(ledger: Ledger, copy: Path, name: str) -> None:
    back_up(url_of(ledger.file), copy.with_name(name))

    assert [each.name for each in copy.parent.iterdir()] == [name]


def test_a_restored_backup_is_a_journal_like_any_other(ledger: Ledger, copy: Path) -> None:
    ledger.record(change("a"))
    back_up(url_of(ledger.file), copy)
    ledger.record(change("b"))

    restored = Ledger(copy)

    assert restored.states() == {"a": "stale"}
    assert restored.claim_keys() == ["a"]
    assert restored.select("PRAGMA journal_mode") == [("wal",)]
    restored.close()


def test_a_backup_is_of_one_moment_and_no_write_waits_for_it(file: Path, copy: Path) -> None:
    with start(RECORD_PAIRS, file) as process:
        assert process.stdout is not None
        for _ in range(50):
            last = int(process.stdout.readline())

        copies = [back_up(url_of(file), copy.with_name(f"{number}.db")) for number in range(5)]
        goes_on = process.stdout.readline()
        process.kill()

    assert goes_on
    for made in copies:
        with sqlite3.connect(made.file) as connection:
            keys = {key for (key,) in connection.execute("SELECT key FROM objects")}
        connection.close()
        assert len(keys) > last
        assert {key[1:] for key in keys if key[0] == "k"} == {key[1:] for key in keys if key[0] == "l"}
        assert {f"k{number}" for number in range(len(keys) // 2)} <= keys


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_journal_that_is_yet_to_be_migrated_is_copied_as_it_is(file: Path, copy: Path, revision: str) -> None:
    fill(file, revision)

    made = back_up(url_of(file), copy)

    assert (made.revision, made.keys) == (revision, {MIRROR: len(STATES)})
    ledger = Ledger(copy)
    assert ledger.states() == STATES
    ledger.close()


def test_a_file_that_is_there_is_left_alone(ledger: Ledger, copy: Path) -> None:
    copy.write_text("precious")

    with pytest.raises(JournalUnavailable, match="--force"):
        back_up(url_of(ledger.file), copy)

    assert copy.read_text() == "precious"
    assert list(copy.parent.iterdir()) == [copy]


def test_a_link_that_leads_nowhere_is_there_too(ledger: Ledger, copy: Path) -> None:
    copy.symlink_to("nowhere")

    with pytest.raises(JournalUnavailable):
        back_up(url_of(ledger.file), copy)

    assert copy.readlink() == Path("nowhere")


def test_a_file_that_may_be_replaced_is_replaced_and_not_written_through(ledger: Ledger, copy: Path) -> None:
    target = copy.with_name("target")
    target.write_text("precious")
    copy.symlink_to(target)
    ledger.record(change("a"))

    back_up(url_of(ledger.file), copy, replacing=True)

    assert target.read_text() == "precious"
    assert not copy.is_symlink()
    assert report(url_of(copy), [MIRROR])[0].settled is False


def test_a_damaged_journal_gives_no_backup_and_the_one_before_stays(ledger: Ledger, copy: Path) -> None:
    ledger.record(*(change(f"{number:0200}") for number in range(500)))
    ledger.close()
    copy.write_text("the one before")
    content = bytearray(ledger.file.read_bytes())
    content[3 * 4096 : -4096] = b"\xff" * len(content[3 * 4096 : -4096])
    ledger.file.write_bytes(content)

    with pytest.raises(JournalUnavailable, match="damaged"):
        back_up(url_of(ledger.file), copy, replacing=True)

    assert copy.read_text() == "the one before"
    assert list(copy.parent.iterdir()) == [copy]


@pytest.mark.parametrize("content", [None, b""], ids=["no-file", "an-empty-one"])
def test_without_a_journal_there_is_none_afterwards_either(file: Path, copy: Path, content: bytes | None) -> None:
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(JournalUnavailable, match="no journal yet"):
        back_up(url_of(file), copy)

    assert file.exists() == (content is not None)
    assert not list(copy.parent.iterdir())


def test_another_programs_database_is_no_journal(file: Path, copy: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE t (a)")
    connection.close()

    with pytest.raises(JournalUnavailable, match="is no journal of mirrord"):
        back_up(url_of(file), copy)

    assert not list(copy.parent.iterdir())


def test_a_directory_that_is_not_there_is_named(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(JournalUnavailable, match=r"nowhere: No such file"):
        back_up(url_of(ledger.file), tmp_path / "nowhere" / "copy.db")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_directory_that_may_not_be_written_is_a_matter_of_permission(ledger: Ledger, copy: Path) -> None:
    ledger.record(change("a"))
    copy.parent.chmod(0o555)
    child = os.fork()
    if not child:
        code = 1
        try:
            os.setuid(65534)
            back_up(url_of(ledger.file), copy)
        except JournalForbidden:
            code = 77
        finally:
            os._exit(code)

    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 77


@pytest.mark.parametrize("side", ["", "-wal", "-shm", ".lock"])
def test_no_backup_goes_where_the_journal_is(ledger: Ledger, side: str) -> None:
    assert objection(url_of(ledger.file), Path(f"{ledger.file}{side}")) == "is the journal itself"


def test_no_backup_goes_to_the_journal_by_another_name(ledger: Ledger, copy: Path) -> None:
    copy.symlink_to(ledger.file)

    assert objection(url_of(ledger.file), copy) == "is the journal itself"


def test_a_backup_needs_a_file_or_a_free_name(open_ledger: OpenLedger, copy: Path) -> None:
    url = url_of(open_ledger().file)

    assert objection(url, copy) is None
    assert objection(url, copy.parent) == "is a directory; name a file in it"
    assert objection(url, Path("/dev/null")) == "is no regular file"
