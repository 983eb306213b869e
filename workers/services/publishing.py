"""Workers publish the tasks that they can run, so that the web knows them without importing anybody's code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import Table, select, update

from workers.domain.clock import utcnow
from workers.registry import TaskDefinition
from workers.services import catalogue, schedules, unique_retries
from workers.services.telling import tell_kind
from workers.store import queues
from workers.store.dialects import upsert
from workers.store.jobs import JOBS
from workers.store.models import Task
from workers.yard import Yard

_TASKS = cast(Table, Task.__table__)
_COLUMNS = tuple(column.name for column in _TASKS.columns if column.name != "name")


def publish(yard: Yard, definitions: Mapping[str, TaskDefinition]) -> int:
    """Write the tasks that are new or changed to the catalogue, and the schedules that they declare; tells how many tasks.

    Raises Unavailable.
    """
    now = utcnow()
    changed = 0
    rekeyed: list[str] = []
    with yard.database.write() as connection:
        known = {row["name"]: dict(row) for row in connection.execute(select(_TASKS)).mappings()}
        for definition in definitions.values():
            row = _row(definition)
            before = known.get(definition.name)
            if before is not None and before["secret_fields"] != row["secret_fields"]:
                # What was searched until now may be secret from now on.
                hidden = update(JOBS).where(JOBS.c.task == definition.name).values(search_text="")
                connection.execute(hidden)
            if before is None or any(before[name] != value for name, value in row.items()):
                statement = upsert(connection, _TASKS, ["name"], _COLUMNS)
                connection.execute(statement, {**row, "published_at": now})
                changed += 1
                if before is not None and _has_other_keys(before, row):
                    rekeyed.append(definition.name)
        queues.know(connection, yard.database, {one.queue for one in definitions.values()} | {"default"}, now)
    for name in rekeyed:
        catalogue.forget(yard)
        unique_retries.renew_keys(yard, name)
    if changed:
        tell_kind(yard, "task", "*", "published")
    schedules.declare(yard, definitions)
    return changed


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
    }
