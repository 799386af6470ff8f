"""The manual page: as the commands are now, right for groff, and with every command in it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from mirrord.cli import app
from mirrord.cli.examples import COMMANDS
from mirrord.cli.manual import page

HERE = Path(__file__).parent.parent.parent
SECTIONS = ["NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "EXIT STATUS", "ENVIRONMENT", "FILES", "SIGNALS", "EXAMPLES"]


def test_the_page_in_docs_is_the_one_that_is_made_of_the_commands() -> None:
    made = (HERE / "docs" / "mirrord.1").read_text("utf-8")

    assert made == page(), "python -m mirrord.cli.manual > docs/mirrord.1"


def test_neither_terminal_nor_locale_change_it() -> None:
    environment = {**os.environ, "COLUMNS": "40", "LC_ALL": "C", "SHELL": "/bin/fish", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "mirrord.cli.manual"]

    made = subprocess.run(command, env=environment, cwd=HERE, capture_output=True, text=True, check=True)

    assert made.stdout == page()
    assert made.stdout.isascii()


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_groff_has_nothing_to_say_of_it_and_it_fits() -> None:
    command = ["groff", "-man", "-Tutf8", "-ww", "-P-cbou", "-rLL=80n"]

    made = subprocess.run(command, input=page(), capture_output=True, text=True, check=True)

    assert made.stderr == ""
    assert max(map(len, made.stdout.splitlines())) <= 80
    for section in SECTIONS:
        assert f"\n{section}\n" in made.stdout
    assert "mirrord status --watch --every 5s" in made.stdout


def test_every_command_is_in_it_with_examples_and_exit_codes() -> None:
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    paths = {""}
    for name, command in root.commands.items():
        below = command.commands if isinstance(command, TyperGroup) else None
        paths |= {name} if below is None else {f"{name} {each}" for each in below}

    assert paths == COMMANDS.keys()
