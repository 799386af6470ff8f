"""Watches of either backend, started and stopped."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mirrord.sources.boundary import Boundary
from mirrord.sources.hints import HintBuffer
from mirrord.sources.inotify import InotifyWatch
from mirrord.sources.polling import PollWatch
from mirrord.sources.watch import Watch
from tests.sources.watching import NewWatch, Start, Watching


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts watches of either backend; they are stopped at the end."""
    running: list[Watch] = []

    def _start(
        root: Path,
        *,
        backend: NewWatch = InotifyWatch,
        follow_symlinks: bool = False,
        skip_directory: Callable[[str], bool] = lambda _: False,
        on_wake: Callable[[], None] = lambda: None,
    ) -> Watching:
        woken = threading.Event()

        def wake() -> None:
            woken.set()
            on_wake()

        boundary = Boundary(root, follow_symlinks=follow_symlinks, skip_directory=skip_directory)
        watch = backend(boundary, HintBuffer(wake))
        running.append(watch)
        watch.start()
        return Watching(root, watch, woken)

    yield _start
    for watch in running:
        watch.stop()
        assert not watch.alive


def _poll(boundary: Boundary, hints: HintBuffer) -> Watch:
    return PollWatch(boundary, hints, interval_s=0.02)


@pytest.fixture(params=[InotifyWatch, _poll], ids=["inotify", "poll"])
def backend(request: pytest.FixtureRequest) -> NewWatch:
    chosen: NewWatch = request.param
    return chosen
