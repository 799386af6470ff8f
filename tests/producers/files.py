"""The files of an origin: a key's content comes into its place whole, and goes at once."""

import itertools
from pathlib import Path
from urllib.parse import quote


class Files:
    """Everything below `root` is served; what is not whole yet is beside it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._beside = root.with_name(f"{root.name}-incoming")
        self._numbers = itertools.count()
        for folder in (self.root, self._beside):
            folder.mkdir(parents=True, exist_ok=True)

    def put(self, key: str, content: bytes) -> Path:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        incoming = self._beside / str(next(self._numbers))
        incoming.write_bytes(content)
        incoming.replace(path)
        return path

    def drop(self, key: str) -> None:
        (self.root / key).unlink()


def url_of(origin_url: str, key: str) -> str:
    return f"{origin_url}/{quote(key)}"
