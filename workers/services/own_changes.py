"""Changes of Taskyard's own tables as events, written in the transaction that makes them; see workers.changes for other data."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import enum
import json
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Delete, Insert, Table, Update, event, select, tuple_

from workers.domain.errors import BadInput
from workers.domain.mapping import hears
from workers.domain.masking import mask
from workers.services import events, secret_fields
from workers.store import trigger_rows
from workers.store.database import Database
from workers.store.types import Row

FRESH_SECONDS = 2.0
OPERATIONS = ("inserted", "updated", "deleted")
MOST_ROWS = 1_000  # of one statement
_BEFORE = "taskyard_rows_before"
_Key = tuple[Any, ...]
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


@dataclass
class _Listened:
    """What triggers listen for, as this process last read it."""

    read_at: float = float("-inf")
    patterns: list[str] = field(default_factory=list)

    def wants(self, connection: Connection, table: str) -> bool:
        """Return whether a trigger listens for any change of a table."""
        if time.monotonic() - self.read_at > FRESH_SECONDS:
            listening = trigger_rows.listening(connection, to_queues=False)
            self.read_at, self.patterns = time.monotonic(), [row["listens"] for row in listening]
        return any(self.hears(f"data.{table}.{operation}") for operation in OPERATIONS)

    def hears(self, name: str) -> bool:
        """Return whether a trigger listens for an event of this name."""
        return any(hears(pattern, name) for pattern in self.patterns)


def watch(database: Database) -> None:
    """Publish changes of Taskyard's own tables, in the transaction that makes them.

    The rows are read before and after each statement, so that what is published is what it did: nothing for an insert
    that was ignored or an update that matched no row, each row of several, and values that the database computed.
    """
    listened = _Listened()

    def read_before(connection: Connection, statement: Any, many: Any, one: Any, _options: Any) -> None:
        if _is_own_change(statement) and listened.wants(connection, statement.table.name):
            connection.info[_BEFORE] = _rows_before(connection, statement, many or [one])

    def publish(connection: Connection, statement: Any, _many: Any, _one: Any, _options: Any, _result: Any) -> None:
        if not _is_own_change(statement):
            return
        if statement.table is trigger_rows.TRIGGERS:
            listened.read_at = float("-inf")  # what is listened for may have changed
        before = connection.info.pop(_BEFORE, None)
        if before is not None:
            _publish_changes(connection, statement.table, before, listened)

    event.listen(database.engine, "before_execute", read_before)
    event.listen(database.engine, "after_execute", publish)


def _is_own_change(statement: Any) -> bool:
    return (
        isinstance(statement, (Insert, Update, Delete))
        and isinstance(statement.table, Table)
        and statement.table.name in OWN_TABLES
    )


def _rows_before(connection: Connection, statement: Any, many: Sequence[Any]) -> dict[_Key, Row | None]:
    """Return by their keys the rows that a statement may change; None for a key that has no row yet."""
    table = statement.table
    found: dict[_Key, Row | None] = {}
    if isinstance(statement, Insert):
        given = [values or statement.compile().params for values in many]
        keys = [tuple(values[column.name] for column in table.primary_key) for values in given]
        return {**dict.fromkeys(keys), **_rows_of(connection, table, keys)}
    chosen = select(table).limit(MOST_ROWS)
    if statement.whereclause is not None:
        chosen = chosen.where(statement.whereclause)
    for values in many:
        rows = connection.execute(chosen.with_for_update(), values or {}).mappings().all()
        found |= {_key_of(table, row): row for row in rows}
    return found


def _rows_of(connection: Connection, table: Table, keys: Collection[_Key]) -> dict[_Key, Row]:
    columns = list(table.primary_key)
    chosen = select(table).where(tuple_(*columns).in_(list(keys)[:MOST_ROWS]))
    return {_key_of(table, row): row for row in connection.execute(chosen).mappings()}


def _key_of(table: Table, row: Row) -> _Key:
    return tuple(row[column.name] for column in table.primary_key)


def _publish_changes(
    connection: Connection, table: Table, before: Mapping[_Key, Row | None], listened: _Listened
) -> None:
    after = _rows_of(connection, table, before.keys()) if before else {}
    for key, old in before.items():
        new = after.get(key)
        operation, changed = _difference(old, new)
        name = f"data.{table.name}.{operation}"
        if not changed or not listened.hears(name):
            continue
        row = _shown(connection, new or old or {})
        facts = {"table": str(table.name), "operation": operation, "row": row, "changed": changed}
        # What cannot be published must not stop what is done.
        with contextlib.suppress(BadInput):
            events.note(connection, name, facts, "system:taskyard")


def _difference(old: Row | None, new: Row | None) -> tuple[str, list[str]]:
    """Return what happened to a row and the columns that changed, without those of Taskyard's own bookkeeping."""
    names = sorted({*(old or {}), *(new or {})} - BOOKKEEPING)
    if old is None or new is None:
        return ("inserted" if new else "deleted"), names
    return "updated", [name for name in names if old[name] != new[name]]


def plain(value: Any) -> Any:
    """Make a value of a column JSON-ready; None for what JSON does not have."""
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, str):
        return value[:LONGEST_VALUE]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, (uuid.UUID, decimal.Decimal)):
        return str(value)
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return None


def _shown(connection: Connection, row: Row | dict[str, Any]) -> dict[str, Any]:
    values = {name: _opened(value) for name, value in row.items() if name not in BOOKKEEPING}
    masked: dict[str, Any] = mask(values, secret_fields.declared(connection).any_task)
    return masked


def _opened(value: Any) -> Any:
    # A payload is kept as JSON text; closed, its secrets would pass the mask.
    if isinstance(value, str) and value.startswith(("{", "[")):
        with contextlib.suppress(ValueError):
            return json.loads(value)
    return plain(value)
