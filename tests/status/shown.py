"""The page of a service that is only said to run: its journal, log lines and standing are what a test makes them.

with shown(tmp_path, token="s3cret") as page:
    page.ledger.record(change("a"))
    page.say("info", reqid="abc")
    httpx.get(page.url, headers=page.bearer)
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from mirrord.journal.store import Journal
from mirrord.listener import Listener
from mirrord.status.access import Access
from mirrord.status.journaled import JournalView
from mirrord.status.recent import Recent
from mirrord.status.site import routes
from mirrord.status.standing import MirrorStanding, Standing
from tests.journal.ledger import MIRROR, Ledger, at, url_of
from tests.status.standings import mirror, standing

NOW_S = 40_000
"""When it is, by `at`, until a test says otherwise."""


@dataclass
class Shown:
    """What the page shows, and where."""

    ledger: Ledger
    token: str | None
    mirrors: tuple[MirrorStanding, ...] = (mirror(),)
    different: dict[str, Any] = field(default_factory=dict)
    """From a standing that is well."""
    url: str = ""
    now: datetime = field(default_factory=lambda: at(NOW_S))

    def __post_init__(self) -> None:
        self.recent = Recent(lambda: self.now)

    def standing(self) -> Standing:
        return standing(*self.mirrors, **{"since": at(NOW_S - 18_000), **self.different})

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def say(self, level: str = "info", /, *, ago_s: float = 0, **fields: Any) -> None:
        """A line of an attempt, or of what `event` says, that long ago."""
        now, self.now = self.now, self.now - timedelta(seconds=ago_s)
        self.recent.hear(level, attempted(**fields) if "event" not in fields else fields)
        self.now = now


def attempted(**different: Any) -> dict[str, Any]:
    """The fields of a `refresh.attempted`: of a success, unless said otherwise."""
    return {
        "event": "refresh.attempted",
        "mirror": MIRROR,
        "bucket": "newdocs",
        "key": "a",
        "operation": "prefetch",
        "attempt": 1,
        "status": 200,
        "reqid": "a-reqid",
        "xlog": None,
        "outcome": "refreshed",
        "next": "done",
        "retry_in_s": None,
        "duration_s": 0.25,
        "lag_s": 0.75,
        "error": None,
        **different,
    }


def as_they_are(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Nothing is a secret."""
    return fields


@contextmanager
def shown(root: Path, *, token: str | None = None, masked: Any = as_they_are, **more: Any) -> Iterator[Shown]:
    """Served on loopback, on a thread of its own, until the block ends. `more`: see Shown."""
    ledger = Ledger(root / "journal.db")
    page = Shown(ledger, token, **more)
    try:
        with _served(page, url_of(ledger.file), masked):
            yield page
    finally:
        aside(ledger.close)


def aside(work: Callable[[], None]) -> None:
    """On another thread: what drives a browser has a loop of its own on this one."""
    raised = list[BaseException]()

    def run() -> None:
        try:
            work()
        except BaseException as exc:  # noqa: BLE001 - to raise it where the test can see it
            raised.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


@contextmanager
def _served(page: Shown, url: str, masked: Any) -> Iterator[None]:
    started, stops, raised = threading.Event(), list[Any](), list[BaseException]()

    async def serve() -> None:
        view, journal = JournalView(url, now=lambda: page.now), Journal(url)
        journal.open()
        listener = Listener(
            "127.0.0.1",
            0,
            routes(
                standing=page.standing,
                view=view,
                recent=page.recent,
                access=Access(page.token),
                masked=masked,
                journal=journal,
                now=lambda: page.now,
            ),
            grace=timedelta(seconds=0.2),
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                serving = tasks.create_task(listener.run())
                await listener.started()
                page.url = f"http://127.0.0.1:{listener.port}"
                stops.append(partial(asyncio.get_running_loop().call_soon_threadsafe, serving.cancel))
                started.set()
        finally:
            view.close()
            journal.close()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as exc:  # noqa: BLE001 - to raise it where the test can see it
            raised.append(exc)
        finally:
            started.set()

    thread = threading.Thread(target=run, name="page", daemon=True)
    thread.start()
    started.wait()
    try:
        if stops:
            yield
    finally:
        for stop in stops:
            stop()
        thread.join()
    if raised:
        raise raised[0]
