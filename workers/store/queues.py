"""Rows of `queues`: which are known, which are paused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import cast
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Table, select, update

from workers.store.database import Database
from workers.store.dialects import insert_or_ignore
from workers.store.models import Queue
from workers.store.types import Row

QUEUES = cast(Table, Queue.__table__)

# Queues are never taken away, so what a process has once put in need not be asked again.
_known: WeakKeyDictionary[Database, set[str]] = WeakKeyDictionary()


def know(connection: Connection, database: Database, names: Iterable[str], now: datetime) -> None:
    """Make sure that these queues have a row."""
    known = _known.setdefault(database, set())
    missing = sorted(set(names) - known)
    if not missing:
        return
    # Only rows that were there before are remembered: this transaction may yet be rolled back.
    there = set(connection.execute(select(QUEUES.c.name).where(QUEUES.c.name.in_(missing))).scalars())
    known.update(there)
    for name in missing:
        if name not in there:
            connection.execute(insert_or_ignore(connection, QUEUES), {"name": name, "created_at": now})


def is_known(database: Database, name: str) -> bool:
    """Return whether this process has seen the row of a queue; a queue that it has not seen may have one."""
    return name in _known.get(database, ())


def all_queues(connection: Connection) -> Sequence[Row]:
    """List every queue by name."""
    return connection.execute(select(QUEUES).order_by(QUEUES.c.name)).mappings().all()


def get(connection: Connection, name: str) -> Row | None:
    """Fetch one queue; None when it has never been used."""
    return connection.execute(select(QUEUES).where(QUEUES.c.name == name)).mappings().one_or_none()


def paused(connection: Connection) -> set[str]:
    """Name the queues that are paused."""
    return set(connection.execute(select(QUEUES.c.name).where(QUEUES.c.paused_at.is_not(None))).scalars())


def set_paused(connection: Connection, name: str, paused_at: datetime | None, paused_by: str | None) -> bool:
    """Pause (with a time) or resume (with None); False when it already was so."""
    already = QUEUES.c.paused_at.is_not(None) if paused_at is None else QUEUES.c.paused_at.is_(None)
    changed = update(QUEUES).where(QUEUES.c.name == name, already).values(paused_at=paused_at, paused_by=paused_by)
    return connection.execute(changed).rowcount == 1
