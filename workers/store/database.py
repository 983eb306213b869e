"""The connection to SQL: one way to read, one way to write, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from workers.domain.errors import Unavailable

BUSY_TIMEOUT_SECONDS = 10
# A PostgreSQL whose host has vanished is noticed within 20 seconds; without these after a quarter of an hour.
_KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 3, "keepalives_count": 3, "tcp_user_timeout": 20_000}
TIMEOUT_MESSAGE = "canceling statement due to statement timeout"  # PostgreSQL's words; SQLite has none


class Database:
    """A pool of connections to the one database."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._writer = engine.execution_options(taskyard_write=True)
        prepare(engine)

    @classmethod
    def open(cls, url: str, **options: Any) -> Database:
        """Open the database at this address; nothing is connected yet."""
        return cls(create_engine(url, **engine_options(url), **options))

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Lend a connection for reading: one snapshot, nothing is kept. Raises Unavailable."""
        with self._translated(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Lend a connection for one transaction: committed at the end, rolled back on any error. Raises Unavailable.

        On SQLite the write lock is taken at the start, so a transaction never fails half way for want of it.
        """
        with self._translated(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def quick_write(self) -> Iterator[QuickConnection]:
        """Lend the driver's connection for one transaction of prepared statements; else as `write`. Raises Unavailable.

        What SQLAlchemy does around a transaction takes as long as SQLite takes to insert a job.
        """
        with self._translated():
            quick = QuickConnection(self.engine)
            try:
                if self.is_sqlite:
                    quick.connection.execute("BEGIN IMMEDIATE")
                yield quick
                quick.connection.commit()
            finally:
                quick.connection.close()  # back to the pool, which rolls back what was not committed

    def ping(self) -> None:
        """Have the database answer on a pooled connection. Raises Unavailable."""
        with self.read() as connection:
            connection.exec_driver_sql("SELECT 1")

    def ping_new_connection(self) -> None:
        """Have the database answer on a new connection, outside of the pool. Raises Unavailable."""
        url = self.engine.url
        engine = create_engine(url, **engine_options(url), poolclass=NullPool)
        with self._translated(), engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        # The driver's own errors come from statements that are run by it, see `store.prepared`.
        driver = self.engine.dialect.loaded_dbapi
        try:
            yield
        except (OperationalError, InterfaceError) as error:
            raise _unavailable(error.orig) from error
        except PoolTimeout as error:
            raise Unavailable("Too many requests use the database at once. Try again in a moment.") from error
        except (driver.OperationalError, driver.InterfaceError) as error:
            raise _unavailable(error) from error


class QuickConnection:
    """A pooled connection of the driver, for statements of `store.prepared`."""

    def __init__(self, engine: Engine) -> None:
        self.dialect = engine.dialect
        self.connection: Any = engine.raw_connection()

    def invalidate(self, error: BaseException | None = None) -> None:
        """Keep a connection that is gone from going back to the pool."""
        self.connection.invalidate(error)


def engine_options(url: str | URL) -> dict[str, Any]:
    """Tell the engine's options for this address, for those who make the engine themselves."""
    if make_url(url).get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False}}
    return {"pool_pre_ping": True, "connect_args": {"connect_timeout": 10, **_KEEPALIVE}}


def prepare(engine: Engine) -> None:
    """Teach an engine what SQLite needs: WAL, foreign keys, a write lock taken at BEGIN. Twice is harmless."""
    if engine.dialect.name != "sqlite" or event.contains(engine, "connect", _on_connect):
        return
    event.listen(engine, "do_connect", _before_connect)
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)


def _before_connect(_dialect: Any, _record: Any, arguments: Any, _options: Any) -> None:
    # SQLite gives the files beside it the mode of the database, so it is made private before it is opened.
    path = str(arguments[0]) if arguments else ""
    if path and not path.startswith((":", "file:")):
        with suppress(OSError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _on_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # sqlite3 must not send a BEGIN of its own
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_SECONDS * 1000}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA wal_autocheckpoint=4000")  # 16 MB: what is written again soon reaches the file once
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA cache_size=-4000")  # kB for each connection, of which the web process keeps up to 40
    cursor.execute("PRAGMA temp_store=MEMORY")  # else each row with a trigger goes through a temporary file
    cursor.close()


def _on_begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("taskyard_write", False)
    driver: Any = connection.connection.dbapi_connection
    driver.execute("BEGIN IMMEDIATE" if write else "BEGIN")


def _unavailable(error: BaseException | None) -> Unavailable:
    if TIMEOUT_MESSAGE in str(error):
        return Unavailable("The query takes too long. Narrow it, for example by status, queue, task or time.")
    return Unavailable(f"The database is not available: {_reason(error)}")


def _reason(error: BaseException | None) -> str:
    return (str(error).strip().splitlines() or ["no answer"])[0] if error is not None else "no answer"


def sqlite_file(url: str) -> Path | None:
    """Tell the file behind a SQLite address; None for other databases."""
    parsed = make_url(url)
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None
