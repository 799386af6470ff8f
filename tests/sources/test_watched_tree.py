"""Watch limits, missing permissions, and what the watches stand for after them."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from mirrord.sources.boundary import Boundary
from mirrord.sources.hints import HintBuffer, HintKind
from mirrord.sources.inotify import InotifyWatch
from mirrord.sources.inotify_reader import InotifyReader
from tests.sources.watching import ARRIVALS, Start

WHOLE, TOUCHED, LOST = HintKind.WHOLE, HintKind.TOUCHED, HintKind.LOST


class _Limited(InotifyReader):
    """Refuses the sixth watch and all after it."""

    def add(self, path: str) -> int:
        if len(self._id_of) >= 5:
            raise OSError(errno.ENOSPC, "inotify watch limit reached")
        return super().add(path)


def _limited(boundary: Boundary, hints: HintBuffer) -> InotifyWatch:
    return InotifyWatch(boundary, hints, new_reader=_Limited)


def test_at_the_watch_limit_it_goes_on_with_what_it_has_and_says_so_once(tmp_path: Path, start: Start) -> None:
    for n in range(10):
        (tmp_path / f"d{n}" / "deep").mkdir(parents=True)
    watching = start(tmp_path, backend=_limited)

    (tmp_path / "d-late").mkdir()
    (tmp_path / "d-late-2").mkdir()
    watching.settle()

    losses = [hint for hint in watching.hints if hint.kind is LOST]
    assert [hint.path for hint in losses] == [""]
    assert "fs.inotify.max_user_watches" in losses[0].reason
    assert "of 21 directories 5" in losses[0].reason
    assert (watching.watch.watched, watching.watch.missing) == (5, 18)


def test_watches_given_back_at_the_limit_are_used_again(tmp_path: Path, start: Start) -> None:
    for n in range(6):
        (tmp_path / f"d{n}").mkdir()
    watching = start(tmp_path, backend=_limited)

    for n in range(6):
        (tmp_path / f"d{n}").rmdir()
    watching.settle()
    assert (watching.watch.watched, watching.watch.missing) == (1, 0)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "f").write_text("x")

    watching.until_said("new/f", *ARRIVALS)
    assert watching.watch.missing == 0


class _Shut(InotifyReader):
    """Refuses directories named "shut", until one named "key" is there."""

    def add(self, path: str) -> int:
        if path.endswith("/shut") and not Path(path, "key").exists():
            raise PermissionError(errno.EACCES, "Permission denied")
        return super().add(path)


def test_a_directory_made_readable_is_watched_from_then_on(tmp_path: Path, start: Start) -> None:
    (tmp_path / "shut").mkdir()
    watching = start(tmp_path, backend=lambda boundary, hints: InotifyWatch(boundary, hints, new_reader=_Shut))
    assert "Permission denied" in watching.until_lost("shut").reason

    (tmp_path / "shut" / "key").touch()
    (tmp_path / "shut").chmod(0o750)

    watching.until_said("shut/key", TOUCHED)
    (tmp_path / "shut" / "f").write_text("x")
    watching.until_said("shut/f", WHOLE)
    assert watching.watch.missing == 0


_WATCH_ONCE = """
import json, sys
from pathlib import Path
from mirrord.sources.watch import open_watch
for setting in sys.argv[2:]:
    name, value = setting.split("=")
    Path("/proc/sys/user", name).write_text(value)
watch = open_watch(Path(sys.argv[1]), mode="inotify", follow_symlinks=False, wake=int, skip_directory=lambda _: False)
try:
    watch.start()
except OSError as exc:
    print(json.dumps({"error": str(exc)}))
else:
    hints = [[hint.kind.name, hint.path, hint.reason] for hint in watch.drain()]
    print(json.dumps({"watched": watch.watched, "missing": watch.missing, "hints": hints}))
    watch.stop()
"""


def _watch_under(confinement: Sequence[str], root: Path, *settings: str) -> dict[str, object]:
    """What a watch says that starts in a process of its own, confined so that limits and permissions bite."""
    if shutil.which(confinement[0]) is None or subprocess.run([*confinement, "true"], check=False).returncode:
        pytest.skip(f"{confinement[0]} is not possible here")
    done = subprocess.run(
        [*confinement, sys.executable, "-W", "error", "-c", _WATCH_ONCE, str(root), *settings],
        check=True,
        capture_output=True,
        text=True,
    )
    said: dict[str, object] = json.loads(done.stdout)
    return said


_OWN_LIMITS = ("unshare", "--user", "--map-root-user")  # limits of the namespace: nobody else's watches count


def test_the_kernels_watch_limit_is_told_with_the_numbers(tmp_path: Path) -> None:
    for n in range(60):
        (tmp_path / f"d{n}").mkdir()

    said = _watch_under(_OWN_LIMITS, tmp_path, "max_inotify_watches=20")

    reason = "fs.inotify.max_user_watches is reached: of 61 directories 20 are watched"
    assert said == {"watched": 20, "missing": 41, "hints": [["LOST", "", reason]]}


def test_without_a_single_watch_there_is_no_start(tmp_path: Path) -> None:
    said = _watch_under(_OWN_LIMITS, tmp_path, "max_inotify_watches=0")

    assert "fs.inotify.max_user_watches" in str(said["error"])


def test_the_limit_of_instances_is_named(tmp_path: Path) -> None:
    said = _watch_under(_OWN_LIMITS, tmp_path, "max_inotify_instances=0")

    assert "fs.inotify.max_user_instances" in str(said["error"])


_NO_OVERRIDE = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all")


def test_unreadable_directories_are_missing_and_each_is_told(tmp_path: Path) -> None:
    for name in ("open", "shut", "shut-too"):
        (tmp_path / name / "deep").mkdir(parents=True)
    for name in ("shut", "shut-too"):
        (tmp_path / name).chmod(0)

    said = _watch_under(_NO_OVERRIDE if os.geteuid() == 0 else ("env",), tmp_path)

    for name in ("shut", "shut-too"):
        (tmp_path / name).chmod(0o700)
    reason = "cannot watch the directory: Permission denied"
    assert said["missing"] == 2
    assert said["watched"] == 3
    assert sorted(said["hints"]) == [["LOST", "shut", reason], ["LOST", "shut-too", reason]]  # type: ignore[call-overload]  # JSON
