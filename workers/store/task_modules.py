"""Rows of `task_modules`: what each host could import."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Connection, Table, delete, select

from workers.store.dialects import upsert
from workers.store.module_models import TaskModule
from workers.store.types import Row
from workers.store.workers import WORKERS

MODULES = cast(Table, TaskModule.__table__)
KEPT_AFTER_HOST = timedelta(hours=1)  # how long the modules of a host count that has no worker any more
_COLUMNS = ("tasks", "error", "file", "line", "seconds", "imported_at")


def list_modules(connection: Connection) -> Sequence[Row]:
    """List the modules of every host, by name and host."""
    return connection.execute(select(MODULES).order_by(MODULES.c.name, MODULES.c.host)).mappings().all()


def list_failed(connection: Connection, limit: int = 100) -> Sequence[Row]:
    """List the modules that a host could not import, by name and host."""
    failed = select(MODULES).where(MODULES.c.error.is_not(None)).order_by(MODULES.c.name, MODULES.c.host)
    return connection.execute(failed.limit(limit)).mappings().all()


def errors(connection: Connection, hosts: Collection[str]) -> dict[tuple[str, str], str | None]:
    """Return why each module of these hosts cannot be imported, by host and name; None for one that can be."""
    chosen = select(MODULES.c.host, MODULES.c.name, MODULES.c.error).where(MODULES.c.host.in_(list(hosts)))
    return {(row.host, row.name): row.error for row in connection.execute(chosen)}


def put_modules(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write what a host imported, in place of what was known of these modules."""
    statement = upsert(connection, MODULES, ["host", "name"], _COLUMNS)
    for row in rows:
        connection.execute(statement, row)


def drop_others(connection: Connection, host: str, names: Collection[str]) -> None:
    """Forget the modules of a host that are not among these names."""
    others = delete(MODULES).where(MODULES.c.host == host, MODULES.c.name.not_in(names))
    connection.execute(others)


def drop_absent_hosts(connection: Connection, host: str, now: datetime) -> None:
    """Forget the modules of other hosts that have had no live worker for an hour."""
    since = now - KEPT_AFTER_HOST
    is_live = select(WORKERS.c.host).where(WORKERS.c.heartbeat_at >= since, WORKERS.c.stopped_at.is_(None))
    absent = delete(MODULES).where(
        MODULES.c.host != host, MODULES.c.imported_at < since, MODULES.c.host.not_in(is_live)
    )
    connection.execute(absent)


def available_tasks(rows: Sequence[Row]) -> set[str]:
    """Return the names of the tasks that the modules in these rows define."""
    names: set[str] = set()
    for row in rows:
        if row["error"] is None:
            names.update(json.loads(row["tasks"]))
    return names
