"""A root that vanishes, is replaced, or is no directory any more: told apart from one that is still there."""

import shutil
from pathlib import Path

import pytest

from mirrord.sources.contract import SourceUnavailable
from mirrord.sources.root import Root


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "www").mkdir()
    return tmp_path / "www"


def test_before_the_first_look_any_root_will_do(path: Path) -> None:
    root = Root(path)

    assert root.held is None
    assert root.is_held()


def test_a_root_whose_content_changes_is_the_same(path: Path) -> None:
    root = Root(path)
    held = root.hold()

    (path / "a").touch()
    path.chmod(0o700)

    assert root.is_held()
    assert root.identity() == held == root.held


def test_the_identity_is_the_same_in_another_process(path: Path) -> None:
    assert Root(path).hold() == Root(path).hold()


def test_a_directory_moved_into_place_is_another_root(path: Path) -> None:
    root = Root(path)
    before = root.hold()
    (path.parent / "next").mkdir()

    path.rename(path.parent / "previous")
    (path.parent / "next").rename(path)

    assert not root.is_held()
    assert root.hold() != before
    assert root.is_held()


def test_a_link_switched_to_another_directory_is_another_root(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    link = tmp_path / "current"
    link.symlink_to("one")
    root = Root(link)
    root.hold()

    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").rename(link)

    assert not root.is_held()


@pytest.mark.parametrize("instead", ["nothing", "a file", "a dangling link"])
def test_a_root_that_is_gone_is_not_held_and_says_so(path: Path, instead: str) -> None:
    root = Root(path)
    root.hold()

    shutil.rmtree(path)
    if instead == "a file":
        path.touch()
    elif instead == "a dangling link":
        path.symlink_to("nowhere")

    assert not root.is_held()
    with pytest.raises(SourceUnavailable, match=str(path)):
        root.hold()


def test_a_root_that_comes_back_as_it_was_is_held_again(path: Path) -> None:
    root = Root(path)
    root.hold()
    path.rename(path.parent / "away")
    gone = root.is_held()

    (path.parent / "away").rename(path)

    assert not gone
    assert root.is_held()
