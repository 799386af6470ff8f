"""What both backends say of real trees that change."""

import os
import shutil
import threading
from pathlib import Path

import pytest

from mirrord.sources.hints import HintKind
from mirrord.sources.inotify import InotifyWatch
from mirrord.sources.polling import PollWatch
from mirrord.sources.watch import open_watch
from tests.sources.watching import ARRIVALS, NewWatch, Start, run_python, writing

GONE, TREE_GONE = HintKind.GONE, HintKind.TREE_GONE


def test_a_file_written_in_a_new_directory_is_reported(tmp_path: Path, start: Start, backend: NewWatch) -> None:
    watching = start(tmp_path, backend=backend)

    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "f").write_text("x")

    watching.until_said("a/b/f", *ARRIVALS)


def test_a_modified_file_is_reported(tmp_path: Path, start: Start, backend: NewWatch) -> None:
    (tmp_path / "f").write_text("x")
    watching = start(tmp_path, backend=backend)

    (tmp_path / "f").write_text("longer")

    watching.until_said("f", *ARRIVALS)


def test_snapshots_do_not_tell_whether_a_file_is_being_written(tmp_path: Path, start: Start) -> None:
    watching = start(tmp_path, backend=lambda boundary, hints: PollWatch(boundary, hints, interval_s=0.02))

    with writing(tmp_path / "f") as writer:
        watching.until_said("f", HintKind.TOUCHED)
        seen = len(watching.hints)
        writer.write("x")
        watching.until(lambda hints: len(hints) > seen)
        writer.close()
    watching.settle()

    assert set(watching.kinds_of("f")) == {HintKind.TOUCHED}


def test_a_deleted_file_is_reported_as_gone(tmp_path: Path, start: Start, backend: NewWatch) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_text("x")
    watching = start(tmp_path, backend=backend)

    (tmp_path / "d" / "f").unlink()

    watching.until_said("d/f", GONE)


def test_a_move_is_one_removal_and_one_arrival(tmp_path: Path, start: Start, backend: NewWatch) -> None:
    (tmp_path / "tmp").write_text("x")
    watching = start(tmp_path, backend=backend)

    (tmp_path / "tmp").rename(tmp_path / "final")

    watching.until_said("final", *ARRIVALS)
    assert watching.kinds_of("tmp")[0] is GONE


def test_a_renamed_directory_is_gone_and_its_files_arrive(tmp_path: Path, start: Start, backend: NewWatch) -> None:
    (tmp_path / "old" / "deep").mkdir(parents=True)
    for name in ("old/f", "old/deep/g"):
        (tmp_path / name).write_text("x")
    watching = start(tmp_path, backend=backend)

    (tmp_path / "old").rename(tmp_path / "new")
    (tmp_path / "new" / "deep" / "late").write_text("x")

    watching.until(lambda _: watching.arrived() >= {"new/f", "new/deep/g", "new/deep/late"})
    assert TREE_GONE in watching.kinds_of("old")


def test_a_deleted_tree_is_gone(tmp_path: Path, start: Start, backend: NewWatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "f").write_text("x")
    watching = start(tmp_path, backend=backend)

    shutil.rmtree(tmp_path / "a")

    watching.until_said("a", TREE_GONE)
    assert watching.watch.missing == 0


def test_nothing_below_a_skipped_directory_is_reported(tmp_path: Path, start: Start, backend: NewWatch) -> None:
    (tmp_path / ".git").mkdir()
    watching = start(tmp_path, backend=backend, skip_directory=lambda path: path.rpartition("/")[2] == ".git")

    (tmp_path / "a" / ".git" / "objects").mkdir(parents=True)
    (tmp_path / "a" / ".git" / "objects" / "x").write_text("x")
    (tmp_path / ".git" / "x").write_text("x")
    watching.settle()
    shutil.rmtree(tmp_path / "a" / ".git")
    watching.settle("zzz")

    assert not [hint for hint in watching.hints if ".git" in hint.path]


def test_names_that_are_not_utf8_come_through(tmp_path: Path, start: Start, backend: NewWatch) -> None:
    watching = start(tmp_path, backend=backend)

    run_python(r"os.mkdir(b'd\xff'); open(b'd\xff/f\xfe', 'w').close()", tmp_path)

    watching.until_said("d\udcff/f\udcfe", *ARRIVALS)


def test_a_root_that_goes_is_a_loss_of_everything(tmp_path: Path, start: Start, backend: NewWatch) -> None:
    root = tmp_path / "root"
    root.mkdir()
    watching = start(root, backend=backend)

    root.rename(tmp_path / "elsewhere")

    assert "moved away" in watching.until_lost().reason
    assert not watching.watch.alive


def test_a_root_that_is_not_there_cannot_be_watched(tmp_path: Path, start: Start, backend: NewWatch) -> None:
    open_before = len(os.listdir("/proc/self/fd"))

    with pytest.raises(FileNotFoundError):
        start(tmp_path / "nowhere", backend=backend)

    assert len(os.listdir("/proc/self/fd")) == open_before


def test_followed_links_are_entered_but_never_in_circles_or_out_of_the_root(
    tmp_path: Path, start: Start, backend: NewWatch
) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for directory in (root / "releases" / "1", outside):
        directory.mkdir(parents=True)
    (root / "current").symlink_to("releases/1")
    (root / "releases" / "1" / "up").symlink_to("..")
    (root / "out").symlink_to(outside)
    watching = start(root, backend=backend, follow_symlinks=True)

    (root / "releases" / "1" / "f").write_text("x")
    (outside / "g").write_text("x")

    watching.until(lambda _: watching.arrived() >= {"releases/1/f", "current/f"})
    watching.settle()
    assert not {path for path in watching.arrived() if "up/1/up/" in path or "out/" in path}


def test_links_are_not_entered_unless_followed(tmp_path: Path, start: Start, backend: NewWatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    watching = start(tmp_path, backend=backend)

    (tmp_path / "late").symlink_to("real")
    (tmp_path / "real" / "f").write_text("x")
    watching.until_said("real/f", *ARRIVALS)
    watching.settle()

    assert not watching.arrived() & {"link/f", "late/f"}


def test_stopping_ends_the_thread_and_closes_everything(tmp_path: Path, start: Start, backend: NewWatch) -> None:
    open_before, threads_before = len(os.listdir("/proc/self/fd")), threading.active_count()
    watching = start(tmp_path, backend=backend)
    assert watching.watch.alive

    watching.watch.stop()

    assert len(os.listdir("/proc/self/fd")) == open_before
    assert threading.active_count() == threads_before
    assert watching.watch.drain() == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_fails_says_so(tmp_path: Path, start: Start, backend: NewWatch) -> None:
    def skip_directory(path: str) -> bool:
        raise ValueError(path)

    watching = start(tmp_path, backend=backend, skip_directory=skip_directory)

    (tmp_path / "d").mkdir()

    assert "failed" in watching.until_lost().reason
    assert not watching.watch.alive


@pytest.mark.parametrize(("mode", "chosen"), [("auto", InotifyWatch), ("inotify", InotifyWatch), ("poll", PollWatch)])
def test_the_mode_chooses_the_backend(tmp_path: Path, mode: str, chosen: type) -> None:
    watch = open_watch(tmp_path, mode=mode, follow_symlinks=False, wake=int, skip_directory=lambda _: False)  # type: ignore[arg-type]  # parametrize gives str

    assert isinstance(watch, chosen)
