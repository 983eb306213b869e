"""Sessions: which browsers are signed in, for how long, and how that ends.

A browser holds a random secret; the row holds its hash. A session ends when it is signed out or ended, with a lock, with
a change of role or password, after `expires_at`, and when nobody uses it for `idle_seconds`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from workers.domain.actors import ROLES, Actor
from workers.domain.clock import utcnow
from workers.domain.errors import NotFound
from workers.domain.ids import new_id
from workers.domain.untrusted import visible_line
from workers.services import audit
from workers.store import sessions, settings, users
from workers.store.types import Row
from workers.yard import Yard

LONGEST = timedelta(days=14)
LONGEST_IDLE = timedelta(days=7)  # SESSION_IDLE_MINUTES cannot be more
STAY_IDLE = timedelta(days=3)  # for who asked to stay signed in
MAX_OF_USER = 20  # the one that was not used for longest ends
_TOUCH_EVERY = timedelta(minutes=1)
_OLD_UNTIL = "old_sessions_until"


@dataclass(frozen=True, slots=True)
class Device:
    """Where a request comes from, as far as it says so itself."""

    address: str
    user_agent: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session that is valid, and its user."""

    session_id: str
    user_id: str
    name: str
    role: str
    must_change_password: bool
    has_second_factor: bool
    needs_second_factor: bool  # an admin requires one, and the user has none yet
    seen_at: datetime
    address: str


def create(yard: Yard, user: Row, device: Device, *, stay: bool = False, instead_of: str | None = None) -> str | None:
    """Start a session of a user whose credentials were checked on this row; its secret.

    `instead_of` is the id of the session that the same browser had before, which ends.
    None when the user was locked or removed, or the password changed, since the row was read.
    """
    secret = secrets.token_urlsafe(32)
    now = utcnow()
    idle = _idle(yard, stay)
    row = _row(user["id"], secret, device, idle, now)
    with yard.database.write() as connection:
        current = users.by_id(connection, user["id"], lock=True)
        if current is None or current["disabled_at"] or current["password_hash"] != user["password_hash"]:
            return None
        if instead_of is not None:
            sessions.remove_one(connection, instead_of)
        sessions.add(connection, row)
        _end_oldest(connection, user["id"])
        users.change(connection, user["id"], {"last_sign_in_at": now})
        who = Actor("user", current["name"], current["role"])
        after = {
            "address": row["address"],
            "user_agent": row["user_agent"],
            "second_factor": current["totp_secret"] is not None,
        }
        audit.record(connection, who, "session.started", "session", str(row["id"]), now, None, after)
    return secret


def find(yard: Yard, secret: str) -> SignedIn | None:
    """Return the session with this secret and its user; None when it has ended. One statement."""
    with yard.database.read() as connection:
        row = sessions.by_hash(connection, _hash(secret))
    return _signed_in(row, utcnow())


def find_by_id(yard: Yard, session_id: str) -> SignedIn | None:
    """Return a session and its user by its id; None when it has ended."""
    with yard.database.read() as connection:
        row = sessions.by_id(connection, session_id)
    return _signed_in(row, utcnow())


def note_use(yard: Yard, session: SignedIn, device: Device) -> None:
    """Note that a session is used and from where, once a minute."""
    now = utcnow()
    is_recent = timedelta(0) <= now - session.seen_at < _TOUCH_EVERY
    if is_recent and session.address == device.address[:64]:
        return
    with yard.database.write() as connection:
        sessions.touch(connection, session.session_id, {"seen_at": now, **_columns(device)})


def of_user(connection: Connection, user_id: str, now: datetime) -> Sequence[Row]:
    """List the valid sessions of a user, the last one used first."""
    return [row for row in sessions.of_user(connection, user_id) if _is_valid(row, now)]


def end(yard: Yard, user_id: str, session_id: str, actor: Actor) -> None:
    """End one session of a user. Raises NotFound when it has ended already, or is somebody else's."""
    now = utcnow()
    with yard.database.write() as connection:
        if not sessions.remove(connection, user_id, [session_id]):
            raise NotFound("The session does not exist or has already ended.")
        _end_old_cookies(connection, user_id)
        audit.record(connection, actor, "session.ended", "session", session_id, now)


def end_all(yard: Yard, user_id: str, actor: Actor, but: str | None = None) -> int:
    """End every session of a user, or every one but this; returns how many there were."""
    now = utcnow()
    with yard.database.write() as connection:
        count = sessions.remove_all(connection, user_id, but)
        _end_old_cookies(connection, user_id)
        audit.record(connection, actor, "session.all_ended", "user", user_id, now, None, {"sessions": count})
    return count


def adopt(yard: Yard, cookie: str, key: bytes, device: Device, *, stay: bool) -> str | None:
    """Make a row of a session of an earlier version, whose signed cookie said `user id:epoch`; its secret.

    The secret follows from the cookie, so that requests at the same time, and copies of it, share one session. None when
    the cookie was ended, or the time for it is over.
    """
    user_id, _, epoch = cookie.partition(":")
    secret = hmac.new(key, f"session {cookie}".encode(), hashlib.sha256).hexdigest()
    now = utcnow()
    with yard.database.write() as connection:
        until = settings.get(connection, _OLD_UNTIL)
        user = users.by_id(connection, user_id, lock=True)
        if until is None or datetime.fromisoformat(until) <= now or user is None:
            return None
        if user["disabled_at"] or str(user["epoch"]) != epoch:
            return None
        sessions.add(connection, _row(user_id, secret, device, _idle(yard, stay), now))
    return secret


def forget(connection: Connection, now: datetime) -> int:
    """Delete the rows of sessions that ended by themselves; returns how many."""
    return sessions.forget(connection, now, LONGEST_IDLE)


def _idle(yard: Yard, stay: bool) -> timedelta:
    return STAY_IDLE if stay else timedelta(minutes=yard.settings.session_idle_minutes)


def _end_oldest(connection: Connection, user_id: str) -> None:
    rows = sessions.of_user(connection, user_id)
    sessions.remove(connection, user_id, [row["id"] for row in rows[MAX_OF_USER:]])


def _end_old_cookies(connection: Connection, user_id: str) -> None:
    users.change(connection, user_id, {"epoch": users.USERS.c.epoch + 1})


def _signed_in(row: Row | None, now: datetime) -> SignedIn | None:
    if row is None or row["disabled_at"] is not None or not _is_valid(row, now):
        return None
    return SignedIn(
        session_id=row["id"],
        user_id=row["user_id"],
        name=row["name"],
        role=row["role"],
        must_change_password=row["must_change_password"],
        has_second_factor=row["totp_secret"] is not None,
        needs_second_factor=row["totp_secret"] is None and _is_required(row["policy"], row["role"]),
        seen_at=row["seen_at"],
        address=row["address"],
    )


def _is_valid(row: Row, now: datetime) -> bool:
    is_idle = now - row["seen_at"] > timedelta(seconds=row["idle_seconds"])
    return bool(now < row["expires_at"]) and not is_idle


def _is_required(policy: str | None, role: str) -> bool:
    least = json.loads(policy) if policy else None
    return least in ROLES and ROLES.index(role) >= ROLES.index(least)


def _row(user_id: str, secret: str, device: Device, idle: timedelta, now: datetime) -> dict[str, object]:
    return {
        "id": new_id(),
        "secret_hash": _hash(secret),
        "user_id": user_id,
        "created_at": now,
        "seen_at": now,
        "expires_at": now + LONGEST,
        "idle_seconds": int(idle.total_seconds()),
        **_columns(device),
    }


def _columns(device: Device) -> dict[str, str]:
    return {"address": device.address[:64], "user_agent": visible_line(device.user_agent)[:200]}


def _hash(secret: str) -> str:
    # The secret has 256 random bits: a plain hash cannot be guessed, and it must be found by its index.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
