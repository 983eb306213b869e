"""Triggers at work: events that were written are heard, queues are looked at, and what fires is kept with its facts.

An event is taken, its triggers' firings and jobs are written, in one transaction: whoever dies in between has done nothing.
A trigger that feeds itself is stopped after a chain of eight.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from workers.domain import payloads
from workers.domain.actors import SYSTEM
from workers.domain.clock import parse_instant, rfc3339, utcnow
from workers.domain.errors import BadInput
from workers.domain.ids import new_id
from workers.domain.mapping import fill, hears, holds
from workers.domain.masking import JobMasker, mask, mask_result
from workers.domain.untrusted import visible_json
from workers.services import audit, enqueueing, events, secret_fields, statistics
from workers.services.enqueueing import NewJob
from workers.services.schedule_values import CLOCK_TOLERANCE
from workers.services.secret_fields import Declared
from workers.services.telling import tell_kind
from workers.store import jobs, trigger_rows
from workers.store.types import Row
from workers.yard import Yard

STEP = 100
LONGEST_CHAIN = 8
REFUSED_AGAIN = timedelta(minutes=1)  # in which the same refusal is counted, not written again
KEPT_RESULT, KEPT_FACTS = 20_000, 50_000
_OF_JOB = ("id", "task", "queue", "status", "attempt", "error", "created_by", "schedule", "skipped_reason")


def hear(yard: Yard, now: datetime | None = None) -> int:
    """Let triggers hear the events that were written, 100 at most; how many. Raises Unavailable."""
    with yard.database.read() as connection:
        found = trigger_rows.events(connection, STEP)
        if not found:
            return 0
        listening = trigger_rows.listening(connection, to_queues=False)
        facts = [_facts(connection, one) for one in found]
        depths = [trigger_rows.depth_of(connection, one["job_id"], 2 * LONGEST_CHAIN) for one in found]
    for event, told, depth in zip(found, facts, depths, strict=True):
        wanted = [one for one in listening if hears(one["listens"], event["name"])]
        _fire_all(yard, [one for one in wanted if holds(json.loads(one["conditions"]), told)], told, depth, event, now)
    return len(found)


def look_at_queues(yard: Yard, now: datetime) -> int:
    """Fire the triggers whose queue is longer or older than they allow; 0, since nothing is left to do at once.

    Raises Unavailable.
    """
    with yard.database.read() as connection:
        watching = trigger_rows.listening(connection, to_queues=True)
        told = statistics.snapshot(connection, now) if watching else {"queues": {}}
    for one in watching:
        queue = told["queues"].get(one["listens"])
        value = _measured(queue, one["measure"], now) if queue else 0.0
        if value > one["above"]:
            facts = {"name": f"queue.{one['measure']}", "at": rfc3339(now), "queue": one["listens"], "value": value}
            _fire_all(yard, [one], {**facts, "above": one["above"]}, 0, None, now)
    return 0


def _measured(queue: Mapping[str, Any], measure: str, now: datetime) -> float:
    if measure == "depth":
        return float(queue["pending"])
    oldest = queue["oldest_pending_at"]
    if oldest is None:
        return 0.0
    return round((now - parse_instant(oldest)).total_seconds(), 1)


def _facts(connection: Connection, event: Row) -> dict[str, Any]:
    facts = {"name": event["name"], "at": rfc3339(event["at"]), "actor": event["actor"], "job_id": event["job_id"]}
    facts["payload"] = payloads.load(event["payload"])
    job = jobs.get(connection, event["job_id"]) if event["job_id"] and event["name"].startswith("job.") else None
    if job is not None:
        told = {name: job[name] for name in _OF_JOB}
        short = job["result"] is not None and len(job["result"]) <= KEPT_RESULT
        told |= {"payload": payloads.load(job["payload"]), "result": payloads.load(job["result"]) if short else None}
        facts["job"] = told
    return facts


def _fire_all(
    yard: Yard, wanted: list[Row], facts: Mapping[str, Any], depth: int, event: Row | None, now: datetime | None
) -> None:
    moment = now or utcnow()
    prepared = [(one, *_prepared(yard, one, facts, moment)) for one in wanted]
    made: list[dict[str, Any]] = []
    with yard.database.write() as connection:
        if event is not None and not trigger_rows.take_event(connection, event["id"]):
            return
        for trigger, job, refusal in prepared:
            row = trigger_rows.get(connection, trigger["id"], locked=True)
            if row is not None and row["enabled"]:
                with events.caused_by(job["id"] if job else None):
                    fired = _fire(yard, connection, row, facts, depth, job, refusal, moment)
                made += [job] if fired and job else []
    enqueueing.deliver(yard, made)
    for trigger, _, _ in prepared:
        tell_kind(yard, "trigger", trigger["id"], "fired")


def _prepared(
    yard: Yard, trigger: Row, facts: Mapping[str, Any], now: datetime
) -> tuple[dict[str, Any] | None, str | None]:
    try:
        payload = fill(payloads.load(trigger["payload"]), facts)
        new = NewJob(trigger["task"], payload, created_by=f"trigger:{trigger['name']}")
        return enqueueing.row_of(yard, new, now), None
    except BadInput as error:
        return None, error.message[:1000]


def _kept(connection: Connection, facts: Mapping[str, Any]) -> str:
    text = visible_json(shown_facts(facts, secret_fields.declared(connection)))
    if len(text) <= KEPT_FACTS:
        return text
    return json.dumps({name: facts.get(name) for name in ("name", "at", "actor", "job_id")} | {"is_cut": True})


def shown_facts(facts: Mapping[str, Any], declared: Declared) -> dict[str, Any]:
    """Return the facts of a firing with their secrets masked; the result of a job keeps its data."""
    job = facts.get("job")
    shown: dict[str, Any] = mask({name: value for name, value in facts.items() if name != "job"}, declared.any_task)
    if not isinstance(job, Mapping):
        return shown if "job" not in facts else {**shown, "job": job}
    secret = declared[str(job.get("task"))]
    masker = JobMasker(job.get("payload"), secret)
    told = masker.value({name: value for name, value in job.items() if name != "result"})
    return {**shown, "job": {**told, "result": mask_result(job.get("result"), secret)}}


def _fire(
    yard: Yard,
    connection: Connection,
    row: Row,
    facts: Mapping[str, Any],
    depth: int,
    job: dict[str, Any] | None,
    refusal: str | None,
    now: datetime,
) -> bool:
    """Write what one trigger makes of an event; True when its job was put in."""
    if not _is_cooled(row, now) or trigger_rows.fired_within_an_hour(connection, row["id"], now) >= row["cap_per_hour"]:
        trigger_rows.pass_over(connection, row["id"])
        return False
    if refusal is not None and trigger_rows.was_refused(connection, row["id"], refusal, now - REFUSED_AGAIN):
        trigger_rows.pass_over(connection, row["id"])
        return False
    told = {"id": new_id(now), "trigger_id": row["id"], "at": now, "depth": depth, "detail": refusal, "job_id": None}
    told |= {"facts": _kept(connection, facts), "outcome": "refused"}
    changed: dict[str, Any] = {}
    if depth >= LONGEST_CHAIN:
        why = f"The trigger ran in a loop: a chain of {depth} trigger runs led to this event."
        told |= {"outcome": "looped", "detail": why}
        changed = {"enabled": False, "stopped_reason": why}
        audit.record(connection, SYSTEM, "trigger.stopped", "trigger", row["id"], now, None, {"why": why})
    elif job is not None:
        enqueueing.know_queues(yard, connection, [job], now)
        holder = enqueueing.insert(connection, job)
        told |= {"outcome": "fired", "job_id": holder or job["id"]}
        changed = {"last_fired_at": now, "passed_over": 0}
        job = None if holder else job
    trigger_rows.add_firing(connection, told)
    if changed:
        trigger_rows.change(connection, row["id"], changed)
    return told["outcome"] == "fired" and job is not None


def _is_cooled(row: Row, now: datetime) -> bool:
    """Return whether a trigger may run again. One that ran later than now did so by a clock that was set back since."""
    if row["last_fired_at"] is None:
        return True
    since: timedelta = now - row["last_fired_at"]
    return since >= timedelta(seconds=row["cooldown_seconds"]) or since < -CLOCK_TOLERANCE
