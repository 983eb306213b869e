"""SQLite for the web process: no statement holds up the event loop, and no read runs without end.

The driver blocks its thread. A read gets a few milliseconds where it is; one that needs more is broken off and runs again
in a thread, within a time limit. Whatever writes or waits for the write lock runs in a thread, one transaction at a time.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from typing import Any

from gevent.lock import BoundedSemaphore

from dashboard.slices import pause
from dashboard.threads import pool
from workers.store.database import BUSY_TIMEOUT_SECONDS, TIMEOUT_MESSAGE

QUICK_SECONDS = 0.010
READ_SECONDS = 5.0
CHECK_STEPS = 100  # of SQLite's virtual machine; between two checks of the time
_NONE: list[Any] = []
_write_lock = BoundedSemaphore(1)


class Connection(sqlite3.Connection):
    """A connection whose long statements run in threads."""

    _has_lock = False

    def cursor(self, *_arguments: Any, **_options: Any) -> Cursor:  # type: ignore[override]
        """Make a cursor."""
        return super().cursor(Cursor)

    def execute(self, sql: str, *parameters: Any) -> Cursor:  # type: ignore[override]
        """Run one statement."""
        return self.cursor().execute(sql, *parameters)

    def commit(self) -> None:
        """Commit; what reaches the disk does so in a thread."""
        if not self.in_transaction or not self._has_lock:
            super().commit()
            return
        try:
            pool("write").run(super().commit)
        finally:
            self.release()

    def rollback(self) -> None:
        """Roll back."""
        try:
            super().rollback()
        finally:
            self.release()

    def close(self) -> None:
        """Close."""
        try:
            super().close()
        finally:
            self.release()

    def acquire(self) -> None:
        """Wait for this process's turn to write. Raises sqlite3.OperationalError when it does not come."""
        if not pool("write").is_needed:
            return
        if not _write_lock.acquire(timeout=BUSY_TIMEOUT_SECONDS):
            raise sqlite3.OperationalError("database is locked")
        self._has_lock = True

    def release(self) -> None:
        """Let the next one write."""
        if self._has_lock:
            self._has_lock = False
            _write_lock.release()


class Cursor(sqlite3.Cursor):
    """A cursor that has all rows of a read when `execute` returns."""

    _rows: list[Any] = _NONE
    connection: Connection

    def execute(self, sql: str, *parameters: Any) -> Cursor:  # type: ignore[override]
        """Run a statement."""
        self._rows = _NONE
        word = sql.lstrip()[:6].upper()
        if word == "SELECT" or sql.startswith("WITH"):
            self._rows = self._read(sql, parameters)
            if pool("read").is_needed:
                pause()  # a page makes some statements: what it computes between them is short
        elif sql == "BEGIN IMMEDIATE":
            self._begin(sql)
        elif word in {"BEGIN", "PRAGMA", "SAVEPO", "RELEAS", "ROLLBA"}:
            super().execute(sql, *parameters)
        else:
            self._write(super().execute, sql, *parameters)
        return self

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Cursor:  # type: ignore[override]
        """Run a statement for each of these."""
        self._rows = _NONE
        self._write(super().executemany, sql, parameters)
        return self

    def fetchone(self) -> Any:
        """Return the next row."""
        if self._rows is _NONE:
            return super().fetchone()
        return self._rows.pop() if self._rows else None

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """Return the next rows."""
        if self._rows is _NONE:
            return super().fetchmany(self.arraysize if size is None else size)
        found = []
        for _ in range(min(len(self._rows), self.arraysize if size is None else size)):
            found.append(self._rows.pop())
        return found

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""
        if self._rows is _NONE:
            return super().fetchall()
        found, self._rows = self._rows[::-1], []
        return found

    def _begin(self, sql: str) -> None:
        self.connection.acquire()
        try:
            self._write(super().execute, sql)
        except BaseException:
            self.connection.release()
            raise

    def _write(self, function: Any, *arguments: Any) -> None:
        pool("write").run(function, *arguments, interrupt=self.connection.interrupt)

    def _read(self, sql: str, parameters: tuple[Any, ...]) -> list[Any]:
        threads = pool("read")
        if not threads.is_needed:
            return self._rows_within(READ_SECONDS, sql, parameters)
        if " LIKE " not in sql:  # which may read megabytes between two checks of the time
            try:
                return self._rows_within(QUICK_SECONDS, sql, parameters)
            except sqlite3.OperationalError as error:
                if str(error) != TIMEOUT_MESSAGE:
                    raise
        return threads.run(self._rows_within, READ_SECONDS, sql, parameters, interrupt=self.connection.interrupt)

    def _rows_within(self, seconds: float, sql: str, parameters: tuple[Any, ...]) -> list[Any]:
        until = time.monotonic() + seconds
        self.connection.set_progress_handler(lambda: time.monotonic() > until, CHECK_STEPS)
        try:
            super().execute(sql, *parameters)
            rows = super().fetchall()
        except sqlite3.OperationalError as error:
            if str(error) == "interrupted" and time.monotonic() > until:
                raise sqlite3.OperationalError(TIMEOUT_MESSAGE) from error
            raise
        finally:
            self.connection.set_progress_handler(None, 0)
        rows.reverse()
        return rows
