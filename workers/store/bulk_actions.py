"""Rows of `bulk_actions` and of what they refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Connection, Table, insert, select, update

from workers.store.dialects import insert_or_ignore
from workers.store.models import BulkAction, BulkActionItem
from workers.store.types import Row

ACTIONS = cast(Table, BulkAction.__table__)
ITEMS = cast(Table, BulkActionItem.__table__)
UNFINISHED = ("pending", "processing")


def add(connection: Connection, row: Mapping[str, Any]) -> None:
    """Insert a bulk action."""
    connection.execute(insert(ACTIONS), row)


def get(connection: Connection, action_id: str, *, locked: bool = False) -> Row | None:
    """Fetch one; a locked one is kept from others until the transaction ends."""
    chosen = select(ACTIONS).where(ACTIONS.c.id == action_id)
    return connection.execute(chosen.with_for_update() if locked else chosen).mappings().one_or_none()


def change(connection: Connection, action_id: str, values: Mapping[str, Any], *, before: Sequence[str]) -> bool:
    """Change one that is still in one of these states; False when it no longer is."""
    guarded = update(ACTIONS).where(ACTIONS.c.id == action_id, ACTIONS.c.status.in_(list(before)))
    return connection.execute(guarded.values(dict(values))).rowcount == 1


def refuse(connection: Connection, action_id: str, refused: Sequence[tuple[str, str]]) -> None:
    """Keep which jobs were left as they were, and why."""
    rows = [{"bulk_action_id": action_id, "job_id": job, "outcome": "refused", "detail": why} for job, why in refused]
    if rows:
        connection.execute(insert_or_ignore(connection, ITEMS), rows)


def refused(connection: Connection, action_id: str, limit: int = 200) -> Sequence[Row]:
    """List what was refused."""
    return connection.execute(select(ITEMS).where(ITEMS.c.bulk_action_id == action_id).limit(limit)).mappings().all()
