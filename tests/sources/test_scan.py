"""A scan of real trees: its order, what it finds against what was known, and what it must not conclude."""

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirrord.decisions.keymap import MAX_KEY_BYTES, Selection
from mirrord.model.fingerprint import Fingerprint, of_file
from mirrord.sources.boundary import Boundary
from mirrord.sources.scan import BATCH, Findings, Scan

EVERYTHING = Selection((), ())
OLD = Fingerprint("1:1:1:1")

Known = Mapping[str, Fingerprint | None]


def stretches(
    root: Path,
    known: Known,
    *,
    prefix: str = "",
    below: str = "",
    selection: Selection = EVERYTHING,
    follow_symlinks: bool = False,
) -> list[Findings]:
    boundary = Boundary(root, follow_symlinks=follow_symlinks, skip_directory=lambda _: False)
    scan = Scan(boundary, selection, prefix)
    in_order = sorted((key, wanted) for key, wanted in known.items() if key.startswith(prefix + below))
    return list(scan.differences(iter(in_order), below))


def differences(root: Path, known: Known | None = None, **options: object) -> dict[str, Fingerprint | None]:
    found = stretches(root, known or {}, **options)  # type: ignore[arg-type]  # passed on as they are
    listed = [difference for each in found for difference in each.differences]
    assert len(listed) == len(dict(listed))
    return dict(listed)


def version_of(path: Path) -> Fingerprint:
    found = path.stat()
    return of_file(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def plant(root: Path, names: Iterable[str]) -> dict[str, Fingerprint | None]:
    """Files of these names, and their versions."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return {name: version_of(root / name) for name in names}


def test_files_come_in_the_order_of_their_keys(tmp_path: Path) -> None:
    names = ["a", "a!", "a-b/c", "a.txt", "a/b", "a/b.c/d", "a0", "b/c", "é", "中", "\U0001f600"]
    names.remove("a")  # a file and a directory of one name cannot both be
    plant(tmp_path, reversed(names))

    found = list(differences(tmp_path))

    assert found == sorted(names)


def test_new_changed_and_removed_files_are_found_and_nothing_else(tmp_path: Path) -> None:
    tree = plant(tmp_path, ["same", "changed", "new", "sub/same", "sub/new"])
    known = {**tree, "changed": OLD, "gone": OLD, "sub/gone": OLD, "zzz/gone": OLD, "gone-before": None}
    del known["new"], known["sub/new"]

    found = differences(tmp_path, known)

    assert found == {
        "changed": tree["changed"],
        "new": tree["new"],
        "sub/new": tree["sub/new"],
        "gone": None,
        "sub/gone": None,
        "zzz/gone": None,
    }


def test_a_file_that_became_a_directory_is_removed_and_its_files_are_new(tmp_path: Path) -> None:
    tree = plant(tmp_path, ["a/b", "c"])

    found = differences(tmp_path, {"a": OLD, "c/d": OLD, "c": tree["c"]})

    assert found == {"a": None, "a/b": tree["a/b"], "c/d": None}


def test_a_key_that_came_back_after_its_removal_is_a_difference(tmp_path: Path) -> None:
    tree = plant(tmp_path, ["a"])

    assert differences(tmp_path, {"a": None}) == tree


def test_a_scan_below_a_directory_keeps_to_it(tmp_path: Path) -> None:
    tree = plant(tmp_path, ["sub/new", "sub-2/new", "sub.txt", "other"])

    found = differences(tmp_path, {"sub/gone": OLD, "sub-2/gone": OLD}, below="sub/")

    assert found == {"sub/gone": None, "sub/new": tree["sub/new"]}


def test_a_directory_that_went_has_all_its_keys_removed(tmp_path: Path) -> None:
    found = differences(tmp_path, {"sub/a": OLD, "sub/b/c": OLD, "other": OLD}, below="sub/")

    assert found == {"sub/a": None, "sub/b/c": None}


def test_the_prefix_goes_before_every_key_and_other_keys_are_not_touched(tmp_path: Path) -> None:
    tree = plant(tmp_path, ["a", "sub/b"])

    found = differences(tmp_path, {"v2/gone": OLD, "other": OLD}, prefix="v2/")

    assert found == {"v2/a": tree["a"], "v2/gone": None, "v2/sub/b": tree["sub/b"]}


def test_excluded_files_count_as_not_there(tmp_path: Path) -> None:
    plant(tmp_path, ["a.tmp", ".git/config", "sub/.git/HEAD"])
    tree = plant(tmp_path, ["a"])

    found = differences(tmp_path, {".git/config": OLD}, selection=Selection())

    assert found == {"a": tree["a"], ".git/config": None}


def test_without_its_root_a_scan_has_seen_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        differences(tmp_path / "none", {"a": OLD})


@pytest.fixture
def unlistable(tmp_path: Path) -> str:
    """A directory below `tmp_path` that nobody can list by its path, not even root: the path is too long."""
    name = "d" * 200
    descriptor, path = os.open(tmp_path, os.O_RDONLY), ""
    while len(str(tmp_path)) + len(path) < 4096:  # with the NUL at its end PATH_MAX is reached
        os.mkdir(name, dir_fd=descriptor)  # the only way to so long a path
        inner = os.open(name, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor, path = inner, f"{path}{name}/"
    os.close(descriptor)
    return path


def test_below_a_directory_that_cannot_be_read_nothing_counts_as_removed(tmp_path: Path, unlistable: str) -> None:
    known = {f"{unlistable}inside": OLD, f"{unlistable}z/deep": OLD, "zzz/gone": OLD, "aaa/gone": OLD}

    found = stretches(tmp_path, known)

    (hole,) = [hole for each in found for hole in each.holes]
    assert hole == (unlistable, "File name too long")
    assert [difference for each in found for difference in each.differences] == [("aaa/gone", None), ("zzz/gone", None)]


def test_names_that_can_be_no_key_are_rejected_and_the_rest_is_found(tmp_path: Path) -> None:
    tree = plant(tmp_path, ["a", "z"])
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/m\xff")).touch()

    found = stretches(tmp_path, {})

    (rejection,) = [rejection for each in found for rejection in each.rejections]
    assert rejection.name == "m\\xff"
    assert dict(difference for each in found for difference in each.differences) == tree


def test_a_key_that_is_too_long_is_rejected(tmp_path: Path) -> None:
    plant(tmp_path, ["ab"])

    (found,) = stretches(tmp_path, {}, prefix="p" * (MAX_KEY_BYTES - 1))

    assert found.differences == []
    assert str(MAX_KEY_BYTES) in found.rejections[0].reason


def test_links_and_special_files_are_passed_over_and_counted(tmp_path: Path) -> None:
    tree = plant(tmp_path, ["real/a"])
    (tmp_path / "in").symlink_to("real")
    (tmp_path / "to-a").symlink_to("real/a")
    os.mkfifo(tmp_path / "fifo")

    (found,) = stretches(tmp_path, {"in/a": OLD})

    assert dict(found.differences) == {"real/a": tree["real/a"], "in/a": None}
    assert (found.files, found.links) == (1, 3)


def test_followed_links_stay_inside_and_end(tmp_path: Path) -> None:
    root = tmp_path / "root"
    tree = plant(root, ["real/a"])
    plant(tmp_path, ["outside/private"])
    (root / "in").symlink_to("real")
    (root / "to-a").symlink_to("real/a")
    (root / "loop").symlink_to(".")
    (root / "real" / "up").symlink_to("..")
    (root / "out").symlink_to("../outside")
    (root / "out-file").symlink_to("../outside/private")
    (root / "dangling").symlink_to("nowhere")

    found = differences(root, follow_symlinks=True)

    assert found == dict.fromkeys(["in/a", "real/a", "to-a"], tree["real/a"])


def test_many_differences_come_in_stretches(tmp_path: Path) -> None:
    plant(tmp_path, [f"{n}" for n in range(BATCH + 10)])
    known = {f"gone-{n}": OLD for n in range(BATCH + 10)}

    found = stretches(tmp_path, known)

    assert sum(len(each.differences) for each in found) == 2 * (BATCH + 10)
    assert sum(each.files for each in found) == BATCH + 10
    assert max(len(each.differences) for each in found) <= 2 * BATCH
    assert len(found) > 1


_SEGMENTS = st.sampled_from(["a", "b", "a!", "a-", "a.b", "a0", "é", "e\u0301", "中", " "])
_PATHS = st.lists(_SEGMENTS, min_size=1, max_size=3).map("/".join)


def _possible(paths: Iterable[str]) -> list[str]:
    """Without those that would need a file and a directory of one name."""
    kept: list[str] = []
    for path in sorted(paths):
        if not any(path.startswith(f"{other}/") for other in kept):
            kept.append(path)
    return kept


@settings(max_examples=80, deadline=None)
@given(st.sets(_PATHS, max_size=12), st.dictionaries(_PATHS, st.sampled_from([OLD, None]), max_size=12), st.data())
def test_the_differences_turn_what_was_known_into_the_tree(
    paths: set[str], known: dict[str, Fingerprint | None], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as root:
        tree = plant(Path(root), _possible(paths))
        still_right = data.draw(st.sets(st.sampled_from(sorted(tree)))) if tree else set()
        known |= {key: tree[key] for key in still_right}

        found = differences(Path(root), known)

    after = {key: version for key, version in {**known, **found}.items() if version is not None}
    assert after == tree
    assert all(known.get(key) != version for key, version in found.items())
