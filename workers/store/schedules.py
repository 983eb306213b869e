"""Rows of `schedules` and `schedule_fires`. A schedule moves on by a guarded update only, so each fire is one process's."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import (
    Connection,
    Select,
    Table,
    bindparam,
    delete,
    func,
    or_,
    select,
    tuple_,
    union_all,
    update,
)

from workers.domain.states import FINAL
from workers.store.dialects import insert_or_ignore
from workers.store.jobs import JOBS
from workers.store.schedule_models import Schedule, ScheduleFire
from workers.store.types import Row

SCHEDULES = cast(Table, Schedule.__table__)
FIRES = cast(Table, ScheduleFire.__table__)
_KEY = (FIRES.c.schedule_id, FIRES.c.fire_at)
# Of the jobs of a schedule only the newest are asked whether they still run.
_LOOKED_AT = 20
MOST_IN_TROUBLE = 10_000
_OF_JOB = (JOBS.c.status, JOBS.c.skipped_reason, JOBS.c.error, JOBS.c.run_ms, JOBS.c.attempt, JOBS.c.started_at)


def get(connection: Connection, schedule_id: str) -> Row | None:
    """Fetch one schedule."""
    return connection.execute(select(SCHEDULES).where(SCHEDULES.c.id == schedule_id)).mappings().one_or_none()


def named(connection: Connection, name: str) -> Row | None:
    """Fetch the schedule of this name."""
    return connection.execute(select(SCHEDULES).where(SCHEDULES.c.name == name)).mappings().one_or_none()


def add(connection: Connection, row: Mapping[str, Any]) -> bool:
    """Put a schedule in; False when its name is taken."""
    return _put(connection, SCHEDULES, row)


def name_is_taken(connection: Connection, name: str, by_other_than: str) -> bool:
    """Tell whether another schedule has this name."""
    taken = select(SCHEDULES.c.id).where(SCHEDULES.c.name == name, SCHEDULES.c.id != by_other_than)
    return connection.execute(taken).first() is not None


def change(connection: Connection, schedule_id: str, version: int, values: Mapping[str, Any]) -> bool:
    """Set columns of a schedule if nobody has changed it since this version; False when somebody has."""
    guarded = update(SCHEDULES).where(SCHEDULES.c.id == schedule_id, SCHEDULES.c.version == version)
    return bool(connection.execute(guarded.values(**values, version=version + 1)).rowcount)


def remove(connection: Connection, schedule_id: str) -> None:
    """Delete a schedule with its fires; its jobs stay."""
    connection.execute(delete(FIRES).where(FIRES.c.schedule_id == schedule_id))
    connection.execute(delete(SCHEDULES).where(SCHEDULES.c.id == schedule_id))


def page(
    connection: Connection, words: str = "", tag: str = "", after: str | None = None, limit: int = 50
) -> Sequence[Row]:
    """List schedules by name, those after the given name, that have these words in their name or task."""
    chosen = select(SCHEDULES).order_by(SCHEDULES.c.name).limit(limit)
    if words:
        found = (SCHEDULES.c.name, SCHEDULES.c.task)
        chosen = chosen.where(or_(*(one.icontains(words, autoescape=True) for one in found)))
    if tag:
        chosen = chosen.where(SCHEDULES.c.tags.contains(f'"{tag}"', autoescape=True))
    if after is not None:
        chosen = chosen.where(SCHEDULES.c.name > after)
    return connection.execute(chosen).mappings().all()


def counts(connection: Connection) -> tuple[int, int]:
    """Count the schedules, and those that are enabled."""
    enabled = func.count().filter(SCHEDULES.c.enabled)
    all_, on = connection.execute(select(func.count(), enabled).select_from(SCHEDULES)).one()
    return int(all_), int(on)


def declared(connection: Connection) -> dict[str, Row]:
    """Fetch the schedules that tasks declare in code, by task."""
    rows = connection.execute(select(SCHEDULES).where(SCHEDULES.c.declared_by.is_not(None))).mappings()
    return {row["declared_by"]: row for row in rows}


def formerly_declared(connection: Connection) -> dict[str, Row]:
    """Fetch the schedules that code created and declares no longer, the oldest of each by its maker `code:<task>`."""
    chosen = select(SCHEDULES).where(SCHEDULES.c.declared_by.is_(None), SCHEDULES.c.created_by.startswith("code:"))
    rows = connection.execute(chosen.order_by(SCHEDULES.c.created_at.desc())).mappings()
    return {row["created_by"]: row for row in rows}


def due(connection: Connection, until: datetime, limit: int) -> Sequence[str]:
    """Name the schedules that are due, the longest overdue first."""
    chosen = select(SCHEDULES.c.id).where(SCHEDULES.c.next_due_at <= until).order_by(SCHEDULES.c.next_due_at)
    return connection.execute(chosen.limit(limit)).scalars().all()


def coming(connection: Connection, limit: int | None = None) -> Sequence[Row]:
    """List the schedules that will fire, the next first."""
    chosen = select(SCHEDULES).where(SCHEDULES.c.next_due_at.is_not(None)).order_by(SCHEDULES.c.next_due_at)
    return connection.execute(chosen.limit(limit)).mappings().all()


def waited_for(connection: Connection) -> dict[str, datetime]:
    """Tell for each schedule that will fire when it is due."""
    columns = (SCHEDULES.c.id, SCHEDULES.c.next_due_at)
    rows = connection.execute(select(*columns).where(SCHEDULES.c.next_due_at.is_not(None)))
    return {row.id: row.next_due_at for row in rows}


def advance(connection: Connection, row: Row, values: Mapping[str, Any]) -> bool:
    """Move a schedule on from the fire that this row waits for; False when another process was first."""
    guard = (SCHEDULES.c.id == row["id"], SCHEDULES.c.version == row["version"], SCHEDULES.c.enabled)
    moved = update(SCHEDULES).where(*guard, SCHEDULES.c.next_fire_at == row["next_fire_at"])
    return bool(connection.execute(moved.values(**values, version=row["version"] + 1)).rowcount)


def ran(connection: Connection, schedule_id: str, job_id: str) -> None:
    """Write which job the last fire made."""
    connection.execute(update(SCHEDULES).where(SCHEDULES.c.id == schedule_id).values(last_job_id=job_id))


def refuse(connection: Connection, schedule_id: str, reason: str | None) -> None:
    """Record why the last run of a schedule was refused; None for one that was not."""
    own = (SCHEDULES.c.id == schedule_id, SCHEDULES.c.refused_reason.is_distinct_from(reason))
    connection.execute(update(SCHEDULES).where(*own).values(refused_reason=reason))


def refused(connection: Connection, limit: int = MOST_IN_TROUBLE) -> Sequence[Row]:
    """List the enabled schedules whose last run was refused."""
    columns = (SCHEDULES.c.id, SCHEDULES.c.name, SCHEDULES.c.refused_reason)
    chosen = (
        select(*columns).where(SCHEDULES.c.enabled, SCHEDULES.c.refused_reason.is_not(None)).order_by(SCHEDULES.c.id)
    )
    return connection.execute(chosen.limit(limit)).mappings().all()


def add_fire(connection: Connection, row: Mapping[str, Any]) -> bool:
    """Write a fire; False when this moment of this schedule has been dealt with before."""
    return _put(connection, FIRES, row)


def point_to(connection: Connection, fire: Mapping[str, Any], job_id: str) -> None:
    """Let a fire stand for a job that another made."""
    own = (FIRES.c.schedule_id == fire["schedule_id"], FIRES.c.fire_at == fire["fire_at"])
    connection.execute(update(FIRES).where(*own).values(job_id=job_id))


def settle(connection: Connection, fire: Row, values: Mapping[str, Any]) -> bool:
    """Say what became of a fire that was held; False when somebody else did."""
    own = (FIRES.c.schedule_id == fire["schedule_id"], FIRES.c.fire_at == fire["fire_at"])
    return bool(connection.execute(update(FIRES).where(*own, FIRES.c.outcome == "held").values(**values)).rowcount)


def held(connection: Connection, limit: int, schedule_id: str | None = None) -> Sequence[Row]:
    """List fires that wait for the run before them, the oldest first."""
    chosen = select(FIRES).where(FIRES.c.outcome == "held").order_by(FIRES.c.at, FIRES.c.fire_at).limit(limit)
    if schedule_id is not None:
        chosen = chosen.where(FIRES.c.schedule_id == schedule_id)
    return connection.execute(chosen).mappings().all()


def let_go(connection: Connection, schedule_id: str) -> None:
    """Hold nothing any longer for this schedule."""
    own = (FIRES.c.schedule_id == schedule_id, FIRES.c.outcome == "held")
    connection.execute(update(FIRES).where(*own).values(outcome="overlapped"))


def is_busy(connection: Connection, schedule_id: str) -> bool:
    """Return whether one of the schedule's newest jobs has not ended."""
    return unfinished_job(connection, schedule_id) is not None


def unfinished_job(connection: Connection, schedule_id: str) -> Row | None:
    """Fetch the newest of the schedule's jobs that have not ended, whoever started it: id, task and status."""
    columns = (JOBS.c.id, JOBS.c.task, JOBS.c.status)
    newest = select(*columns).where(JOBS.c.schedule == schedule_id).order_by(JOBS.c.id.desc()).limit(_LOOKED_AT)
    rows = connection.execute(newest).mappings()
    return next((row for row in rows if row["status"] not in FINAL), None)


def fires(connection: Connection, schedule_id: str, before: datetime | None = None, limit: int = 50) -> Sequence[Row]:
    """List the fires of a schedule with what became of their jobs, the newest first."""
    chosen = _with_jobs().where(FIRES.c.schedule_id == schedule_id).order_by(FIRES.c.fire_at.desc()).limit(limit)
    if before is not None:
        chosen = chosen.where(FIRES.c.fire_at < before)
    return connection.execute(chosen).mappings().all()


def recent(connection: Connection, schedule_ids: Sequence[str], each: int) -> dict[str, list[Row]]:
    """Fetch what became of the last fires of each of these schedules (200 at most), the oldest first, in one statement."""
    found: dict[str, list[Row]] = {schedule_id: [] for schedule_id in schedule_ids}
    if found:
        asked = {f"id_{index}": schedule_id for index, schedule_id in enumerate(found)}
        for row in connection.execute(_recent(len(found), each), asked).mappings():
            found[row["schedule_id"]].append(row)
    return found


@lru_cache(maxsize=256)
def _recent(count: int, each: int) -> Select[Any]:
    """Write the statement for so many schedules; making it costs more than running it."""
    columns = (FIRES.c.schedule_id, FIRES.c.fire_at, FIRES.c.outcome, FIRES.c.job_id)
    newest = [
        select(
            select(*columns)
            .where(FIRES.c.schedule_id == bindparam(f"id_{index}"))
            .order_by(FIRES.c.fire_at.desc())
            .limit(each)
            .subquery()
        )
        for index in range(count)
    ]
    last = union_all(*newest).subquery()
    of_job = (JOBS.c.status, JOBS.c.skipped_reason.is_not(None).label("is_skipped"), JOBS.c.run_ms, JOBS.c.attempt)
    joined = last.outerjoin(JOBS, JOBS.c.id == last.c.job_id)
    return select(last.c.schedule_id, last.c.outcome, *of_job).select_from(joined).order_by(last.c.fire_at)


def missed_since(connection: Connection, since: datetime) -> Sequence[Row]:
    """Tell which schedules have missed fires since then, and how many."""
    columns = (SCHEDULES.c.id, SCHEDULES.c.name)
    chosen = select(*columns, func.sum(FIRES.c.missed_count).label("missed")).join(
        FIRES, FIRES.c.schedule_id == SCHEDULES.c.id
    )
    # What a person's pause has passed over is no cause for alarm: it says so in its detail.
    within = (FIRES.c.outcome == "missed", FIRES.c.at > since, FIRES.c.detail.is_(None))
    return connection.execute(chosen.where(*within).group_by(*columns)).mappings().all()


def late_since(connection: Connection, since: datetime, least: timedelta) -> Sequence[Row]:
    """Tell which schedules fired later than this since then, and how late at worst."""
    columns = (SCHEDULES.c.id, SCHEDULES.c.name)
    chosen = select(*columns, func.max(FIRES.c.late_ms).label("late_ms")).join(
        FIRES, FIRES.c.schedule_id == SCHEDULES.c.id
    )
    within = (FIRES.c.outcome == "fired", FIRES.c.at > since, FIRES.c.late_ms > least.total_seconds() * 1000)
    return connection.execute(chosen.where(*within).group_by(*columns)).mappings().all()


def overdue(connection: Connection, until: datetime, limit: int = MOST_IN_TROUBLE) -> Sequence[Row]:
    """List schedules that should have fired before this moment."""
    columns = (SCHEDULES.c.id, SCHEDULES.c.name, SCHEDULES.c.next_due_at)
    chosen = select(*columns).where(SCHEDULES.c.next_due_at < until).order_by(SCHEDULES.c.next_due_at).limit(limit)
    return connection.execute(chosen).mappings().all()


def with_ids(connection: Connection, ids: Collection[str]) -> dict[str, Row]:
    """Fetch these schedules, by id."""
    chosen = select(SCHEDULES).where(SCHEDULES.c.id.in_(list(ids)))
    return {row["id"]: row for row in connection.execute(chosen).mappings()}


def accepted_since(connection: Connection, ids: Collection[str], since: datetime) -> set[str]:
    """Return which of these schedules have had a run after a moment that was not refused."""
    mine = (FIRES.c.schedule_id.in_(list(ids)), FIRES.c.outcome.in_(["fired", "manual", "held"]), FIRES.c.at >= since)
    return set(connection.execute(select(FIRES.c.schedule_id).where(*mine).distinct()).scalars())


def from_the_future(connection: Connection, moment: datetime, limit: int) -> Sequence[Row]:
    """List enabled schedules that were last dealt with, completed or changed after this moment."""
    moments = (SCHEDULES.c.last_fire_at, SCHEDULES.c.last_completed_fire_at, SCHEDULES.c.updated_at)
    later = or_(*(column > moment for column in moments))
    return connection.execute(select(SCHEDULES).where(SCHEDULES.c.enabled, later).limit(limit)).mappings().all()


def forget(connection: Connection, before: datetime, limit: int) -> int:
    """Delete fires that were dealt with before this moment; how many went."""
    gone = 0
    for outcome in ("fired", "manual", "overlapped", "missed", "refused"):
        old = select(*_KEY).where(FIRES.c.outcome == outcome, FIRES.c.at < before).limit(limit)
        gone += connection.execute(delete(FIRES).where(tuple_(*_KEY).in_(old))).rowcount
    return gone


def _with_jobs() -> Any:
    return select(FIRES, *_OF_JOB).select_from(FIRES.outerjoin(JOBS, JOBS.c.id == FIRES.c.job_id))


def _put(connection: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    key = next(iter(table.primary_key))
    return connection.execute(insert_or_ignore(connection, table).returning(key), dict(row)).first() is not None
