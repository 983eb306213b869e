"""Rows of `api_tokens`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import cast

from sqlalchemy import Connection, Table, insert, select, update

from workers.store.models import ApiToken
from workers.store.types import Row

TOKENS = cast(Table, ApiToken.__table__)


def add(connection: Connection, row: Row) -> None:
    """Insert a token."""
    connection.execute(insert(TOKENS), row)


def by_hash(connection: Connection, token_hash: str) -> Row | None:
    """Fetch a token by the hash of its secret."""
    return connection.execute(select(TOKENS).where(TOKENS.c.token_hash == token_hash)).mappings().one_or_none()


def by_id(connection: Connection, token_id: str) -> Row | None:
    """Fetch a token by its id."""
    return connection.execute(select(TOKENS).where(TOKENS.c.id == token_id)).mappings().one_or_none()


def all_tokens(connection: Connection) -> Sequence[Row]:
    """List every token, the newest first."""
    return connection.execute(select(TOKENS).order_by(TOKENS.c.created_at.desc())).mappings().all()


def touch(connection: Connection, token_id: str, now: datetime) -> None:
    """Note that a token was used."""
    connection.execute(update(TOKENS).where(TOKENS.c.id == token_id).values(last_used_at=now))


def revoke(connection: Connection, token_id: str, now: datetime) -> bool:
    """Revoke a token; False when it already was, or there is none."""
    there = (TOKENS.c.id == token_id, TOKENS.c.revoked_at.is_(None))
    return connection.execute(update(TOKENS).where(*there).values(revoked_at=now)).rowcount == 1
