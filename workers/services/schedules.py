"""Schedules as people and code make them: checked, changed, looked ahead of, and declared by tasks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from workers.domain import cron, payloads
from workers.domain.actors import SYSTEM, Actor
from workers.domain.clock import rfc3339, utcnow
from workers.domain.cron import Rhythm
from workers.domain.errors import BadInput, Conflict, NotFound
from workers.domain.ids import new_id
from workers.domain.masked_edits import refuse_masks, restore
from workers.domain.masking import mask
from workers.registry import TaskDefinition
from workers.services import audit, carrying, secret_fields
from workers.services.schedule_checks import DEFAULTS, FIELDS, RHYTHM, checked, checked_rhythm
from workers.services.telling import tell_kind
from workers.store import schedules
from workers.store.types import Row
from workers.yard import Yard

MOST_PREVIEWED = 100
# What the code of a task says of its schedule; the rest is the people's.
_OF_THE_CODE = ("task", *RHYTHM, "timezone", "starts_at")


def rhythm_of(row: Row) -> Rhythm:
    """Tell when a schedule is due."""
    return Rhythm(
        cron=row["cron"],
        interval_seconds=row["interval_seconds"],
        once_at=row["once_at"],
        timezone=row["timezone"],
        anchor=row["starts_at"] or row["created_at"].replace(microsecond=0),
        starts_at=row["starts_at"],
        ends_at=row["ends_at"],
    )


def with_jitter(row: Row, fire_at: datetime | None) -> datetime | None:
    """Tell when a fire is carried out: its moment and a jitter that is always the same for it, in whole seconds."""
    if fire_at is None:
        return None
    due = fire_at
    if row["jitter_seconds"]:
        seed = hashlib.sha256(f"{row['id']}{fire_at.timestamp()}".encode()).digest()
        due += timedelta(seconds=int.from_bytes(seed[:4], "big") % (row["jitter_seconds"] + 1))
    return due if due.microsecond == 0 else due.replace(microsecond=0) + timedelta(seconds=1)


def get(connection: Connection, schedule_id: str) -> Row:
    """Fetch a schedule; NotFound."""
    row = schedules.get(connection, schedule_id)
    if row is None:
        raise NotFound(f"There is no schedule {schedule_id}.")
    return row


def create(yard: Yard, values: Mapping[str, Any], actor: Actor, copy_of: str | None = None) -> Row:
    """Make a schedule. Raises BadInput for what cannot be used, Conflict when the name is taken.

    `copy_of` names the schedule whose secrets stand behind the masks in the payload.
    """
    now = utcnow()
    if copy_of is not None:
        with yard.database.read() as connection:
            values = _restored(connection, get(connection, copy_of), values)
    row = _new_row(yard, values, now, str(actor))
    with yard.database.write() as connection:
        if not schedules.add(connection, row):
            raise Conflict(f"There is a schedule {row['name']!r} already.", state="taken")
        secret = secret_fields.of_task(connection, row["task"])
        audit.record(connection, actor, "schedule.created", "schedule", row["id"], now, None, as_json(row, secret))
    _carry_and_tell(yard, row)
    return row


def change(yard: Yard, schedule_id: str, values: Mapping[str, Any], actor: Actor) -> Row:
    """Change what is given of a schedule. Raises NotFound, BadInput, Conflict.

    What the code of its task declares cannot be changed here.
    """
    now = utcnow()
    with yard.database.read() as connection:
        before = get(connection, schedule_id)
        values = _restored(connection, before, values)
    wanted = {**_given(before), **values}
    if set(values) & set(RHYTHM):
        wanted |= {name: values.get(name) for name in RHYTHM}
    moment = before["created_at"] if "once_at" not in values else now
    sound = checked(yard, wanted, moment, may_be_reserved=_only_disables(values))
    changed = {name: value for name, value in sound.items() if value != before[name]}
    _refuse_what_code_says(before, changed)
    if not changed:
        return before
    after = {**before, **changed, "updated_at": now, "version": before["version"] + 1}
    if set(changed) & {*RHYTHM, "timezone", "starts_at", "ends_at", "jitter_seconds", "enabled"}:
        after |= _next(after, now)
    if before["finish_within_seconds"] is None and after["finish_within_seconds"] is not None:
        after |= {"last_completed_fire_at": now}  # earlier runs had no deadline
    with yard.database.write() as connection:
        if "name" in changed and schedules.name_is_taken(connection, changed["name"], schedule_id):
            raise Conflict(f"There is a schedule {changed['name']!r} already.", state="taken")
        _keep(connection, before, after)
        audit.record(
            connection, actor, "schedule.changed", "schedule", schedule_id, now, *_edit(connection, before, after)
        )
    _carry_and_tell(yard, after)
    return after


def remove(yard: Yard, schedule_id: str, actor: Actor) -> None:
    """Delete a schedule and its history; its jobs stay. Raises NotFound, and Conflict for one that code declares."""
    with yard.database.write() as connection:
        row = get(connection, schedule_id)
        if row["declared_by"]:
            raise Conflict(
                f"The code of {row['declared_by']} declares this schedule: it would come back. Pause it instead.",
                state="declared",
            )
        schedules.remove(connection, schedule_id)
        shown = as_json(row, secret_fields.of_task(connection, row["task"]))
        audit.record(connection, actor, "schedule.deleted", "schedule", schedule_id, utcnow(), shown)
    carrying.drop(yard, schedule_id)
    tell_kind(yard, "schedule", schedule_id, "deleted")


def preview(values: Mapping[str, Any], after: datetime | None = None, count: int = 10) -> dict[str, Any]:
    """Tell the words of a rhythm and its next fires with what is special about their days. Raises BadInput."""
    begin = after or utcnow()
    rhythm = checked_rhythm(values, begin)
    place = cron.zone(rhythm.timezone)
    fires = []
    for _, one in zip(range(min(count, MOST_PREVIEWED)), rhythm.after(begin), strict=False):
        note = cron.shift_note(rhythm, one)
        fires.append({"fire_at": one, "local_time": one.astimezone(place), "note": note})
    return {"description": cron.describe(rhythm), "fires": fires}


def declare(yard: Yard, definitions: Mapping[str, TaskDefinition]) -> int:
    """Bring the schedules that tasks declare in code to what these say; how many changed. Raises Unavailable.

    What people set stays: whether it is enabled, policies, overrides. A schedule whose task declares it no longer is
    paused and becomes an ordinary one. Tasks that this process does not know are left alone.
    """
    now, changed = utcnow(), 0
    with yard.database.read() as connection:
        known = schedules.declared(connection)
    for definition in definitions.values():
        before = known.get(definition.name)
        if definition.schedule is None:
            changed += _undeclare(yard, before, now) if before is not None else 0
            continue
        said = _declared(definition)
        mark = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
        if before is None:
            row = _new_row(yard, {**said, "name": definition.name}, now, f"code:{definition.name}")
            row |= {"declared_by": definition.name, "declared_hash": mark}
            with yard.database.write() as connection:
                if not schedules.add(connection, row):
                    # Another process was first, or the name is a person's.
                    row["name"] = f"{definition.name[:80]} (in code)"
                    if not schedules.add(connection, row):
                        continue
        elif before["declared_hash"] != mark:
            row = {**before, **dict.fromkeys(RHYTHM), **said, "declared_hash": mark, "updated_at": now}
            row |= _next(row, now)
            with yard.database.write() as connection:
                _keep(connection, before, row)
        else:
            continue
        changed += 1
        _carry_and_tell(yard, row)
    return changed


def as_json(row: Row, secret: Collection[str]) -> dict[str, Any]:
    """Make a schedule JSON-ready, with the secrets of its payload masked; `secret` are the names its task declares."""
    told = {name: rfc3339(value) if isinstance(value, datetime) else value for name, value in row.items()}
    told |= {"payload": mask(payloads.load(row["payload"]), secret), "tags": json.loads(row["tags"])}
    told["description"] = cron.describe(rhythm_of(row))
    del told["declared_hash"]
    return told


def _restored(connection: Connection, row: Row, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values with the stored secrets where their masks were left alone. Raises BadInput."""
    if not isinstance(values.get("payload"), Mapping):
        return values
    if values.get("task", row["task"]) != row["task"]:
        # Another task could show what it is given.
        refuse_masks(values["payload"], secret_fields.of_task(connection, row["task"]))
        return values
    names = secret_fields.of_task(connection, row["task"])
    return {**values, "payload": restore(values["payload"], payloads.load(row["payload"]), names, names)}


def _edit(connection: Connection, before: Row, after: Row) -> tuple[dict[str, Any], dict[str, Any], frozenset[str]]:
    """Return what a change made of a schedule, and the names that are secret in it."""
    secret = secret_fields.of_task(connection, before["task"]) | secret_fields.of_task(connection, after["task"])
    shown = as_json(before, secret), as_json(after, secret)
    differing = [name for name in shown[1] if shown[0][name] != shown[1][name]]
    told = tuple({name: one[name] for name in differing} for one in shown)
    if before["payload"] != after["payload"]:
        told = tuple({**one, "payload": row["payload"]} for one, row in zip(told, (before, after), strict=True))
    return told[0], told[1], secret


def _new_row(yard: Yard, values: Mapping[str, Any], now: datetime, maker: str) -> dict[str, Any]:
    odd = sorted(set(values) - set(FIELDS))
    if odd:
        raise BadInput(f"A schedule has no {odd[0]} that can be set.", field=odd[0])
    row: dict[str, Any] = {**checked(yard, {**DEFAULTS, **values}, now), "id": new_id(now)}
    row |= {"declared_by": None, "declared_hash": None, "last_fire_at": None, "last_job_id": None}
    row |= {"created_at": now, "created_by": maker, "updated_at": now, "version": 1}
    return row | _next(row, now)


def _next(row: Row, now: datetime) -> dict[str, Any]:
    """Tell the next fire of a schedule as it is now: never one that has been dealt with."""
    since = max(now, row["last_fire_at"] or now)
    fire_at = rhythm_of(row).next(since) if row["enabled"] else None
    return {"next_fire_at": fire_at, "next_due_at": with_jitter(row, fire_at)}


def _only_disables(values: Mapping[str, Any]) -> bool:
    return set(values) == {"enabled"} and not values["enabled"]


def _given(row: Row) -> dict[str, Any]:
    told = {name: row[name] for name in FIELDS}
    return told | {"payload": payloads.load(row["payload"]), "tags": json.loads(row["tags"])}


def _refuse_what_code_says(row: Row, changed: Mapping[str, Any]) -> None:
    locked = [name for name in _OF_THE_CODE if name in changed]
    if row["declared_by"] and locked:
        raise Conflict(
            f"The code of {row['declared_by']} declares when this schedule fires: change it there, or duplicate this "
            "one and pause it.",
            state="declared",
        )


def _keep(connection: Connection, before: Row, after: Mapping[str, Any]) -> None:
    values = {name: value for name, value in after.items() if name not in {"id", "version"} and before[name] != value}
    if not schedules.change(connection, before["id"], before["version"], values):
        raise Conflict("Somebody else changed this schedule, or it fired, at the same moment. Look again.", "changed")
    if not after["enabled"]:
        schedules.let_go(connection, before["id"])


def _declared(definition: TaskDefinition) -> dict[str, Any]:
    rhythm = "cron" if isinstance(definition.schedule, str) else "interval_seconds"
    return {"task": definition.name, rhythm: definition.schedule, "timezone": definition.timezone}


def _undeclare(yard: Yard, before: Row, now: datetime) -> int:
    after = {**before, "declared_by": None, "declared_hash": None, "enabled": False, "updated_at": now}
    after |= _next(after, now)
    with yard.database.write() as connection:
        _keep(connection, before, after)
        seen = {"name": before["name"], "enabled": before["enabled"]}
        audit.record(connection, SYSTEM, "schedule.undeclared", "schedule", before["id"], now, seen)
    _carry_and_tell(yard, after)
    return 1


def _carry_and_tell(yard: Yard, row: Row) -> None:
    carrying.carry(yard, row["id"], row["next_due_at"])
    tell_kind(yard, "schedule", row["id"], "changed", row["version"])
