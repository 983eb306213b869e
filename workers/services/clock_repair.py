"""Schedules that a clock far ahead has carried into the future: brought back when the clock is set right."""

from __future__ import annotations

import logging
from datetime import datetime

from workers.services import carrying
from workers.services.schedule_values import CLOCK_TOLERANCE, next_run
from workers.store import schedules
from workers.store.types import Row
from workers.yard import Yard

log = logging.getLogger("taskyard.schedules")
STEP = 200
_MOMENTS = ("last_fire_at", "last_completed_fire_at", "updated_at")


def bring_back(yard: Yard, now: datetime) -> int:
    """Compute anew the next run of schedules that were dealt with later than now; how many. Raises Unavailable.

    A clock that is set back by no more than CLOCK_TOLERANCE is not worth it: what has run is not run again. Moments that
    ran while the clock was ahead have their row, so they do not run twice either.
    """
    with yard.database.read() as connection:
        found = schedules.from_the_future(connection, now + CLOCK_TOLERANCE, STEP)
    return sum(_bring_back(yard, row, now) for row in found)


def _bring_back(yard: Yard, row: Row, now: datetime) -> int:
    values = {name: min(row[name], now) for name in _MOMENTS if row[name] is not None}
    values |= next_run({**row, **values}, now)
    with yard.database.write() as connection:
        if not schedules.change(connection, row["id"], row["version"], values):
            return 0
    log.warning("the clock was set back: next run of %s at %s", row["name"], values["next_fire_at"])
    carrying.carry(yard, row["id"], values["next_due_at"])
    return 1
