"""What inotify tells exactly, of trees that other processes change at full speed."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mirrord.sources.hints import HintKind
from tests.sources.watching import Start, files_below, run_python, writing

WHOLE, WRITING, TOUCHED, GONE, TREE_GONE, LOST = (
    HintKind.WHOLE,
    HintKind.WRITING,
    HintKind.TOUCHED,
    HintKind.GONE,
    HintKind.TREE_GONE,
    HintKind.LOST,
)


def test_a_file_is_whole_when_it_is_closed_or_moved_in(tmp_path: Path, start: Start) -> None:
    watching = start(tmp_path)

    (tmp_path / "f").write_text("x")
    watching.until_said("f", WHOLE)
    (tmp_path / "f").rename(tmp_path / "g")
    watching.until_said("g", WHOLE)

    assert watching.kinds_of("g") == [WHOLE]
    assert watching.kinds_of("f")[-2:] == [WHOLE, GONE]


def test_a_file_is_being_written_from_its_creation_until_its_writer_closes_it(tmp_path: Path, start: Start) -> None:
    watching = start(tmp_path)

    with writing(tmp_path / "f") as writer:
        watching.until_said("f", WRITING)
        writer.write("a chunk")
        watching.settle("after-a-chunk")
        writer.write("more")
        watching.settle("after-more")
        while_open = watching.kinds_of("f")
        writer.close()
        watching.until_said("f", WHOLE)

    assert set(while_open) <= {TOUCHED, WRITING}
    assert while_open[-1] is WRITING
    assert watching.kinds_of("f") == [*while_open, WHOLE]


def test_a_file_appended_to_in_place_is_being_written(tmp_path: Path, start: Start) -> None:
    (tmp_path / "f").write_text("x")
    watching = start(tmp_path)

    with writing(tmp_path / "f") as writer:
        writer.write("more")
        watching.settle("after-more")
        while_open = watching.kinds_of("f")
        writer.close()
        watching.until_said("f", WHOLE)

    assert while_open == [WRITING]
    assert watching.kinds_of("f") == [WRITING, WHOLE]


def test_files_written_at_full_speed_all_end_whole(tmp_path: Path, start: Start) -> None:
    watching = start(tmp_path)

    run_python("for n in range(5000): open(f'f{n}', 'w').write(str(n) if n % 2 else '')", tmp_path)
    watching.settle()

    last = {hint.path: hint.kind for hint in watching.hints}
    assert {last[f"f{n}"] for n in range(5000)} == {WHOLE}


def test_links_and_changed_attributes_are_touches(tmp_path: Path, start: Start) -> None:
    root, outside = _new(tmp_path / "root"), tmp_path / "outside"
    (root / "f").write_text("x")
    outside.write_text("x")
    watching = start(root)

    (root / "hard").hardlink_to(root / "f")
    (root / "published").hardlink_to(outside)
    outside.unlink()
    (root / "soft").symlink_to("f")
    (root / "f").chmod(0o600)
    watching.settle()

    for name in ("hard", "published", "soft", "f"):
        assert watching.kinds_of(name) == [TOUCHED]


def test_a_nameless_file_that_is_given_a_name_is_touched(tmp_path: Path, start: Start) -> None:
    """Nobody says when such a file is closed, and it has one name only."""
    watching = start(tmp_path)

    program = """
import ctypes
try:
    fd = os.open(".", os.O_TMPFILE | os.O_WRONLY)
except OSError:
    open("impossible", "w").close()
else:
    os.write(fd, b"x")
    assert not ctypes.CDLL(None).linkat(-100, b"/proc/self/fd/%d" % fd, -100, b"named", 0x400)
"""
    run_python(program, tmp_path)
    watching.settle()

    if (tmp_path / "impossible").exists():
        pytest.skip("the file system has no O_TMPFILE")
    assert watching.kinds_of("named") == [TOUCHED]


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root, to give up a capability")
def test_a_file_cut_short_that_loses_its_set_uid_bit_is_being_written(tmp_path: Path, start: Start) -> None:
    (tmp_path / "f").write_text("x")
    (tmp_path / "f").chmod(0o4755)
    watching = start(tmp_path)

    program = "import os; os.truncate('f', 0)"
    confined = ["setpriv", "--bounding-set", "-fsetid", sys.executable, "-c", program]
    subprocess.run(confined, cwd=tmp_path, check=True)

    watching.until_said("f", WRITING)


def test_reading_is_not_reported(tmp_path: Path, start: Start) -> None:
    (tmp_path / "f").write_text("x")
    watching = start(tmp_path)

    (tmp_path / "f").read_text()
    watching.settle()

    assert watching.kinds_of("f") == []


def test_every_file_moved_in_with_its_directory_is_touched(tmp_path: Path, start: Start) -> None:
    root, staging = tmp_path / "root", tmp_path / "staging"
    root.mkdir()
    names = {f"{a}/{b}/f{c}" for a in range(5) for b in range(5) for c in range(5)}
    for name in names:
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).write_text("x")
    watching = start(root)

    staging.rename(root / "tree")
    watching.settle()

    assert watching.arrived() >= {f"tree/{name}" for name in names}
    assert watching.watch.watched == 1 + 1 + 5 + 25


def test_a_storm_of_nested_directories_loses_no_file(tmp_path: Path, start: Start) -> None:
    watching = start(tmp_path)

    for _ in range(100):
        program = f"mkdir -p {_}/a/b/c; echo x > {_}/a/b/c/f"
        subprocess.run(["sh", "-c", program], cwd=tmp_path, check=True)
    run_python(
        """
for n in range(300):
    os.makedirs(f"s{n}/a/b/c")
    for d in ("", "/a", "/a/b", "/a/b/c"):
        os.close(os.open(f"s{n}{d}/f", os.O_CREAT | os.O_WRONLY))
""",
        tmp_path,
    )
    watching.settle()

    assert watching.arrived() == files_below(tmp_path)
    assert watching.watch.watched == sum(1 for _ in os.walk(tmp_path))


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_cloned_repository_arrives_whole(tmp_path: Path, start: Start) -> None:
    origin, root = tmp_path / "origin", tmp_path / "root"
    root.mkdir()
    run_python(
        "for n in range(400): os.makedirs(f'{n % 7}/{n}'); open(f'{n % 7}/{n}/f', 'w').write(str(n))", _new(origin)
    )
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "gc.auto=0"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *arguments], cwd=origin, check=True)
    watching = start(root)

    subprocess.run([*git, "clone", "-q", "--no-local", str(origin), "copy"], cwd=root, check=True)
    watching.settle()

    assert watching.arrived() >= files_below(root)


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_what_rsync_publishes_is_whole(tmp_path: Path, start: Start) -> None:
    source, root = tmp_path / "source", _new(tmp_path / "root")
    run_python(
        "for n in range(500): os.makedirs(f'{n % 9}/{n}'); open(f'{n % 9}/{n}/f', 'w').write(str(n))", _new(source)
    )
    subprocess.run(["rsync", "-a", f"{source}/", f"{root}/"], check=True)
    watching = start(root)

    run_python("for n in range(500): open(f'{n % 9}/{n}/f', 'w').write('again')", source)
    subprocess.run(["rsync", "-a", f"{source}/", f"{root}/"], check=True)
    watching.settle()

    last = {hint.path: hint.kind for hint in watching.hints}
    assert {last[path] for path in files_below(source)} == {WHOLE}
    assert not {hint.path for hint in watching.hints if hint.kind is WRITING} & files_below(source)


def test_writes_right_after_a_directory_was_renamed_are_reported_under_its_new_name(
    tmp_path: Path, start: Start
) -> None:
    (tmp_path / "d0" / "deep").mkdir(parents=True)
    watching = start(tmp_path)

    run_python(
        """
for n in range(200):
    os.rename(f"d{n}", f"d{n + 1}")
    open(f"d{n + 1}/deep/f{n}", "w").close()
""",
        tmp_path,
    )
    watching.settle()
    (tmp_path / "d200" / "deep" / "last").write_text("x")
    watching.until_said("d200/deep/last", WHOLE)

    assert watching.arrived() >= {f"d200/deep/f{n}" for n in range(200)}
    assert watching.watch.watched == 3


def test_directories_that_change_places_are_both_still_watched(tmp_path: Path, start: Start) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / f"in-{name}").write_text("x")
    watching = start(tmp_path)

    exchange = "import ctypes; assert not ctypes.CDLL(None).renameat2(-100, b'a', -100, b'b', 2)"
    run_python(exchange, tmp_path)
    watching.settle()
    for name in "ab":
        (tmp_path / name / "late").write_text("x")

    watching.until(lambda _: watching.arrived() >= {"a/in-b", "b/in-a", "a/late", "b/late"})


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("late", [False, True], ids=["at-once", "only-when-all-is-over"])
def test_who_follows_the_hints_ends_with_the_tree_as_it_is(
    tmp_path: Path, start: Start, *, seed: int, late: bool
) -> None:
    over = threading.Event()
    watching = start(tmp_path, on_wake=lambda: late and over.wait(60) and None)

    run_python(_UPHEAVAL, tmp_path, str(seed))
    over.set()
    watching.settle()

    followed: set[str] = set()
    for hint in watching.hints:
        match hint.kind:
            case HintKind.WHOLE | HintKind.WRITING | HintKind.TOUCHED:
                followed.add(hint.path)
            case HintKind.GONE:
                followed.discard(hint.path)
            case HintKind.TREE_GONE:
                followed = {path for path in followed if not path.startswith(f"{hint.path}/")}
            case HintKind.LOST:
                raise AssertionError(hint)
    existing = {path for path in followed if (tmp_path / path).is_file()}
    assert existing == files_below(tmp_path)
    assert watching.watch.watched == sum(1 for _ in os.walk(tmp_path))


_UPHEAVAL = """
random.seed(int(sys.argv[1]))
names = "abc"
def some():
    return "/".join(random.choices(names, k=random.randint(1, 4)))
for n in range(3000):
    path, other = some(), some()
    try:
        match random.randrange(6):
            case 0 | 1:
                os.makedirs(path)
            case 2 | 3:
                with open(f"{path}/f{random.randrange(4)}", "w") as file:
                    file.write(str(n))
            case 4:
                os.rename(path, other)
            case 5:
                shutil.rmtree(path)
    except OSError:
        pass
"""


def test_a_retargeted_link_is_followed_to_its_new_directory(tmp_path: Path, start: Start) -> None:
    for release in "12":
        (tmp_path / release).mkdir()
        (tmp_path / release / f"only-in-{release}").write_text("x")
    (tmp_path / "current").symlink_to("1")
    watching = start(tmp_path, follow_symlinks=True)

    (tmp_path / "next").symlink_to("2")
    (tmp_path / "next").rename(tmp_path / "current")
    watching.until_said("current/only-in-2", TOUCHED)
    (tmp_path / "2" / "late").write_text("x")
    watching.until(lambda _: watching.arrived() >= {"2/late", "current/late"})

    assert TREE_GONE in watching.kinds_of("current")


def test_a_link_whose_directory_goes_is_gone_with_it(tmp_path: Path, start: Start) -> None:
    (tmp_path / "releases" / "1").mkdir(parents=True)
    (tmp_path / "current").symlink_to("releases/1")
    watching = start(tmp_path, follow_symlinks=True)

    (tmp_path / "releases").rename(tmp_path / "old")

    watching.until_said("current", TREE_GONE)


WATCH_AND_COUNT = """
import json, sys, threading
from pathlib import Path
from mirrord.sources.watch import HintKind, open_watch
woken = threading.Event()
root = Path(sys.argv[1])
watch = open_watch(root, mode="inotify", follow_symlinks=False, wake=woken.set, skip_directory=lambda _: False)
watch.start()
print("watching", flush=True)
arrived, lost = set(), []
while "done" not in arrived and not lost:
    woken.wait()
    woken.clear()
    for hint in watch.drain():
        if hint.kind is HintKind.LOST:
            lost.append(hint.reason)
        elif hint.kind in (HintKind.WHOLE, HintKind.WRITING, HintKind.TOUCHED):
            arrived.add(hint.path)
watch.stop()
print(json.dumps({"arrived": sum(name.startswith("final") for name in arrived), "lost": lost}))
"""


def test_a_hundred_thousand_renames_into_place_lose_none(tmp_path: Path) -> None:
    """In a process of its own, as in life: the heap of a test run makes the reader pause too long.

    On a machine so busy that the kernel's queue overflows all the same, LOST says so, and that run proves nothing.
    """
    for attempt in range(3):
        directory = _new(tmp_path / str(attempt))
        run_python("for n in range(100_000): os.mknod(f'tmp{n}')", directory)
        command = [sys.executable, "-c", WATCH_AND_COUNT, str(directory)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
            assert watching.stdout is not None
            assert watching.stdout.readline() == "watching\n"
            run_python("for n in range(100_000): os.rename(f'tmp{n}', f'final{n}')\nos.mknod('done')", directory)
            said = json.loads(watching.stdout.read())
        if not said["lost"]:
            assert said["arrived"] == 100_000
            return
    pytest.fail("the queue overflowed three times out of three")


def test_an_overflow_is_told_and_what_it_hid_is_watched(tmp_path: Path, start: Start) -> None:
    queued = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if queued > 200_000:
        pytest.skip(f"fs.inotify.max_queued_events is {queued}: it would take too long to overflow")
    released = threading.Event()
    watching = start(tmp_path, on_wake=lambda: released.wait(60) and None)
    (tmp_path / "first").touch()  # its hint wakes, and that holds the thread

    run_python("for n in range(int(sys.argv[1])): os.mknod(f'f{n}')", tmp_path, str(queued + 2))
    run_python("os.makedirs('hidden/deep'); os.mkdir('gone'); os.rmdir('gone')", tmp_path)
    released.set()

    assert "fs.inotify.max_queued_events" in watching.until_lost().reason
    (tmp_path / "hidden" / "deep" / "f").write_text("x")
    watching.until_said("hidden/deep/f", WHOLE)
    assert watching.watch.watched == 3


def _new(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory
