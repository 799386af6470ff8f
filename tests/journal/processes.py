"""Scripts run as processes of their own, to be killed, or to wait for each other."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parents[2]  # where `tests` can be imported from


def start(script: str, file: Path) -> "subprocess.Popen[str]":
    """The script, with the file as its argument; it is talked to by lines."""
    return subprocess.Popen(
        [sys.executable, "-c", script, str(file)],
        cwd=HERE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
