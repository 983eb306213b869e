"""Rows of `sessions`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Connection, Table, delete, select, update

from workers.store.account_models import Session
from workers.store.dialects import insert_or_ignore
from workers.store.settings import SETTINGS
from workers.store.types import Row
from workers.store.users import USERS

SESSIONS = cast(Table, Session.__table__)
POLICY = "second_factor_from"
_USER = (
    "name",
    "role",
    "must_change_password",
    "password_expires_at",
    "disabled_at",
    "totp_secret",
)
# The policy of second factors comes with the session: who is asking is one statement.
_POLICY = select(SETTINGS.c.value).where(SETTINGS.c.key == POLICY).scalar_subquery().label("policy")
_WITH_USER = select(SESSIONS, *(USERS.c[name] for name in _USER), _POLICY).join(USERS, USERS.c.id == SESSIONS.c.user_id)


def add(connection: Connection, row: Mapping[str, Any]) -> bool:
    """Insert a session; False when its secret already has one."""
    inserted = insert_or_ignore(connection, SESSIONS).returning(SESSIONS.c.id)
    return connection.execute(inserted, row).first() is not None


def by_hash(connection: Connection, secret_hash: str) -> Row | None:
    """Fetch a session with its user by the hash of its secret."""
    return connection.execute(_WITH_USER.where(SESSIONS.c.secret_hash == secret_hash)).mappings().one_or_none()


def by_id(connection: Connection, session_id: str) -> Row | None:
    """Fetch a session with its user by its id."""
    return connection.execute(_WITH_USER.where(SESSIONS.c.id == session_id)).mappings().one_or_none()


def of_user(connection: Connection, user_id: str) -> Sequence[Row]:
    """List the sessions of a user, the last one used first."""
    chosen = select(SESSIONS).where(SESSIONS.c.user_id == user_id)
    return connection.execute(chosen.order_by(SESSIONS.c.seen_at.desc(), SESSIONS.c.id.desc())).mappings().all()


def touch(connection: Connection, session_id: str, values: Mapping[str, Any]) -> None:
    """Note that a session was used."""
    connection.execute(update(SESSIONS).where(SESSIONS.c.id == session_id).values(values))


def remove(connection: Connection, user_id: str, session_ids: Sequence[str]) -> int:
    """Delete sessions of a user; returns how many there were."""
    chosen = (SESSIONS.c.user_id == user_id, SESSIONS.c.id.in_(session_ids))
    return connection.execute(delete(SESSIONS).where(*chosen)).rowcount


def remove_one(connection: Connection, session_id: str) -> None:
    """Delete a session, whosever it is."""
    connection.execute(delete(SESSIONS).where(SESSIONS.c.id == session_id))


def remove_all(connection: Connection, user_id: str, but: str | None = None) -> int:
    """Delete every session of a user, or every one but this; returns how many there were."""
    chosen = delete(SESSIONS).where(SESSIONS.c.user_id == user_id)
    if but is not None:
        chosen = chosen.where(SESSIONS.c.id != but)
    return connection.execute(chosen).rowcount


def forget(connection: Connection, now: datetime, longest_idle: timedelta) -> int:
    """Delete the sessions that ended by themselves; returns how many."""
    has_ended = (SESSIONS.c.expires_at < now) | (SESSIONS.c.seen_at < now - longest_idle)
    return connection.execute(delete(SESSIONS).where(has_ended)).rowcount
