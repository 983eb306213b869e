"""Rows of `schedule_fires` as they are stored, for a schedule that is deleted and may be restored."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, insert, select

from workers.store.schedules import FIRES
from workers.store.types import Row


def rows_of_fires(connection: Connection, schedule_id: str, limit: int) -> Sequence[Row]:
    """List the newest rows of `schedule_fires` of a schedule as they are stored."""
    chosen = select(FIRES).where(FIRES.c.schedule_id == schedule_id).order_by(FIRES.c.fire_at.desc()).limit(limit)
    return connection.execute(chosen).mappings().all()


def add_fires(connection: Connection, rows: Sequence[Row]) -> None:
    """Insert rows of `schedule_fires`."""
    if rows:
        connection.execute(insert(FIRES), [dict(row) for row in rows])
