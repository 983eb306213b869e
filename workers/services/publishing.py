"""Workers publish the tasks that they can run, so that the web knows them without importing anybody's code."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Table, select, update

from workers.domain.clock import utcnow
from workers.domain.modules import ImportedModule
from workers.registry import TaskDefinition
from workers.services import catalogue, schedule_declarations, unique_retries
from workers.services.telling import tell_kind
from workers.store import queues, task_modules
from workers.store.dialects import upsert
from workers.store.jobs import JOBS
from workers.store.models import Task
from workers.yard import Yard

_TASKS = cast(Table, Task.__table__)
_COLUMNS = tuple(column.name for column in _TASKS.columns if column.name != "name")


def publish(
    yard: Yard,
    definitions: Mapping[str, TaskDefinition],
    modules: Sequence[ImportedModule] | None = None,
    *,
    drop_others: bool = False,
    unless_known: bool = False,
) -> int:
    """Write the tasks that are new or changed to the catalogue, and the schedules that they declare; return how many tasks.

    `modules` are task modules of this host, those that could not be imported among them; by default the modules of the
    definitions. With `drop_others` they are all that the host has: others are forgotten, with those of hosts that are gone.
    With `unless_known` nothing is written when the catalogue holds all of this already. Raises Unavailable.
    """
    now = utcnow()
    rows = _module_rows(definitions, modules, now)
    if unless_known and _is_known(yard, definitions, rows):
        return 0
    with yard.database.write() as connection:
        changed = _write_tasks(connection, definitions, now)
        queues.know(connection, yard.database, {one.queue for one in definitions.values()} | {"default"}, now)
        task_modules.put_modules(connection, rows)
        if drop_others:
            task_modules.drop_others(connection, socket.gethostname(), {row["name"] for row in rows})
            task_modules.drop_absent_hosts(connection, socket.gethostname(), now)
    for name in changed.rekeyed:
        catalogue.forget(yard)
        unique_retries.renew_keys(yard, name)
    tell_kind(yard, "task", "*", "published")
    schedule_declarations.declare(yard, definitions)
    return changed.tasks


@dataclass
class _Changed:
    tasks: int = 0
    rekeyed: list[str] = field(default_factory=list)  # tasks whose unfinished jobs get other unique keys


def _write_tasks(connection: Connection, definitions: Mapping[str, TaskDefinition], now: datetime) -> _Changed:
    known = _catalogued(connection)
    changed = _Changed()
    for definition in definitions.values():
        row = _row(definition)
        before = known.get(definition.name)
        if before is not None and before["secret_fields"] != row["secret_fields"]:
            # What was searched until now may be secret from now on.
            connection.execute(update(JOBS).where(JOBS.c.task == definition.name).values(search_text=""))
        if not _differs(before, row):
            continue
        connection.execute(upsert(connection, _TASKS, ["name"], _COLUMNS), {**row, "published_at": now})
        changed.tasks += 1
        if before is not None and _has_other_keys(before, row):
            changed.rekeyed.append(definition.name)
    return changed


def _catalogued(connection: Connection) -> dict[str, dict[str, Any]]:
    return {row["name"]: dict(row) for row in connection.execute(select(_TASKS)).mappings()}


def _differs(before: Mapping[str, Any] | None, row: Mapping[str, Any]) -> bool:
    return before is None or any(before[name] != value for name, value in row.items())


def _is_known(yard: Yard, definitions: Mapping[str, TaskDefinition], rows: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the catalogue and the table of modules hold all of this."""
    with yard.database.read() as connection:
        catalogued = _catalogued(connection)
        modules = {(row["host"], row["name"]): row for row in task_modules.list_modules(connection)}
    if any(_differs(catalogued.get(one.name), _row(one)) for one in definitions.values()):
        return False
    for row in rows:
        known = modules.get((row["host"], row["name"]))
        if known is None or any(known[name] != row[name] for name in ("tasks", "error", "file", "line")):
            return False
    return True


def _module_rows(
    definitions: Mapping[str, TaskDefinition], modules: Sequence[ImportedModule] | None, now: datetime
) -> list[dict[str, Any]]:
    if modules is None:
        modules = _modules_of(definitions)
    host = socket.gethostname()
    return [
        {
            "host": host,
            "name": one.name[:200],
            "tasks": json.dumps(sorted(one.tasks)),
            "error": one.error,
            "file": one.file,
            "line": one.line,
            "seconds": round(one.seconds, 3),
            "imported_at": now,
        }
        for one in modules
    ]


def _modules_of(definitions: Mapping[str, TaskDefinition]) -> list[ImportedModule]:
    tasks: dict[str, list[str]] = {}
    for one in definitions.values():
        if not one.is_own:
            tasks.setdefault(one.module, []).append(one.name)
    return [ImportedModule(name, tuple(names)) for name, names in tasks.items()]


def _has_other_keys(before: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    schemas = (before["payload_schema"], row["payload_schema"])
    return bool(before["is_unique"] != row["is_unique"] or (row["is_unique"] and schemas[0] != schemas[1]))


def _row(definition: TaskDefinition) -> dict[str, Any]:
    return {
        "name": definition.name,
        "doc": definition.doc[:20_000],
        "payload_schema": json.dumps(definition.schema()),
        "queue": definition.queue,
        "priority": definition.priority,
        "max_retries": definition.max_retries,
        "timeout_seconds": definition.timeout_seconds,
        "retry_delays": json.dumps(definition.retry_delays) if definition.retry_delays else None,
        "is_unique": definition.unique,
        "secret_fields": json.dumps(definition.secret) if definition.secret else None,
        "module": definition.module[:200],
        "previous_name": definition.previous_name,
    }
