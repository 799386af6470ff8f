"""A journal whose methods block and know their mirror: a test says only what it is about."""

import asyncio
import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mirrord.decisions.removals import Decision, RemovalLimit
from mirrord.decisions.staleness import IntakeRules, OnRemoved, Settlement
from mirrord.journal.errors import JournalUnavailable
from mirrord.journal.store import Journal
from mirrord.model.attempt import Outcome
from mirrord.model.change import Change, Recorded
from mirrord.model.cursor import Cursor
from mirrord.model.fingerprint import Fingerprint, of_token
from mirrord.model.row import ObjectRow
from mirrord.model.step import Done, NextStep

MIRROR = "docs"
LEASE = timedelta(seconds=100)
RULES = IntakeRules()
DELETE = IntakeRules(on_removed=OnRemoved.DELETE)
ALL = 10_000


def at(seconds: float) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


def url_of(file: Path) -> str:
    return f"sqlite:///{file}"


def change(key: str, version: str | None = "1", seconds: float = 0) -> Change:
    return Change(key=key, version=None if version is None else of_token(version), seen_at=at(seconds))


def place(source: str, text: str, seconds: float = 0, *, event_at: float | None = None) -> Cursor:
    return Cursor(source=source, text=text, moved_at=at(seconds), event_at=None if event_at is None else at(event_at))


def ended(claim: ObjectRow, step: NextStep = Done(), seconds: float = 0, **also: Any) -> Settlement:  # noqa: B008  # frozen
    """How `claim` ended, the origin still having what the row wanted."""
    return Settlement(
        mirror=claim.mirror,
        key=claim.key,
        claims=claim.claims,
        generation=claim.generation,
        step=step,
        at=at(seconds),
        **{
            "asked_for": claim.wanted,
            "found": claim.wanted,
            "outcome": Outcome.REFRESHED if isinstance(step, Done) else Outcome.REFUSED,
            **also,
        },
    )


class Ledger:
    """One Journal on a file, its tables in place."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.journal = Journal(url_of(file))
        self._runner = asyncio.Runner()
        try:
            self.journal.open()
        except JournalUnavailable:
            self.close()
            raise

    def close(self) -> None:
        self.journal.close()
        self._runner.close()

    def record(
        self, *changes: Change, mirror: str = MIRROR, rules: IntakeRules = RULES, cursor: Cursor | None = None
    ) -> Recorded:
        return self._runner.run(self.journal.record(mirror, changes, rules, cursor))

    def cursor(self, source: str, *, mirror: str = MIRROR) -> str | None:
        """Where the source was read up to."""
        found = self._runner.run(self.journal.cursor(mirror, source))
        return found.text if found else None

    def claim(
        self, seconds: float = 0, most: int = ALL, *, mirror: str = MIRROR, lease: timedelta = LEASE
    ) -> list[ObjectRow]:
        return self._runner.run(self.journal.claim(mirror, at(seconds), most, lease))

    def claim_keys(self, seconds: float = 0, most: int = ALL) -> list[str]:
        return [row.key for row in self.claim(seconds, most)]

    def settle(self, *ends: Settlement, rules: IntakeRules = RULES) -> list[ObjectRow]:
        return self._runner.run(self.journal.settle(ends, rules))

    def give_back_orphans(self, seconds: float = 0, mirror: str = MIRROR, rules: IntakeRules = RULES) -> int:
        return self._runner.run(self.journal.give_back_orphans(mirror, at(seconds), rules))

    def decide_removals(self, limit: RemovalLimit, seconds: float = 0) -> Decision:
        return self._runner.run(self.journal.decide_removals(MIRROR, at(seconds), limit))

    def release(self, seconds: float = 0, *, drop: bool = False, mirror: str = MIRROR) -> int:
        return self._runner.run(self.journal.release(mirror, at(seconds), drop=drop))

    def next_due(self, mirror: str = MIRROR) -> datetime | None:
        return self._runner.run(self.journal.next_due(mirror))

    def run(self, coroutine: Any) -> Any:
        """What a coroutine of the journal returns."""
        return self._runner.run(coroutine)

    def known(self, below: str = "") -> list[tuple[str, Fingerprint | None]]:
        return list(self.journal.known(MIRROR, below))

    def states(self) -> dict[str, str]:
        """Each key's state, as any other program would read it."""
        return {key: state for key, state in self.select("SELECT key, state FROM objects")}  # noqa: C416  # tuples

    def select(self, query: str) -> Iterable[tuple[Any, ...]]:
        connection = sqlite3.connect(self.file)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()
