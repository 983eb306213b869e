"""The load of all schedules over a week, kept for a minute, and the moves that spread a crowd."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select

from workers.domain import cron
from workers.domain.actors import Actor
from workers.domain.cron import Rhythm
from workers.domain.errors import BadInput
from workers.domain.load import MINUTES, Crowd, Load, Move, crowds, stagger, week
from workers.services import schedules
from workers.services.revisions import check_revision
from workers.services.statistics import hours_run, minute_of
from workers.store.schedules import SCHEDULES
from workers.store.types import Row
from workers.yard import Yard

KEPT_SECONDS = 60.0
_COLUMNS = ("id", "name", "cron", "interval_seconds", "once_at", "timezone", "starts_at", "ends_at", "created_at")


@dataclass(frozen=True, slots=True)
class Week:
    """What is planned for a week, from a Monday's midnight on."""

    first: datetime
    load: Load
    rhythms: Mapping[str, Rhythm]
    names: Mapping[str, str]
    revisions: Mapping[str, int]
    locked: frozenset[str]  # declared in code: not to be moved here
    crowds: Sequence[Crowd]

    def moves(self, crowd: Crowd) -> list[Move]:
        """Say how to spread a crowd."""
        return [one for one in stagger(crowd, self.load, self.rhythms) if one.schedule_id not in self.locked]


_kept: dict[tuple[int, datetime], tuple[tuple[int, datetime | None], float, Week]] = {}


def planned(connection: Connection, zone: str, now: datetime) -> Week:
    """Lay out this week's starts of all enabled schedules, on the clocks of a zone."""
    local = now.astimezone(cron.zone(zone)).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    first = local - timedelta(days=local.weekday())
    mark_of = select(func.count(), func.max(SCHEDULES.c.updated_at)).select_from(SCHEDULES)
    count, changed = connection.execute(mark_of).one()
    key = (id(connection.engine), first)
    mark, at, kept = _kept.get(key, (None, 0.0, None))
    if kept is not None and mark == (count, changed) and time.monotonic() - at < KEPT_SECONDS:
        return kept
    made = _planned(connection, first)
    _kept.clear()
    _kept[key] = ((count, changed), time.monotonic(), made)
    return made


def ran(connection: Connection, week_of: Week, now: datetime) -> list[float]:
    """Tell how many workers were busy on average in each hour of the week, over the last seven days."""
    busy = [0.0] * (MINUTES // 60)
    begin = minute_of(week_of.first)
    for minute, seconds in hours_run(connection, now - timedelta(days=7)).items():
        busy[(minute - begin) // 60 % len(busy)] += seconds / 3600
    return busy


def move(yard: Yard, wanted: Mapping[str, str], revisions: Mapping[str, int], actor: Actor) -> int:
    """Give schedules these crons; return how many. `revisions` are those that the moves were computed from.

    Raises BadInput, NotFound, Conflict, and Edited, before any is moved, when one has been edited since.
    """
    if not 1 <= len(wanted) <= 100:
        raise BadInput("Choose 1 to 100 schedules to move.", field="moves")
    with yard.database.read() as connection:
        rows = {schedule_id: schedules.get(connection, schedule_id) for schedule_id in wanted}
    expected = {schedule_id: frozenset({revision}) for schedule_id, revision in revisions.items()}
    for schedule_id, row in rows.items():
        shown = {"cron": wanted[schedule_id]}, {"cron": row["cron"]}
        check_revision(f"the schedule {row['name']}", row["revision"], expected.get(schedule_id), *shown)
    for schedule_id, expression in wanted.items():
        schedules.change(yard, schedule_id, {"cron": expression}, actor, expected.get(schedule_id))
    return len(wanted)


def _planned(connection: Connection, first: datetime) -> Week:
    columns = [SCHEDULES.c[name] for name in (*_COLUMNS, "declared_by", "revision")]
    rows: Sequence[Row] = connection.execute(select(*columns).where(SCHEDULES.c.enabled)).mappings().all()
    rhythms = {row["id"]: schedules.rhythm_of(row) for row in rows}
    load = week(rhythms, first)
    return Week(
        first,
        load,
        rhythms,
        {row["id"]: row["name"] for row in rows},
        {row["id"]: row["revision"] for row in rows},
        frozenset(row["id"] for row in rows if row["declared_by"]),
        crowds(load),
    )
