"""What is said on stderr of settings and of failures, where systemd reads it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.asking import settings_in


def started(directory: Path, *arguments: str, journal: bool) -> tuple[int, list[str]]:
    """How a command ended, and its lines on a stderr that is the journal's, or a pipe and another stream is."""
    reading, writing = os.pipe()
    status = os.fstat(writing)
    inode = status.st_ino if journal else status.st_ino + 1
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MIRRORD_")}
    environment = kept | {"JOURNAL_STREAM": f"{status.st_dev}:{inode}"}
    command = [sys.executable, "-m", "mirrord", *arguments, "-c", str(directory / "config.toml")]
    with os.fdopen(reading) as stderr:
        process = subprocess.Popen(command, env=environment, stderr=writing, stdout=subprocess.DEVNULL)
        os.close(writing)
        lines = stderr.read().splitlines()
    return process.wait(), lines


@pytest.mark.parametrize("journal", [True, False], ids=["journal", "pipe"])
def test_every_mistake_is_an_error_to_the_journal_and_plain_to_others(journal: bool, tmp_path: Path) -> None:
    settings_in(tmp_path, docs="bukket = 1", pages="rate = 2")

    code, lines = started(tmp_path, "run", journal=journal)

    assert code == 78
    assert len(lines) > 1
    assert {line.startswith("<3>") for line in lines} == {journal}
    assert any("bukket" in line for line in lines)


def test_a_failure_is_an_error_to_the_journal(tmp_path: Path) -> None:
    settings_in(tmp_path)
    secret = tmp_path / "not-for-everybody"
    secret.write_text("the-secret")
    secret.chmod(0o600)
    (tmp_path / "journal.db").write_bytes(b"this is no database" * 100)

    code, lines = started(tmp_path, "once", journal=True)

    assert code == 1
    (said,) = [line for line in lines if "journal.db" in line]
    assert said.startswith("<3>mirrord: ")
