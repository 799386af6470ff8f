"""Commands asked in this process, and settings to ask them with."""

from pathlib import Path

from click.testing import Result
from typer.testing import CliRunner

from mirrord.cli import app


def asked(config: Path, *arguments: str, columns: int = 80) -> Result:
    """What a command said and how it ended, on a terminal that wide."""
    return CliRunner().invoke(app, arguments, env={"MIRRORD_CONFIG": str(config), "COLUMNS": str(columns)})


def settings_in(directory: Path, docs: str = "", pages: str = "") -> Path:
    """Settings of the mirrors `docs` and `pages`, each with more of its own; no secret, and no journal yet."""
    path = directory / "config.toml"
    source = f'source = {{ kind = "directory", path = "{directory}" }}'
    mirrors = [
        f'{{ name = "{name}", bucket = "new{name}", {f"{more}, " if more else ""}{source} }}'
        for name, more in (("docs", docs), ("pages", pages))
    ]
    path.write_text(
        f"""
        kodo = {{ access_key = "ak", secret_key_file = "{directory}/not-for-everybody" }}
        journal = {{ url = "sqlite:///{directory}/journal.db" }}
        mirror = [{", ".join(mirrors)}]
        """
    )
    path.chmod(0o600)
    return path
