"""Places to work in: a tree with its origin, a sandbox and the program, all of them real."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.place import GatedOrigin, Place, place_at


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
