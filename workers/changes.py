"""Changes of data as events: what a SQLAlchemy session has committed, triggers hear as `data.<table>.<operation>`.

    from workers.changes import watch
    watch(Session)            # a sessionmaker, a Session class, a scoped_session, or flask-sqlalchemy's db.session
    watch(AsyncSession)       # or an async_sessionmaker, or an async_scoped_session

The event's payload is `{"table", "operation", "row", "changed"}`: the row as it was read back from the database, with
what the database computed. One event is published for each row of a transaction, whatever happened to the row in it.
It is written after the commit, in a transaction of Taskyard's own: what is rolled back, with a savepoint or as a whole, is
never published; a process that dies between the two has not published it. Tables that no trigger listens for cost one
look every two seconds.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import InstanceState, Mapper, Session, SessionTransaction

from workers.domain.errors import TaskyardError
from workers.domain.mapping import hears
from workers.domain.masking import mask
from workers.running import current
from workers.services import events
from workers.services.own_changes import FRESH_SECONDS, OPERATIONS
from workers.services.row_changes import Change, change_of, columns_of, net_changes, read_back, table_of
from workers.store import trigger_rows
from workers.task import the_yard
from workers.yard import Yard

_NOTES = "taskyard_changes"


def watch(sessions: Any, yard: Yard | None = None) -> None:
    """Publish what sessions of this kind commit: insertions, updates and deletions of mapped rows.

    Calling it again for the same sessions changes nothing.
    """
    watcher = _watchers.setdefault(id(yard), _Watcher(yard))
    target = _target_of(sessions)
    for name in _HANDLERS:
        handler = getattr(watcher, name)
        if not event.contains(target, name, handler):
            event.listen(target, name, handler)


def _target_of(sessions: Any) -> Any:
    """Return what events of these sessions are listened for on; asynchronous ones get a session class of their own."""
    target = getattr(sessions, "session_factory", sessions)
    if isinstance(target, async_sessionmaker):
        base = target.kw.get("sync_session_class") or target.class_.sync_session_class
        target.configure(sync_session_class=_own_class(base))
        return target.kw["sync_session_class"]
    if isinstance(target, type) and issubclass(target, AsyncSession):
        target.sync_session_class = _own_class(target.sync_session_class)
        return target.sync_session_class
    return target.sync_session if isinstance(target, AsyncSession) else target


def _own_class(base: type[Session]) -> type[Session]:
    is_own = "is_watched_by_taskyard" in vars(base)
    return base if is_own else type(f"Watched{base.__name__}", (base,), {"is_watched_by_taskyard": True})


@dataclass
class _Notes:
    """What one session has flushed and not committed yet."""

    changes: list[Change] = field(default_factory=list)
    # The number of changes when each open transaction or savepoint began.
    marks: dict[SessionTransaction, int] = field(default_factory=dict)
    flush: Any = None  # the one whose changes were collected last
    flushed: list[tuple[InstanceState[Any], str, set[str]]] = field(default_factory=list)
    dirty: dict[InstanceState[Any], set[str]] = field(default_factory=dict)  # what had changed before the flush
    released: set[SessionTransaction] = field(default_factory=set)
    connections: set[Connection] = field(default_factory=set)


class _Watcher:
    """Collects what sessions flush and publishes it when they have committed."""

    def __init__(self, yard: Yard | None) -> None:
        self._patterns = _Patterns(yard)

    def before_flush(self, session: Session, _context: Any, _instances: Any) -> None:
        """Note what has changed, and load what is about to be deleted: afterwards neither can be read."""
        notes = _notes_of(session)
        notes.dirty = {}
        for row in [*session.dirty, *session.deleted]:
            state = _state_of(row)
            if not state.persistent or not self._patterns.want_any(table_of(state.mapper)):
                continue
            notes.dirty[state] = _changed(state)
            if row in session.deleted or state.mapper._is_orphan(state):
                for attribute in state.mapper.column_attrs:
                    getattr(row, attribute.key)

    def after_flush(self, session: Session, context: Any) -> None:
        """Collect what a flush did, while the history of each row is still there."""
        notes = _notes_of(session)
        if notes.flush is context:
            return  # the session is watched as a class and as an instance
        notes.flush, notes.flushed = context, []
        states = sorted(context.states.items(), key=lambda item: getattr(item[0], "insert_order", None) or 0)
        for state, (is_delete, is_only_listed) in states:
            if is_only_listed or not self._patterns.want_any(table_of(state.mapper)):
                continue
            operation = "deleted" if is_delete else "inserted" if state.key is None else "updated"
            # A value that the database computes has no history any more, one that a relationship sets has none before.
            changed = _changed(state) | notes.dirty.get(state, set())
            if operation == "updated" and changed:
                changed |= _set_by_updates(state.mapper)
            if changed or operation != "updated":
                notes.flushed.append((state, operation, changed))

    def after_flush_postexec(self, session: Session, _context: Any) -> None:
        """Read back what was flushed, with what the database computed."""
        notes = _notes_of(session)
        flushed, notes.flushed = notes.flushed, []
        changes = [change_of(state, operation, changed) for state, operation, changed in flushed if state.key]
        for mapper in dict.fromkeys(one.mapper for one in changes):
            connection = session.connection(bind_arguments={"mapper": mapper})
            notes.connections.add(connection)
            read_back(connection, mapper, [one for one in changes if one.mapper is mapper])
        notes.changes += changes

    def after_transaction_create(self, session: Session, transaction: SessionTransaction) -> None:
        """Remember what was flushed before a savepoint."""
        notes = _notes_of(session)
        notes.marks.setdefault(transaction, len(notes.changes))

    def after_commit(self, session: Session) -> None:
        """Publish what was committed; a savepoint that is released is not committed yet."""
        notes = _notes_of(session)
        savepoint = session.get_nested_transaction()
        if savepoint is not None:
            notes.released.add(savepoint)
            return
        changes, notes.changes = notes.changes, []
        outer = next((one for one in notes.connections if not one.closed and one.in_transaction()), None)
        if outer is None:
            self._publish(net_changes(changes))
        elif changes:
            self._publish_with(outer, changes)

    def after_transaction_end(self, session: Session, transaction: SessionTransaction) -> None:
        """Forget what was flushed since a savepoint that is rolled back, or in a transaction that was not committed."""
        notes = _notes_of(session)
        since = notes.marks.pop(transaction, None)
        if transaction.parent is None:
            session.info[_NOTES] = _Notes()
        elif transaction.nested and transaction not in notes.released and since is not None:
            del notes.changes[since:]

    def _publish_with(self, connection: Connection, changes: list[Change]) -> None:
        """Publish when a transaction commits that began outside of the session; never when it is rolled back."""

        def forget(_connection: Connection) -> None:
            changes.clear()

        def publish(_connection: Connection) -> None:
            self._publish(net_changes(changes))
            changes.clear()

        event.listen(connection, "rollback", forget)
        event.listen(connection, "commit", publish)

    def _publish(self, changes: Iterable[Change]) -> None:
        heard = [one for one in changes if self._patterns.want(f"data.{one.table}.{one.operation}")]
        if not heard:
            return
        job = current.get()
        actor = f"task:{job.row['task']}" if job else "python"
        with contextlib.suppress(TaskyardError), self._patterns.yard.database.write() as connection:
            for one in heard:
                facts = {"table": one.table, "operation": one.operation, "row": mask(one.row)}
                facts |= {"changed": sorted(one.changed)}
                # One row that is too large must not keep the others.
                with contextlib.suppress(TaskyardError):
                    name = f"data.{one.table}.{one.operation}"
                    events.note(connection, name, facts, actor, job.job_id if job else None)


_HANDLERS = (
    "before_flush",
    "after_flush",
    "after_flush_postexec",
    "after_transaction_create",
    "after_commit",
    "after_transaction_end",
)
_watchers: dict[int, _Watcher] = {}


class _Patterns:
    """What triggers listen for, as this process last read it."""

    def __init__(self, yard: Yard | None) -> None:
        self._yard, self._read_at = yard, float("-inf")
        self._patterns: list[str] = []

    @property
    def yard(self) -> Yard:
        return self._yard or the_yard()

    def want(self, name: str) -> bool:
        """Return whether a trigger listens for an event of this name."""
        if time.monotonic() - self._read_at > FRESH_SECONDS:
            with contextlib.suppress(TaskyardError), self.yard.database.read() as connection:
                self._patterns = [row["listens"] for row in trigger_rows.listening(connection, to_queues=False)]
            self._read_at = time.monotonic()
        return any(hears(pattern, name) for pattern in self._patterns)

    def want_any(self, table: str) -> bool:
        """Return whether a trigger listens for any change of a table."""
        return bool(table) and any(self.want(f"data.{table}.{operation}") for operation in OPERATIONS)


def _notes_of(session: Session) -> _Notes:
    notes: _Notes = session.info.setdefault(_NOTES, _Notes())
    return notes


def _state_of(row: Any) -> InstanceState[Any]:
    state: InstanceState[Any] = row._sa_instance_state
    return state


def _changed(state: InstanceState[Any]) -> set[str]:
    return {one.key for one in state.mapper.column_attrs if state.attrs[one.key].history.has_changes()}


def _set_by_updates(mapper: Mapper[Any]) -> set[str]:
    """Return the attributes that every update of a row sets."""
    columns = columns_of(mapper).items()
    return {key for key, column in columns if column.onupdate is not None or column.server_onupdate is not None}
