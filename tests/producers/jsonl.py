"""Lines of JSON: from a server that is asked `?since=`, or as a file that only grows, behind nginx."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.producers.files import Files
from tests.producers.followed import Followed, running_followed
from tests.producers.history import History
from tests.producers.nginx import running_nginx


@contextmanager
def jsonl(folder: Path) -> Iterator[Followed]:
    with running_followed(folder, "jsonl", "tests.producers.jsonl_server", "/changes") as producer:
        yield producer


@contextmanager
def jsonl_file(folder: Path) -> Iterator[Followed]:
    """What is asked for behind a `?` does not matter here: the answer is the whole file."""
    files = Files(folder / "www")
    history = History(files.root / "changes.jsonl")
    with running_nginx(files.root, folder / "nginx") as (url, server):
        yield Followed("jsonl-file", "jsonl", url, f"{url}/changes.jsonl", files, history, server)
