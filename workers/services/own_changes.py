"""Changes of Taskyard's own tables as events, written in the transaction that makes them; see workers.changes for other data."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import json
import time
import uuid
from typing import Any

from sqlalchemy import Connection, Delete, Insert, Table, Update, event

from workers.domain.errors import BadInput
from workers.domain.mapping import hears
from workers.domain.masking import mask
from workers.services import events, secret_fields
from workers.store import trigger_rows
from workers.store.database import Database

FRESH_SECONDS = 2.0
LONGEST_VALUE = 2_000
# Tables whose changes are told; those that move with every job are not, and secrets stay where they are.
OWN_TABLES = frozenset({"schedules", "queues", "tasks", "alert_rules", "triggers"})
# What Taskyard writes down of its own work: a trigger that heard of it would feed itself.
BOOKKEEPING = frozenset(
    {
        "last_fire_at",
        "last_completed_fire_at",
        "last_fired_at",
        "last_job_id",
        "next_due_at",
        "next_fire_at",
        "passed_over",
        "published_at",
        "refused_reason",
        "revision",
        "updated_at",
        "version",
    }
)


def watch(database: Database) -> None:
    """Tell of changes of Taskyard's own tables, in the transaction that makes them."""
    seen: dict[str, Any] = {"at": 0.0, "patterns": []}

    def note(connection: Connection, statement: Any, _many: Any, _one: Any, _options: Any, result: Any) -> None:
        if not isinstance(statement, (Insert, Update, Delete)) or not isinstance(statement.table, Table):
            return
        if statement.table.name not in OWN_TABLES:
            return
        if time.monotonic() - seen["at"] > FRESH_SECONDS:
            listening = trigger_rows.listening(connection, to_queues=False)
            seen.update(at=time.monotonic(), patterns=[row["listens"] for row in listening])
        operation = "inserted" if statement.is_insert else "updated" if statement.is_update else "deleted"
        name = f"data.{statement.table.name}.{operation}"
        if any(hears(pattern, name) for pattern in seen["patterns"]):
            values = _values(connection, statement.table, result)
            if operation == "updated" and not values:
                return
            told = {
                "table": str(statement.table.name),
                "operation": operation,
                "row": values,
                "changed": sorted(values),
            }
            # What cannot be told must not stop what is done.
            with contextlib.suppress(BadInput):
                events.note(connection, name, told, "system:taskyard")

    event.listen(database.engine, "after_execute", note)


def plain(value: Any) -> Any:
    """Make a value of a column JSON-ready; None for what JSON does not have."""
    if isinstance(value, str):
        return value[:LONGEST_VALUE]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, (uuid.UUID, decimal.Decimal)):
        return str(value)
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return None


def _values(connection: Connection, table: Table, result: Any) -> dict[str, Any]:
    parameters = (result.context.compiled_parameters or [{}])[0]
    names = {column.name for column in table.columns} - BOOKKEEPING
    values = {name: _opened(value) for name, value in parameters.items() if name in names}
    masked: dict[str, Any] = mask(values, secret_fields.declared(connection).any_task)
    return masked


def _opened(value: Any) -> Any:
    # A payload is kept as JSON text; closed, its secrets would pass the mask.
    if isinstance(value, str) and value.startswith(("{", "[")):
        with contextlib.suppress(ValueError):
            return json.loads(value)
    return plain(value)
