"""Changes of data as events: what a SQLAlchemy session has committed, triggers hear as `data.<table>.<operation>`.

    from workers.changes import watch
    watch(Session)            # a sessionmaker, a Session class, a scoped_session, or flask-sqlalchemy's db.session

The event's payload is `{"table", "operation", "row", "changed"}`. It is written after the commit, in a transaction of
Taskyard's own: what is rolled back is never told; a process that dies between the two has not told it. Tables that no
trigger listens for cost one look every two seconds.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

from sqlalchemy import event, inspect
from sqlalchemy.orm import Session, SessionTransaction

from workers.domain.errors import TaskyardError
from workers.domain.mapping import hears
from workers.domain.masking import mask
from workers.running import current
from workers.services import events
from workers.services.own_changes import FRESH_SECONDS, plain
from workers.store import trigger_rows
from workers.task import the_yard
from workers.yard import Yard

_HELD, _MARKS = "taskyard_changes", "taskyard_marks"


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
        session.info.pop(_MARKS, None)
        for told in session.info.pop(_HELD, []):
            with contextlib.suppress(TaskyardError):
                _write(patterns.yard, told)

    event.listen(target, "after_flush", note)
    event.listen(target, "after_commit", tell)
    event.listen(target, "after_transaction_create", _mark)
    event.listen(target, "after_soft_rollback", _forget)


def _mark(session: Session, transaction: SessionTransaction) -> None:
    session.info.setdefault(_MARKS, {})[transaction] = len(session.info.get(_HELD, ()))


def _forget(session: Session, transaction: SessionTransaction) -> None:
    # A savepoint that is rolled back takes with it what was flushed since it began, and no more.
    since = session.info.get(_MARKS, {}).pop(transaction, 0)
    del session.info.get(_HELD, [])[since:]


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
    values = {one.key: plain(state.dict.get(one.key)) for one in state.mapper.column_attrs}
    return {"table": table, "operation": operation, "row": mask(values), "changed": sorted(changed)}


def _name(told: dict[str, Any]) -> str:
    return f"data.{told['table']}.{told['operation']}"


def _write(yard: Yard, told: dict[str, Any]) -> None:
    job = current.get()
    actor = f"task:{job.row['task']}" if job else "python"
    with yard.database.write() as connection:
        events.note(connection, _name(told), told, actor, job.job_id if job else None)
