"""A number of files to an origin on disk: empty files, a hundred to a directory."""

import os
from pathlib import Path

PER_DIRECTORY = 100


def key_of(number: int) -> str:
    return f"d{number // PER_DIRECTORY:05}/page-{number % PER_DIRECTORY:02}.html"


def plant(root: Path, files: int) -> None:
    """Make `root` with files 0 to `files` - 1."""
    root.mkdir()
    for number in range(files):
        path = f"{root}/{key_of(number)}"
        if number % PER_DIRECTORY == 0:
            os.mkdir(os.path.dirname(path))  # noqa: PTH102, PTH120 - 300,000 times
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
