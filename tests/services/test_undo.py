"""Undo: what a person did is taken back while it is the last change of its target, and once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import text

from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.domain.errors import Conflict, Forbidden, NotFound
from workers.services import (
    alerting,
    deleted_schedules,
    execution,
    jobs,
    monitoring,
    queues,
    rules,
    schedules,
    triggers,
    undo,
    users,
)
from workers.services.enqueueing import NewJob
from workers.store import alerts, kept_fires
from workers.store import jobs as job_rows
from workers.store import schedules as schedule_rows
from workers.store import users as user_rows
from workers.yard import Yard

OLGA = Actor("user", "olga", "operator")
ADA = Actor("user", "ada", "admin")
VERA = Actor("user", "vera", "viewer")
NOOP = {"task": "samples.noop", "payload": {}}


def latest(yard: Yard, actor: Actor, kind: str, target: str) -> int:
    with yard.database.read() as connection:
        entry_id = undo.latest(connection, actor, kind, target)
    assert entry_id is not None
    return entry_id


def make_queue(yard: Yard) -> str:
    jobs.enqueue(yard, NewJob("samples.noop", queue="emails"))
    return "emails"


def make_schedule(yard: Yard) -> str:
    return str(schedules.create(yard, {"name": "Nightly", "cron": "0 6 * * *", **NOOP}, OLGA)["id"])


def make_trigger(yard: Yard) -> str:
    return str(triggers.create(yard, {"name": "On orders", "listens": "orders.created", **NOOP}, OLGA)["id"])


def make_user(yard: Yard) -> str:
    users.add(yard, "vera", "viewer", "correct horse battery", ADA)
    return "vera"


def switch_queue(yard: Yard, name: str, on: bool) -> None:
    (queues.resume if on else queues.pause)(yard, name, OLGA)


def switch_schedule(yard: Yard, schedule_id: str, on: bool) -> None:
    schedules.change(yard, schedule_id, {"enabled": on}, OLGA)


def switch_trigger(yard: Yard, trigger_id: str, on: bool) -> None:
    triggers.change(yard, trigger_id, {"enabled": on}, OLGA)


def switch_user(yard: Yard, name: str, on: bool) -> None:
    users.change(yard, name, ADA, disabled=not on)


def is_on(yard: Yard, kind: str, target: str) -> bool:
    with yard.database.read() as connection:
        if kind == "queue":
            return queues.get(connection, target)["paused_at"] is None
        if kind == "user":
            row = user_rows.by_name(connection, target)
            assert row is not None
            return row["disabled_at"] is None
        get = schedules.get if kind == "schedule" else triggers.get
        return bool(get(connection, target)["enabled"])


@pytest.mark.parametrize(
    ("kind", "make", "switch", "actor"),
    [
        ("queue", make_queue, switch_queue, OLGA),
        ("schedule", make_schedule, switch_schedule, OLGA),
        ("trigger", make_trigger, switch_trigger, OLGA),
        ("user", make_user, switch_user, ADA),
    ],
)
def test_a_switch_is_taken_back_in_both_directions_and_once(
    yard: Yard,
    kind: str,
    make: Callable[[Yard], str],
    switch: Callable[[Yard, str, bool], None],
    actor: Actor,
) -> None:
    target = make(yard)
    switch(yard, target, False)
    off = latest(yard, actor, kind, target)
    undo.undo(yard, off, actor)
    assert is_on(yard, kind, target)
    with pytest.raises(Conflict, match="already been undone"):
        undo.undo(yard, off, actor)
    switch(yard, target, False)
    switch(yard, target, True)
    undo.undo(yard, latest(yard, actor, kind, target), actor)
    assert not is_on(yard, kind, target)
    with pytest.raises(Forbidden):
        undo.undo(yard, latest(yard, actor, kind, target), VERA)


def test_nothing_is_taken_back_once_somebody_else_has_changed_it(yard: Yard) -> None:
    name = make_queue(yard)
    queues.pause(yard, name, OLGA)
    mine = latest(yard, OLGA, "queue", name)
    queues.resume(yard, name, ADA)
    queues.pause(yard, name, ADA)
    with pytest.raises(Conflict):
        undo.undo(yard, mine, OLGA)
    with yard.database.read() as connection:
        assert undo.latest(connection, OLGA, "queue", name) is None
    assert not is_on(yard, "queue", name)


def test_what_nobody_did_or_what_cannot_be_taken_back_is_refused(yard: Yard) -> None:
    with pytest.raises(NotFound):
        undo.undo(yard, 4711, ADA)
    job_id = jobs.enqueue(yard, NewJob("samples.noop")).job_id
    jobs.cancel(yard, job_id, OLGA)
    jobs.retry(yard, job_id, OLGA)
    with yard.database.read() as connection:
        assert undo.latest(connection, OLGA, "job", job_id) is None


@pytest.mark.parametrize("status", ["pending", "scheduled", "retry_scheduled"])
def test_a_canceled_job_waits_again_where_it_waited(yard: Yard, status: str) -> None:
    delay = 3600 if status == "scheduled" else None
    job_id = jobs.enqueue(yard, NewJob("samples.noop", queue="emails", delay_seconds=delay, max_retries=2)).job_id
    if status == "retry_scheduled":
        execution.begin(yard, job_id, 1, "a-worker")
        execution.end(yard, job_id, 1, execution.Ending("failed", error="RuntimeError: boom"))
    with yard.database.read() as connection:
        before = jobs.get(connection, job_id)
    assert before["status"] == status
    jobs.cancel(yard, job_id, OLGA)
    entry_id = latest(yard, OLGA, "job", job_id)
    undo.undo(yard, entry_id, OLGA)
    with yard.database.read() as connection:
        after = jobs.get(connection, job_id)
    same = ("status", "attempt", "due_at", "next_retry_at", "canceled_at", "error", "pending_at")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    with pytest.raises(Conflict):
        undo.undo(yard, entry_id, OLGA)


def test_a_job_that_was_running_when_it_was_canceled_stays_canceled(yard: Yard) -> None:
    job_id = jobs.enqueue(yard, NewJob("samples.noop", queue="emails")).job_id
    execution.begin(yard, job_id, 1, "a-worker")
    jobs.cancel(yard, job_id, OLGA)
    with yard.database.read() as connection:
        assert undo.latest(connection, OLGA, "job", job_id) is None


def test_a_restored_job_runs_at_its_attempt(yard: Yard) -> None:
    job_id = jobs.enqueue(yard, NewJob("samples.noop", queue="emails")).job_id
    jobs.cancel(yard, job_id, OLGA)
    undo.undo(yard, latest(yard, OLGA, "job", job_id), OLGA)
    execution.begin(yard, job_id, 1, "a-worker")
    with yard.database.read() as connection:
        assert jobs.get(connection, job_id)["status"] == "processing"
        assert job_rows.get(connection, job_id) is not None


def test_a_deleted_schedule_comes_back_with_its_payload_and_runs(yard: Yard) -> None:
    values = {"name": "Nightly", "cron": "0 6 * * *", "task": "samples.noop", "payload": {}, "tags": ["a"]}
    schedule_id = str(schedules.create(yard, values, OLGA)["id"])
    with yard.database.write() as connection:
        before = schedules.get(connection, schedule_id)
        fire = {
            "schedule_id": schedule_id,
            "fire_at": utcnow(),
            "at": utcnow(),
            "late_ms": 1,
            "outcome": "missed",
            "job_id": None,
            "missed_count": 1,
            "detail": None,
        }
        kept_fires.add_fires(connection, [fire])
    schedules.remove(yard, schedule_id, OLGA)
    entry_id = latest(yard, OLGA, "schedule", schedule_id)
    undo.undo(yard, entry_id, OLGA)
    with yard.database.read() as connection:
        after = schedules.get(connection, schedule_id)
        runs = schedule_rows.fires(connection, schedule_id)
    moving = {"version", "updated_at"}
    assert {name: value for name, value in after.items() if name not in moving} == {
        name: value for name, value in before.items() if name not in moving
    }
    assert [run["outcome"] for run in runs] == ["missed"]
    with pytest.raises(Conflict):
        undo.undo(yard, entry_id, OLGA)


def test_a_deleted_schedule_is_kept_for_a_day_and_its_name_may_be_taken(yard: Yard) -> None:
    schedule_id = make_schedule(yard)
    schedules.remove(yard, schedule_id, OLGA)
    other = make_schedule(yard)
    with pytest.raises(Conflict, match="Rename it"):
        undo.undo(yard, latest(yard, OLGA, "schedule", schedule_id), OLGA)
    schedules.change(yard, other, {"name": "Another"}, OLGA)
    with yard.database.write() as connection:
        assert deleted_schedules.forget(connection, utcnow() + timedelta(days=1, minutes=1)) == 1
    with pytest.raises(Conflict, match="more than a day ago"):
        undo.undo(yard, latest(yard, OLGA, "schedule", schedule_id), OLGA)


def test_an_acknowledged_alert_is_open_again(yard: Yard) -> None:
    rules.ensure(yard)
    for _ in range(8):
        made = jobs.enqueue(yard, NewJob("samples.fail", queue="emails", max_retries=0)).job_id
        execution.begin(yard, made, 1, "a-worker")
        execution.end(yard, made, 1, execution.Ending("failed", error="RuntimeError: boom"))
    assert monitoring.sweep(yard, utcnow()).error is None
    with yard.database.read() as connection:
        found = next(row for row in alerts.open_alerts(connection) if row["kind"] == "failed")
    alerting.acknowledge(yard, found["id"], "on it", OLGA)
    entry_id = latest(yard, OLGA, "alert", found["id"])
    undo.undo(yard, entry_id, OLGA)
    with yard.database.read() as connection:
        after = alerting.get(connection, found["id"])
    names = ("status", "acknowledged_by", "acknowledged_at", "note")
    assert {name: after[name] for name in names} == {name: found[name] for name in names}
    with pytest.raises(Conflict):
        undo.undo(yard, entry_id, OLGA)


def test_a_canceled_retry_that_waits_again_is_counted_once(yard: Yard) -> None:
    job_id = jobs.enqueue(yard, NewJob("samples.fail", max_retries=3)).job_id
    execution.begin(yard, job_id, 1, "w")
    execution.end(yard, job_id, 1, execution.Ending("failed", error="boom"))
    for _ in range(2):
        jobs.cancel(yard, job_id, OLGA)
        undo.undo(yard, latest(yard, OLGA, "job", job_id), OLGA)
    with yard.database.read() as connection:
        assert job_rows.get(connection, job_id)["status"] == "retry_scheduled"
        assert connection.execute(text("SELECT SUM(retried), SUM(failed) FROM job_minutes")).one() == (1, 0)
