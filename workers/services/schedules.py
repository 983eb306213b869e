"""Schedules as people make them: checked, changed, looked ahead of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from workers.domain import cron, payloads
from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput, Conflict
from workers.domain.ids import new_id
from workers.domain.masked_edits import refuse_masks, restore
from workers.services import audit, carrying, deleted_schedules, firing, secret_fields
from workers.services.revisions import Expected, check_revision
from workers.services.schedule_checks import DEFAULTS, FIELDS, RHYTHM, TIMING, check_rhythm, check_runs, check_values
from workers.services.schedule_values import as_given as as_given
from workers.services.schedule_values import as_json as as_json
from workers.services.schedule_values import get as get
from workers.services.schedule_values import next_run as next_run
from workers.services.schedule_values import rhythm_of as rhythm_of
from workers.services.schedule_values import settable as settable
from workers.services.schedule_values import with_jitter as with_jitter
from workers.services.telling import tell_kind
from workers.store import schedules
from workers.store.types import Row
from workers.yard import Yard

MOST_PREVIEWED = 100
# A run, or another edit, can move a schedule between reading and writing it; then it is read again.
MOST_READINGS = 8
# What the code of a task says of its schedule; the rest is the people's.
_OF_THE_CODE = ("task", *RHYTHM, "timezone", "starts_at")


def create(yard: Yard, values: Mapping[str, Any], actor: Actor, copy_of: str | None = None) -> Row:
    """Make a schedule. Raises BadInput for what cannot be used, Conflict when the name is taken.

    `copy_of` names the schedule whose secrets stand behind the masks in the payload.
    """
    now = utcnow()
    if copy_of is not None:
        with yard.database.read() as connection:
            values = _restored(connection, get(connection, copy_of), values)
    row = new_row(yard, values, now, str(actor))
    with yard.database.write() as connection:
        if not schedules.add(connection, row):
            raise Conflict(f"A schedule named {row['name']!r} already exists.", state="taken")
        secret = secret_fields.of_task(connection, row["task"])
        audit.record(connection, actor, "schedule.created", "schedule", row["id"], now, None, as_json(row, secret))
    carry_and_tell(yard, row)
    return row


def change(yard: Yard, schedule_id: str, values: Mapping[str, Any], actor: Actor, expected: Expected = None) -> Row:
    """Change what is given of a schedule. A run that is due is carried out first, or recorded as missed by a pause.

    `expected` are the revisions that the edit may be made of. Raises NotFound, BadInput, Edited when the stored revision
    is another, Conflict when the name is taken or the code of the task declares what would change.
    """
    for _ in range(MOST_READINGS):
        after = _change(yard, schedule_id, values, actor, expected)
        if after is not None:
            return after
    raise Conflict("The schedule kept changing while this was saved. Try again.", state="changed")


def _change(yard: Yard, schedule_id: str, given: Mapping[str, Any], actor: Actor, expected: Expected) -> Row | None:
    """Change a schedule as it is now; None when it moved meanwhile and has to be read again."""
    now = utcnow()
    with yard.database.read() as connection:
        before = get(connection, schedule_id)
        secret = secret_fields.of_task(connection, before["task"])
        shown = as_given(given, secret), as_json(before, secret)
        check_revision("this schedule", before["revision"], expected, *shown)
        values = _restored(connection, before, given)
    changed = _changed(yard, before, values, now)
    _refuse_what_code_says(before, changed)
    if not changed:
        return before
    is_timed = bool({*TIMING, "enabled"} & set(changed))
    is_due = is_timed and firing.is_due(before, now)
    if is_due and changed.get("enabled", True):
        firing.run_due(yard, before, now, now)
        return None
    after = _after(before, changed, now)
    with yard.database.write() as connection:
        if "name" in changed and schedules.name_is_taken(connection, changed["name"], schedule_id):
            raise Conflict(f"A schedule named {changed['name']!r} already exists.", state="taken")
        if not keep(connection, before, after):
            return None
        if is_due:
            firing.record_missed(connection, before, now)
        audit.record(
            connection, actor, "schedule.changed", "schedule", schedule_id, now, *_edit(connection, before, after)
        )
    carry_and_tell(yard, after)
    return after


def remove(yard: Yard, schedule_id: str, actor: Actor, expected: Expected = None) -> None:
    """Delete a schedule and its history; its jobs stay.

    Raises NotFound, Edited when its revision is not an `expected` one, and Conflict for one that code declares.
    """
    with yard.database.write() as connection:
        row = get(connection, schedule_id)
        check_revision("this schedule", row["revision"], expected, {}, {})
        if row["declared_by"]:
            raise Conflict(
                f"The code of {row['declared_by']} declares this schedule, so it would be created again. Pause it instead.",
                state="declared",
            )
        now = utcnow()
        deleted_schedules.keep(connection, row, now)
        schedules.remove(connection, schedule_id)
        shown = as_json(row, secret_fields.of_task(connection, row["task"]))
        audit.record(connection, actor, "schedule.deleted", "schedule", schedule_id, now, shown)
    carrying.drop(yard, schedule_id)
    tell_kind(yard, "schedule", schedule_id, "deleted")


def preview(values: Mapping[str, Any], after: datetime | None = None, count: int = 10) -> dict[str, Any]:
    """Tell the words of a rhythm and its next fires with what is special about their days. Raises BadInput."""
    begin = after or utcnow()
    rhythm = check_rhythm(values, begin)
    if after is None:
        check_runs(rhythm, begin)
    place = cron.zone(rhythm.timezone)
    fires = []
    for _, one in zip(range(min(count, MOST_PREVIEWED)), rhythm.after(begin), strict=False):
        note = cron.shift_note(rhythm, one)
        fires.append({"fire_at": one, "local_time": one.astimezone(place), "note": note})
    return {"description": cron.describe(rhythm), "fires": fires}


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


def new_row(yard: Yard, values: Mapping[str, Any], now: datetime, maker: str) -> dict[str, Any]:
    """Return the row of a new schedule. Raises BadInput for values that cannot be used."""
    _refuse_unknown(values)
    row: dict[str, Any] = {**check_values(yard, {**DEFAULTS, **values}, FIELDS, now), "id": new_id(now)}
    row |= dict.fromkeys(("declared_by", "declared_hash", "enabled_when_declared", "refused_reason"))
    row |= dict.fromkeys(("last_fire_at", "last_job_id", "last_completed_fire_at"))
    row |= {"created_at": now, "created_by": maker, "updated_at": now, "version": 1, "revision": 1}
    return row | next_run(row, now)


def keep(connection: Connection, before: Row, after: Mapping[str, Any]) -> bool:
    """Write what has changed of a schedule; False when it has moved since `before` was read."""
    values = {name: value for name, value in after.items() if name not in {"id", "version"} and before[name] != value}
    if not schedules.change(connection, before["id"], before["version"], values):
        return False
    if not after["enabled"]:
        schedules.let_go(connection, before["id"])
    return True


def _changed(yard: Yard, before: Row, values: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return the columns that these values change. Raises BadInput for one that cannot be used."""
    _refuse_unknown(values)
    stored = settable(before)
    wanted = {**stored, **values}
    if set(values) & set(RHYTHM):
        wanted |= {name: values.get(name) for name in RHYTHM}
    given = [name for name in FIELDS if wanted[name] != stored[name]]
    columns = check_values(yard, wanted, given, now)
    return {name: value for name, value in columns.items() if value != before[name]}


def _after(before: Row, changed: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return a schedule's row after a change, with what follows from it."""
    after = {**before, **changed, "updated_at": now}
    after |= {"version": before["version"] + 1, "revision": before["revision"] + 1}
    if {*TIMING, "enabled"} & set(changed):
        after |= next_run(after, now)
    if not after["enabled"]:
        after |= firing.passed_over(before, now)
    if "enabled" in changed:
        after |= {"enabled_when_declared": None}
    if changed.get("enabled") or {"task", "payload", "queue"} & set(changed):
        after |= {"refused_reason": None}
    has_new_deadline = before["finish_within_seconds"] is None and after["finish_within_seconds"] is not None
    if has_new_deadline or changed.get("enabled"):
        after |= {"last_completed_fire_at": now}  # earlier runs had no deadline, nor does the time of a pause count
    return after


def _refuse_unknown(values: Mapping[str, Any]) -> None:
    odd = sorted(set(values) - set(FIELDS))
    if odd:
        raise BadInput(f"A schedule has no field {odd[0]} that can be set.", field=odd[0])


def _refuse_what_code_says(row: Row, changed: Mapping[str, Any]) -> None:
    locked = [name for name in _OF_THE_CODE if name in changed]
    if row["declared_by"] and locked:
        raise Conflict(
            f"The code of {row['declared_by']} declares the recurrence of this schedule. Change it in the code, or duplicate "
            "this schedule and pause it.",
            state="declared",
        )


def carry_and_tell(yard: Yard, row: Row) -> None:
    """Carry the next run of a schedule that was changed, and notify viewers."""
    carrying.carry(yard, row["id"], row["next_due_at"])
    tell_kind(yard, "schedule", row["id"], "changed", row["version"])
