"""Leaving the names in Redis that Taskyard had before they held the installation's id.

Nothing that waits there is lost: SQL has the jobs, and what has no entry under the present names is pushed by
`delivery.deliver_missing`. What is removed here would otherwise be taken by workers of plain RQ that serve a queue of the same name.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import select

from workers.broker import former_names
from workers.domain.clock import utcnow
from workers.store import queues as queue_rows
from workers.store import schedules, settings
from workers.store.jobs import JOBS
from workers.yard import Yard

KEY = "former_names_left"


def leave(yard: Yard) -> int:
    """Remove the entries and timers of this installation's jobs and schedules; return how many there were. Raises Unavailable.

    Does nothing once there were none: older processes may go on for a moment, and leave some after the first look.
    """
    with yard.database.read() as connection:
        if settings.get(connection, KEY, False):
            return 0
        queues = [row["name"] for row in queue_rows.all_queues(connection)]

    def known_jobs(ids: Sequence[str]) -> Collection[str]:
        with yard.database.read() as connection:
            return connection.execute(select(JOBS.c.id).where(JOBS.c.id.in_(ids))).scalars().all()

    def known_schedules(ids: Sequence[str]) -> Collection[str]:
        with yard.database.read() as connection:
            return [one for one in ids if schedules.get(connection, one) is not None]

    removed = sum(former_names.remove_entries(yard.redis, queue, known_jobs) for queue in queues)
    removed += former_names.remove_timers(yard.redis, known_schedules)
    if not removed:
        with yard.database.write() as connection:
            settings.put_if_absent(connection, KEY, True, utcnow())
    return removed
