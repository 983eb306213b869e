"""How many jobs fit a filter, by state: from the counters where they know, else counted along indexes up to a cap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, ScalarSelect, func, select, union_all

from workers.domain.filters import JobFilter
from workers.domain.states import Status
from workers.store.job_lists import SEARCHED_ROWS, contains, merged, scans
from workers.store.job_runs import Conditions, Names, queue_test, runs_of
from workers.store.jobs import JOBS


def by_counters(connection: Connection, wanted: JobFilter) -> dict[str, int]:
    """Count by state the jobs of the queues that a filter lets pass; nothing else of the filter is looked at."""
    fits = queue_test(wanted)
    counts = dict.fromkeys(map(str, Status), 0)
    for queue, status, number in Names(connection).held:
        if fits(queue):
            counts[status] += number
    return counts


def by_rows(connection: Connection, wanted: JobFilter, cap: int) -> dict[str, int]:
    """Count by state the jobs that fit a filter without states, one more than the cap at most in each.

    A search looks at as many jobs as the list does.
    """
    if scans(wanted):
        return _searched(connection, wanted)
    names = Names(connection)
    columns = []
    for status in Status:
        runs = runs_of(names, replace(wanted, status=(status,)), most=0)
        columns.append(_at_most(runs, cap + 1).label(str(status)))
    found = connection.execute(select(*columns)).mappings().one()
    return {str(status): int(found[str(status)]) for status in Status}


def _at_most(runs: Sequence[Conditions], most: int) -> ScalarSelect[int]:
    """Count the jobs of some runs; without an order, so that the database stops at the last one that counts."""
    parts = [select(JOBS.c.id).where(*run).limit(most).subquery() for run in runs]
    every = union_all(*(select(part.c.id) for part in parts)).subquery()
    counted = select(every.c.id).limit(most).subquery()
    return select(func.count()).select_from(counted).scalar_subquery()


def of_stuck(connection: Connection, wanted: JobFilter) -> int:
    """Count the jobs that are stuck and fit the rest of a filter."""
    if not wanted.stuck_ids:
        return 0
    runs = runs_of(Names(connection), wanted)
    chosen = select(func.count()).select_from(JOBS).where(*runs[0])
    if scans(wanted):
        chosen = chosen.where(contains(wanted.q or ""))
    return int(connection.execute(chosen).scalar_one())


def _searched(connection: Connection, wanted: JobFilter) -> dict[str, int]:
    near = merged(runs_of(Names(connection), wanted), "o", SEARCHED_ROWS)
    chosen = select(JOBS.c.status, func.count()).where(JOBS.c.id.in_(near), contains(wanted.q or ""))
    found = {status: int(number) for status, number in connection.execute(chosen.group_by(JOBS.c.status))}
    return {str(status): found.get(str(status), 0) for status in Status}
