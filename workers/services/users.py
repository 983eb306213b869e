"""People: their passwords and roles."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection

from workers.domain.actors import ROLES, SYSTEM, Actor
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput, Conflict, NotFound, SettingsError, Unavailable
from workers.domain.ids import new_id
from workers.services import audit
from workers.services.passwords import check_strength, checked_hash, hash_password, is_password, needs_renewal
from workers.store import users
from workers.store.types import Row
from workers.yard import Yard

Run = Callable[..., Any]
ONE_TIME_LIFE = timedelta(hours=72)  # of a password that was made up and has not been used
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function here and now."""
    return function(*arguments)


def ensure_admin(yard: Yard, password: str) -> str | None:
    """Make the first user, `admin`, if there is no user yet. Returns the password that was made up for it, else None."""
    with yard.database.read() as connection:
        if users.count(connection):
            return None
    if password:
        _check_admin_password(password)
    chosen = password or secrets.token_urlsafe(12)
    now = utcnow()
    row = {
        "id": new_id(),
        "name": "admin",
        "password_hash": hash_password(chosen),
        "role": "admin",
        "epoch": 1,
        "must_change_password": not password,
        "password_expires_at": None if password else now + ONE_TIME_LIFE,
        "created_at": now,
    }
    with yard.database.write() as connection:
        if users.count(connection) or not users.add(connection, row):
            return None
        audit.record(connection, SYSTEM, "user.added", "user", "admin", now, None, {"role": "admin"})
    return None if password else chosen


def add(yard: Yard, name: str, role: str, password: str | None, actor: Actor, run: Run = call) -> str:
    """Add a person; the password, made up when none is given. Raises BadInput, Conflict."""
    if not is_name(name):
        raise BadInput("A name has 1 to 64 letters, digits, dots, dashes, underscores or @.", field="name")
    chosen = password if password is not None else secrets.token_urlsafe(12)
    now = utcnow()
    row = {
        "id": new_id(),
        "name": name,
        "password_hash": run(checked_hash, chosen, name),
        "role": check_role(role),
        "epoch": 1,
        "must_change_password": password is None,
        "password_expires_at": now + ONE_TIME_LIFE if password is None else None,
        "created_at": now,
    }
    with yard.database.write() as connection:
        if not users.add(connection, row):
            raise Conflict(f"A user named {name} already exists.")
        audit.record(connection, actor, "user.added", "user", name, now, None, {"role": role})
    return chosen


def change(yard: Yard, name: str, actor: Actor, *, role: str | None = None, disabled: bool | None = None) -> None:
    """Change a person's role or lock them out; it ends their sessions. Raises NotFound, BadInput, Conflict."""
    now = utcnow()
    values: dict[str, object] = {}
    if role is not None:
        values["role"] = check_role(role)
    if disabled is not None:
        values["disabled_at"] = now if disabled else None
    is_loss = disabled is True or role not in {None, "admin"}
    with yard.database.write() as connection:
        row = _other_user(connection, name, actor, is_loss)
        users.change(connection, row["id"], values, end_sessions=True)
        audit.record(connection, actor, "user.changed", "user", name, now, {"role": row["role"]}, values)


def remove(yard: Yard, name: str, actor: Actor) -> None:
    """Delete a user; it ends their sessions. What they did stays in the audit, and tokens that they made stay valid.

    Raises NotFound, Conflict.
    """
    now = utcnow()
    with yard.database.write() as connection:
        row = _other_user(connection, name, actor, is_loss=True)
        users.remove(connection, row["id"])
        audit.record(connection, actor, "user.deleted", "user", name, now, {"role": row["role"]})


def _other_user(connection: Connection, name: str, actor: Actor, is_loss: bool) -> Row:
    """Return the user whom somebody else changes. `is_loss` says that it would be an admin no more."""
    admins = users.lock_admins(connection)
    row = users.by_name(connection, name, lock=True)
    if row is None:
        raise NotFound(f"There is no user {name}.")
    if actor.kind == "user" and actor.name == name:
        raise Conflict("You cannot remove your own role or access. Ask another admin.")
    if is_loss and list(admins) == [name]:
        raise Conflict(f"{name} is the only admin who can sign in. Make somebody else an admin first.")
    return row


def set_password(yard: Yard, name: str, password: str | None, actor: Actor, run: Run = call) -> str:
    """Set a user's password, generated when none is given; it ends their sessions. Raises NotFound, BadInput."""
    chosen = password if password is not None else secrets.token_urlsafe(12)
    with yard.database.read() as connection:
        current = users.by_name(connection, name)
    if current is None:
        raise NotFound(f"There is no user {name}.")
    password_hash = run(checked_hash, chosen, name, current["password_hash"])
    now = utcnow()
    with yard.database.write() as connection:
        row = users.by_name(connection, name)
        if row is None:
            raise NotFound(f"There is no user {name}.")
        values = {
            "password_hash": password_hash,
            "must_change_password": password is None,
            "password_expires_at": now + ONE_TIME_LIFE if password is None else None,
        }
        users.change(connection, row["id"], values, end_sessions=True)
        audit.record(connection, actor, "user.password_set", "user", name, now)
    return chosen


def find(yard: Yard, name: str) -> Row:
    """Return a user by name. Raises NotFound."""
    with yard.database.read() as connection:
        row = users.by_name(connection, name) if is_name(name) else None
    if row is None:
        raise NotFound(f"There is no user {name}.")
    return row


def is_name(text: str) -> bool:
    """Return whether a user can have this name."""
    return _NAME.fullmatch(text) is not None


def check_password(yard: Yard, name: str, password: str, run: Run = call) -> Row | None:
    """Return the user with this name and password, or None. An unknown name takes as long as a known one.

    `run` calls the hashing, while no connection is held; a web process passes its pool. Raises what `run` raises.
    """
    with yard.database.read() as connection:
        row = users.by_name(connection, name) if is_name(name) else None
    stored = row["password_hash"] if row else None
    if not run(_verify, stored, password) or row is None or not _may_sign_in(row, utcnow()):
        return None
    return _renew_hash(yard, row, password, run) if needs_renewal(row["password_hash"]) else row


def _may_sign_in(row: Row, now: datetime) -> bool:
    has_expired = row["password_expires_at"] is not None and row["password_expires_at"] <= now
    return row["disabled_at"] is None and not has_expired


def _verify(stored: str | None, password: str) -> bool:
    substitute = _nobody()  # made for every name, so that the first attempts do not tell which names exist
    return is_password(stored or substitute, password)


def _renew_hash(yard: Yard, row: Row, password: str, run: Run) -> Row:
    try:
        renewed = run(hash_password, password)
    except Unavailable:
        return row  # the next sign-in will do
    with yard.database.write() as connection:
        is_renewed = users.replace_hash(connection, row["id"], row["password_hash"], renewed)
    return {**row, "password_hash": renewed} if is_renewed else row


def check_role(role: str) -> str:
    """Return the role, or refuse it with BadInput."""
    if role not in ROLES:
        raise BadInput("The role must be viewer, operator or admin.", field="role")
    return role


@lru_cache(maxsize=1)
def _nobody() -> str:
    return hash_password(secrets.token_urlsafe(12))


def _check_admin_password(password: str) -> None:
    try:
        check_strength(password, "admin")
    except BadInput as error:
        raise SettingsError(f"ADMIN_PASSWORD is invalid. {error.message}") from error
