"""A history to measure against: many jobs that ended over the last thirty days, and a few that have not."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

from sqlalchemy import text, update

from workers.domain.clock import utcnow
from workers.domain.ids import new_id
from workers.store import jobs
from workers.store import queues as queue_rows
from workers.store.jobs import JOBS
from workers.yard import Yard

DAYS = 30
STEP = 5_000
QUEUES = ("default", "emails", "reports", "sync", "rare")
WEIGHTS = (60, 25, 10, 4.99, 0.01)
TASKS = ("samples.noop", "samples.sleep", "samples.fail", "http.request")
STATES = ("completed", "failed", "canceled", "retry_scheduled", "scheduled")
SHARES = (95, 3.5, 1, 0.3, 0.2)


def fill(yard: Yard, total: int) -> None:
    """Bring the number of jobs to `total`; the same seed makes the same mix each time."""
    chance = random.Random(7)
    now = utcnow()
    start = now - timedelta(days=DAYS)
    with yard.database.read() as connection:
        have = connection.execute(text("SELECT count(*) FROM jobs")).scalar_one()
    for first in range(have, total, STEP):
        last = min(first + STEP, total)
        rows = [_row(chance, start + (now - start) * (n / total), n) for n in range(first, last)]
        with yard.database.write() as connection:
            queue_rows.know(connection, yard.database, QUEUES, now)
            jobs.add(connection, rows)
            ended = JOBS.c.id.between(rows[0]["id"], rows[-1]["id"]) & (JOBS.c.status == "completed")
            connection.execute(
                update(JOBS).where(ended).values(completed_at=JOBS.c.created_at, run_ms=1200, result='{"ok":true}')
            )
    if not yard.database.is_sqlite:
        with yard.database.write() as connection:
            connection.execute(text("ANALYZE jobs"))


def _row(chance: random.Random, at: Any, n: int) -> dict[str, Any]:
    row = jobs.blank()
    row.update(
        id=new_id(at),
        task=chance.choice(TASKS),
        queue=chance.choices(QUEUES, WEIGHTS)[0],
        priority="normal",
        payload=f'{{"seconds":1.0,"steps":{n % 9},"note":"a payload of an ordinary size, number {n}"}}',
        status=chance.choices(STATES, SHARES)[0],
        max_retries=3,
        timeout_seconds=1800.0,
        created_at=at,
        updated_at=at,
        created_by="bench",
    )
    return row
