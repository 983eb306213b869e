"""What a gevent process does while a statement runs; started by tests as a process of its own.

`python -m tests.security.database_probe URL CASE` prints one JSON line.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
from sqlalchemy import create_engine, text  # noqa: E402

from dashboard import sqlite_threads  # noqa: E402
from dashboard.web_database import web_engine_options  # noqa: E402
from workers.domain.errors import Unavailable  # noqa: E402
from workers.store.database import Database  # noqa: E402

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n WHERE i < 0"
SLOW = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) SELECT count(*) FROM n"


class Ticker:
    """Keeps the longest time in which this greenlet did not get its turn."""

    def __init__(self) -> None:
        self.longest_seconds = 0.0
        self._greenlet = gevent.spawn(self._run)

    def _run(self) -> None:
        while True:
            start = time.monotonic()
            gevent.sleep(0.005)
            self.longest_seconds = max(self.longest_seconds, time.monotonic() - start - 0.005)

    def stop(self) -> float:
        self._greenlet.kill()
        return self.longest_seconds


def open_database(url: str) -> Database:
    return Database(create_engine(url, **web_engine_options(url)))


def run_slow(database: Database) -> Any:
    sqlite_threads.READ_SECONDS = 60.0  # the machine may be busy
    with database.read() as connection:
        return connection.execute(text(SLOW)).scalar_one()


def run_endless(database: Database) -> Any:
    sqlite_threads.READ_SECONDS = 1.0
    try:
        with database.read() as connection:
            connection.execute(text(ENDLESS))
    except Unavailable as error:
        return error.message
    return None


def run_killed(database: Database) -> Any:
    """Give up on a statement, then use the same pool again."""
    start = time.monotonic()
    try:
        with gevent.Timeout(0.3), database.read() as connection:
            connection.execute(text(ENDLESS))
    except gevent.Timeout:
        pass
    gave_up = time.monotonic() - start
    with database.read() as connection:
        return [gave_up < 2, connection.execute(text("SELECT 7")).scalar_one()]


def run_writers(database: Database) -> Any:
    """Write from many greenlets while slow reads fill every thread."""
    with database.write() as connection:
        connection.execute(text("CREATE TABLE t (n INTEGER)"))

    def write(n: int) -> None:
        with database.write() as connection:
            connection.execute(text("INSERT INTO t VALUES (:n)"), {"n": n})

    def write_and_fail(n: int) -> None:
        try:
            with database.write() as connection:
                connection.execute(text("INSERT INTO t VALUES (:n)"), {"n": n})
                raise ValueError
        except ValueError:
            pass

    sqlite_threads.READ_SECONDS = 60.0

    def read() -> None:
        with database.read() as connection:
            connection.execute(text(SLOW.replace("1000000", "200000")))

    readers = [gevent.spawn(read) for _ in range(6)]
    writers = [gevent.spawn(write, n) for n in range(40)] + [gevent.spawn(write_and_fail, n) for n in range(10)]
    gevent.joinall([*writers, *readers], raise_error=True)
    with database.read() as connection:
        return connection.execute(text("SELECT count(*) FROM t")).scalar_one()


def run_sleep(database: Database) -> Any:
    with database.read() as connection:
        connection.execute(text("SELECT pg_sleep(1.5)"))
    return "slept"


CASES: dict[str, Callable[[Database], Any]] = {
    "slow": run_slow,
    "endless": run_endless,
    "killed": run_killed,
    "writers": run_writers,
    "sleep": run_sleep,
}


def main(url: str, case: str) -> None:
    database = open_database(url)
    with database.read() as connection:
        connection.execute(text("SELECT 1"))
    ticker = Ticker()
    gevent.sleep(0.05)
    start = time.monotonic()
    result = CASES[case](database)
    took = time.monotonic() - start
    figures = {"result": result, "took_seconds": took, "longest_seconds": ticker.stop()}
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
