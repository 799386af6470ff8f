"""`mirrord check`: are the settings right, and can the sources be read?"""

import typer

from mirrord.cli.settings import EXIT_SETTINGS, ConfigOption, JsonOption, load


def check(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Validate the settings. Exit 0: usable; 78: every mistake is listed."""
    from mirrord.config import source_problems

    loaded = load(config)
    problems = source_problems(loaded.settings, str(loaded.path))
    if as_json:
        import orjson

        document = {
            "file": str(loaded.path),
            "secret_from": loaded.secret_from,
            "mirrors": [mirror.name for mirror in loaded.settings.mirror],
            "warnings": loaded.warnings,
            "problems": [str(problem) for problem in problems],
        }
        typer.echo(orjson.dumps(document).decode())
    else:
        for line in (*loaded.warnings, *problems):
            typer.echo(f"{line}", err=True)
        if not problems:
            names = ", ".join(mirror.name for mirror in loaded.settings.mirror)
            typer.echo(f"{loaded.path}: usable; mirrors: {names}; the secret key comes from the {loaded.secret_from}")
    raise typer.Exit(EXIT_SETTINGS if problems else 0)
