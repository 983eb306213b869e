"""Bringing rows to their queue: those whose moment has come, and those that Redis never got or has lost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection

from workers.broker import queues
from workers.domain.clock import utcnow
from workers.domain.names import PRIORITIES, rq_id
from workers.domain.states import Status
from workers.services import statistics
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
    """Push every pending row that has no carrier in Redis; tells how many were missing. Raises Unavailable.

    Queues whose list in Redis is as long as SQL says are passed over: looking up a million entries one by one would keep
    both busy for seconds. What that overlooks, an entry too many that hides one too few, the next take brings to light.
    """
    until = (now or utcnow()) - SETTLED
    missing = 0
    for queue in _short_queues(yard):
        listed = queues.listed(yard.redis, queue)
        after = ""
        while True:
            with yard.database.read() as connection:
                rows = jobs.pending_since(connection, queue, until, after, STEP)
            if not rows:
                break
            lost = [row for row in rows if rq_id(row["id"], row["attempt"]) not in listed]
            missing += _deliver(yard, lost, until + SETTLED) if lost else 0
            after = rows[-1]["id"]
    return missing


def _short_queues(yard: Yard) -> list[str]:
    with yard.database.read() as connection:
        waiting = statistics.pending_by_queue(connection)
    name_of = yard.redis.names.queue
    depths = queues.depths(yard.redis, [name_of(queue, priority) for queue in waiting for priority in PRIORITIES])
    return [
        queue for queue, n in waiting.items() if sum(depths[name_of(queue, priority)] for priority in PRIORITIES) < n
    ]


def _deliver(yard: Yard, lost: Sequence[Row], now: datetime) -> int:
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
            jobs.note(connection, row, "requeued", now, actor="system:taskyard", detail={"why": "missing in Redis"})
    # A body whose name stands on no list would pass for an entry that waits.
    queues.forget(yard.redis, [rq_id(row["id"], row["attempt"]) for row in still])
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
