"""Files that are no journal, damaged, missing, forbidden, locked or on a full disk: each is named, with what to do."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from mirrord.journal.database import open_engine, translated
from mirrord.journal.errors import JournalCorrupt, JournalReplaced, JournalUnavailable
from mirrord.journal.report import report
from mirrord.journal.store import Journal
from tests.journal.conftest import OpenLedger
from tests.journal.ledger import Ledger, change, ended, url_of

HERE = Path(__file__).parents[2]  # where `tests` can be imported from

RECORD_OR_SAY_WHY_NOT = """
import sys
from pathlib import Path
from tests.journal.ledger import Ledger, change
from mirrord.journal.errors import JournalUnavailable
try:
    Ledger(Path(sys.argv[1])).record(change("b"))
except JournalUnavailable as exc:
    print(exc)
"""


def without_privileges(*command: str) -> list[str]:
    """`command` as somebody for whom permissions count, also when the tests run as root."""
    if os.geteuid() != 0:
        return list(command)
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("root may write everywhere, and setpriv is not installed here")
    return [setpriv, "--bounding-set", "-dac_override,-dac_read_search", *command]


@pytest.fixture
def full(ledger: Ledger, file: Path) -> Path:
    """A closed journal of some pages."""
    ledger.record(*(change(f"key/{number:06}") for number in range(2000)))
    ledger.close()
    return file


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"This is no journal at all.\n" * 500, id="text"),
        pytest.param(b"SQLite format 3\0" + b"\xff" * 8176, id="only-its-first-bytes"),
    ],
)
def test_a_file_that_is_no_journal_is_named_with_what_to_do(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    journal = Journal(url_of(file))

    with pytest.raises(JournalCorrupt) as refusal:
        journal.open()
    journal.close()

    assert str(file) in str(refusal.value)
    assert "move the file" in str(refusal.value)
    assert file.read_bytes() == content


def test_a_report_of_a_file_that_is_no_journal_says_so(file: Path) -> None:
    file.write_bytes(b"This is no journal at all.\n" * 500)

    with pytest.raises(JournalCorrupt, match="move the file"):
        report(url_of(file), ["docs"])


def test_a_truncated_journal_is_named_with_what_to_do(full: Path, open_ledger: OpenLedger) -> None:
    os.truncate(full, full.stat().st_size // 2)

    with pytest.raises(JournalCorrupt) as refusal:
        open_ledger().known()

    assert str(full) in str(refusal.value)
    assert "move the file" in str(refusal.value)


def test_a_journal_with_damaged_pages_is_named_with_what_to_do(full: Path, open_ledger: OpenLedger) -> None:
    size = full.stat().st_size
    with full.open("r+b") as opened:
        opened.seek(size // 3)
        opened.write(b"\xa5" * (size // 3))

    with pytest.raises(JournalCorrupt, match="move the file"):
        open_ledger().known()


def test_an_index_that_misses_rows_is_damage_too(ledger: Ledger, file: Path, open_ledger: OpenLedger) -> None:
    ledger.close()
    with closing(sqlite3.connect(file)) as connection, connection:
        (definition,) = connection.execute("SELECT * FROM sqlite_master WHERE name = 'objects_due'").fetchall()
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("DELETE FROM sqlite_master WHERE name = 'objects_due'")
    open_ledger().record(change("a"))
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", definition)
    damaged = open_ledger()

    with pytest.raises(JournalCorrupt, match="move the file"):
        damaged.record(change("a", None))


def test_a_missing_directory_is_named_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "missing" / "journal.db"
    journal = Journal(url_of(file))

    with pytest.raises(JournalUnavailable) as refusal:
        journal.open()
    journal.close()

    assert str(file) in str(refusal.value)
    assert "directory must exist" in str(refusal.value)


@pytest.mark.parametrize(
    ("existing", "file_mode", "directory_mode", "advice"),
    [
        pytest.param(False, 0, 0o555, "directory must exist and be writable", id="new-in-a-read-only-directory"),
        pytest.param(True, 0o600, 0o555, "its directory is read-only", id="old-in-a-read-only-directory"),
        pytest.param(True, 0o400, 0o755, "read-only for the user", id="read-only-file"),
        pytest.param(True, 0o000, 0o755, "cannot be opened", id="unreadable-file"),
    ],
)
def test_what_may_not_be_written_is_named_with_what_to_do(
    ledger: Ledger, tmp_path: Path, existing: bool, file_mode: int, directory_mode: int, advice: str
) -> None:
    ledger.record(change("a"))
    ledger.close()
    directory = tmp_path / "state"
    directory.mkdir()
    file = directory / "journal.db"
    if existing:
        file.write_bytes(ledger.file.read_bytes())
        file.chmod(file_mode)
    directory.chmod(directory_mode)

    said = subprocess.run(
        without_privileges(sys.executable, "-c", RECORD_OR_SAY_WHY_NOT, str(file)),
        cwd=HERE, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    directory.chmod(0o755)

    assert said.stderr == ""
    assert str(file) in said.stdout
    assert advice in said.stdout


def test_a_journal_that_another_process_keeps_locked_is_named(ledger: Ledger) -> None:
    url = url_of(ledger.file)
    engine = open_engine(url, writing=True)

    with closing(sqlite3.connect(ledger.file, isolation_level=None)) as other, engine.connect() as connection:
        other.execute("BEGIN IMMEDIATE")
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.execute("PRAGMA busy_timeout = 1")  # the journal's own patience would be ten seconds
        with pytest.raises(JournalUnavailable, match="locked by another process") as refusal, translated(url):
            connection.begin()
    engine.dispose()

    assert str(ledger.file) in str(refusal.value)


def test_a_full_disk_is_named_with_what_to_do(ledger: Ledger) -> None:
    url = url_of(ledger.file)
    engine = open_engine(url, writing=True)

    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.execute("PRAGMA max_page_count = 1")  # SQLite then says what it says of a full disk
        with pytest.raises(JournalUnavailable, match="make room") as refusal, translated(url):
            connection.exec_driver_sql("INSERT INTO cursors VALUES ('m', 's', CAST(zeroblob(1000000) AS TEXT), 0, 0)")
    engine.dispose()

    assert str(ledger.file) in str(refusal.value)


@pytest.mark.parametrize(
    ("code", "may_heal"),
    [
        pytest.param(sqlite3.SQLITE_FULL, True, id="full-disk"),
        pytest.param(sqlite3.SQLITE_BUSY, True, id="busy"),
        pytest.param(sqlite3.SQLITE_BUSY_SNAPSHOT, True, id="busy-by-its-longer-code"),
        pytest.param(sqlite3.SQLITE_IOERR_WRITE, True, id="disk-that-fails"),
        pytest.param(sqlite3.SQLITE_READONLY, True, id="read-only"),
        pytest.param(sqlite3.SQLITE_CANTOPEN, True, id="cannot-open"),
        pytest.param(sqlite3.SQLITE_CORRUPT, False, id="corrupt"),
        pytest.param(sqlite3.SQLITE_NOTADB, False, id="no-database"),
        pytest.param(sqlite3.SQLITE_ERROR, False, id="a-table-that-is-not-there"),
    ],
)
def test_what_may_heal_says_so_and_what_to_do(file: Path, code: int, may_heal: bool) -> None:
    failure = sqlite3.OperationalError("said by SQLite")
    failure.sqlite_errorcode = code

    with pytest.raises(JournalUnavailable) as refusal, translated(url_of(file)):
        raise failure

    assert refusal.value.may_heal is may_heal
    assert bool(refusal.value.action) or not may_heal
    assert str(refusal.value).startswith(str(file))


@pytest.mark.parametrize("content", [pytest.param(b"garbage", id="another"), pytest.param(None, id="none")])
def test_a_journal_whose_file_was_taken_away_is_not_written_to(
    ledger: Ledger, file: Path, content: bytes | None
) -> None:
    ledger.record(change("a"))
    file.unlink()
    if content is not None:
        file.write_bytes(content)

    for _ in range(2):
        with pytest.raises(JournalReplaced, match="move the file") as refusal:
            ledger.record(change("b"))

    assert str(file) in str(refusal.value)
    assert not refusal.value.may_heal
    assert (file.read_bytes() if file.exists() else None) == content


def test_after_a_write_that_failed_the_journal_goes_on(ledger: Ledger) -> None:
    with closing(sqlite3.connect(ledger.file)) as other, other:
        other.execute("CREATE TRIGGER no BEFORE INSERT ON objects BEGIN SELECT RAISE(ABORT, 'not now'); END")
    with pytest.raises(JournalUnavailable, match="not now"):
        ledger.record(change("a"))
    with closing(sqlite3.connect(ledger.file)) as other, other:
        other.execute("DROP TRIGGER no")

    ledger.record(change("b"))

    assert ledger.states() == {"b": "stale"}


def test_of_a_transaction_that_fails_half_way_nothing_is_kept(ledger: Ledger) -> None:
    ledger.record(change("a"), change("b"))
    a, b = ledger.claim(0)
    with closing(sqlite3.connect(ledger.file)) as other, other:
        other.execute(
            "CREATE TRIGGER no BEFORE UPDATE ON objects WHEN NEW.key = 'b' BEGIN SELECT RAISE(ABORT, 'not now'); END"
        )

    with pytest.raises(JournalUnavailable, match="not now"):
        ledger.settle(ended(a), ended(b))

    assert ledger.states() == {"a": "claimed", "b": "claimed"}


def test_the_password_of_a_server_is_never_part_of_a_message() -> None:
    with (
        pytest.raises(JournalUnavailable) as refusal,
        translated("postgresql://mirrord:geheim@db.example/journal"),
    ):
        raise sqlite3.OperationalError("anything")

    assert "db.example" in str(refusal.value)
    assert "geheim" not in str(refusal.value)
