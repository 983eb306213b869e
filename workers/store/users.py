"""Rows of `users`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Connection, Table, func, select, update

from workers.store.dialects import insert_or_ignore
from workers.store.models import User
from workers.store.types import Row

USERS = cast(Table, User.__table__)


def add(connection: Connection, row: Row) -> bool:
    """Insert a user; False when the name is taken."""
    # PostgreSQL counts no rows for this statement; the row that it returns says whether it was inserted.
    inserted = insert_or_ignore(connection, USERS).returning(USERS.c.id)
    return connection.execute(inserted, row).first() is not None


def by_name(connection: Connection, name: str) -> Row | None:
    """Fetch a user by name."""
    return connection.execute(select(USERS).where(USERS.c.name == name)).mappings().one_or_none()


def by_id(connection: Connection, user_id: str) -> Row | None:
    """Fetch a user by id."""
    return connection.execute(select(USERS).where(USERS.c.id == user_id)).mappings().one_or_none()


def all_users(connection: Connection) -> Sequence[Row]:
    """List every user by name."""
    return connection.execute(select(USERS).order_by(USERS.c.name)).mappings().all()


def count(connection: Connection) -> int:
    """Count the users."""
    return connection.execute(select(func.count()).select_from(USERS)).scalar_one()


def change(connection: Connection, user_id: str, values: Mapping[str, Any], *, end_sessions: bool = False) -> bool:
    """Change a user; `end_sessions` signs it out everywhere."""
    changes = dict(values)
    if end_sessions:
        changes["epoch"] = USERS.c.epoch + 1
    return connection.execute(update(USERS).where(USERS.c.id == user_id).values(changes)).rowcount == 1


def replace_hash(connection: Connection, user_id: str, stored: str, renewed: str) -> bool:
    """Replace the hash of an unchanged password; False when the password was changed meanwhile."""
    same = (USERS.c.id == user_id, USERS.c.password_hash == stored)
    return connection.execute(update(USERS).where(*same).values(password_hash=renewed)).rowcount == 1
