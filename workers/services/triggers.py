"""Triggers as people make them: what they listen for, what they run, how often at most."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
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
    row = trigger_rows.get(connection, trigger_id)
    if row is None:
        raise NotFound(f"There is no trigger {trigger_id}.")
    return row


def create(yard: Yard, values: Mapping[str, Any], actor: Actor) -> Row:
    """Make a trigger. Raises BadInput, and Conflict when the name is taken."""
    now = utcnow()
    odd = sorted(set(values) - set(FIELDS))
    if odd:
        raise BadInput(f"A trigger has no {odd[0]} that can be set.", field=odd[0])
    row: dict[str, Any] = {**_checked(yard, {**DEFAULTS, **values}), "id": new_id(now), "stopped_reason": None}
    refuse_masks(values.get("payload", {}))
    refuse_masks(values.get("conditions", {}), field="conditions")
    row |= {"last_fired_at": None, "passed_over": 0, "created_at": now, "created_by": str(actor), "updated_at": now}
    with yard.database.write() as connection:
        if not trigger_rows.add(connection, row):
            raise Conflict(f"There is a trigger {row['name']!r} already.", state="taken")
        shown = as_json(row, secret_fields.of_task(connection, row["task"]))
        audit.record(connection, actor, "trigger.created", "trigger", row["id"], now, None, shown)
    tell_kind(yard, "trigger", row["id"], "changed")
    return row


def change(yard: Yard, trigger_id: str, values: Mapping[str, Any], actor: Actor) -> Row:
    """Change what is given of a trigger; one that was stopped may go on when it is enabled again.

    Raises NotFound, BadInput, Conflict.
    """
    now = utcnow()
    with yard.database.read() as connection:
        before = get(connection, trigger_id)
        values = _restored(connection, before, values)
    given = {name: before[name] for name in FIELDS}
    given |= {"conditions": json.loads(before["conditions"]), "payload": payloads.load(before["payload"])}
    only_disables = set(values) == {"enabled"} and not values["enabled"]
    sound = _checked(yard, {**given, **values}, may_be_reserved=only_disables)
    changed = {name: value for name, value in sound.items() if before[name] != value}
    if not changed:
        return before
    changed |= {"updated_at": now} | ({"stopped_reason": None, "passed_over": 0} if changed.get("enabled") else {})
    with yard.database.write() as connection:
        if "name" in changed and trigger_rows.name_is_taken(connection, changed["name"], trigger_id):
            raise Conflict(f"There is a trigger {changed['name']!r} already.", state="taken")
        trigger_rows.change(connection, trigger_id, changed)
        shown = {name: before[name] for name in changed}
        after = get(connection, trigger_id)
        secret = secret_fields.of_task(connection, before["task"]) | secret_fields.of_task(connection, after["task"])
        audit.record(connection, actor, "trigger.changed", "trigger", trigger_id, now, shown, changed, secret)
    tell_kind(yard, "trigger", trigger_id, "changed")
    return after


def remove(yard: Yard, trigger_id: str, actor: Actor) -> None:
    """Delete a trigger with its firings; its jobs stay. Raises NotFound."""
    with yard.database.write() as connection:
        row = get(connection, trigger_id)
        trigger_rows.remove(connection, trigger_id)
        shown = as_json(row, secret_fields.of_task(connection, row["task"]))
        audit.record(connection, actor, "trigger.deleted", "trigger", trigger_id, utcnow(), shown)
    tell_kind(yard, "trigger", trigger_id, "deleted")


def attempt(yard: Yard, row: Row, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Tell what a trigger would do with these facts, and do nothing."""
    if not hears(row["listens"], str(facts.get("name", ""))):
        return {"fires": False, "why": f"It listens for {row['listens']}.", "payload": None}
    if not holds(json.loads(row["conditions"]), facts):
        return {"fires": False, "why": "Its conditions do not hold.", "payload": None}
    try:
        payload = fill(payloads.load(row["payload"]), facts)
        task = catalogue.get_task(yard, row["task"])
        task.write(payload)
    except BadInput as error:
        return {"fires": False, "why": error.message, "payload": None}
    shown = mask(payload, secret_fields.fields_of(task.row["secret_fields"]))
    return {"fires": True, "why": f"It would run {row['task']}.", "payload": shown}


def as_json(row: Row, secret: Collection[str]) -> dict[str, Any]:
    """Make a trigger JSON-ready, with its secrets masked; `secret` are the names that its task declares."""
    told = {name: rfc3339(value) if isinstance(value, datetime) else value for name, value in row.items()}
    del told["hears_jobs"]
    return told | {
        "conditions": mask(json.loads(row["conditions"]), secret),
        "payload": mask(payloads.load(row["payload"]), secret),
    }


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


def _checked(yard: Yard, values: Mapping[str, Any], *, may_be_reserved: bool = False) -> dict[str, Any]:
    name = check_label(str(values.get("name") or ""), 100)
    if values["kind"] not in KINDS:
        raise BadInput(f"A kind is one of {', '.join(KINDS)}.", field="kind")
    if not isinstance(values["payload"], Mapping):
        raise BadInput("The mapping must be a JSON object.", field="payload")
    task = catalogue.get_task(yard, str(values.get("task") or ""))
    if not may_be_reserved:
        check_open(task.row["name"], task.row["queue"])
    mapping = payloads.dump(dict(values["payload"]))
    fill(values["payload"], _Anything())
    about = _of_queue(values) if values["kind"] == "queue" else _of_event(values)
    least = SHORTEST_OF_QUEUES_SECONDS if values["kind"] == "queue" else 0.0
    return {
        **about,
        "name": name,
        "kind": values["kind"],
        "conditions": payloads.dump(check_conditions(values["conditions"]), "conditions"),
        "task": values["task"],
        "payload": mapping,
        "cooldown_seconds": check_number(
            "cooldown_seconds", values["cooldown_seconds"], least, LONGEST_COOLDOWN_SECONDS
        ),
        "cap_per_hour": check_whole("cap_per_hour", values["cap_per_hour"], 1, MOST_AN_HOUR),
        "enabled": check_flag("enabled", values["enabled"]),
    }


def _of_queue(values: Mapping[str, Any]) -> dict[str, Any]:
    if values["measure"] not in MEASURES:
        raise BadInput(f"A queue's measure is one of {', '.join(MEASURES)}.", field="measure")
    above = check_number("above", values["above"], 0, 1e12)
    queue = names.check_queue(str(values.get("listens") or ""))
    return {"listens": queue, "measure": values["measure"], "above": above, "hears_jobs": False}


def _of_event(values: Mapping[str, Any]) -> dict[str, Any]:
    try:
        pattern = events.check_pattern(str(values.get("listens") or ""))
    except BadInput as error:
        raise BadInput(error.message, field="listens") from error
    if values["kind"] == "data" and not pattern.startswith("data."):
        raise BadInput("It listens for data.<table>.inserted, .updated, .deleted or .*", field="listens")
    hears_jobs = any(hears(pattern, one) for one in events.ENGINE if one.startswith("job."))
    return {"listens": pattern, "measure": None, "above": None, "hears_jobs": hears_jobs}


class _Anything(dict[str, Any]):
    """Facts in which every path leads somewhere, to check a mapping before there is an event."""

    def __contains__(self, _name: object) -> bool:
        return True

    def __getitem__(self, _name: str) -> Any:
        return self
