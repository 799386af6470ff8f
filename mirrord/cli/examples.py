"""What help, the man page and the documentation show of every command: examples, exit codes, what `--json` gives."""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import typer

_WIDTH = 76
"""Of an epilog: help is 80 columns wide and indents it by two."""


@dataclass(frozen=True, slots=True)
class Example:
    """Something to type, and what for."""

    command: str
    does: str
    ends: int | None = 0
    """How it ends where keys are parked; None: it goes on until a signal, or needs more than settings and a journal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One command."""

    examples: tuple[Example, ...]
    exits: tuple[tuple[str, str], ...]
    json: str | None = None
    """None: it has no `--json`."""


_DONE = ("0", "done")
_SETTINGS = ("78", "the settings are wrong; every mistake is on stderr")
_JOURNAL = ("77", "the journal is another user's: ask as root, or as its owner")
_SIGNALLED = ("130, 143", "ended by SIGINT, SIGTERM")
_USAGE = ("2", "no such mirror, or wrong usage")
_UNDONE = ("1", "the journal cannot be used")

COMMANDS: Mapping[str, Shown] = MappingProxyType(
    {
        "": Shown(
            examples=(
                Example("mirrord check --online", "are the settings right, and what do Kodo and the origin say?", None),
                Example("mirrord status", "is everything complete and fresh?", 1),
                Example("mirrord demo", "the whole thing on this machine, without an account", None),
            ),
            exits=(
                ("0", "done"),
                ("1", "something is not fresh, or could not be done"),
                ("2", "wrong usage"),
                ("69", "no service runs, where one is needed"),
                ("77", "not permitted to this user"),
                ("78", "the settings are wrong"),
                ("130, 143", "ended by SIGINT, SIGTERM; `run` ends with 0 then"),
            ),
        ),
        "run": Shown(
            examples=(Example("mirrord run -c /etc/mirrord/config.toml", "the service, until Ctrl-C", None),),
            exits=(
                ("0", "stopped by SIGTERM or SIGINT; what was under way has ended"),
                ("1", "it cannot go on: the last log line says why"),
                _SETTINGS,
            ),
        ),
        "once": Shown(
            examples=(
                Example("mirrord once", "from cron, where no service runs: look, refresh, list what is left", None),
                Example("mirrord once --json 2>/dev/null", "the same for a program", None),
            ),
            exits=(
                ("0", "every key is fresh"),
                ("1", "keys are left: they are listed; or it could not be done"),
                _JOURNAL,
                _SETTINGS,
                _SIGNALLED,
            ),
            json="each mirror as `status` has it, and every key that is not fresh",
        ),
        "plan": Shown(
            examples=(
                Example("mirrord plan", "what `once` or a starting service would do, key by key", None),
                Example("mirrord plan --json", "the same for a program", None),
            ),
            exits=(("0", "this is the plan"), _UNDONE, _JOURNAL, _SETTINGS, _SIGNALLED),
            json="each mirror with its keys: what would be done, and why",
        ),
        "check": Shown(
            examples=(
                Example("mirrord check", "every mistake in the settings, at once"),
                Example("mirrord check --online", "also ask Kodo and the origin", None),
            ),
            exits=(("0", "usable"), ("1", "Kodo or an origin says otherwise"), _SETTINGS),
            json="file, mirrors, warnings, problems; with --online the findings",
        ),
        "status": Shown(
            examples=(
                Example("mirrord status", "complete, as of when; what is stale, for how long; what fails, why", 1),
                Example("mirrord status --watch --every 5s", "the same again and again, until Ctrl-C", None),
                Example("mirrord status --json", "for a program", 1),
            ),
            exits=(
                ("0", "every mirror is complete and every key fresh"),
                ("1", "something is not, or the journal cannot be used"),
                _JOURNAL,
                _SETTINGS,
                ("130, 143", "--watch was ended by SIGINT, SIGTERM"),
            ),
            json="whether a service works, and each mirror: keys by state, completeness, what keeps it from calling, "
            "how far its feed was read, what fails; with --watch a document a line",
        ),
        "explain": Shown(
            examples=(
                Example("mirrord explain www a/b.html", "versions, state, last attempts, what comes next"),
                Example("mirrord explain www a/b.html --json", "the same for a program"),
            ),
            exits=(
                ("0", "here it is"),
                ("1", "the key is not known; keys like it are named"),
                _USAGE,
                _JOURNAL,
                _SETTINGS,
            ),
            json="the key's row, its attempts, what keeps its mirror; of an unknown key why, and keys like it",
        ),
        "refresh": Shown(
            examples=(
                Example("mirrord refresh www a/b.html", "ask for it again, whatever the bucket is believed to hold"),
                Example("mirrord refresh www --all", "every key that the origin has"),
            ),
            exits=(_DONE, ("1", "some KEY is unknown, gone or held"), _USAGE, _JOURNAL, _SETTINGS),
            json="how many keys were made due, and every KEY that was not, with the reason",
        ),
        "parked": Shown(
            examples=(
                Example("mirrord parked", "what waits for a person: why, since when, what to do"),
                Example("mirrord parked www --json", "every such key of one mirror"),
            ),
            exits=(("0", "listed, or nothing to list"), _UNDONE, _USAGE, _JOURNAL, _SETTINGS),
            json="each mirror with its parked and held keys, whole",
        ),
        "retry": Shown(
            examples=(
                Example("mirrord retry www a/b.html", "one key, once the reason is gone"),
                Example("mirrord retry www --all", "every parked key"),
            ),
            exits=(_DONE, ("1", "some KEY is unknown or not parked"), _USAGE, _JOURNAL, _SETTINGS),
            json="how many keys were made due, and every KEY that was not, with the reason",
        ),
        "release": Shown(
            examples=(
                Example("mirrord release www", "delete from the bucket what the origin has no longer"),
                Example("mirrord release www --drop", "leave it in the bucket"),
            ),
            exits=(("0", "done, also where none were held"), _UNDONE, _USAGE, _JOURNAL, _SETTINGS),
            json="how many removals were let go, or dropped",
        ),
        "reload": Shown(
            examples=(Example("mirrord reload", "after an edit of the settings", None),),
            exits=(
                ("0", "taken"),
                ("69", "no service runs"),
                ("77", "the service is another user's"),
                ("78", "refused; the old settings stay"),
            ),
        ),
        "service install": Shown(
            examples=(
                Example("mirrord service install --dry-run", "every file and command, before anything is done", None),
            ),
            exits=(_DONE, ("1", "it could not be done"), ("77", "not permitted to this user")),
        ),
        "service drop-in": Shown(
            examples=(Example("mirrord service drop-in", "which there are", None),),
            exits=(_DONE, ("2", "there is none of that name")),
        ),
        "journal vacuum": Shown(
            examples=(
                Example("mirrord journal vacuum --dry-run", "what nobody needs any more"),
                Example("mirrord journal vacuum", "drop it, and give its room back"),
            ),
            exits=(_DONE, _UNDONE, _JOURNAL, _SETTINGS),
            json="what was dropped, and the size of the file before and after",
        ),
        "journal backup": Shown(
            examples=(Example("mirrord journal backup journal-copy.db", "one file; how to restore it is printed"),),
            exits=(("0", "the copy is there, whole"), ("1", "it could not be made"), _JOURNAL, _SETTINGS),
            json="the copy, its size, and how many keys it has",
        ),
        "sandbox": Shown(
            examples=(
                Example(
                    "mirrord sandbox --origin www=http://127.0.0.1:8000/",
                    "a Kodo of your own, whose bucket pulls from there",
                    None,
                ),
            ),
            exits=(("0", "stopped by a signal"), ("1", "it cannot listen or keep objects"), ("2", "wrong usage")),
        ),
        "demo": Shown(
            examples=(
                Example("mirrord demo", "under a minute", None),
                Example("mirrord demo --keep", "then edit files yourself", None),
            ),
            exits=(("0", "bucket and origin are equal"), ("1", "they are not"), _SIGNALLED),
        ),
    }
)
"""By what is typed after `mirrord`; "" is that itself."""


def put_into(app: typer.Typer) -> None:
    """Let the help of every command in `app` end with what is shown here."""
    app.info.epilog = _epilog(COMMANDS[""])
    for path, command in _commands(app, ""):
        if path in COMMANDS:
            command.epilog = _epilog(COMMANDS[path])


def _commands(app: typer.Typer, above: str) -> "Iterator[tuple[str, typer.models.CommandInfo]]":
    for command in app.registered_commands:
        name = command.name or (command.callback.__name__.replace("_", "-") if command.callback else "")
        yield f"{above} {name}".strip(), command
    for group in app.registered_groups:
        if group.typer_instance is not None:
            yield from _commands(group.typer_instance, f"{above} {group.typer_instance.info.name}".strip())


def _epilog(shown: Shown) -> str:
    r"""In click's own form, where `\b` keeps the lines of a paragraph as they are."""
    passages = [["Examples:", *(line for each in shown.examples for line in _example(each))]]
    if shown.json is not None:
        passages.append(textwrap.wrap(f"--json: {shown.json}.", _WIDTH, subsequent_indent="  "))
    passages.append(["Exit status:", *(f"  {code:<9} {means}" for code, means in shown.exits)])
    return "\n\n".join("\b\n" + "\n".join(lines) for lines in passages)


def _example(example: Example) -> list[str]:
    return [
        f"  {example.command}",
        *textwrap.wrap(example.does, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6),
    ]
