"""What the pages show when they are looked at: ordinary and hostile rows of every kind, the same ones each time.

Only their times follow the clock. No process serves the rows: workers and sweeps are rows too, so nothing changes by itself.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update

from tests.e2e.scene_rows import (
    ADA,
    Names,
    add,
    add_alerts,
    add_bulk_action,
    add_history,
    add_schedules,
    add_workers,
    pause,
    table_of,
)
from workers.domain.clock import utcnow
from workers.services import jobs, tokens, triggers
from workers.services.enqueueing import NewJob
from workers.store import queues as queue_rows
from workers.store.jobs import JOBS
from workers.store.models import Attempt, JobLog, Task
from workers.yard import Yard

ORDINARY_TASKS = ("emails.send", "reports.monthly", "sync.customers", "images.resize", "invoices.issue")
MARKUP = "<script>alert('x')</script><b>bold</b>&amp;"
LONG_NAME = "a_task_whose_name_is_" + "very_" * 30 + "long.run"  # 200 characters with its module
LONG_QUEUE = "q" * 60
LONG_TEXT = MARKUP + " " + "unbroken" * 60 + " " + "words " * 40
# How often each state stands in the list of jobs.
STATES = {
    "completed": 70,
    "failed": 8,
    "scheduled": 6,
    "pending": 6,
    "retry_scheduled": 3,
    "canceled": 3,
    "processing": 4,
}


@dataclass(frozen=True)
class Scene:
    """The ids that pages are opened with; none in an empty one."""

    jobs: Mapping[str, str]
    schedule_id: str
    trigger_id: str
    alert_id: str
    action_id: str
    queue: str
    task: str


def ordinary(yard: Yard) -> Scene:
    """Insert rows such as a small company has after a day."""
    names = Names(
        tasks=ORDINARY_TASKS,
        queues=("default", "emails", "reports", "sync", "images"),
        messages=(
            "Sending to customers",
            "Writing the summary",
            "Reading page 12",
            "Resizing photos",
            "Numbering invoices",
        ),
        error="the mail server refused the connection",
        schedules=("Monthly report", "Customer sync", "Image clean-up", "Invoice run"),
        trigger="Resize new photos",
        alerts=(
            ("CPU of shop-1 at 97 %", "97 % for the last 5 min"),
            ("Disk of shop-1 at 91 %", "4.6 GB of 50 GB left"),
        ),
        payload={"customer": 1042, "language": "en", "parts": ["summary", "figures"]},
    )
    return _plant(yard, names)


def hostile(yard: Yard) -> Scene:
    """Insert rows whose every text is as long as it may be, holds markup and cannot be broken."""
    title = (MARKUP + "w" * 100)[:90]
    names = Names(
        tasks=("hostile." + LONG_NAME[:190], "hostile.short"),
        queues=(LONG_QUEUE, "b" * 60, "default"),
        messages=(LONG_TEXT,),
        error=LONG_TEXT,
        schedules=[f"{title} {n}" for n in range(4)],
        trigger=title,
        alerts=((title, LONG_TEXT), (LONG_TEXT[:280], LONG_TEXT)),
        payload={"text": LONG_TEXT, "deep": [[[[[[{"key " * 20: LONG_TEXT}]]]]]], "blob": "A" * 100_000},
    )
    return _plant(yard, names)


def _plant(yard: Yard, names: Names) -> Scene:
    now, chance = utcnow(), random.Random(7)
    _add_tasks(yard, names)
    with yard.database.write() as connection:
        queue_rows.know(connection, yard.database, names.queues, now)
    made = _add_jobs(yard, names, now, chance)
    add_workers(yard, names, now, made["processing"])
    add_history(yard, names, now, chance)
    schedule = add_schedules(yard, names)
    trigger = {"name": names.trigger, "kind": "event", "listens": "orders.paid", "task": names.tasks[0]}
    trigger_id = triggers.create(yard, trigger, ADA)["id"]
    action_id = add_bulk_action(yard, now)
    tokens.create(yard, names.trigger[:60], "viewer", None, ADA)
    alert_id = add_alerts(yard, names)
    pause(yard, names.queues[-1], now)
    return Scene(made, schedule, trigger_id, alert_id, action_id, names.queues[0], names.tasks[0])


def _add_tasks(yard: Yard, names: Names) -> None:
    with yard.database.read() as connection:
        tasks = table_of(Task)
        first = dict(connection.execute(select(tasks).where(tasks.c.name == "samples.noop")).mappings().one())
    fields = {"customer": {"type": "integer", "default": 1042}, "language": {"enum": ["en", "de"], "default": "en"}}
    schema = json.dumps({"type": "object", "properties": fields, "additionalProperties": True})
    rows = [{**first, "name": name, "payload_schema": schema, "doc": names.messages[0]} for name in names.tasks]
    add(yard, Task, rows)


def _add_jobs(yard: Yard, names: Names, now: datetime, chance: random.Random) -> dict[str, str]:
    """Enqueue jobs and put each in its state; the newest of every state by its name."""
    states = [state for state, count in STATES.items() for _ in range(count)]
    chance.shuffle(states)
    states += list(STATES)  # of every state one on the first page
    new = [
        NewJob(
            chance.choice(names.tasks),
            dict(names.payload) if n == 0 else {"n": n},
            queue=chance.choice(names.queues),
            delay_seconds=3600,
        )
        for n in range(len(states))
    ]
    new[-6] = NewJob(names.tasks[0], dict(names.payload), queue=names.queues[0], delay_seconds=3600)  # the failed one
    ids = [one.job_id for one in jobs.enqueue_many(yard, new)]
    with yard.database.write() as connection:
        for n, (job_id, state) in enumerate(zip(ids, states, strict=True)):
            ago = now - timedelta(seconds=20 * (len(states) - n))
            message = names.messages[names.tasks.index(new[n].task) % len(names.messages)]
            values = _state(state, names, message, ago, now, n)
            connection.execute(update(JOBS).where(JOBS.c.id == job_id).values(status=state, **values))
    made = dict(zip(states, ids, strict=True))
    _add_attempts(yard, names, made, now)
    return made


def _state(state: str, names: Names, message: str, ago: datetime, now: datetime, n: int) -> dict[str, Any]:
    if state == "scheduled":
        return {"due_at": now + timedelta(minutes=7 * n + 5)}
    if state == "retry_scheduled":
        return {
            "due_at": now + timedelta(minutes=2),
            "next_retry_at": now + timedelta(minutes=2),
            "attempt": 2,
            "error": names.error,
            "max_retries": 3,
        }
    if state == "pending":
        return {"due_at": None, "pending_at": now - timedelta(seconds=2 + n % 40)}
    run = {
        "due_at": None,
        "started_at": ago,
        "worker": "shop-1.1",
        "wait_ms": 1_200,
        "message": message,
    }
    if state == "processing":
        done = 8 + n * 7 % 70
        signs = {"progress_at": now, "heartbeat_at": now, "started_at": now - timedelta(seconds=done / 2)}
        progress = {"progress": done / 0.8, "done": done, "total": 80, **signs}
        return {**run, **progress, "worker": f"shop-1.{n % 3 + 1}"}
    ended = {**run, "run_ms": 42_000, "started_at": ago - timedelta(seconds=42), f"{state}_at": ago}
    if state == "failed":
        frames = (
            'Traceback (most recent call last):\n  File "/shop/tasks.py", line 7, in run\n    raise ValueError(words)\n'
        )
        return {**ended, "error": f"ValueError: {names.error}", "traceback": f"{frames}ValueError: {names.error}"}
    if state == "completed":
        return {**ended, "progress": 100.0, "result": json.dumps({"rows": 80, "text": names.error})}
    return ended


def _add_attempts(yard: Yard, names: Names, made: Mapping[str, str], now: datetime) -> None:
    started, ended = now - timedelta(seconds=60), now - timedelta(seconds=56)
    rows = [
        {
            "job_id": made[state],
            "attempt": 1,
            "worker": "shop-1.1",
            "started_at": started,
            "ended_at": ended,
            "outcome": state,
            "error": names.error,
        }
        for state in ("failed", "completed")
    ]
    add(yard, Attempt, rows)
    levels = ("info", "warning", "error", "print")
    lines = [
        {"job_id": made["failed"], "attempt": 1, "at": ended, "level": levels[n % 4], "line": f"{n}: {names.error}"}
        for n in range(30)
    ]
    add(yard, JobLog, lines)
