"""Origins that go, come back or are another one, while the settings say delete: not one object is lost to that."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.place import Place

DELETE = {"on_removed": "delete", "removal_limit": {"count": 1000, "fraction": 1.0}}
"""As far from careful as the settings allow: what is not deleted is not because of the limit."""
KEYS = {f"sub/{n}.txt" for n in range(5)}


def _mirrored(place: Place, keys: set[str]) -> None:
    for key in keys:
        place.write(key, key)
    assert place.once().code == 0
    place.kodo.forget_calls()


def test_an_origin_that_is_moved_away_and_back_loses_nothing(place: Place) -> None:
    place.configure(DELETE)
    _mirrored(place, KEYS)
    service = place.run()
    service.until_said("scan.finished")

    place.www.rename(place.root / "away")
    service.until_said("coverage.lost", level="error")
    (place.root / "away").rename(place.www)
    service.until_said("coverage.restored")
    ended = service.stop()

    assert place.calls() == []
    assert ended.said("removals.held") == []
    assert {line["removed"] for line in ended.said("scan.finished")} == {0}


class Mount:
    """A place below `www` where something is mounted; what is on it outlives that elsewhere.

    The kernel tells a watch of the end of a file system, not of a bind.
    """

    def __init__(self, place: Place, kind: str) -> None:
        self.path, self._disk, self._kind = place.www / kind, place.root / kind, kind
        self.path.mkdir()
        self._disk.mkdir()

    def mount(self) -> bool:
        """Whether that is permitted."""
        if self._kind == "bind":
            return self._mounts("--bind", str(self._disk))
        return self._mounts("-t", self._kind, "e2e") and self._copies(self._disk, self.path)

    def unmount(self) -> None:
        if self._kind != "bind":
            self._copies(self.path, self._disk)
        self.end()

    def end(self) -> None:
        subprocess.run(["umount", "-l", self.path], check=False, stderr=subprocess.DEVNULL)

    def _mounts(self, *what: str) -> bool:
        return subprocess.run(["mount", *what, self.path], check=False, stderr=subprocess.DEVNULL).returncode == 0

    def _copies(self, source: Path, target: Path) -> bool:
        return subprocess.run(["cp", "-a", f"{source}/.", target], check=True).returncode == 0


@pytest.fixture
def mounts(place: Place) -> Iterator[list[Mount]]:
    if shutil.which("mount") is None:
        pytest.skip("mount is not installed here")
    mounts = [Mount(place, kind) for kind in ("bind", "tmpfs")]
    try:
        if not all(mount.mount() for mount in mounts):
            pytest.skip("to mount a file system takes more rights than there are here")
        yield mounts
    finally:
        for mount in mounts:
            mount.end()


def test_origins_that_are_unmounted_and_mounted_again_lose_nothing(place: Place, mounts: list[Mount]) -> None:
    every = {"rescan_every": "1s", "rescan_limited_every": "1s"}
    names = [mount.path.name for mount in mounts]
    place.configure(
        *(
            DELETE
            | {"name": mount.path.name, "key_prefix": f"{mount.path.name}/"}
            | {"source": every | {"path": str(mount.path)}}
            for mount in mounts
        )
    )
    _mirrored(place, {f"{name}/{key}" for name in names for key in KEYS})
    service = place.run()
    service.until_said("scan.finished", 2)

    for mount in mounts:
        mount.unmount()
    for name in names:
        empty = f"{place.www / name}: is empty, and had {len(KEYS)} files; none of them is taken for removed"
        service.until_said("coverage.lost", mirror=name, reason=empty)
    once_meanwhile = place.once()
    for mount in mounts:
        mount.mount()
    for name in names:
        service.until_said("coverage.restored", mirror=name)
    ended = service.stop()

    assert once_meanwhile.code == 1
    assert f"is empty, and had {len(KEYS)} files" in "".join(once_meanwhile.noise)
    assert place.calls() == []
    assert {line["removed"] for line in ended.said("scan.finished")} == {0}
    assert ended.said("removals.held") == []


def test_of_a_replaced_root_what_is_missing_is_believed_by_the_next_scan(place: Place) -> None:
    place.configure(DELETE | {"source": {"rescan_limited_every": "1s"}})
    _mirrored(place, {"same.txt", "changed.txt", "gone.txt"})
    following = place.root / "next"
    following.mkdir()
    for name, content in {"same.txt": "same.txt", "changed.txt": "new", "new.txt": "new"}.items():
        (following / name).write_text(content)
    service = place.run()
    service.until_said("scan.finished")

    place.www.rename(place.root / "previous")
    following.rename(place.www)
    service.until_said("scan.finished", 2)
    service.until(lambda: any("another directory" in line["reason"] for line in service.said("coverage.lost")))
    place.until_equal(service, {"same.txt", "changed.txt", "new.txt"})
    deleted_at_first = place.kodo.calls("delete")
    service.until_said("coverage.restored")
    service.until_said("refresh.attempted", operation="delete", key="gone.txt")
    ended = service.stop()

    assert deleted_at_first == []
    assert [line["removed"] for line in ended.said("scan.finished")] == [0, 0, 1]
    assert [call["key"] for call in place.kodo.calls("delete")] == ["gone.txt"]
    assert place.kodo.read("docs", "gone.txt") is None


def test_a_root_replaced_while_nobody_ran_is_known_to_be_another_one(place: Place) -> None:
    place.configure(DELETE)
    _mirrored(place, {"a.txt", "gone.txt"})
    place.www.rename(place.root / "previous")
    place.write("a.txt", "new")

    first = place.once()
    deleted_at_first = place.kodo.calls("delete")
    second = place.once()

    assert deleted_at_first == []
    assert [line["level"] for line in first.said("coverage.lost")] == ["error"]
    assert len(second.said("coverage.restored")) == 1
    assert [call["key"] for call in place.kodo.calls("delete")] == ["gone.txt"]
    assert place.kodo.read("docs", "a.txt") == b"new"


@pytest.fixture
def shut(place: Place) -> Iterator[Path]:
    """A directory of the origin, which the test may shut; it is opened again at the end."""
    (place.www / "shut" / "deep").mkdir(parents=True)
    yield place.www / "shut"
    (place.www / "shut").chmod(0o755)


@pytest.mark.parametrize("mode", [0o100, 0o400], ids=["not-to-be-listed", "not-to-be-entered"])
def test_a_tree_that_cannot_be_read_whole_loses_nothing(
    place: Place, confined: tuple[str, ...], shut: Path, mode: int
) -> None:
    place.configure(DELETE | {"source": {"rescan_every": "1s", "rescan_limited_every": "1s"}})
    _mirrored(place, {"open/a.txt", "open/gone.txt", "shut/a.txt", "shut/deep/b.txt", "shut.txt", "z.txt"})
    (shut / "deep" / "b.txt").unlink()
    (place.www / "open" / "gone.txt").unlink()
    shut.chmod(mode)

    service = place.run(confined=confined)
    service.until_said("scan.finished", 2)
    lost = service.said("coverage.lost", level="error")
    calls_while_shut = place.calls()
    shut.chmod(0o755)
    service.until_said("coverage.restored")
    service.until_said("refresh.attempted", 2, operation="delete", outcome="removed")
    service.stop()

    assert any("/shut" in line["reason"] and "Permission denied" in line["reason"] for line in lost)
    assert calls_while_shut == []
    assert {call["key"] for call in place.kodo.calls("delete")} == {"open/gone.txt", "shut/deep/b.txt"}


def test_a_service_stopped_in_the_middle_of_a_scan_has_removed_nothing(place: Place) -> None:
    place.configure(DELETE | {"pace": {"concurrency": 1}, "source": {"follow_symlinks": True}})
    _mirrored(place, {"0-gone.txt", "1.txt"})
    (place.www / "0-gone.txt").unlink()
    (place.www / "many").mkdir()
    for n in range(500):
        (place.www / "many" / f"{n}").touch()
    for n in range(40):  # 20,000 files, in no time
        (place.www / f"many-{n}").symlink_to("many")

    service = place.run()
    service.until_said("refresh.attempted")
    service.send(signal.SIGTERM)
    ended = service.wait()

    held = place.start("parked", "--json").wait().json["mirrors"][0]["keys"]
    assert ended.code == 0
    assert ended.said("scan.finished") == []
    assert held == []
    assert place.kodo.calls("delete") == []
    assert place.kodo.read("docs", "0-gone.txt") is not None
