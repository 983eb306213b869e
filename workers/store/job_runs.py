"""How a filter of jobs is read: as runs, each of which one index serves newest first, so that no filter reads a history.

Exclusions and families are written out as the names that are left: every job's task and queue is in a table of its own,
and the counters know which states of which queues hold jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Table, false, func, literal_column, or_, select

from workers.domain.filters import JobFilter
from workers.domain.ids import first_id, is_id
from workers.domain.names import PRIORITIES, SYSTEM_QUEUES
from workers.domain.states import Status
from workers.store.jobs import JOBS
from workers.store.models import JobCount, Task

Conditions = list[ColumnElement[bool]]
_MOST_RUNS = 140  # each takes a millisecond to write down; SQLite joins at most 500
_FEW_JOBS = 5_000  # are sorted sooner than they are looked for among others
# Written out, not bound: SQLite takes a partial index only when it can read its condition.
_IS_UNUSUAL = JOBS.c.priority != literal_column("'normal'")
_TASKS = cast(Table, Task.__table__)
_COUNTS = cast(Table, JobCount.__table__)


class Names:
    """The names that jobs have, each kind read once: families and exclusions are written out as these."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @cached_property
    def tasks(self) -> Sequence[str]:
        """Return the names of all tasks that jobs can have."""
        return self._connection.execute(select(_TASKS.c.name)).scalars().all()

    @cached_property
    def held(self) -> Sequence[tuple[str, str, int]]:
        """Return which states of which queues hold jobs, and how many, by the counters."""
        n = func.sum(_COUNTS.c.n)
        found = select(_COUNTS.c.queue, _COUNTS.c.status, n).group_by(_COUNTS.c.queue, _COUNTS.c.status)
        return [(queue, status, int(number)) for queue, status, number in self._connection.execute(found.having(n > 0))]

    def have_few(self, named: ColumnElement[bool], statuses: Sequence[str]) -> bool:
        """Return whether some tasks or queues have few jobs in these states; no more of them are read than that."""
        found = select(JOBS.c.id).where(named, JOBS.c.status.in_(statuses)).limit(_FEW_JOBS + 1).subquery()
        return self._connection.execute(select(func.count()).select_from(found)).scalar_one() <= _FEW_JOBS


def runs_of(names: Names, wanted: JobFilter, *, most: int = _MOST_RUNS) -> list[Conditions]:
    """Return the conditions of each run; a job fits when all conditions of one run hold. No job is in two runs.

    More tasks or queues than `most` runs can name are one run for each state. With `most=0` no order is needed, as for
    counting: each state is one run.
    """
    bounds = _bounds(wanted)
    runs = [[*lead, *bounds] for lead in _leads(names, wanted, most)]
    if wanted.is_stuck and Status.PROCESSING not in (*wanted.status, *wanted.without.get("status", ())):
        stuck = [JOBS.c.id.in_(wanted.stuck_ids or ()), JOBS.c.status == str(Status.PROCESSING)]
        runs.append([*stuck, *_rest(names, wanted), *bounds])
    return runs or [[false()]]


def _leads(names: Names, wanted: JobFilter, most: int) -> list[Conditions]:
    statuses = _statuses(wanted)
    if not statuses:
        return []
    if wanted.q and is_id(wanted.q):
        return [[*_rest(names, wanted), *_status_conditions(statuses)]]
    if wanted.schedule or wanted.batch or wanted.parent or wanted.worker:
        return _by_relation(names, wanted, statuses)
    if wanted.task or "task" in wanted.without:
        return _by_task(names, wanted, statuses, most)
    priorities = _priorities(wanted)
    if priorities and not wanted.queue and "normal" not in priorities:
        rest = [*_queue_conditions(names, wanted), *_status_conditions(statuses)]
        return [[JOBS.c.priority == priority, _IS_UNUSUAL, *rest] for priority in priorities]
    if wanted.queue or "queue" in wanted.without or wanted.hides_system:
        return _by_queue(names, wanted, statuses, most)
    rest = _rest(names, wanted)
    if len(statuses) == len(Status):
        return [rest]
    return [[JOBS.c.status == status, *rest] for status in statuses]


def _by_relation(names: Names, wanted: JobFilter, statuses: Sequence[str]) -> list[Conditions]:
    if wanted.schedule or wanted.batch or wanted.parent:
        return [[*_rest(names, wanted), *_status_conditions(statuses)]]
    without_worker = [*_rest(names, replace(wanted, worker=())), *_status_conditions(statuses)]
    return [[JOBS.c.worker == worker, *without_worker] for worker in wanted.worker]


def _by_task(names: Names, wanted: JobFilter, statuses: Sequence[str], most: int) -> list[Conditions]:
    tasks = _tasks(names, wanted)
    rest = [*_queue_conditions(names, wanted), *_priority_conditions(wanted)]
    if len(tasks) * len(statuses) > most:
        many = _many(names, JOBS.c.task, tasks, statuses, is_ordered=most > 0)
        return [[JOBS.c.status == status, many, *rest] for status in statuses]
    return [[JOBS.c.task == task, JOBS.c.status == status, *rest] for task in tasks for status in statuses]


def _by_queue(names: Names, wanted: JobFilter, statuses: Sequence[str], most: int) -> list[Conditions]:
    fits = queue_test(wanted)
    pairs = [(queue, status) for queue, status, _ in names.held if fits(queue) and status in statuses]
    rest = _priority_conditions(wanted)
    if len(pairs) > most:
        queues = list(dict.fromkeys(queue for queue, _ in pairs))
        many = _many(names, JOBS.c.queue, queues, statuses, is_ordered=most > 0)
        return [[JOBS.c.status == status, many, *rest] for status in statuses]
    return [[JOBS.c.queue == queue, JOBS.c.status == status, *rest] for queue, status in pairs]


def _status_conditions(statuses: Sequence[str]) -> Conditions:
    return [] if len(statuses) == len(Status) else [_among(JOBS.c.status, statuses)]


def _rest(names: Names, wanted: JobFilter) -> Conditions:
    """Return the conditions on everything but the status and the time."""
    conditions = [*_queue_conditions(names, wanted), *_priority_conditions(wanted)]
    if wanted.task or "task" in wanted.without:
        conditions.append(_among(JOBS.c.task, _tasks(names, wanted)))
    if wanted.worker:
        conditions.append(_among(JOBS.c.worker, wanted.worker))
    for name in ("schedule", "batch", "parent"):
        if getattr(wanted, name):
            conditions.append(JOBS.c[name] == getattr(wanted, name))
    return conditions


def _bounds(wanted: JobFilter) -> Conditions:
    conditions: Conditions = []
    if wanted.since:
        conditions.append(JOBS.c.id >= first_id(wanted.since))
    if wanted.until:
        conditions.append(JOBS.c.id < first_id(wanted.until))
    if wanted.without_tasks:
        conditions.append(JOBS.c.task.not_in(wanted.without_tasks))
    if wanted.q and is_id(wanted.q):
        conditions.append(JOBS.c.id == wanted.q.lower())
    if workers := wanted.without.get("worker"):
        conditions.append(or_(JOBS.c.worker.is_(None), JOBS.c.worker.not_in(workers)))
    if "stuck" in wanted.without.get("status", ()) and wanted.stuck_ids:
        conditions.append(JOBS.c.id.not_in(wanted.stuck_ids))
    return conditions


def _statuses(wanted: JobFilter) -> list[str]:
    without = wanted.without.get("status", ())
    chosen = wanted.status or (() if wanted.is_stuck else tuple(Status))
    return [str(status) for status in chosen if status not in without]


def _priorities(wanted: JobFilter) -> list[str]:
    """Return the priorities that fit; none when all do."""
    without = wanted.without.get("priority", ())
    if not wanted.priority and not without:
        return []
    return [name for name in wanted.priority or PRIORITIES if name not in without] or ["-"]


def _priority_conditions(wanted: JobFilter) -> Conditions:
    priorities = _priorities(wanted)
    return [_among(JOBS.c.priority, priorities)] if priorities else []


def _queue_conditions(names: Names, wanted: JobFilter) -> Conditions:
    if not (wanted.queue or "queue" in wanted.without):
        return [JOBS.c.queue.not_in(SYSTEM_QUEUES)] if wanted.hides_system else []
    fits = queue_test(wanted)
    return [_among(JOBS.c.queue, list(dict.fromkeys(queue for queue, _, _ in names.held if fits(queue))))]


def queue_test(wanted: JobFilter) -> Callable[[str], bool]:
    """Return the function that says whether a filter lets the jobs of a queue pass."""

    def fits(queue: str) -> bool:
        if wanted.hides_system and queue in SYSTEM_QUEUES:
            return False
        if _matches(queue, wanted.without.get("queue", ())):
            return False
        return not wanted.queue or _matches(queue, wanted.queue)

    return fits


def _tasks(names: Names, wanted: JobFilter) -> list[str]:
    without = wanted.without.get("task", ())
    if not without and not any(name.endswith("*") for name in wanted.task):
        return list(wanted.task)
    return [
        name
        for name in dict.fromkeys([*(name for name in wanted.task if not name.endswith("*")), *names.tasks])
        if (not wanted.task or _matches(name, wanted.task)) and not _matches(name, without)
    ]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(name.startswith(one[:-1]) if one.endswith("*") else name == one for one in patterns)


def _among(column: ColumnElement[Any], values: Sequence[str]) -> ColumnElement[bool]:
    return column == values[0] if len(values) == 1 else column.in_(values)


def _many(
    names: Names, column: ColumnElement[Any], values: Sequence[str], statuses: Sequence[str], *, is_ordered: bool
) -> ColumnElement[bool]:
    """Return the condition that a column has one of many values.

    With the column's index the database reads all of their jobs and sorts them, which is quick for a few jobs. For more, the
    column is concatenated with nothing: that keeps the database from using this index, and it reads in the order of ids.
    """
    named = _among(column, values)
    if not is_ordered or names.have_few(named, statuses):
        return named
    return _among(column.concat(""), values)
