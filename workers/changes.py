"""Changes of data as events: what a SQLAlchemy session has committed, triggers hear as `data.<table>.<operation>`.

    from workers.changes import watch
    watch(Session)            # a sessionmaker, a Session class, a scoped_session, or flask-sqlalchemy's db.session

The event's payload is `{"table", "operation", "row", "changed"}`. It is written after the commit, in a transaction of
Taskyard's own: what is rolled back is never told; a process that dies between the two has not told it. Tables that no
trigger listens for cost one look every two seconds.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import json
import time
import uuid
from typing import Any

from sqlalchemy import Connection, Delete, Insert, Table, Update, event, inspect
from sqlalchemy.orm import Session

from workers.domain.errors import BadInput, TaskyardError
from workers.domain.mapping import hears
from workers.domain.masking import mask
from workers.running import current
from workers.services import events
from workers.store import trigger_rows
from workers.store.database import Database
from workers.task import the_yard
from workers.yard import Yard

FRESH_SECONDS = 2.0
LONGEST_VALUE = 2_000
# Tables of Taskyard whose changes are told; those that move with every job are not, and secrets stay where they are.
OWN_TABLES = frozenset({"schedules", "queues", "settings", "tasks", "alert_rules", "triggers"})
_HELD = "taskyard_changes"


def watch(sessions: Any, yard: Yard | None = None) -> None:
    """Tell of what sessions of this kind commit: insertions, updates and deletions of mapped rows."""
    target = getattr(sessions, "session_factory", sessions)
    patterns = _Patterns(yard)

    def note(session: Session, _context: Any) -> None:
        held = session.info.setdefault(_HELD, [])
        for operation, rows in (("inserted", session.new), ("updated", session.dirty), ("deleted", session.deleted)):
            for row in rows:
                told = _told(row, operation)
                if told is not None and patterns.want(_name(told)):
                    held.append(told)

    def tell(session: Session) -> None:
        for told in session.info.pop(_HELD, []):
            with contextlib.suppress(TaskyardError):
                _write(patterns.yard, told)

    event.listen(target, "after_flush", note)
    event.listen(target, "after_commit", tell)
    event.listen(target, "after_soft_rollback", lambda session, _previous: session.info.pop(_HELD, None))


def watch_own(database: Database) -> None:
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
            values = _values(statement.table, result)
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


class _Patterns:
    """What triggers listen for, as this process last read it."""

    def __init__(self, yard: Yard | None) -> None:
        self._yard, self._read_at = yard, 0.0
        self._patterns: list[str] = []

    @property
    def yard(self) -> Yard:
        return self._yard or the_yard()

    def want(self, name: str) -> bool:
        if time.monotonic() - self._read_at > FRESH_SECONDS:
            with contextlib.suppress(TaskyardError), self.yard.database.read() as connection:
                self._patterns = [row["listens"] for row in trigger_rows.listening(connection, to_queues=False)]
            self._read_at = time.monotonic()
        return any(hears(pattern, name) for pattern in self._patterns)


def _told(row: Any, operation: str) -> dict[str, Any] | None:
    state = inspect(row)
    table = str(getattr(state.mapper.local_table, "name", ""))
    changed = [one.key for one in state.mapper.column_attrs if state.attrs[one.key].history.has_changes()]
    if not table or (operation == "updated" and not changed):
        return None
    values = {one.key: _plain(state.dict.get(one.key)) for one in state.mapper.column_attrs}
    return {"table": table, "operation": operation, "row": mask(values), "changed": sorted(changed)}


def _name(told: dict[str, Any]) -> str:
    return f"data.{told['table']}.{told['operation']}"


def _write(yard: Yard, told: dict[str, Any]) -> None:
    job = current.get()
    actor = f"task:{job.row['task']}" if job else "python"
    with yard.database.write() as connection:
        events.note(connection, _name(told), told, actor, job.job_id if job else None)


def _values(table: Table, result: Any) -> dict[str, Any]:
    parameters = (result.context.compiled_parameters or [{}])[0]
    values = {name: _plain(value) for name, value in parameters.items() if name in table.columns}
    masked: dict[str, Any] = mask(values)
    return masked


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value[:LONGEST_VALUE]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (dt.datetime, dt.date, dt.time, uuid.UUID, decimal.Decimal)):
        return str(value) if not isinstance(value, (dt.datetime, dt.date, dt.time)) else value.isoformat()
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return None


__all__ = ["watch", "watch_own"]
