"""`mirrord service`: what it puts where, that it leaves alone what is people's, and what it refuses."""

import os
import re
import shlex
import stat
import subprocess
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from mirrord.cli import app
from mirrord.cli.installing import COMMANDS, PROGRAM, Found, Part, State, Step, below, in_words, plan

HERE = Path(__file__).parent.parent.parent
README = (HERE / "README.md").read_text("utf-8")
DROP_INS = {path.stem: path.read_text("utf-8") for path in (HERE / "systemd" / "drop-ins").glob("*.conf")}
UNIT = Part(Path("/etc/systemd/system/mirrord.service"), b"[Unit]\nDescription=new\n")
KEY = Part(Path("/etc/mirrord/secret-key"), b"", 0o600, yours=True)


def installed(root: Path, *arguments: str, program: str = PROGRAM) -> Result:
    return CliRunner().invoke(app, ["service", "install", "--root", str(root), "--program", program, *arguments])


def tree(root: Path) -> dict[str, tuple[str, bytes]]:
    """Mode and content of every file below, by its path there."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): (stat.filemode(path.stat().st_mode), path.read_bytes()) for path in files}


def by_hand() -> list[str]:
    """The lines that the README gives instead of `mirrord service install`."""
    block = re.search(r"By hand, .*?```console\n(.*?)```", README, re.DOTALL)
    assert block is not None
    return [line.removeprefix("# ") for line in block[1].splitlines()]


def test_the_lines_in_the_readme_put_the_same_files_in_place(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    files = [line for line in by_hand() if "install" in line]

    ended = installed(ours)
    for line in files:
        there = re.sub(r" /(etc|usr)/", rf" {theirs}/\1/", line)
        subprocess.run(["sh", "-c", there], cwd=HERE, check=True, timeout=10)

    assert ended.exit_code == 0, ended.output
    assert tree(ours) == tree(theirs)
    assert [tuple(shlex.split(line)) for line in by_hand() if line not in files] == list(COMMANDS)


def test_a_second_install_changes_nothing_and_says_so(tmp_path: Path) -> None:
    installed(tmp_path)
    before = {path: path.stat().st_ino for path in tmp_path.rglob("*")}

    again = installed(tmp_path)

    assert again.exit_code == 0
    assert {line.partition(": ")[2] for line in again.stdout.splitlines()} == {"unchanged", "kept, it is yours"}
    assert {path: path.stat().st_ino for path in tmp_path.rglob("*")} == before


def test_what_people_have_filled_in_is_kept_and_what_is_ours_is_renewed(tmp_path: Path) -> None:
    installed(tmp_path)
    settings, key = tmp_path / "etc/mirrord/config.toml", tmp_path / "etc/mirrord/secret-key"
    unit = tmp_path / "etc/systemd/system/mirrord.service"
    settings.write_text("# mine\n")
    key.write_text("the-secret")
    unit.write_text("# of an older version\n")
    unit.chmod(0o600)

    again = installed(tmp_path)

    assert (settings.read_text(), key.read_text()) == ("# mine\n", "the-secret")
    assert unit.read_text() == (HERE / "systemd/mirrord.service").read_text()
    assert stat.S_IMODE(unit.stat().st_mode) == 0o644
    assert "mirrord.service: changed" in again.stdout


def test_the_secret_key_is_made_empty_and_roots_alone(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        installed(tmp_path)
    finally:
        os.umask(before)

    key = tmp_path / "etc/mirrord/secret-key"
    assert (stat.S_IMODE(key.stat().st_mode), key.read_bytes()) == (0o600, b"")
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o755, "the service's user reads its settings there"


def test_a_key_that_others_may_read_is_said(tmp_path: Path) -> None:
    installed(tmp_path)
    (tmp_path / "etc/mirrord/secret-key").chmod(0o644)

    again = installed(tmp_path)

    assert "chmod 600 /etc/mirrord/secret-key" in again.stderr


def test_a_dry_run_shows_every_file_and_changes_none(tmp_path: Path) -> None:
    shown = installed(tmp_path, "--dry-run")

    assert shown.exit_code == 0
    assert list(tmp_path.iterdir()) == []
    for part in ("mirrord.service: new", f"ExecStart={PROGRAM} run", "max_user_watches", "secret-key: new, mode 0600"):
        assert part in shown.stdout


def test_a_dry_run_shows_the_difference_and_never_the_key(tmp_path: Path) -> None:
    installed(tmp_path)
    (tmp_path / "etc/mirrord/secret-key").write_text("the-secret")
    unit = tmp_path / "etc/systemd/system/mirrord.service"
    unit.write_text(unit.read_text().replace("Nice=5", "Nice=4"))

    shown = installed(tmp_path, "--dry-run")

    assert "    -Nice=4\n" in shown.stdout
    assert "    +Nice=5\n" in shown.stdout
    assert "the-secret" not in shown.output
    assert "Nice=4" in unit.read_text()


def test_the_units_start_the_program_that_was_named(tmp_path: Path) -> None:
    installed(tmp_path, program="/usr/lib/mirrord/bin/mirrord")

    for name, more in (("mirrord.service", ""), ("mirrord@.service", " --config /etc/mirrord/%i.toml")):
        text = (tmp_path / "etc/systemd/system" / name).read_text()
        assert f"ExecStart=/usr/lib/mirrord/bin/mirrord run{more}\n" in text
        assert f"ExecReload=/usr/lib/mirrord/bin/mirrord reload{more}\n" in text
        assert PROGRAM not in text


@pytest.mark.parametrize(
    "program",
    ["/home/me/.local/bin/mirrord", "/root/bin/mirrord", "/tmp/mirrord", "/opt/my programs/mirrord", "mirrord"],
)
def test_a_program_that_the_service_could_not_run_is_refused(tmp_path: Path, program: str) -> None:
    ended = installed(tmp_path, program=program)

    assert (ended.exit_code, ended.stdout) == (1, "")
    assert program in ended.stderr
    assert PROGRAM in ended.stderr, "what would do"
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "etc").write_text("a file\n")

    ended = installed(tmp_path)

    assert ended.exit_code == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"mirrord: {tmp_path}/etc")


def test_a_dry_run_for_this_machine_shows_the_commands_too() -> None:
    shown = CliRunner().invoke(app, ["service", "install", "--dry-run", "--program", PROGRAM])

    assert shown.exit_code == 0, shown.output
    assert shown.stdout.splitlines()[-len(COMMANDS) :] == [f"# {shlex.join(command)}" for command in COMMANDS]


@pytest.mark.parametrize(
    ("part", "there", "state"),
    [
        (UNIT, None, State.NEW),
        (UNIT, Found(UNIT.content, 0o644), State.UNCHANGED),
        (UNIT, Found(UNIT.content, 0o600), State.CHANGED),
        (UNIT, Found(b"", 0o644), State.CHANGED),
        (KEY, None, State.NEW),
        (KEY, Found(b"", 0o644), State.KEPT),
    ],
    ids=["missing", "the same", "another mode", "another content", "no key", "a key"],
)
def test_what_becomes_of_a_file(part: Part, there: Found | None, state: State) -> None:
    (step,) = plan([part], {} if there is None else {part.path: there})

    assert step == Step(part, state, there)
    assert in_words(step).startswith(f"{part.path}: {state}")


def test_a_path_lies_below_its_root() -> None:
    assert below(Path("/pkg"), Path("/etc/mirrord")) == Path("/pkg/etc/mirrord")


def test_every_drop_in_can_be_had_by_its_name() -> None:
    listed = CliRunner().invoke(app, ["service", "drop-in"])
    printed = {name: CliRunner().invoke(app, ["service", "drop-in", name]).stdout for name in DROP_INS}

    assert listed.stdout.split() == sorted(DROP_INS)
    assert printed == DROP_INS


def test_a_drop_in_that_there_is_not_is_wrong_usage_and_names_those_there_are() -> None:
    ended = CliRunner().invoke(app, ["service", "drop-in", "origin"])

    assert (ended.exit_code, ended.stdout) == (2, "")
    assert "origin-home" in ended.stderr
