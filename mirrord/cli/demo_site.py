"""The demo's origin: a small website on disk, and what a publisher does to it."""

import asyncio
import hashlib
import time
from collections.abc import Iterable
from pathlib import Path

LARGE_BYTES = 5 * 2**20
"""Above 4 MiB, where Kodo's hash is made of more than one block."""
BETWEEN_FILES_S = 0.004
"""The pace of a burst: slow enough to be interrupted, fast enough to pile up."""
BURST = "news"

_PAGES = (
    *("index.html", "about.html", "contact.html", "robots.txt", "sitemap.xml", ".well-known/security.txt"),
    *("css/site.css", "css/print.css", "js/site.js", "js/search.js"),
    *(f"docs/{page}.html" for page in ("index", "install", "configure", "signals", "faq", "upgrade")),
    *(f"docs/api/v1/{page}.html" for page in ("index", "buckets", "objects", "tokens", "errors")),
    *(f"blog/{page}.html" for page in ("index", "2023/hello", "2023/roadmap", "2025/mirrors", "2025/prefetch")),
    *(f"blog/2024/week {number:02}.html" for number in range(1, 9)),
    *("press/report 2024 (final).txt", "press/100% & more #1.txt", "press/a+b=c, d~e.txt"),
    *("search/what?q=a&b=c.html", "中文/说明 文档.html", "中文/常见问题.html", "café/menü.html", "emoji/🎉.txt"),
)
_PICTURES = tuple(f"images/lake {number:02}.jpg" for number in range(1, 9))


class Site:
    """Files below `directory`. Every edit returns its keys, each with the time at which it was in place."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.dropped: dict[str, bytes] = {}
        """Keys that the site has no longer, each with its last bytes."""

    def build(self) -> None:
        for key in _PAGES:
            self._write(key, _page(key, 1))
        for key in _PICTURES:
            self._write(key, _noise(key, 20_000))
        self._write("downloads/empty.bin", b"")
        self._write("downloads/site 1.0.tar.gz", _noise("release", LARGE_BYTES))

    def keys(self) -> dict[str, Path]:
        """Every file there is now, by its key."""
        files = (path for path in sorted(self.directory.rglob("*")) if path.is_file())
        return {path.relative_to(self.directory).as_posix(): path for path in files}

    # -- edits -----------------------------------------------------------------------------------------

    def create(self) -> dict[str, float]:
        guides = [f"docs/guides/step {number}.html" for number in range(1, 11)]
        keys = [*guides, "docs/guides/où & quand?.html", "downloads/checksums.txt"]
        return {key: self._write(key, _page(key, 1)) for key in keys}

    def edit_in_place(self) -> dict[str, float]:
        keys = ["docs/install.html", "css/site.css", "press/100% & more #1.txt"]
        return {key: self._append(key, _page(key, 2)) for key in keys}

    def replace_by_rename(self) -> dict[str, float]:
        """As rsync does it: a hidden temporary name, then one rename over the old file."""
        touched = {}
        for key in ("index.html", "中文/说明 文档.html", "downloads/site 1.0.tar.gz"):
            path = self.directory / key
            draft = path.with_name(f".{path.name}.Xy3kQz")
            draft.write_bytes(_noise("release 2", LARGE_BYTES) if key.endswith(".gz") else _page(key, 2))
            draft.rename(path)
            touched[key] = time.time()
        return touched

    def rename_directory(self, old: str, new: str) -> dict[str, float]:
        kept = {key: path.read_bytes() for key, path in self.keys().items() if key.startswith(f"{old}/")}
        (self.directory / old).rename(self.directory / new)
        renamed_at = time.time()
        self.dropped |= kept
        return {new + key.removeprefix(old): renamed_at for key in kept}

    def remove(self, key: str, linked_from: str) -> dict[str, float]:
        """Take a page away, then the link to it."""
        self.dropped[key] = (self.directory / key).read_bytes()
        (self.directory / key).unlink()
        return {linked_from: self._append(linked_from, b"<!-- one link less -->\n")}

    async def burst(self, count: int, touched: dict[str, float]) -> None:
        """Publish `count` files one after the other, each written down in `touched` once it is in place."""
        for number in range(count):
            key = f"{BURST}/{number % 12 + 1:02}/item {number:03}.html"
            touched[key] = self._write(key, _page(key, 1))
            await asyncio.sleep(BETWEEN_FILES_S)

    def _write(self, key: str, content: bytes) -> float:
        path = self.directory / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return time.time()

    def _append(self, key: str, content: bytes) -> float:
        with (self.directory / key).open("ab") as file:
            file.write(content)
        return time.time()


def size_of(paths: Iterable[Path]) -> int:
    """In bytes."""
    return sum(path.stat().st_size for path in paths)


def _page(key: str, version: int) -> bytes:
    title = key.rpartition("/")[2]
    words = _noise(f"{key} {version}", 300).hex(" ", 7)
    return f"<!doctype html>\n<title>{title}</title>\n<p>Version {version} of {key}\n<p>{words}\n".encode()


def _noise(name: str, size_bytes: int) -> bytes:
    return hashlib.shake_256(name.encode()).digest(size_bytes)
