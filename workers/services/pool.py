"""How many workers each pool keeps: what WORKERS says, or what somebody has wished for since."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from workers.domain.actors import Actor
from workers.domain.clock import parse_instant, rfc3339, utcnow
from workers.domain.errors import BadInput
from workers.domain.numbers import check_whole
from workers.services import audit, clocks
from workers.services.telling import tell_kind
from workers.settings import Settings
from workers.store import settings as kept
from workers.yard import Yard

_KEY, _SEEN = "pool.workers", "pool.seen"
SEEN_EVERY_SECONDS, GONE_AFTER_SECONDS = 10.0, 35.0


def size(connection: Connection, settings: Settings) -> int:
    """Tell how many workers a pool with these settings shall keep."""
    wished = kept.get(connection, _KEY)
    return settings.workers if wished is None else int(wished)


def bounds(settings: Settings) -> tuple[int, int]:
    """Tell the fewest and the most that may be wished for."""
    return min(settings.workers_min, settings.workers), max(settings.workers_max, settings.workers)


def note_running(yard: Yard, now: datetime) -> int:
    """Record that a pool is running; returns 0, since no work was found. Raises Unavailable."""
    with yard.database.write() as connection:
        kept.put(connection, _SEEN, rfc3339(now), now)
    return 0


def is_running(connection: Connection, now: datetime) -> bool:
    """Return whether a pool has recorded lately that it is running; only pools follow their size."""
    seen = kept.get(connection, _SEEN)
    return seen is not None and clocks.read(connection, now).age_seconds(parse_instant(seen)) < GONE_AFTER_SECONDS


def resize(yard: Yard, workers: int | None, actor: Actor) -> int:
    """Wish for so many workers in each pool, None = as many as WORKERS says; tells the number. Raises BadInput.

    Pools follow within seconds; a worker that goes finishes its present job first.
    """
    low, high = bounds(yard.settings)
    if workers is not None and not low <= check_whole("workers", workers, 0, 1_000_000) <= high:
        raise BadInput(f"A pool can have {low} to {high} workers (WORKERS_MIN, WORKERS_MAX).", field="workers")
    now = utcnow()
    with yard.database.write() as connection:
        before = size(connection, yard.settings)
        kept.put(connection, _KEY, workers, now)
        after = size(connection, yard.settings)
        if before != after:
            audit.record(
                connection, actor, "pool.resized", "pool", "pool", now, {"workers": before}, {"workers": after}
            )
    tell_kind(yard, "worker", "pool", "resized")
    return after
