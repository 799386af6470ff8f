"""A running watch with all that it has said, and other processes that change what it watches."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mirrord.sources.boundary import Boundary
from mirrord.sources.hints import Hint, HintBuffer, HintKind
from mirrord.sources.watch import Watch

PATIENCE_S = 20.0
ARRIVALS = (HintKind.WHOLE, HintKind.WRITING, HintKind.TOUCHED)


class Watching:
    """A running watch and all that it has said so far."""

    def __init__(self, root: Path, watch: Watch, woken: threading.Event) -> None:
        self.root = root
        self.watch = watch
        self.hints: list[Hint] = []
        self._woken = woken

    def until(self, enough: Callable[[list[Hint]], bool]) -> list[Hint]:
        """Collect hints until there are enough; fails after a while."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self._woken.clear()
            self.hints += self.watch.drain()
            if enough(self.hints):
                return self.hints
            if not self._woken.wait(deadline - time.monotonic()):
                raise AssertionError(f"not enough: {self.hints[-20:]}, {len(self.hints)} in all")

    def until_said(self, path: str, *kinds: HintKind) -> list[Hint]:
        return self.until(lambda hints: any(hint.path == path and hint.kind in kinds for hint in hints))

    def until_lost(self, path: str = "") -> Hint:
        said = self.until_said(path, HintKind.LOST)
        return next(hint for hint in said if hint.kind is HintKind.LOST and hint.path == path)

    def settle(self, marker: str = "zz-marker") -> list[Hint]:
        """Collect until a file made now is reported: whatever happened before it has been."""
        (self.root / marker).write_text("x")
        return self.until_said(marker, *ARRIVALS)

    def arrived(self) -> set[str]:
        return {hint.path for hint in self.hints if hint.kind in ARRIVALS}

    def kinds_of(self, path: str) -> list[HintKind]:
        return [hint.kind for hint in self.hints if hint.path == path]


NewWatch = Callable[[Boundary, HintBuffer], Watch]
Start = Callable[..., Watching]


def run_python(program: str, cwd: Path, *arguments: str) -> None:
    """Run the program in another process, to its end."""
    prelude = "import os, sys, random, shutil\n"
    subprocess.run([sys.executable, "-c", prelude + program, *arguments], cwd=cwd, check=True)


class Writer:
    """Another process, which has a file open and does to it as it is told; each method returns when that is done."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def write(self, text: str) -> None:
        self._tell("write", text)

    def keep_writing(self) -> None:
        """Append a line a hundred times a second, until it is told something else."""
        self._tell("keep")

    def close(self) -> None:
        self._tell("close")

    def _tell(self, *words: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        self.hear()

    def hear(self) -> None:
        """Wait until it has done what it was told."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "done\n"


_WRITER = """
import json, select, sys
with open(sys.argv[1], "a") as file:
    print("done", flush=True)
    for line in sys.stdin:
        match json.loads(line):
            case ["write", text]:
                file.write(text)
                file.flush()
            case ["close"]:
                file.close()
        print("done", flush=True)
        while line.startswith('["keep"') and not select.select([sys.stdin], [], [], 0.01)[0]:
            print("another line", file=file, flush=True)
"""


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """The file, made where it is not there, is open in another process, at the latest until the block ends."""
    command = [sys.executable, "-c", _WRITER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        writer = Writer(process)
        writer.hear()
        yield writer


def files_below(root: Path) -> set[str]:
    walk = os.walk(root)
    return {str((Path(directory) / name).relative_to(root)) for directory, _, names in walk for name in names}
