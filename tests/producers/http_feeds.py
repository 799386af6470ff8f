"""An aggregate feed as the README of http-feeds has it: batches of CloudEvents, long polls, compaction."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.producers.followed import Followed, running_followed


@contextmanager
def http_feeds(folder: Path) -> Iterator[Followed]:
    with running_followed(folder, "http-feeds", "tests.producers.http_feeds_server", "/files") as producer:
        yield producer
