"""Bringing rows to their queue: those whose moment has come, and those that Redis never got or has lost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection

from workers.broker import queues
from workers.domain.clock import utcnow
from workers.domain.names import rq_id
from workers.domain.states import Status
from workers.services.jobs import released
from workers.services.telling import push
from workers.store import jobs
from workers.store.types import Row
from workers.yard import Yard

STEP = 500
# A row younger than this may still be on its way from the commit to the push.
SETTLED = timedelta(seconds=5)


def promote_due(yard: Yard, now: datetime | None = None) -> int:
    """Move jobs whose moment has come onto their queue, 500 at most; tells how many. Safe from many processes at once.

    Raises Unavailable when SQL or Redis is away; rows that were moved but not pushed are found by `deliver_missing`.
    """
    moment = now or utcnow()
    with yard.database.read() as connection:
        found = jobs.due(connection, moment, STEP)
    if not found:
        return 0
    with yard.database.write() as connection:
        moved = [row for row in (_promoted(connection, row, moment) for row in found) if row is not None]
    push(yard, moved)
    return len(moved)


def deliver_missing(yard: Yard, now: datetime | None = None) -> int:
    """Push every pending row that has no carrier in Redis; tells how many were missing. Raises Unavailable."""
    until = (now or utcnow()) - SETTLED
    missing, after = 0, ""
    while True:
        with yard.database.read() as connection:
            rows = jobs.pending_since(connection, until, after, STEP)
        if not rows:
            return missing
        missing += _deliver(yard, rows, until + SETTLED)
        after = rows[-1]["id"]


def _deliver(yard: Yard, rows: Sequence[Row], now: datetime) -> int:
    carried = queues.exists(yard.redis, [rq_id(row["id"], row["attempt"]) for row in rows])
    lost = [row for row in rows if rq_id(row["id"], row["attempt"]) not in carried]
    if not lost:
        return 0
    with yard.database.write() as connection:
        present = jobs.get_many(connection, [row["id"] for row in lost])
        still = [
            present[row["id"]]
            for row in lost
            if row["id"] in present
            and present[row["id"]]["status"] == Status.PENDING
            and present[row["id"]]["attempt"] == row["attempt"]
        ]
        for row in still:
            jobs.note(
                connection, row, "requeued", now, actor="system:taskyard", detail={"why": "Redis had no entry for it"}
            )
    return push(yard, still)


def _promoted(connection: Connection, row: Row, now: datetime) -> Row | None:
    return jobs.transition(
        connection,
        row["id"],
        Status(row["status"]),
        row["attempt"],
        Status.PENDING,
        "due",
        now,
        actor="system:taskyard",
        values=released(row, now),
    )
