"""The commands from outside: exit codes, what goes to stdout, and what a mistake looks like."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import programs
from tests.journal.ledger import Ledger
from tests.journal.test_damage import HERE, without_privileges

COMMANDS = ("run", "once", "plan", "check", "status", "sandbox", "demo")


def mirrord(*arguments: str, anew: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MIRRORD_")}
    return programs.run(arguments, kept | {"COLUMNS": "200"} | environment, anew=anew)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Usable settings for an empty directory; the journal does not exist yet."""
    (tmp_path / "www").mkdir()
    path = tmp_path / "config.toml"
    path.write_text(
        f"""
        kodo = {{ access_key = "ak", secret_key = "the-secret" }}
        journal = {{ url = "sqlite:///{tmp_path}/journal.db" }}
        mirror = [
            {{ name = "docs", bucket = "newdocs", source = {{ kind = "directory", path = "{tmp_path}/www" }} }},
            {{ name = "pages", bucket = "newpages", source = {{ kind = "directory", path = "{tmp_path}/www" }} }},
        ]
        """
    )
    path.chmod(0o600)
    return path


def test_help_names_every_command() -> None:
    ended = mirrord("--help")

    assert ended.returncode == 0
    for command in COMMANDS:
        assert f" {command} " in ended.stdout


def test_the_version_is_one_line() -> None:
    ended = mirrord("--version")

    assert ended.returncode == 0
    assert ended.stdout.startswith("mirrord ")
    assert ended.stdout.count("\n") == 1


@pytest.mark.parametrize("arguments", [("nonsense",), ("once", "--nonsense"), ("status", "unwanted")], ids=" ".join)
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...]) -> None:
    ended = mirrord(*arguments, anew=False)

    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr


@pytest.mark.parametrize("command", ["run", "once", "plan", "check", "status"])
def test_wrong_settings_end_every_command_with_78_and_all_mistakes(config: Path, command: str) -> None:
    text = config.read_text()
    config.write_text(text.replace('bucket = "newdocs"', 'buckett = "newdocs"') + '\nlog = { level = "loud" }\n')

    ended = mirrord(command, "-c", str(config), anew=False)

    assert ended.returncode == 78
    assert ended.stdout == ""
    for part in (str(config), "mirror", "buckett", "log.level", "loud", "warning"):
        assert part in ended.stderr
    assert "the-secret" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_settings_that_are_not_there_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"

    ended = mirrord("check", anew=False, MIRRORD_CONFIG=str(missing))

    assert ended.returncode == 78
    assert str(missing) in ended.stderr


def test_usable_settings_are_checked_with_0(config: Path) -> None:
    shown = mirrord("check", "-c", str(config))
    told = mirrord("check", "--json", MIRRORD_CONFIG=str(config))

    assert (shown.returncode, told.returncode) == (0, 0)
    assert "docs" in shown.stdout
    document = json.loads(told.stdout)
    assert (document["file"], document["mirrors"], document["problems"]) == (str(config), ["docs", "pages"], [])
    assert "the-secret" not in shown.stdout + shown.stderr + told.stdout + told.stderr


def test_the_environment_goes_before_the_file(config: Path) -> None:
    ended = mirrord("check", "-c", str(config), anew=False, MIRRORD_LOG__LEVEL="loud")

    assert ended.returncode == 78
    assert "loud" in ended.stderr


def test_once_over_nothing_is_done_and_says_so(config: Path) -> None:
    ended = mirrord("once", "-c", str(config), MIRRORD_LOG__FORMAT="json")

    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert ended.returncode == 0
    assert [line["event"] for line in lines] == ["scan.finished"] * 2
    assert ended.stdout == "docs: no keys\npages: no keys\n"


def test_status_before_anything_ran_says_that_nothing_is_complete_and_writes_nothing(config: Path) -> None:
    shown = mirrord("status", "-c", str(config))
    told = mirrord("status", "--json", "-c", str(config), anew=False)

    assert (shown.returncode, told.returncode) == (1, 1)
    assert "docs" in shown.stdout
    assert [mirror["complete_as_of"] for mirror in json.loads(told.stdout)["mirrors"]] == [None, None]
    assert not (config.parent / "journal.db").exists()


def test_a_journal_that_cannot_be_opened_is_one_sentence(config: Path) -> None:
    (config.parent / "journal.db").write_bytes(b"this is no database" * 100)

    ended = mirrord("once", "-c", str(config))

    assert ended.returncode == 1
    assert "journal.db" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "command", [("status",), ("explain", "docs", "a"), ("parked",), ("refresh", "docs", "--all")], ids=" ".join
)
@pytest.mark.parametrize(
    ("file_mode", "directory_mode"), [(0o600, 0o000), (0o000, 0o755), (0o444, 0o555)], ids=["shut", "file", "wal"]
)
def test_a_journal_that_this_user_may_not_use_ends_with_77_and_how_to_ask(
    config: Path, command: tuple[str, ...], file_mode: int, directory_mode: int
) -> None:
    directory = config.parent / "state"
    directory.mkdir()
    Ledger(directory / "journal.db").close()
    (directory / "journal.db").chmod(file_mode)
    directory.chmod(directory_mode)
    url = f"sqlite:///{directory}/journal.db"
    verb, *arguments = command

    ended = subprocess.run(
        without_privileges(sys.executable, "-m", "mirrord", verb, "-c", str(config), *arguments),
        env={"PATH": os.environ.get("PATH", ""), "MIRRORD_JOURNAL__URL": url},
        cwd=HERE, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    directory.chmod(0o755)

    assert (ended.returncode, ended.stdout) == (77, ""), ended
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"mirrord: {directory}/journal.db: ")
    assert line.endswith("; ask as root or as the user that the service runs as")
