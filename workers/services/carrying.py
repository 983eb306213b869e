"""The next fire of each schedule as rq-scheduler carries it: put there, taken away, and held against SQL, which is right."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from workers.broker.timers import Timers
from workers.domain.errors import Unavailable
from workers.store import schedules
from workers.yard import Yard

PREFIX = "schedule-"


def carry(yard: Yard, schedule_id: str, due_at: datetime | None) -> None:
    """Carry the next fire of a schedule, or none. With Redis away nothing is carried: schedulers look into SQL too."""
    with suppress(Unavailable):
        if due_at is None:
            Timers(yard.redis).drop(PREFIX + schedule_id)
        else:
            Timers(yard.redis).carry(PREFIX + schedule_id, due_at)


def drop(yard: Yard, schedule_id: str) -> None:
    """Carry a schedule no longer."""
    carry(yard, schedule_id, None)


def reconcile(yard: Yard, limit: int = 500) -> int:
    """Carry what SQL waits for and drop what it does not, both at most `limit`; tells how many were wrong.

    Raises Unavailable.
    """
    timers = Timers(yard.redis)
    carried = {name: at for name, at in timers.carried().items() if name.startswith(PREFIX)}
    with yard.database.read() as connection:
        wanted = {PREFIX + one: at for one, at in schedules.waited_for(connection).items()}
    wrong = [(name, at) for name, at in wanted.items() if carried.get(name) != at][:limit]
    strays = [name for name in carried if name not in wanted][:limit]
    for name, at in wrong:
        timers.carry(name, at)
    for name in strays:
        timers.drop(name)
    return len(wrong) + len(strays)
