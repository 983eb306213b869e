"""Why a schedule is not found any more by a rule that has an open alert about it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from workers.domain.alarms import in_scope
from workers.domain.clock import parse_instant
from workers.services import audit
from workers.services.closings import RECOVERED, UNKNOWN, Closing, unwatched
from workers.services.facts import PATIENCE
from workers.store import schedules
from workers.store.types import Row

_ROUNDING = timedelta(seconds=2)  # a run starts at a whole second


def explain(connection: Connection, rule: Row, alert: Row, subjects: Mapping[str, float], now: datetime) -> Closing:
    """Say why none of these schedules is found: the first reason that is no recovery, if there is one.

    `subjects` has the value of each when the alert was last seen.
    """
    rows = schedules.with_ids(connection, subjects)
    edits = audit.edits_since(connection, "schedule", list(subjects), alert["last_at"])
    opened_at = alert["opened_at"] or alert["first_at"]
    accepted = schedules.accepted_since(connection, subjects, opened_at)
    reasons = []
    for schedule_id, value in subjects.items():
        own = [edit for edit in edits if edit["target_id"] == schedule_id]
        reasons.append(_of_one(rule, alert, rows.get(schedule_id), own, value, accepted, now))
    return next((reason for reason in reasons if reason != RECOVERED), RECOVERED)


def _of_one(
    rule: Row,
    alert: Row,
    row: Row | None,
    edits: list[Row],
    value: float,
    accepted: Collection[str],
    now: datetime,
) -> Closing:
    if row is None:
        return _unwatched(edits, "deleted", "The schedule {name} was deleted{by}.")
    name = row["name"]
    if not in_scope(rule["scope"], name):
        return unwatched(f"The schedule {name} is not within the scope {rule['scope']!r} of its rule.")
    if not row["enabled"] and rule["kind"] != "schedule_missed":
        return _unwatched(edits, "enabled", "The schedule {name} was paused{by}.", name)
    if rule["kind"] == "schedule_refused":
        return _refused(row, edits, accepted)
    if rule["kind"] == "schedule_unfinished":
        return _unfinished(alert, row, edits, value)
    is_late = rule["kind"] == "schedule_late" and row["next_due_at"] is not None
    if is_late and (now - row["next_due_at"]) > max(PATIENCE, timedelta(seconds=rule["threshold"])):
        return UNKNOWN
    return RECOVERED


def _refused(row: Row, edits: list[Row], accepted: Collection[str]) -> Closing:
    if row["refused_reason"] is not None:
        return UNKNOWN
    if row["id"] in accepted:
        return RECOVERED
    return _unwatched(edits, "", "The schedule {name} was changed{by}. It has not run since.", row["name"])


def _unfinished(alert: Row, row: Row, edits: list[Row], value: float) -> Closing:
    former = _former(row, edits)
    within, completed_at = former["finish_within_seconds"], former["last_completed_fire_at"]
    due = alert["last_at"] - timedelta(seconds=value + (within or 0.0))
    started = due - timedelta(seconds=former["jitter_seconds"]) - _ROUNDING
    if completed_at is not None and completed_at >= started:
        return RECOVERED
    if not edits:
        return UNKNOWN  # its run is not found, but has not completed
    if row["finish_within_seconds"] is None:
        return _unwatched(
            edits, "finish_within_seconds", "The deadline of the schedule {name} was removed{by}.", row["name"]
        )
    return _unwatched(
        edits, "", "The schedule {name} was changed{by}: its deadline is counted again from then.", row["name"]
    )


def _former(row: Row, edits: list[Row]) -> dict[str, Any]:
    """Return a schedule as it was before these edits, but for what it has done since."""
    former = dict(row)
    for edit in reversed(edits):
        after, before = edit["after"], edit["before"]
        for name in ("finish_within_seconds", "jitter_seconds", "last_completed_fire_at"):
            if name in after and _value(name, after[name]) == former[name]:
                former[name] = _value(name, before.get(name))
    return former


def _value(name: str, value: Any) -> Any:
    return parse_instant(value) if value is not None and name.endswith("_at") else value


def _unwatched(edits: list[Row], changed: str, words: str, name: str = "") -> Closing:
    """Say it with who did it: the last who deleted the schedule, or changed this of it (empty: anything)."""
    who = ""
    for edit in edits:
        does = edit["action"].endswith(".deleted") if changed == "deleted" else not changed or changed in edit["before"]
        if does:
            who, name = f" by {audit.actor_of(edit)}", name or str(edit["before"].get("name", ""))
    return unwatched(words.format(name=name, by=who).replace("schedule  was", "schedule was"))
