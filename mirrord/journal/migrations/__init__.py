"""How a journal of an older version becomes one of this: Alembic revisions, oldest first."""
