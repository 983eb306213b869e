"""Rows of `triggers`, `trigger_firings` and `events`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import Connection, Select, Table, bindparam, delete, func, insert, select, union_all, update

from workers.domain.ids import first_id
from workers.store.dialects import insert_or_ignore
from workers.store.jobs import JOBS
from workers.store.trigger_models import Event, Trigger, TriggerFiring
from workers.store.types import Row

TRIGGERS = cast(Table, Trigger.__table__)
FIRINGS = cast(Table, TriggerFiring.__table__)
EVENTS = cast(Table, Event.__table__)


def get(connection: Connection, trigger_id: str, *, locked: bool = False) -> Row | None:
    """Fetch a trigger; `locked` keeps others from it until the transaction ends."""
    chosen = select(TRIGGERS).where(TRIGGERS.c.id == trigger_id)
    return connection.execute(chosen.with_for_update() if locked else chosen).mappings().one_or_none()


def page(connection: Connection, after: str | None, limit: int) -> Sequence[Row]:
    """List triggers by name, those after the given one."""
    chosen = select(TRIGGERS).order_by(TRIGGERS.c.name).limit(limit)
    chosen = chosen if after is None else chosen.where(TRIGGERS.c.name > after)
    return connection.execute(chosen).mappings().all()


def listening(connection: Connection, *, to_queues: bool) -> Sequence[Row]:
    """List the enabled triggers that watch queues, or those that listen for events."""
    about = TRIGGERS.c.kind == "queue" if to_queues else TRIGGERS.c.kind != "queue"
    return connection.execute(select(TRIGGERS).where(TRIGGERS.c.enabled, about)).mappings().all()


def add(connection: Connection, row: Mapping[str, Any]) -> bool:
    """Put a trigger in; False when its name is taken."""
    put = insert_or_ignore(connection, TRIGGERS).returning(TRIGGERS.c.id)
    return connection.execute(put, dict(row)).first() is not None


def name_is_taken(connection: Connection, name: str, by_other_than: str) -> bool:
    """Tell whether another trigger has this name."""
    taken = select(TRIGGERS.c.id).where(TRIGGERS.c.name == name, TRIGGERS.c.id != by_other_than)
    return connection.execute(taken).first() is not None


def change(connection: Connection, trigger_id: str, values: Mapping[str, Any]) -> None:
    """Set columns of a trigger."""
    connection.execute(update(TRIGGERS).where(TRIGGERS.c.id == trigger_id).values(**values))


def pass_over(connection: Connection, trigger_id: str) -> None:
    """Count an event that cool-down or cap let go by."""
    more = {"passed_over": TRIGGERS.c.passed_over + 1}
    connection.execute(update(TRIGGERS).where(TRIGGERS.c.id == trigger_id).values(**more))


def remove(connection: Connection, trigger_id: str) -> None:
    """Delete a trigger with its firings; its jobs stay."""
    connection.execute(delete(FIRINGS).where(FIRINGS.c.trigger_id == trigger_id))
    connection.execute(delete(TRIGGERS).where(TRIGGERS.c.id == trigger_id))


def add_firing(connection: Connection, row: Mapping[str, Any]) -> None:
    """Write a firing."""
    connection.execute(insert(FIRINGS), dict(row))


def fired_within_an_hour(connection: Connection, trigger_id: str, now: datetime) -> int:
    """Count the runs of a trigger within an hour of now that made a job; its cap bounds them."""
    hour = timedelta(hours=1)
    within = (FIRINGS.c.id >= first_id(now - hour), FIRINGS.c.id < first_id(now + hour))
    own = (FIRINGS.c.trigger_id == trigger_id, FIRINGS.c.outcome == "fired", *within)
    return connection.execute(select(func.count()).select_from(FIRINGS).where(*own)).scalar_one()


def was_refused(connection: Connection, trigger_id: str, detail: str, since: datetime) -> bool:
    """Tell whether the newest run of a trigger was refused for this reason since then."""
    newest = select(FIRINGS.c.outcome, FIRINGS.c.detail, FIRINGS.c.at).where(FIRINGS.c.trigger_id == trigger_id)
    row = connection.execute(newest.order_by(FIRINGS.c.id.desc()).limit(1)).first()
    return row is not None and row.outcome == "refused" and row.detail == detail and row.at >= since


def hour_counts(connection: Connection, since: datetime) -> dict[str, int]:
    """Count the firings of every trigger since then."""
    chosen = select(FIRINGS.c.trigger_id, func.count()).where(FIRINGS.c.id >= first_id(since))
    return {str(row[0]): int(row[1]) for row in connection.execute(chosen.group_by(FIRINGS.c.trigger_id))}


def firings(connection: Connection, trigger_id: str, before: str | None, limit: int) -> Sequence[Row]:
    """List the firings of a trigger with the state of their jobs, the newest first."""
    chosen = select(FIRINGS, JOBS.c.status).select_from(FIRINGS.outerjoin(JOBS, JOBS.c.id == FIRINGS.c.job_id))
    chosen = chosen.where(FIRINGS.c.trigger_id == trigger_id).order_by(FIRINGS.c.id.desc()).limit(limit)
    chosen = chosen if before is None else chosen.where(FIRINGS.c.id < before)
    return connection.execute(chosen).mappings().all()


def recent(connection: Connection, trigger_ids: Sequence[str], each: int) -> dict[str, list[Row]]:
    """Fetch the last firings of each of these triggers (200 at most), the newest first, in one statement."""
    found: dict[str, list[Row]] = {trigger_id: [] for trigger_id in trigger_ids}
    if not found:
        return found
    asked = {f"id_{index}": trigger_id for index, trigger_id in enumerate(found)}
    for row in connection.execute(_recent(len(found), each), asked).mappings():
        found[row["trigger_id"]].append(row)
    return found


@lru_cache(maxsize=256)
def _recent(count: int, each: int) -> Select[Any]:
    """Write the statement for so many triggers; making it costs more than running it."""
    newest = [
        select(
            select(FIRINGS)
            .where(FIRINGS.c.trigger_id == bindparam(f"id_{index}"))
            .order_by(FIRINGS.c.id.desc())
            .limit(each)
            .subquery()
        )
        for index in range(count)
    ]
    last = union_all(*newest).subquery()
    chosen = select(last, JOBS.c.status).select_from(last.outerjoin(JOBS, JOBS.c.id == last.c.job_id))
    return chosen.order_by(last.c.id.desc())


def depth_of(connection: Connection, job_id: str | None, longest: int) -> int:
    """Tell how many firings led to this job, through the jobs that enqueued it."""
    for _ in range(longest):
        if job_id is None:
            return 0
        depth = connection.execute(select(FIRINGS.c.depth).where(FIRINGS.c.job_id == job_id)).scalars().first()
        if depth is not None:
            return int(depth) + 1
        again = func.coalesce(JOBS.c.parent, JOBS.c.rerun_of)
        job_id = connection.execute(select(again).where(JOBS.c.id == job_id)).scalars().first()
    return 0


def add_event(connection: Connection, row: Mapping[str, Any]) -> None:
    """Write an event that triggers shall hear."""
    connection.execute(insert(EVENTS), dict(row))


def events(connection: Connection, limit: int) -> Sequence[Row]:
    """List the events that nobody has heard yet, the oldest first."""
    return connection.execute(select(EVENTS).order_by(EVENTS.c.id).limit(limit)).mappings().all()


def take_event(connection: Connection, event_id: int) -> bool:
    """Take an event to be dealt with in this transaction; False when another process was first."""
    return connection.execute(delete(EVENTS).where(EVENTS.c.id == event_id)).rowcount == 1


def forget(connection: Connection, before: datetime, limit: int) -> int:
    """Delete firings older than this; how many went."""
    old = select(FIRINGS.c.id).where(FIRINGS.c.id < first_id(before)).limit(limit)
    return connection.execute(delete(FIRINGS).where(FIRINGS.c.id.in_(old))).rowcount
