"""Is everything there? The parts, checked one by one, each within seconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from workers.broker import checks
from workers.domain.errors import TaskyardError
from workers.domain.masking import mask_text
from workers.domain.names import SYSTEM_QUEUES
from workers.services import clocks as clock_service
from workers.store import workers as worker_rows
from workers.store.migrate import current_revision, newest_revision
from workers.yard import Yard


def check(yard: Yard) -> dict[str, str | None]:
    """Check the database, its migrations, Redis and the workers: the trouble of each, or None."""
    return {
        "database": _trouble(lambda: _database(yard)),
        "migrations": _trouble(lambda: _migrations(yard)),
        "redis": _trouble(lambda: _redis(yard)),
        "workers": _trouble(lambda: _workers(yard)),
        "system queues": _trouble(lambda: _system_queues(yard)),
    }


def is_ready(yard: Yard) -> dict[str, str | None]:
    """Check only what serving requests needs: the database and Redis."""
    return {"database": _trouble(lambda: _database(yard)), "redis": _trouble(lambda: yard.redis.ping())}


def _database(yard: Yard) -> None:
    with yard.database.read() as connection:
        connection.execute(text("SELECT 1"))


def _migrations(yard: Yard) -> str | None:
    with yard.database.read() as connection:
        present, wanted = current_revision(connection), newest_revision()
    return (
        None
        if present == wanted
        else f"the database schema is at {present} instead of {wanted}; run: python app.py migrate"
    )


def _redis(yard: Yard) -> str | None:
    trouble = checks.check(yard.redis)
    return trouble.sentence if trouble is not None else None


def _workers(yard: Yard) -> str | None:
    with yard.database.read() as connection:
        rows, clocks = worker_rows.present(connection), clock_service.read(connection)
    lost = [row["name"] for row in rows if worker_rows.is_lost(row, clocks, yard.settings.heartbeat_seconds)]
    if len(lost) == len(rows):
        return "no worker is running" + (f"; {len(lost)} lost" if lost else "")
    return None


def unserved_system_queues(yard: Yard) -> list[str]:
    """List the queues of Taskyard's own work that no worker serves now. Raises Unavailable."""
    with yard.database.read() as connection:
        rows, clocks = worker_rows.present(connection), clock_service.read(connection)
    alive = [row for row in rows if not worker_rows.is_lost(row, clocks, yard.settings.heartbeat_seconds)]
    served = {queue for row in alive for queue in json.loads(row["queues"])}
    return [queue for queue in SYSTEM_QUEUES if queue not in served]


def _system_queues(yard: Yard) -> str | None:
    unserved = unserved_system_queues(yard)
    if not unserved:
        return None
    return f"no worker serves {', '.join(unserved)}; start `python app.py scheduler`, or a worker with --queues"


def _trouble(part: Callable[[], Any]) -> str | None:
    try:
        answer = part()
    except (TaskyardError, RedisError, SQLAlchemyError, OSError) as error:
        return mask_text(str(error))
    return answer if isinstance(answer, str) else None
