"""Schedules that were deleted, kept for a day so that the deletion can be undone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, DateTime, Table

from workers.domain.clock import parse_instant
from workers.store import kept_fires, schedules, settings
from workers.store.types import Row

KEPT_FOR = timedelta(days=1)
RUNS = 100
PREFIX = "deleted_schedule:"


def keep(connection: Connection, row: Row, now: datetime) -> None:
    """Keep a schedule with its newest runs, in the transaction that deletes it."""
    runs = kept_fires.rows_of_fires(connection, row["id"], RUNS)
    settings.put(connection, PREFIX + row["id"], {"row": _written(row), "runs": [_written(run) for run in runs]}, now)


def take(connection: Connection, schedule_id: str) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """Remove and return a schedule that is kept, with its runs; None when there is none."""
    kept = settings.take(connection, PREFIX + schedule_id)
    if kept is None:
        return None
    runs = [_read(schedules.FIRES, run) for run in kept["runs"]]
    return _read(schedules.SCHEDULES, kept["row"]), runs


def forget(connection: Connection, now: datetime) -> int:
    """Delete what has been kept for longer than `KEPT_FOR` and return how many schedules that were."""
    return settings.forget(connection, PREFIX, now - KEPT_FOR)


def _written(row: Row) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def _read(table: Table, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of a table from its JSON; a column that a later version has removed is left out."""
    columns = {name: table.c[name] for name in values if name in table.c}
    return {
        name: parse_instant(values[name]) if _is_instant(column) and values[name] is not None else values[name]
        for name, column in columns.items()
    }


def _is_instant(column: Any) -> bool:
    kind = getattr(column.type, "impl_instance", column.type)
    return isinstance(kind, DateTime) or column.type.python_type is datetime
