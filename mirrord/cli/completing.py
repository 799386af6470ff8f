"""What was typed so far to what may be meant, for a shell that asks: mirrors, keys. Whatever is wrong, nothing."""

import contextlib
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import typer

if TYPE_CHECKING:
    from mirrord.config import Loaded

MOST = 50
"""Keys that are offered."""
PATIENCE_S = 0.25
"""How long the journal may take; a person waits at the prompt."""
_STEPS = 2000
"""Of SQLite's machine, some 0.1 ms, between two looks at the clock."""
_FILE = "sqlite:///"
_FOR_BASH = re.compile(r"[\s\\'\"`$&|;<>()\[\]{}*?!#~^=:]")
_BEGINNING = "SELECT key FROM objects WHERE mirror = ? AND key >= ? AND key < ?"
_ANY = f"{_BEGINNING} ORDER BY key LIMIT {MOST}"
_PARKED = f"{_BEGINNING} AND state = 'parked' ORDER BY key LIMIT {MOST}"


def mirrors(ctx: typer.Context, incomplete: str) -> list[str]:
    """Mirrors that the settings name."""
    loaded = _loaded(ctx)
    names = [mirror.name for mirror in loaded.settings.mirror] if loaded else []
    return [name for name in names if name.startswith(incomplete)]


def keys(ctx: typer.Context, incomplete: str) -> list[str]:
    """Keys of the mirror that was typed."""
    return _offered(ctx, incomplete, _ANY)


def parked_keys(ctx: typer.Context, incomplete: str) -> list[str]:
    """The same, but only parked ones as long as any of those begins so."""
    return _offered(ctx, incomplete, _PARKED) or _offered(ctx, incomplete, _ANY)


def _offered(ctx: typer.Context, incomplete: str, query: str) -> list[str]:
    loaded, mirror = _loaded(ctx), ctx.params.get("mirror")
    if loaded is None or not isinstance(mirror, str):
        return []
    given = ctx.params.get("keys") or ()
    found = _asked(loaded.settings.journal.url, mirror, incomplete, query)
    # a shell is told in lines, and types what it is told
    return [_as_typed(key) for key in found if key.isprintable() and not key.startswith("-") and key not in given]


def _loaded(ctx: typer.Context) -> "Loaded | None":
    from mirrord.config import SettingsError, load

    path = ctx.params.get("config")
    try:
        return load(Path(path) if path else None, need_secret=False)
    except SettingsError:
        return None


def _asked(url: str, mirror: str, beginning: str, query: str) -> Iterator[str]:
    """Until it is found, or takes too long. The journal is only read, and never made."""
    if not url.startswith(_FILE):
        return
    file, until = url.removeprefix(_FILE).partition("?")[0], time.monotonic() + PATIENCE_S
    with contextlib.suppress(sqlite3.Error, UnicodeEncodeError):
        connection = sqlite3.connect(f"file:{quote(file)}?mode=ro", uri=True, timeout=PATIENCE_S)
        try:
            connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
            for (key,) in connection.execute(query, (mirror, beginning, beginning + "\U0010ffff")):
                yield key
        finally:
            connection.close()


def _as_typed(key: str) -> str:
    """`key` as bash takes it: there it is inserted as it is; other shells quote by themselves.

    Typer drops what does not begin with what was typed, so that beyond a quoted character bash is offered nothing.
    """
    if os.environ.get("_MIRRORD_COMPLETE") != "complete_bash":
        return key
    return _FOR_BASH.sub(lambda found: f"\\{found[0]}", key)
