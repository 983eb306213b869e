"""Triggers as people make them: what they listen for, what they run, how often at most."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from workers.domain import names, payloads
from workers.domain.actors import Actor
from workers.domain.clock import rfc3339, utcnow
from workers.domain.errors import BadInput, Conflict, NotFound
from workers.domain.ids import new_id
from workers.domain.mapping import check_conditions, fill, hears, holds
from workers.domain.masked_edits import refuse_masks, restore
from workers.domain.masking import mask
from workers.domain.numbers import check_flag, check_number, check_whole
from workers.domain.untrusted import check_label
from workers.services import audit, catalogue, events, secret_fields
from workers.services.enqueueing import check_open
from workers.services.revisions import Expected, check_revision
from workers.services.telling import tell_kind
from workers.store import trigger_rows
from workers.store.types import Row
from workers.yard import Yard

KINDS = ("queue", "event", "data")
MEASURES = ("depth", "oldest_seconds")
OPERATIONS = ("inserted", "updated", "deleted")
MOST_AN_HOUR = 3600
LONGEST_COOLDOWN_SECONDS = 86400.0
# A queue stays full for a while; it is no news every few seconds.
SHORTEST_OF_QUEUES_SECONDS = 10.0
DEFAULTS: dict[str, Any] = {
    "kind": "event",
    "measure": None,
    "above": None,
    "conditions": {},
    "payload": {},
    "cooldown_seconds": 0.0,
    "cap_per_hour": 60,
    "enabled": True,
}
FIELDS = ("name", "listens", "task", *DEFAULTS)


def get(connection: Connection, trigger_id: str) -> Row:
    """Fetch a trigger; NotFound."""
    return _get(connection, trigger_id, locked=False)


def _get(connection: Connection, trigger_id: str, *, locked: bool) -> Row:
    row = trigger_rows.get(connection, trigger_id, locked=locked)
    if row is None:
        raise NotFound(f"There is no trigger {trigger_id}.")
    return row


def create(yard: Yard, values: Mapping[str, Any], actor: Actor) -> Row:
    """Make a trigger. Raises BadInput, and Conflict when the name is taken."""
    now = utcnow()
    _refuse_unknown(values)
    row: dict[str, Any] = {
        **_check(yard, {"listens": "", **DEFAULTS, **values}, FIELDS),
        "id": new_id(now),
        "stopped_reason": None,
    }
    refuse_masks(values.get("payload", {}))
    refuse_masks(values.get("conditions", {}), field="conditions")
    row |= {"last_fired_at": None, "passed_over": 0, "created_at": now, "created_by": str(actor), "updated_at": now}
    row |= {"revision": 1}
    with yard.database.write() as connection:
        if not trigger_rows.add(connection, row):
            raise Conflict(f"A trigger named {row['name']!r} already exists.", state="taken")
        shown = as_json(row, secret_fields.of_task(connection, row["task"]))
        audit.record(connection, actor, "trigger.created", "trigger", row["id"], now, None, shown)
    tell_kind(yard, "trigger", row["id"], "changed")
    return row


def change(yard: Yard, trigger_id: str, values: Mapping[str, Any], actor: Actor, expected: Expected = None) -> Row:
    """Change what is given of a trigger; one that was stopped may go on when it is enabled again.

    `expected` are the revisions that the edit may be made of. What is left as it was is not judged again.
    Raises NotFound, BadInput, Conflict, and Edited when the stored revision is another.
    """
    now = utcnow()
    with yard.database.read() as connection:
        before = get(connection, trigger_id)
        secret = secret_fields.of_task(connection, before["task"])
        restored = _restored(connection, before, values)
    sound = _check_changed(yard, before, restored)
    changed = {name: value for name, value in sound.items() if before[name] != value}
    with yard.database.write() as connection:
        # Locked: between the look at its revision and the change nobody else edits it.
        stored = _get(connection, trigger_id, locked=True)
        check_revision("this trigger", stored["revision"], expected, as_given(values, secret), as_json(stored, secret))
        if not changed:
            return before
        if "name" in changed and trigger_rows.name_is_taken(connection, changed["name"], trigger_id):
            raise Conflict(f"A trigger named {changed['name']!r} already exists.", state="taken")
        if stored["revision"] != before["revision"]:
            raise Conflict("Somebody else changed this trigger at the same time. Try again.", state="changed")
        changed |= {"updated_at": now, "revision": stored["revision"] + 1}
        changed |= {"stopped_reason": None, "passed_over": 0} if changed.get("enabled") else {}
        trigger_rows.change(connection, trigger_id, changed)
        shown = {name: before[name] for name in changed}
        after = get(connection, trigger_id)
        secret = secret | secret_fields.of_task(connection, after["task"])
        audit.record(connection, actor, "trigger.changed", "trigger", trigger_id, now, shown, changed, secret)
    tell_kind(yard, "trigger", trigger_id, "changed")
    return after


def remove(yard: Yard, trigger_id: str, actor: Actor, expected: Expected = None) -> None:
    """Delete a trigger with its firings; its jobs stay. Raises NotFound, and Edited for a revision not `expected`."""
    with yard.database.write() as connection:
        row = _get(connection, trigger_id, locked=True)
        check_revision("this trigger", row["revision"], expected, {}, {})
        trigger_rows.remove(connection, trigger_id)
        shown = as_json(row, secret_fields.of_task(connection, row["task"]))
        audit.record(connection, actor, "trigger.deleted", "trigger", trigger_id, utcnow(), shown)
    tell_kind(yard, "trigger", trigger_id, "deleted")


def attempt(yard: Yard, row: Row, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Tell what a trigger would do with these facts, and do nothing."""
    if not hears(row["listens"], str(facts.get("name", ""))):
        return {"fires": False, "why": f"The trigger listens for {row['listens']}.", "payload": None}
    if not holds(json.loads(row["conditions"]), facts):
        return {"fires": False, "why": "The conditions are not met.", "payload": None}
    try:
        payload = fill(payloads.load(row["payload"]), facts)
        task = catalogue.get_task(yard, row["task"])
        task.write(payload)
    except BadInput as error:
        return {"fires": False, "why": error.message, "payload": None}
    shown = mask(payload, secret_fields.fields_of(task.row["secret_fields"]))
    return {"fires": True, "why": f"The trigger would run {row['task']}.", "payload": shown}


def as_json(row: Row, secret: Collection[str]) -> dict[str, Any]:
    """Make a trigger JSON-ready, with its secrets masked; `secret` are the names that its task declares."""
    told = {name: rfc3339(value) if isinstance(value, datetime) else value for name, value in row.items()}
    del told["hears_jobs"]
    return told | {
        "conditions": mask(json.loads(row["conditions"]), secret),
        "payload": mask(payloads.load(row["payload"]), secret),
    }


def as_given(values: Mapping[str, Any], secret: Collection[str]) -> dict[str, Any]:
    """Return the values of an edit as they are shown to people, with their secrets masked."""
    return {name: mask(value, secret) if name in {"payload", "conditions"} else value for name, value in values.items()}


def _restored(connection: Connection, row: Row, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values with the stored secrets where their masks were left alone. Raises BadInput."""
    names = secret_fields.of_task(connection, row["task"])
    restored = dict(values)
    for field in ("conditions", "payload"):
        if not isinstance(values.get(field), Mapping):
            continue
        if field == "payload" and values.get("task", row["task"]) != row["task"]:
            # Another task could show what it is given.
            refuse_masks(values[field], names)
        else:
            restored[field] = restore(values[field], payloads.load(row[field]), names, names, field)
    return restored


def _check_changed(yard: Yard, before: Row, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of what these values change of a trigger. Raises BadInput for one that cannot be used."""
    stored = {name: before[name] for name in FIELDS}
    stored |= {"conditions": json.loads(before["conditions"]), "payload": payloads.load(before["payload"])}
    _refuse_unknown(values)
    given = [name for name, value in values.items() if value != stored[name]]
    return _check(yard, {**stored, **values}, given)


def _check(yard: Yard, values: Mapping[str, Any], given: Collection[str]) -> dict[str, Any]:
    """Return the columns of the fields that are `given`, out of the values of every field of FIELDS. Raises BadInput."""
    columns = {name: check(values[name]) for name, check in _CHECKS.items() if name in given}
    if {"task", "payload"} & set(given) or columns.get("enabled"):
        columns |= _check_task(yard, values)
    if {"kind", "listens", "measure", "above"} & set(given):
        columns |= _of_queue(values) if values["kind"] == "queue" else _of_event(values)
    if {"kind", "cooldown_seconds"} & set(given):
        least = SHORTEST_OF_QUEUES_SECONDS if values["kind"] == "queue" else 0.0
        cooldown = check_number("cooldown_seconds", values["cooldown_seconds"], least, LONGEST_COOLDOWN_SECONDS)
        columns |= {"cooldown_seconds": cooldown}
    return columns


def _check_task(yard: Yard, values: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(values["payload"], Mapping):
        raise BadInput("The mapping must be a JSON object.", field="payload")
    task = catalogue.get_task(yard, str(values.get("task") or ""))
    check_open(task.row["name"], task.row["queue"])
    mapping = payloads.dump(dict(values["payload"]))
    fill(values["payload"], _Anything())
    return {"task": values["task"], "payload": mapping}


def _check_kind(value: Any) -> str:
    if value not in KINDS:
        raise BadInput(f"The kind must be one of: {', '.join(KINDS)}.", field="kind")
    return str(value)


def _refuse_unknown(values: Mapping[str, Any]) -> None:
    odd = sorted(set(values) - set(FIELDS))
    if odd:
        raise BadInput(f"A trigger has no field {odd[0]} that can be set.", field=odd[0])


def _of_queue(values: Mapping[str, Any]) -> dict[str, Any]:
    if values["measure"] not in MEASURES:
        raise BadInput(f"The measure of a queue must be one of: {', '.join(MEASURES)}.", field="measure")
    above = check_number("above", values["above"], 0, 1e12)
    queue = names.check_queue(str(values.get("listens") or ""))
    return {"listens": queue, "measure": values["measure"], "above": above, "hears_jobs": False}


def _of_event(values: Mapping[str, Any]) -> dict[str, Any]:
    try:
        pattern = events.check_pattern(str(values.get("listens") or ""))
    except BadInput as error:
        raise BadInput(error.message, field="listens") from error
    if values["kind"] == "data" and not pattern.startswith("data."):
        raise BadInput("The name must be data.<table>.inserted, .updated, .deleted or .*", field="listens")
    hears_jobs = any(hears(pattern, one) for one in events.ENGINE if one.startswith("job."))
    return {"listens": pattern, "measure": None, "above": None, "hears_jobs": hears_jobs}


class _Anything(dict[str, Any]):
    """Facts in which every path leads somewhere, to check a mapping before there is an event."""

    def __contains__(self, _name: object) -> bool:
        return True

    def __getitem__(self, _name: str) -> Any:
        return self


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "name": lambda value: check_label(str(value or ""), 100),
    "kind": _check_kind,
    "conditions": lambda value: payloads.dump(check_conditions(value), "conditions"),
    "cap_per_hour": lambda value: check_whole("cap_per_hour", value, 1, MOST_AN_HOUR),
    "enabled": lambda value: check_flag("enabled", value),
}
