"""A journal's revision: current, older (migrated), newer (refused)."""

from importlib.resources import files

import sqlalchemy as sa

from mirrord.journal.errors import JournalTooNew
from mirrord.journal.tables import metadata

HEAD = "0006"
"""The newest revision in `migrations/versions`; a test holds the two together."""


def bring_up_to_date(connection: sa.Connection, name: str) -> None:
    """Create or migrate the tables. Raises JournalTooNew, which says what to do about `name`."""
    revision = current(connection)
    if revision is None and not sa.inspect(connection).get_table_names():
        _create(connection)
    elif revision != HEAD:
        _migrate(connection, revision, name)


def _create(connection: sa.Connection) -> None:
    """The tables as they are today; a test holds them against those that the migrations lead to."""
    metadata.create_all(connection)
    connection.execute(sa.text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(sa.text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})


def _migrate(connection: sa.Connection, revision: str | None, name: str) -> None:
    from alembic import command  # noqa: PLC0415  # a tenth of a second that a start seldom needs
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(files("mirrord.journal") / "migrations"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise JournalTooNew(
            f"{name}: written by a newer mirrord (journal revision {revision}, this one knows up to {HEAD}); "
            "run that version, or move the file away and let a scan rebuild it"
        )
    command.upgrade(config, "head")


def current(connection: sa.Connection) -> str | None:
    """The revision the tables are at; None for an empty database."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
