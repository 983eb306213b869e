"""Filters of jobs as everybody applies them: read from text, with the jobs that are stuck now, and counted by state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo

from sqlalchemy import Connection

from workers.domain.filter_values import STUCK
from workers.domain.filters import JobFilter
from workers.services import stuck
from workers.settings import Settings
from workers.store import job_counts

ALL = "all"
MOST_COUNTED = 2_000


@dataclass(frozen=True, slots=True)
class Count:
    """How many jobs fit; at least that many when it is capped."""

    number: int
    is_capped: bool = False


def read(
    connection: Connection, settings: Settings, args: Mapping[str, str], now: datetime, zone: tzinfo = UTC
) -> JobFilter:
    """Read a filter from a query string or JSON object and find the jobs that it calls stuck. Raises BadInput."""
    return resolve(connection, settings, JobFilter.from_args(args, now, zone), now)


def resolve(connection: Connection, settings: Settings, wanted: JobFilter, now: datetime) -> JobFilter:
    """Return a filter with the ids of the jobs that are stuck now, if it asks for them."""
    if not (wanted.is_stuck or STUCK in wanted.without.get("status", ())):
        return wanted
    found = stuck.look_now(connection, settings, now)
    return replace(wanted, stuck_ids=tuple(one.row["id"] for one in found))


def count_by_state(connection: Connection, settings: Settings, wanted: JobFilter, now: datetime) -> dict[str, Count]:
    """Count what fits a filter in each state, stuck and altogether, whatever states the filter itself names.

    A filter by queues alone is counted exactly, by the counters; any other up to 2,000 in each state.
    """
    without = {name: values for name, values in wanted.without.items() if name != "status"}
    base = replace(wanted, status=(), is_stuck=False, without=without)
    if _is_counted(base):
        exact = job_counts.by_counters(connection, base)
        counts = {status: Count(number) for status, number in exact.items()}
    else:
        found = job_counts.by_rows(connection, base, MOST_COUNTED)
        counts = {status: _capped(number) for status, number in found.items()}
    total = sum(count.number for count in counts.values())
    is_capped = any(count.is_capped for count in counts.values())
    whole = Count(MOST_COUNTED, True) if is_capped and total < MOST_COUNTED else Count(total, is_capped)
    only_stuck = replace(base, is_stuck=True, stuck_ids=None)
    only_stuck = resolve(connection, settings, only_stuck, now)
    return {ALL: whole, STUCK: Count(job_counts.of_stuck(connection, only_stuck)), **counts}


def _is_counted(wanted: JobFilter) -> bool:
    plain = JobFilter(queue=wanted.queue, hides_system=wanted.hides_system)
    return replace(wanted, without={}, stuck_ids=None) == plain and not wanted.without.keys() - {"queue"}


def _capped(number: int) -> Count:
    return Count(min(number, MOST_COUNTED), number > MOST_COUNTED)
