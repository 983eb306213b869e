"""Take back what a person did: pause, enable or disable, cancel of a waiting job, acknowledge, lock, delete of a schedule.

An entry of the audit says what was done. It can be taken back while it is the last change of its target; taking it back
is a change like any other, with its own entry, so nothing is taken back twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from workers.domain.actors import Actor
from workers.domain.errors import Conflict, Forbidden, NotFound
from workers.domain.states import WAITING
from workers.services import alerting, queues, restoring, schedules, triggers, users
from workers.services.schedule_checks import FIELDS
from workers.store import audit
from workers.store.types import Row
from workers.yard import Yard

# Entries that change nothing of their target.
HARMLESS = ("schedule.run", "alert_channel.tested")


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the audit, with its values read."""

    id: int
    target_id: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reversal:
    """How an action is taken back; `act` returns the message that says so."""

    role: str
    act: Callable[[Yard, Change, Actor], str]
    fits: Callable[[Change], bool] = lambda _change: True


def undo(yard: Yard, entry_id: int, actor: Actor) -> str:
    """Take an action back and return the message that says so.

    Raises NotFound, Forbidden, and Conflict when the action cannot be taken back or its target has changed since.
    """
    with yard.database.read() as connection:
        entry = audit.get(connection, entry_id)
        if entry is None:
            raise NotFound("The audit entry does not exist.")
        reversal = reversal_of(entry)
        if reversal is None:
            raise Conflict(f"{entry['action']} cannot be undone.")
        if not actor.may(reversal.role):
            raise Forbidden(f"Undoing {entry['action']} requires the role {reversal.role}.")
        if audit.last_of(connection, entry["target_kind"], entry["target_id"], HARMLESS) != entry_id:
            raise Conflict("The target has changed since, or the action has already been undone.")
    return reversal.act(yard, _change(entry), actor)


def undoable(connection: Connection, entries: Sequence[Row], actor: Actor) -> set[int]:
    """Return the ids of those entries that `undo` accepts from this actor now."""
    found = {entry["id"]: entry for entry in entries}
    possible = {key: reversal for key, entry in found.items() if (reversal := reversal_of(entry)) is not None}
    mine = [found[key] for key, reversal in possible.items() if actor.may(reversal.role)]
    last = audit.last_of_many(connection, [(entry["target_kind"], entry["target_id"]) for entry in mine], HARMLESS)
    return {entry["id"] for entry in mine if entry["id"] in last}


def latest(connection: Connection, actor: Actor, target_kind: str, target_id: str) -> int | None:
    """Return the id of the last entry of a target when this actor made it and can take it back."""
    entry_id = audit.last_of(connection, target_kind, target_id, HARMLESS)
    entry = audit.get(connection, entry_id) if entry_id is not None else None
    if entry is None or (entry["actor_kind"], entry["actor"]) != (actor.kind, actor.name):
        return None
    return entry_id if entry_id in undoable(connection, [entry], actor) else None


def reversal_of(entry: Row) -> Reversal | None:
    """Return how the action of an entry is taken back, None when it cannot be."""
    reversal = _REVERSALS.get(entry["action"])
    return reversal if reversal is not None and reversal.fits(_change(entry)) else None


def _change(entry: Row) -> Change:
    before, after = (json.loads(entry[name]) if entry[name] else {} for name in ("before", "after"))
    return Change(entry["id"], entry["target_id"], before, after)


def _resume_queue(yard: Yard, change: Change, actor: Actor) -> str:
    queues.resume(yard, change.target_id, actor)
    return f"The queue {change.target_id} is resumed."


def _pause_queue(yard: Yard, change: Change, actor: Actor) -> str:
    queues.pause(yard, change.target_id, actor)
    return f"The queue {change.target_id} is paused again."


def _is_switch_of(fields: Collection[str]) -> Callable[[Change], bool]:
    """Return whether a change is of `enabled` alone, among the fields that people set."""

    def is_switch(change: Change) -> bool:
        return set(change.after) & set(fields) == {"enabled"} and "enabled" in change.before

    return is_switch


def _switch_schedule(yard: Yard, change: Change, actor: Actor) -> str:
    row = schedules.change(yard, change.target_id, {"enabled": not change.after["enabled"]}, actor)
    return f"The schedule {row['name']} is {'resumed' if row['enabled'] else 'paused again'}."


def _switch_trigger(yard: Yard, change: Change, actor: Actor) -> str:
    row = triggers.change(yard, change.target_id, {"enabled": not change.after["enabled"]}, actor)
    return f"The trigger {row['name']} is {'resumed' if row['enabled'] else 'paused again'}."


def _restore_schedule(yard: Yard, change: Change, actor: Actor) -> str:
    row = restoring.restore_schedule(yard, change.target_id, actor)
    return f"The schedule {row['name']} is restored. The history of its runs is not restored."


def _was_waiting(change: Change) -> bool:
    return change.before.get("status") in WAITING and change.after.get("status") == "canceled"


def _restore_job(yard: Yard, change: Change, actor: Actor) -> str:
    row = restoring.restore_job(yard, change.target_id, change.before, actor)
    return f"{row['task']} is {row['status'].replace('_', ' ')} again."


def _reopen_alert(yard: Yard, change: Change, actor: Actor) -> str:
    alerting.reopen(yard, change.target_id, actor)
    return "The alert is no longer acknowledged."


def _is_lock(change: Change) -> bool:
    return set(change.after) == {"disabled_at"}


def _switch_user(yard: Yard, change: Change, actor: Actor) -> str:
    is_locked = change.after["disabled_at"] is not None
    users.change(yard, change.target_id, actor, disabled=not is_locked)
    return f"{change.target_id} is {'unlocked' if is_locked else 'locked again'}."


_REVERSALS = {
    "queue.paused": Reversal("operator", _resume_queue),
    "queue.resumed": Reversal("operator", _pause_queue),
    "schedule.changed": Reversal("operator", _switch_schedule, _is_switch_of(FIELDS)),
    "schedule.deleted": Reversal("operator", _restore_schedule),
    "trigger.changed": Reversal("operator", _switch_trigger, _is_switch_of(triggers.FIELDS)),
    "job.canceled": Reversal("operator", _restore_job, _was_waiting),
    "alert.acknowledged": Reversal("operator", _reopen_alert, lambda change: change.before.get("status") == "firing"),
    "user.changed": Reversal("admin", _switch_user, _is_lock),
}
