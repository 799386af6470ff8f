"""`mirrord journal vacuum` and `mirrord journal backup FILE`: the journal's file, beside a service or without one."""

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mirrord.cli.settings import ConfigOption, JsonOption, failures_said, load
from mirrord.cli.tables import say

if TYPE_CHECKING:
    from mirrord.journal.backup import Backup
    from mirrord.journal.vacuuming import Vacuumed

journal_app = typer.Typer(name="journal", no_args_is_help=True, help="Keep the journal small, and a copy of it.")

_WORTH_A_WORD = 2**20
_KINDS = {
    "objects": "keys",
    "attempts": "attempts",
    "orders": "orders of a feed's events",
    "cursors": "places in feeds",
    "coverage": "coverages",
    "conditions": "conditions",
    "listed": "entries of listings",
    "purges": "addresses for a CDN",
}


@journal_app.command()
def vacuum(
    config: ConfigOption = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be dropped; change nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Drop what nobody needs any more, and give its room back to the disk.

    That is: all of mirrors that are no longer in the settings; keys that have been gone from origin and bucket for 30
    days, and what is left of those. A running service goes on meanwhile; without one the file is rebuilt whole.
    """
    from mirrord.journal.pruning import Kept
    from mirrord.journal.vacuuming import survey
    from mirrord.journal.vacuuming import vacuum as vacuum_journal
    from mirrord.model.cursor import FEED

    loaded = load(config, need_secret=False)
    url, now = loaded.settings.journal.url, datetime.now(UTC)
    kept = [Kept(each.name, FEED + each.feed.identity if each.feed else None) for each in loaded.settings.mirror]
    with failures_said():
        done = survey(url, kept, now) if dry_run else vacuum_journal(url, kept, now)
    if as_json:
        import orjson

        typer.echo(orjson.dumps(_vacuum_document(done, dry_run=dry_run)).decode())
        return
    for line in _vacuum_in_words(done, dry_run=dry_run):
        say(line)


@journal_app.command()
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the copy goes; its directory must exist.")],
    config: ConfigOption = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Copy the journal to FILE, as it is at one moment, and look over the copy. A running service goes on meanwhile.

    FILE is for its owner alone, and needs no other file beside it.
    """
    from mirrord.journal.backup import back_up, objection
    from mirrord.journal.database import name_of

    url = load(config, need_secret=False).settings.journal.url
    if reason := objection(url, file):
        raise typer.BadParameter(f"{file} {reason}", param_hint="FILE")
    with failures_said():
        made = back_up(url, file, replacing=force)
    if as_json:
        import orjson

        typer.echo(orjson.dumps(_backup_document(made)).decode())
        return
    journal = name_of(url)
    typer.echo(f"{made.file}: {sum(made.keys.values())} keys, {in_words(made.size_bytes)}, revision {made.revision}")
    typer.echo("to restore it:")
    for line in _restoring(made.file, journal):
        typer.echo(f"    {line}")


def in_words(size_bytes: int) -> str:
    """Bytes, for a person."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:.1f} {name}"
    return f"{size_bytes} B"


def _restoring(file: Path, journal: str) -> Iterator[str]:
    """What to type. Whoever owns the directory is the service's user."""
    there, here = shlex.quote(str(file.absolute())), shlex.quote(journal)
    yield "systemctl stop mirrord"
    yield f"rm -f {here}-wal {here}-shm"
    yield f"cp {there} {here}"
    yield f"chown --reference={shlex.quote(str(Path(journal).parent))} {here}"
    yield "systemctl start mirrord"


def _backup_document(made: "Backup") -> dict[str, Any]:
    return {
        "file": str(made.file.absolute()),
        "size_bytes": made.size_bytes,
        "revision": made.revision,
        "keys": dict(made.keys),
    }


def _vacuum_document(done: "Vacuumed", *, dry_run: bool) -> dict[str, Any]:
    return {
        "journal": done.journal,
        "service": done.served,
        "dry_run": dry_run,
        "pruned": dict(done.pruned.rows),
        "mirrors_pruned": dict(done.pruned.mirrors),
        "mirrors_left": {name: f"{at:%Y-%m-%dT%H:%M:%SZ}" for name, at in done.pruned.left.items()},
        "bytes_before": done.bytes_before,
        "bytes_after": done.bytes_after,
        "bytes_free": done.free_bytes,
        "rebuilt": done.rebuilt,
    }


def _vacuum_in_words(done: "Vacuumed", *, dry_run: bool) -> Iterator[str]:
    from mirrord.decisions.explaining import counted

    if done.bytes_before == 0:
        yield f"{done.journal}: there is no journal yet"
        return
    verb = "would be dropped" if dry_run else "dropped"
    for name, rows in done.pruned.mirrors.items():
        yield f"{name}: no longer in the settings; {counted(rows, 'row')} {verb}"
    for name, at in done.pruned.left.items():
        yield (
            f"{name}: not in the settings, left: the running service had it at {at:%H:%M:%S}Z; mirrord reload, and "
            "this again in a quarter of an hour"
        )
    parts = [f"{count} {_KINDS.get(kind, kind)}" for kind, count in done.pruned.rows.items()]
    yield f"{verb}: {', '.join(parts)}" if parts else f"nothing to drop{'' if dry_run else ': every row is needed'}"
    if dry_run:
        yield f"{done.journal}: {in_words(done.bytes_before)}, of which {in_words(done.free_bytes)} are free already"
        return
    yield f"{done.journal}: {in_words(done.bytes_before)} before, {in_words(done.bytes_after)} now"
    if done.free_bytes >= _WORTH_A_WORD and not done.rebuilt:
        yield (
            f"{in_words(done.free_bytes)} of it are free for new rows; to give them back, too: stop mirrord, and this "
            "again"
        )
