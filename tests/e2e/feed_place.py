"""A place whose origin is a real producer of a change feed: mirrord follows the feed, the sandbox pulls the content."""

import sqlite3
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mirrord.sources.feed.place import place_of
from mirrord.sources.feed.spot import spot_of
from tests.e2e.place import BUCKETS, CREDENTIALS, Place, Program
from tests.producers.every import EVERY
from tests.producers.producer import Producer
from tests.servers import running_sandbox

GENEROUS = {"count": 1000, "fraction": 1.0}
"""A `removal_limit` that holds nothing."""


@dataclass
class FeedPlace(Place):
    """A place whose `www` is the producer's; it remembers what was published."""

    producer: Producer = field(kw_only=True)
    content: dict[str, bytes | None] = field(default_factory=dict)
    """What the bucket is to have; None: it was removed."""

    def source(self, **changes: Any) -> dict[str, Any]:
        """The settings of the producer's feed, but for these."""
        return tomllib.loads(self.producer.settings()) | changes

    def follow(self, *mirrors: Mapping[str, Any], **source: Any) -> None:
        """Configure mirrors of the feed; removals reach the bucket, however many."""
        ours = {
            "source": self.source(**source),
            "origin_url": self.producer.origin_url,
            "on_removed": "delete",
            "removal_limit": GENEROUS,
        }
        self.configure(*(ours | mirror for mirror in mirrors or ({},)))

    def publish(self, key: str, content: bytes) -> None:
        self.producer.publish(key, content)
        self.content[key] = content

    def remove(self, key: str) -> None:
        self.producer.remove(key)
        self.content[key] = None

    def until_mirrored(self, program: Program, bucket: str = "docs") -> None:
        """Wait until the bucket has what was published, and has not what was removed."""
        left = sorted(self.content, reverse=True)

        def mirrored() -> bool:
            while left and self.kodo.read(bucket, left[-1]) == self.content[left[-1]]:
                left.pop()
            return not left

        program.until(mirrored, left)
        assert {key: self.kodo.read(bucket, key) for key in self.content} == self.content

    def until_settled(self, program: Program) -> None:
        """Wait until the journal knows that nothing is left to be done, so that a kill cuts nothing short."""
        program.until(lambda: self.report().settled, "settled")

    def asked_for(self) -> list[str]:
        """The keys of which pulls or removals were asked, as often as they were."""
        return sorted(call["key"] for call in self.calls() if call["operation"] in {"prefetch", "delete"})

    def rows(self, mirror: str = "docs") -> set[str]:
        """The keys that the journal knows."""
        return {key for (key,) in self._selected("SELECT key FROM objects WHERE mirror = ?", mirror)}

    def cursor(self, mirror: str = "docs") -> str | None:
        """Where the feed is to be read on, by the journal: as its dialect writes it."""
        found = self._selected("SELECT cursor FROM cursors WHERE mirror = ? AND source LIKE 'feed %'", mirror)
        return spot_of(place_of(found[0][0]).cursor).cursor if found else None

    def _selected(self, query: str, mirror: str) -> list[tuple[str]]:
        with closing(sqlite3.connect(f"file:{self.root}/journal.db?mode=ro", uri=True)) as journal:
            return journal.execute(query, (mirror,)).fetchall()


@contextmanager
def feed_place(root: Path, name: str, *, buckets: Sequence[str] = BUCKETS) -> Iterator[FeedPlace]:
    """A place below `root` with the producer of that name; every bucket has its origin as mirror source."""
    with (
        EVERY[name](root / "producer") as producer,
        running_sandbox(root / "kodo", dict.fromkeys(buckets, producer.origin_url), credentials=CREDENTIALS) as kodo,
    ):
        place = FeedPlace(root, root / "producer" / "www", producer.origin_url, kodo, producer=producer)
        place.follow()
        try:
            yield place
        finally:
            place.close()
