"""What people ask of keys, and what they are told: `retry`, `refresh`, `explain` and `parked` in one voice."""

import difflib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mirrord.cli import completing
from mirrord.cli.settings import EXIT_NOT_FRESH, failures_said, load, mirror_named

if TYPE_CHECKING:
    from mirrord.decisions.explaining import Passage
    from mirrord.journal.asking import Asked, LeftKey
    from mirrord.model.condition import Condition
    from mirrord.settings import Mirror

MirrorArgument = Annotated[
    str, typer.Argument(metavar="MIRROR", help="The mirror's name in the settings.", autocompletion=completing.mirrors)
]
_KEYS = "Whole keys, with the key_prefix."
KeysArgument = Annotated[list[str] | None, typer.Argument(metavar="KEY", help=_KEYS, autocompletion=completing.keys)]
ParkedKeysArgument = Annotated[
    list[str] | None, typer.Argument(metavar="KEY", help=_KEYS, autocompletion=completing.parked_keys)
]
UNSERVED = "no service works with this journal"
NAMED_MOST = 20
"""Keys that a person is shown of many; `--json` has all."""


def ask(
    wish: Literal["retry", "refresh"],
    mirror: str,
    keys: list[str] | None,
    *,
    every: bool,
    config: Path | None,
    as_json: bool,
) -> None:
    """Ask it of the journal and say what was done. Exits 1 when a named key was left, 2 when it is not clear which."""
    from mirrord.journal.report import conditions_of, is_served, known_of

    if every == bool(keys):
        raise typer.BadParameter("give at least one key, or --all, and not both", param_hint="KEY")
    loaded = load(config, need_secret=False)
    chosen, url = mirror_named(mirror, loaded), loaded.settings.journal.url
    with failures_said():
        asked = _asked(url, wish, chosen.name, keys and [whole_text(key) for key in keys])
        prefixed = [chosen.key_prefix + each.key for each in asked.named if each.state is None]
        meant = known_of(url, chosen.name, prefixed) if chosen.key_prefix else set()
        kept, served = conditions_of(url, chosen.name), is_served(url)
    hints = {each.key: _hint(each, chosen, meant) for each in asked.named}
    if as_json:
        import orjson

        typer.echo(orjson.dumps(_asked_document(chosen.name, asked, hints)).decode())
    else:
        from mirrord.cli import tables

        tables.say(f"{chosen.name}: {_asked_in_words(wish, asked)}")
        say_held(chosen.name, kept, served=served)
        if served is False and asked.taken:
            tables.say(f"mirrord: {UNSERVED}: nothing is asked before one runs", err=True)
        for key, hint in hints.items():
            tables.say_with(f"mirrord: {key!r} {hint.says}", hint.command, whole=[repr(key), *hint.keys], err=True)
    raise typer.Exit(EXIT_NOT_FRESH if asked.named else 0)


def _asked(url: str, wish: str, mirror: str, keys: list[str] | None) -> "Asked":
    """What became of it; a journal that does not exist yet is not made: it would be the wrong user's."""
    import asyncio

    from mirrord.journal.asking import Asked, Left, LeftKey
    from mirrord.journal.report import is_empty
    from mirrord.journal.store import Journal

    if is_empty(url):
        unknown = tuple(LeftKey(key, Left.UNKNOWN, None) for key in keys or ())
        return Asked(left={Left.UNKNOWN: len(unknown)} if unknown else {}, named=unknown)
    journal = Journal(url)
    journal.open()
    try:
        asking = journal.retry if wish == "retry" else journal.refresh
        return asyncio.run(asking(mirror, keys, datetime.now(UTC)))
    finally:
        journal.close()


def _asked_in_words(wish: str, asked: "Asked") -> str:
    from mirrord.decisions.explaining import counted
    from mirrord.journal.asking import Left
    from mirrord.model.row import State

    in_flight = asked.taken.get(State.CLAIMED, 0)
    due = sum(asked.taken.values()) - in_flight
    parts = [f"{counted(due, 'key')} made due"] if due else []
    if in_flight:
        parts.append(f"{counted(in_flight, 'key')} to be asked for once more when the call that is out has ended")
    if not parts:
        parts = ["nothing is parked" if wish == "retry" and not asked.named else "no key made due"]
    if not asked.named:
        for why, words in ((Left.HELD, "held for removal"), (Left.GONE, "gone at the origin, left alone")):
            parts += [f"{counted(asked.left[why], 'key')} {words}"] if asked.left.get(why) else []
    return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class _Hint:
    """Why a key was left, and what to type instead."""

    says: str
    command: str | None = None
    keys: tuple[str, ...] = ()
    """The other keys in it, as they stand there."""

    def __str__(self) -> str:
        return self.says if self.command is None else f"{self.says}: {self.command}"


def _hint(left: "LeftKey", mirror: "Mirror", known: set[str]) -> _Hint:
    from mirrord.decisions.explaining import command
    from mirrord.journal.asking import Left
    from mirrord.model.row import State

    match left.why:
        case Left.UNKNOWN if mirror.key_prefix + left.key in known:
            meant = repr(mirror.key_prefix + left.key)
            return _Hint(f"is unknown; {meant} is not: give keys whole, with the key_prefix", keys=(meant,))
        case Left.UNKNOWN:
            return _Hint(f"is unknown: {why_unknown(left.key, mirror)}")
        case Left.HELD | Left.NOT_PARKED if left.state is State.HELD:
            return _Hint("is a removal that is held", command("release", mirror.name))
        case Left.NOT_PARKED:
            state = left.state.value if left.state else "unknown"
            refresh = command("refresh", mirror.name, left.key)
            return _Hint(f"is not parked but {state}; to have it asked for", refresh)
        case Left.GONE if left.state is State.PARKED:
            return _Hint("is a removal that is parked", command("retry", mirror.name, left.key))
        case Left.GONE | Left.HELD:
            return _Hint("is gone at the origin: there is nothing to refresh")


def _asked_document(mirror: str, asked: "Asked", hints: "dict[str, _Hint]") -> dict[str, Any]:
    from mirrord.model.row import State

    return {
        "mirror": mirror,
        "due": sum(count for state, count in asked.taken.items() if state is not State.CLAIMED),
        "after_call": asked.taken.get(State.CLAIMED, 0),
        "left": {why.value: count for why, count in asked.left.items()},
        "keys_left": [
            {
                "key": each.key,
                "why": each.why.value,
                "state": each.state.value if each.state else None,
                "hint": str(hints[each.key]),
            }
            for each in asked.named
        ],
    }


def say_held(mirror: str, kept: "Iterable[Condition]", *, served: bool | None) -> None:
    """That Kodo refuses all of the mirror, if it does: until that ends, no single key matters."""
    say_conditions(mirror, (each for each in kept if each.name == "held"), served=served)


def say_conditions(mirror: str, kept: "Iterable[Condition]", *, served: bool | None) -> None:
    """What keeps the mirror from calling, a sentence each."""
    from mirrord.cli.tables import say
    from mirrord.decisions.explaining import condition_in_words

    for each in kept:
        said = condition_in_words(each, datetime.now(UTC), served=served)
        say(f"{mirror}: {said}", whole=[f"X-Reqid {each.reqid}"] if each.reqid else ())


def tell(title: str, passages: "Sequence[Passage]", whole: Iterable[str] = ()) -> None:
    """Print them; what is to be typed can be typed as it stands there, and the `whole` parts are kept together."""
    from mirrord.cli.tables import say, say_typed, width, wrapped

    say(title, whole=whole)
    for passage in passages:
        typer.echo(f"\n{passage.heading}")
        for line in passage.lines:
            indent = 2 + len(line) - len(line.lstrip())
            if line.lstrip().startswith("mirrord "):
                say_typed(line.lstrip(), indent)
                continue
            for each in wrapped(line.lstrip(), width(), indent, whole, hang=0):
                typer.echo(each)


def whole_text(key: str) -> str:
    """`key`, unless it is no text: an argument that is not UTF-8 comes with surrogates, which no journal takes."""
    return key.encode("utf-8", "backslashreplace").decode()


def nearest(key: str, among: Iterable[str], most: int = 3) -> list[str]:
    """Keys that `key` may have been meant to be, the likeliest first."""
    return difflib.get_close_matches(key, dict.fromkeys(among), most, cutoff=0.75)


def key_of_path(path: str, mirror: "Mirror") -> str | None:
    """The key of a file below the directory's path; None: it is no such path, or there is no directory."""
    if mirror.directory is None:
        return None
    named, root = Path(os.path.normpath(path)), Path(os.path.normpath(mirror.directory.path))
    if not named.is_absolute() or named == root or not named.is_relative_to(root):
        return None
    return mirror.key_prefix + named.relative_to(root).as_posix()


def why_unknown(key: str, mirror: "Mirror") -> str:
    """Why the journal may have nothing of `key`, by the settings alone."""
    from mirrord.decisions.keymap import DEFAULT_EXCLUDE, Selection, path_for

    path = path_for(key, mirror.key_prefix)
    if (meant := key_of_path(key, mirror)) is not None:
        return f"it is a path on disk, and its key is {meant!r}"
    if path is None:
        return f"it does not begin with the mirror's key_prefix, {mirror.key_prefix!r}"
    exclude = DEFAULT_EXCLUDE if mirror.exclude is None else mirror.exclude
    if not Selection(mirror.include, exclude).takes(path):
        return "the mirror's include and exclude patterns leave it out"
    return "no scan has seen it" if mirror.directory else "the feed has not named it"
