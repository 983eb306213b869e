"""Keys for programs: shown once, kept as a hash."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Any

from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput, NotFound
from workers.domain.ids import new_id
from workers.domain.untrusted import check_label
from workers.services import audit
from workers.services.users import check_role
from workers.store import tokens
from workers.store.types import Row
from workers.yard import Yard

PREFIX = "ty_"
_TOUCH_EVERY = timedelta(minutes=1)


def create(yard: Yard, name: str, role: str, expires_at: datetime | None, actor: Actor) -> str:
    """Make a token; the secret, which cannot be read again. Raises BadInput."""
    name = check_label(name, 64, words="A token's name")
    now = utcnow()
    if expires_at is not None and expires_at <= now:
        raise BadInput("The token would already have expired.", field="expires_at")
    secret = PREFIX + secrets.token_urlsafe(32)
    row: dict[str, Any] = {
        "id": new_id(),
        "name": name.strip(),
        "prefix": secret[:10],
        "token_hash": _hash(secret),
        "role": check_role(role),
        "created_at": now,
        "created_by": str(actor),
        "expires_at": expires_at,
    }
    with yard.database.write() as connection:
        tokens.add(connection, row)
        audit.record(connection, actor, "token.created", "token", row["id"], now, None, {"name": name, "role": role})
    return secret


def find(yard: Yard, secret: str) -> Row | None:
    """Tell the token that this is; None when it is none, is revoked or has expired."""
    if not secret.startswith(PREFIX) or len(secret) > 200 or not secret.isascii():
        return None
    now = utcnow()
    with yard.database.read() as connection:
        row = tokens.by_hash(connection, _hash(secret))
    if row is None or row["revoked_at"] is not None or (row["expires_at"] and row["expires_at"] <= now):
        return None
    if row["last_used_at"] is None or now - row["last_used_at"] > _TOUCH_EVERY:
        with yard.database.write() as connection:
            tokens.touch(connection, row["id"], now)
    return row


def revoke(yard: Yard, token_id: str, actor: Actor) -> None:
    """Revoke a token. Raises NotFound."""
    now = utcnow()
    with yard.database.write() as connection:
        if not tokens.revoke(connection, token_id, now):
            raise NotFound("The token does not exist or is already revoked.")
        audit.record(connection, actor, "token.revoked", "token", token_id, now)


def _hash(secret: str) -> str:
    # The secret has 256 random bits: a plain hash cannot be guessed, and it must be found by its index.
    return hashlib.sha256(secret.encode()).hexdigest()
