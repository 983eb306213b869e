"""Bringing the tables to what the code expects; safe to run from several processes at once."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from workers.store.database import Database

_FOLDER = Path(__file__).parent / "migrations"
_LOCK = 7_281_465  # any number that nobody else locks in this database


def migrate(database: Database) -> None:
    """Run every migration that is still to come; nothing happens when there is none. Raises Unavailable."""
    with database.write() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        if current_revision(connection) != newest_revision():
            command.upgrade(_config(connection), "head")


def current_revision(connection: Connection) -> str | None:
    """Tell the revision that the database stands at; None when it is empty."""
    return MigrationContext.configure(connection).get_current_revision()


def newest_revision() -> str | None:
    """Tell the revision that the code expects."""
    return ScriptDirectory.from_config(_config(None)).get_current_head()


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.attributes["connection"] = connection
    return config
