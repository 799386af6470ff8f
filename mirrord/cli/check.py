"""`mirrord check`: are the settings right, can the sources be read, and with `--online` what does Kodo say?"""

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Annotated

import typer

from mirrord.cli.settings import EXIT_NOT_FRESH, EXIT_SETTINGS, ConfigOption, JsonOption, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mirrord.config import Loaded, Problem
    from mirrord.decisions.findings import Finding

OnlineOption = Annotated[
    bool, typer.Option("--online", help="Also ask Kodo, and the origins, whether the settings are right.")
]


def check(config: ConfigOption = None, *, online: OnlineOption = False, as_json: JsonOption = False) -> None:
    """Validate the settings, and list every mistake."""
    from mirrord.config import source_problems

    loaded = load(config)
    problems = source_problems(loaded.settings, str(loaded.path))
    if not as_json:
        for line in (*loaded.warnings, *problems):
            typer.echo(f"{line}", err=True)
    findings = asyncio.run(_examined(loaded)) if online else None
    failed = any(each.level == "error" for each in findings or ())
    if as_json:
        _print_document(loaded, problems, findings)
    else:
        if not problems:
            _print_settings(loaded, failed=failed)
        if findings is not None:
            _print_findings(findings)
    if problems:
        raise typer.Exit(EXIT_SETTINGS)
    raise typer.Exit(EXIT_NOT_FRESH if failed else 0)


async def _examined(loaded: "Loaded") -> "list[Finding]":
    from mirrord import log, wiring

    settings = loaded.settings
    log.configure(settings.log.format, "error", settings.secrets)  # findings say the rest
    preflights, kodo = wiring.preflights(settings)
    try:
        return [finding for each in preflights for finding in await each.examine()]
    finally:
        await kodo.close()


def _print_settings(loaded: "Loaded", *, failed: bool) -> None:
    names = ", ".join(mirror.name for mirror in loaded.settings.mirror)
    said = "no mistake in the file itself, but see below" if failed else "usable"
    from mirrord.cli.tables import say

    say(f"{loaded.path}: {said}; mirrors: {names}; the secret key comes from the {loaded.secret_from}")


def _print_document(loaded: "Loaded", problems: "Sequence[Problem]", findings: "Sequence[Finding] | None") -> None:
    from dataclasses import asdict

    import orjson

    document: dict[str, object] = {
        "file": str(loaded.path),
        "secret_from": loaded.secret_from,
        "mirrors": [mirror.name for mirror in loaded.settings.mirror],
        "warnings": loaded.warnings,
        "problems": [str(problem) for problem in problems],
    }
    if findings is not None:
        document["findings"] = [asdict(finding) for finding in findings]
    typer.echo(orjson.dumps(document).decode())


def _print_findings(findings: "Sequence[Finding]") -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from mirrord.cli.tables import console, say

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("mirror", "what", "", "says"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "")
    for each in findings:
        word, style = _LEVELS[each.level.value]
        table.add_row(Text(each.mirror), each.subject.value, Text(word, style), Text(_printable(each.says)))
    console().print(table)
    for each in findings:  # not in the table: a narrow column would break the id
        if each.reqid and each.level.value != "ok":
            asked = f"(X-Reqid {_printable(each.reqid)})"
            say(f"{each.mirror}, {each.subject.value}: as Kodo answered {asked}", whole=[asked])
    subjects = defaultdict[tuple[str, str], list[str]](list)
    for each in findings:
        if each.advice:
            subjects[each.mirror, each.advice].append(each.subject.value)
    for (mirror, advice), about in subjects.items():
        say(f"{mirror}, {', '.join(about)}: {_printable(advice)}")


def _printable(text: str) -> str:
    """A server's own words, and keys, without what would steer a terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


_LEVELS = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "error": ("ERROR", "bold red")}
