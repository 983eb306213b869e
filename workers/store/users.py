"""Rows of `users`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Connection, Select, Table, delete, func, select, update

from workers.store.account_models import Session
from workers.store.dialects import insert_or_ignore
from workers.store.models import User
from workers.store.types import Row

USERS = cast(Table, User.__table__)
_SESSIONS = cast(Table, Session.__table__)


def add(connection: Connection, row: Row) -> bool:
    """Insert a user; False when the name is taken."""
    # PostgreSQL counts no rows for this statement; the row that it returns says whether it was inserted.
    inserted = insert_or_ignore(connection, USERS).returning(USERS.c.id)
    return connection.execute(inserted, row).first() is not None


def by_name(connection: Connection, name: str, *, lock: bool = False) -> Row | None:
    """Fetch a user by name; `lock` keeps others from changing the row until the transaction ends."""
    return _one(connection, select(USERS).where(USERS.c.name == name), lock)


def by_id(connection: Connection, user_id: str, *, lock: bool = False) -> Row | None:
    """Fetch a user by id; `lock` as in `by_name`."""
    return _one(connection, select(USERS).where(USERS.c.id == user_id), lock)


def _one(connection: Connection, chosen: Select[Any], lock: bool) -> Row | None:
    # SQLite knows no such lock: there a transaction that writes is alone.
    statement = chosen.with_for_update() if lock else chosen
    return connection.execute(statement).mappings().one_or_none()


def lock_admins(connection: Connection) -> Sequence[str]:
    """List the names of the admins who may sign in; nobody else changes their rows until the transaction ends."""
    may_sign_in = (USERS.c.role == "admin", USERS.c.disabled_at.is_(None))
    chosen = select(USERS.c.name).where(*may_sign_in).order_by(USERS.c.id).with_for_update()
    return connection.execute(chosen).scalars().all()


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
        connection.execute(delete(_SESSIONS).where(_SESSIONS.c.user_id == user_id))
    return connection.execute(update(USERS).where(USERS.c.id == user_id).values(changes)).rowcount == 1


def remove(connection: Connection, user_id: str) -> None:
    """Delete a user with its sessions."""
    connection.execute(delete(_SESSIONS).where(_SESSIONS.c.user_id == user_id))
    connection.execute(delete(USERS).where(USERS.c.id == user_id))


def replace_hash(connection: Connection, user_id: str, stored: str, renewed: str) -> bool:
    """Replace the hash of an unchanged password; False when the password was changed meanwhile."""
    same = (USERS.c.id == user_id, USERS.c.password_hash == stored)
    return connection.execute(update(USERS).where(*same).values(password_hash=renewed)).rowcount == 1
