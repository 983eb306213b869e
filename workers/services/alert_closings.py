"""Why open alerts are not found any more. A limit, a gap in what is measured or a change of a rule is no recovery."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import Connection

from workers.domain.alarms import KINDS
from workers.services import audit, conditions, rule_history, schedule_closings
from workers.services.alert_overflow import MORE
from workers.services.closings import RECOVERED, UNKNOWN, Closing, grouped, unwatched
from workers.services.facts import Facts, Found, about_of
from workers.services.rule_checks import missing_setting
from workers.services.rule_history import Former
from workers.store import queues, task_modules
from workers.store.types import Row

LONGEST_SWEEP = timedelta(hours=1)
# What a kind is judged by among the numbers of a sweep; without it nothing is known.
_NUMBERS = {
    "queue_depth": "queues",
    "queue_age": "queues",
    "no_worker": "queues",
    "probe": "probe_ms",
    "database": "database_bytes",
    "disk": "disk_percent",
    "cpu": "cpu_percent",
    "memory": "memory_percent",
}


def explain(
    connection: Connection,
    found: Mapping[str, tuple[Row, Sequence[Found]]],
    alerts: Sequence[Row],
    formers: Mapping[str, Former],
    facts: Facts,
) -> dict[str, Closing]:
    """Say how each of these open alerts ends that its rule has not found, by its id."""
    closings = {}
    for alert in alerts:
        rule, causes = found.get(alert["rule_id"], (None, ()))
        if rule is None:
            closings[alert["id"]] = _deleted(connection, alert)
        elif about_of(alert) not in {cause.about for cause in causes}:
            closings[alert["id"]] = _of_one(connection, rule, causes, alert, formers.get(alert["id"]), facts)
    return closings


def _of_one(
    connection: Connection, rule: Row, causes: Sequence[Found], alert: Row, former: Former | None, facts: Facts
) -> Closing:
    if not rule["is_enabled"]:
        return unwatched(rule_history.why_disabled(rule, former.actors.get("is_enabled", "") if former else ""))
    if reason := missing_setting(facts.settings, rule["kind"]):
        return unwatched(reason)
    number = _NUMBERS.get(rule["kind"])
    if number and facts.numbers.get(number) is None:
        return UNKNOWN
    about = about_of(alert)
    group = next((cause for cause in causes if about in cause.subjects), None)
    if group is not None:
        return grouped(group.title)
    if former is not None and (why := rule_history.why_changed(rule, former)) and _finds(former.rule, facts, about):
        return unwatched(why)
    if about == MORE:
        return RECOVERED
    look = _LOOKS.get(KINDS[rule["kind"]].scoped_by or rule["kind"])
    return look(connection, rule, alert, facts) if look else RECOVERED


def _finds(rule: Row, facts: Facts, about: str) -> bool:
    return any(cause.about == about or about in cause.subjects for cause in conditions.find(rule, facts))


def _deleted(connection: Connection, alert: Row) -> Closing:
    """Close an alert that another monitor has raised while its rule was deleted."""
    edits = audit.edits_since(connection, "alert_rule", [alert["rule_id"]], alert["first_at"] - LONGEST_SWEEP)
    gone = next((edit for edit in edits if edit["action"] == "alert_rule.deleted"), None)
    if gone is None:
        return UNKNOWN
    return unwatched(rule_history.why_deleted(gone["before"].get("name", ""), audit.actor_of(gone)))


def _queue(connection: Connection, rule: Row, alert: Row, facts: Facts) -> Closing:
    name = about_of(alert)
    told = facts.numbers["queues"].get(name)
    if told is None or not told["is_paused"]:
        return RECOVERED
    resumed = {**facts.numbers["queues"], name: {**told, "is_paused": False}}
    if not _finds(rule, replace(facts, numbers={**facts.numbers, "queues": resumed}), name):
        return RECOVERED
    row = queues.get(connection, name)
    who = f" by {row['paused_by']}" if row is not None and row["paused_by"] else ""
    return unwatched(f"The queue {name} was paused{who}.")


def _schedule(connection: Connection, rule: Row, alert: Row, facts: Facts) -> Closing:
    about = about_of(alert)
    subjects = {about: alert["value"]} if about else json.loads(alert["subjects"] or "{}")
    return schedule_closings.explain(connection, rule, alert, subjects, facts.now)


def _task(_connection: Connection, rule: Row, alert: Row, facts: Facts) -> Closing:
    # A task whose completed runs were deleted has no usual time: its job still runs as long as before.
    running = next((row for row in facts.running if row["id"] == about_of(alert)), None)
    is_unknown = rule["kind"] == "long_running" and running is not None and running["task"] not in facts.usual
    return UNKNOWN if is_unknown else RECOVERED


def _module(connection: Connection, _rule: Row, alert: Row, _facts: Facts) -> Closing:
    host, about = alert["host"], about_of(alert)
    errors = task_modules.errors(connection, [host])
    own = [error for (_, name), error in errors.items() if conditions.module_key(host, name) == about]
    if not own:
        return unwatched(f"The host {host} no longer imports this module, or has had no worker for an hour.")
    return UNKNOWN if own[0] is not None else RECOVERED


_LOOKS: dict[str, Callable[[Connection, Row, Row, Facts], Closing]] = {
    "queue": _queue,
    "schedule": _schedule,
    "task": _task,
    "task_module": _module,
}
