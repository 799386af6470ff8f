"""A child process that writes files when it is told to: a line of JSON in, a line back when they are in place."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.programs import HERE


class Writer:
    def __init__(self, child: subprocess.Popen[str], log: Path) -> None:
        self._child = child
        self._log = log

    def write(self, content: object) -> None:
        """On return it is written."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        try:
            self._child.stdin.write(json.dumps(content) + "\n")
            self._child.stdin.flush()
            answer = self._child.stdout.readline()
        except BrokenPipeError:
            answer = ""
        assert answer == "written\n", f"{answer!r}; {self._log.read_text(errors='replace')[-2000:]}"


@contextmanager
def running_writer(command: Sequence[str], log: Path) -> Iterator[Writer]:
    """It ends when its standard input does, so with this process in any case."""
    with (
        log.open("ab") as errors,
        subprocess.Popen(
            command, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, encoding="utf-8"
        ) as child,
    ):
        try:
            yield Writer(child, log)
        finally:
            child.kill()
