"""PyPI `sse-starlette` under uvicorn: events with ids, replayed from a history behind `Last-Event-ID`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.producers.followed import Followed, running_followed


@contextmanager
def sse(folder: Path) -> Iterator[Followed]:
    with running_followed(folder, "sse", "tests.producers.sse_server", "/events") as producer:
        yield producer
