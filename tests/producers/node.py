"""Where node and the packages of package.json are; a test skips, aloud, where they are not."""

import shutil
from pathlib import Path

import pytest

_HERE = Path(__file__).parent


def node() -> str:
    program = shutil.which("node")
    if program is None:
        pytest.skip("node is not installed: apt-get install nodejs npm")
    return program


def package(name: str) -> Path:
    folder = _HERE / "node_modules" / name
    if not (folder / "package.json").is_file():
        pytest.skip(f"npm {name} is not installed: npm install --prefix tests/producers")
    return folder
