"""A running watch with all that it has said, and other processes that change what it watches."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from mirrord.sources.boundary import Boundary
from mirrord.sources.hints import Hint, HintBuffer, HintKind
from mirrord.sources.watch import Watch

PATIENCE_S = 20.0
ARRIVALS = (HintKind.WHOLE, HintKind.TOUCHED)


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


def files_below(root: Path) -> set[str]:
    walk = os.walk(root)
    return {str((Path(directory) / name).relative_to(root)) for directory, _, names in walk for name in names}
