"""The two statements that SQLite and PostgreSQL both know but SQLAlchemy writes apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_or_ignore(connection: Connection, table: Table) -> Any:
    """INSERT … ON CONFLICT DO NOTHING."""
    return _insert(connection, table).on_conflict_do_nothing()


def upsert(connection: Connection, table: Table, keys: Sequence[str], values: Sequence[str]) -> Any:
    """INSERT … ON CONFLICT (keys) DO UPDATE SET values from the row that was to go in."""
    statement = _insert(connection, table)
    return statement.on_conflict_do_update(
        index_elements=list(keys), set_={name: statement.excluded[name] for name in values}
    )


def _insert(connection: Connection, table: Table) -> Any:
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)
