"""A process of Taskyard whose pool of connections is used up by code that never gives one back.

`python -m tests.integration.leaking_process worker|scheduler|web`; the file `leak` in DATA_DIR names the pool: redis or sql.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and sys.argv[1] == "web":
    from gevent import monkey

    monkey.patch_all()

import gc
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from redis.exceptions import MaxConnectionsError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from workers import logs
from workers.broker.connection import QuickRedis
from workers.settings import Settings
from workers.store.database import Database

HELD: list[Any] = []


def find_all(kind: type[Any]) -> list[Any]:
    gc.unfreeze()  # a worker hides what it has made from the collector, before it forks
    return [one for one in gc.get_objects() if isinstance(one, kind)]


def hold_redis() -> None:
    for pool in [one.connection_pool for one in find_all(QuickRedis)]:
        with suppress(MaxConnectionsError):
            while True:
                HELD.append(pool.get_connection())


def hold_sql() -> None:
    for engine in [one.engine for one in find_all(Database)]:
        engine.pool._timeout = 0.5  # else each call waits half a minute
        with suppress(PoolTimeout):
            while True:
                HELD.append(engine.raw_connection())


def leak_when_asked(mark: Path) -> None:
    while not mark.exists():
        time.sleep(0.05)
    hold = {"redis": hold_redis, "sql": hold_sql}[mark.read_text()]
    while True:  # what was in use comes back, and is held as well
        hold()
        time.sleep(0.02)


def run(which: str, settings: Settings) -> int:
    if which == "worker":
        from workers.processes.worker import run_worker

        return run_worker(settings)
    if which == "scheduler":
        from workers.processes.scheduler import run_scheduler

        return run_scheduler(settings, "leaking")
    from dashboard.commands import main

    sys.argv[0] = "app.py"
    return main(["web"])


if __name__ == "__main__":
    settings = Settings.from_env()
    logs.configure(settings, sys.argv[1])
    threading.Thread(target=leak_when_asked, args=(settings.data_dir / "leak",), daemon=True).start()
    raise SystemExit(run(sys.argv[1], settings))
