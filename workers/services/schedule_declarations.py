"""Schedules that tasks declare in code: created, changed and paused as the code says, one row for as long as it lives."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from workers.domain.actors import SYSTEM
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput
from workers.registry import TaskDefinition
from workers.services import audit, firing
from workers.services.schedule_checks import RHYTHM
from workers.services.schedule_values import next_run, rhythm_of
from workers.services.schedules import MOST_READINGS, carry_and_tell, keep, new_row
from workers.store import schedules
from workers.store.types import Row
from workers.yard import Yard

log = logging.getLogger("taskyard.schedules")

MOST_NAMES = 50


def declare(yard: Yard, definitions: Mapping[str, TaskDefinition]) -> int:
    """Bring the schedules that tasks declare in code to what these say; how many changed. Raises Unavailable.

    What people set stays: whether it is enabled, policies, overrides. A schedule whose task declares it no longer is
    paused and becomes an ordinary one; when the task declares it again, it continues with its history. Tasks that this
    process does not know are left alone.
    """
    now = utcnow()
    with yard.database.read() as connection:
        known = schedules.declared(connection)
        former = schedules.formerly_declared(connection)
    return sum(
        _bring(yard, definition, known.get(definition.name), former.get(_maker(definition)), now)
        for definition in definitions.values()
    )


def _bring(yard: Yard, definition: TaskDefinition, before: Row | None, former: Row | None, now: datetime) -> bool:
    """Bring the schedule of one task to what its code says; whether it changed."""
    mark = _mark(definition) if definition.schedule is not None else None
    stored = before or (former if mark is not None else None)
    if stored is None:
        return mark is not None and _create(yard, definition, mark, now)
    for _ in range(MOST_READINGS):
        if stored["declared_by"] is not None and stored["declared_hash"] == mark:
            return False
        is_kept = _undeclare(yard, stored, now) if mark is None else _redeclare(yard, stored, definition, mark, now)
        if is_kept:
            return True
        # It ran, or another process was first: it is read again.
        with yard.database.read() as connection:
            stored = schedules.get(connection, stored["id"])
        if stored is None or (mark is None and stored["declared_by"] is None):
            return False
    return False


def _create(yard: Yard, definition: TaskDefinition, mark: str, now: datetime) -> bool:
    values = {**_declared(definition), "name": definition.name[:100]}
    try:
        row = new_row(yard, values, now, _maker(definition))
    except BadInput as error:
        log.warning("the schedule that %s declares cannot be created: %s", definition.name, error.message)
        return False
    row |= {"declared_by": definition.name, "declared_hash": mark}
    with yard.database.write() as connection:
        # Another process may be first, or the name a person's.
        is_added = any(schedules.add(connection, {**row, "name": name}) for name in _names(definition.name))
    if is_added:
        carry_and_tell(yard, row)
    return is_added


def _redeclare(yard: Yard, before: Row, definition: TaskDefinition, mark: str, now: datetime) -> bool:
    """Give a schedule the rhythm of the code, also one that is declared again; False when it has moved meanwhile."""
    if firing.is_due(before, now):
        firing.run_due(yard, before, now, now)
        return False  # it has moved
    after = {**before, **dict.fromkeys(RHYTHM), **_declared(definition), "declared_hash": mark, "updated_at": now}
    after |= {"declared_by": definition.name, "revision": before["revision"] + 1}
    after |= {"jitter_seconds": _fitting_jitter(after)}
    if before["enabled_when_declared"] is not None:
        after |= {"enabled": before["enabled_when_declared"], "enabled_when_declared": None}
    if after["enabled"] and not before["enabled"]:
        after |= {"last_completed_fire_at": now}
    after |= next_run(after, now)
    with yard.database.write() as connection:
        is_kept = keep(connection, before, after)
    if is_kept:
        carry_and_tell(yard, after)
    return is_kept


def _fitting_jitter(row: Mapping[str, Any]) -> int:
    """Return the jitter that people set, at most the shortest time between two runs of the new rhythm, in seconds."""
    jitter = int(row["jitter_seconds"])
    period = rhythm_of(row).shortest_period_seconds()
    return jitter if period is None else min(jitter, int(period))


def _undeclare(yard: Yard, before: Row, now: datetime) -> bool:
    after = {**before, "declared_by": None, "declared_hash": None, "enabled": False, "updated_at": now}
    after |= {"enabled_when_declared": before["enabled"], "revision": before["revision"] + 1}
    after |= next_run(after, now) | firing.passed_over(before, now)
    with yard.database.write() as connection:
        if not keep(connection, before, after):
            return False
        firing.record_missed(connection, before, now)
        seen = {"name": before["name"], "enabled": before["enabled"]}
        audit.record(connection, SYSTEM, "schedule.undeclared", "schedule", before["id"], now, seen)
    carry_and_tell(yard, after)
    return True


def _maker(definition: TaskDefinition) -> str:
    return f"code:{definition.name}"


def _mark(definition: TaskDefinition) -> str:
    return hashlib.sha256(json.dumps(_declared(definition), sort_keys=True).encode()).hexdigest()


def _declared(definition: TaskDefinition) -> dict[str, Any]:
    rhythm = "cron" if isinstance(definition.schedule, str) else "interval_seconds"
    return {"task": definition.name, rhythm: definition.schedule, "timezone": definition.timezone}


def _names(name: str) -> Iterator[str]:
    """List the names that a declared schedule may have, the first one that is free is taken."""
    yield name[:100]
    yield f"{name[:80]} (in code)"
    for number in range(2, MOST_NAMES):
        yield f"{name[:80]} (in code {number})"
