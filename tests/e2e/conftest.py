"""Places to work in: a tree with its origin, a sandbox and the program, all of them real."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.place import GatedOrigin, Place, place_at

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with place_at(tmp_path) as here:
        yield here


@pytest.fixture
def gate(tmp_path: Path) -> GatedOrigin:
    return GatedOrigin(tmp_path / "www")


@pytest.fixture
def gated(tmp_path: Path, gate: GatedOrigin) -> Iterator[Place]:
    """A place whose origin answers when `gate` lets it."""
    with place_at(tmp_path, gate=gate) as here:
        yield here


@pytest.fixture
def confined() -> tuple[str, ...]:
    """What to run the program under so that permissions count for it."""
    if os.geteuid() != 0:
        return ("env",)
    command = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all")
    if shutil.which(command[0]) is None or subprocess.run([*command, "true"], check=False).returncode:
        pytest.skip("permissions do not count for root, and setpriv cannot make them")
    return command


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: the page is not seen by a browser")
    if not CHROMIUM.exists():
        pytest.skip(f"no {CHROMIUM}: the page is not seen by a browser")
    with sync_api.sync_playwright() as playwright:
        # a name that leads here, of which the browser does not know that it is this machine
        arguments = ["--no-sandbox", "--host-resolver-rules=MAP status.example 127.0.0.1"]
        launched = playwright.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        yield launched
        launched.close()
