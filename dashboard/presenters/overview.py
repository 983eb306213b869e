"""The first screen: is work moving, where is it stuck, what needs me?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dashboard.presenters import charts
from dashboard.presenters.queues import QueueRow
from dashboard.presenters.words import percent
from workers.domain.names import is_reserved_queue
from workers.domain.plurals import counted
from workers.domain.states import Status
from workers.services.statistics import Minute


@dataclass(frozen=True, slots=True)
class Tile:
    """One large number with its last hour."""

    label: str
    icon: str
    state: str
    value: float | int
    unit: str
    note: str
    chart: charts.Line
    count_of: str = ""
    since: datetime | None = None  # of a duration that ticks


def count_jobs(queues: Mapping[str, Mapping[str, Any]]) -> int:
    """Return how many jobs there are, without Taskyard's own."""
    own = [counts for name, counts in queues.items() if not is_reserved_queue(name)]
    return sum(counts[str(status)] for counts in own for status in Status)


def write_free_workers(workers: Mapping[str, int]) -> str:
    """Write what the workers do while no job is running."""
    if not workers["total"]:
        return "No workers are running. Run: python app.py worker"
    return f"{counted(workers['idle'], 'worker')} idle."


def tiles(
    snapshot: Mapping[str, Any], history: Sequence[Mapping[str, Any]], hour: Sequence[Minute], rows: Sequence[QueueRow]
) -> list[Tile]:
    """Make the five numbers."""

    def past(name: str) -> charts.Line:
        return charts.line([float(one[name]) for one in history])

    return [
        _waiting(snapshot["statuses"], rows, past("queue_length")),
        _processing(snapshot["statuses"], snapshot["workers"], past("processing_count")),
        _failed(hour),
        _oldest(rows, past("oldest_wait_seconds")),
        _busy(snapshot["workers"], past("workers_busy")),
    ]


def _waiting(statuses: Mapping[str, int], rows: Sequence[QueueRow], chart: charts.Line) -> Tile:
    busiest = max(rows, key=lambda row: row.waiting, default=None)
    note = f"most in {busiest.name}" if busiest and busiest.waiting else "no jobs waiting"
    return Tile("Waiting", "hourglass", "pending", statuses["pending"], "", note, chart, "pending")


def _processing(statuses: Mapping[str, int], workers: Mapping[str, int], chart: charts.Line) -> Tile:
    note = f"of {counted(workers['total'], 'worker')}; {statuses['retry_scheduled']:,} waiting to be retried"
    return Tile("Processing", "spinner", "processing", statuses["processing"], "", note, chart, "processing")


def _failed(hour: Sequence[Minute]) -> Tile:
    failed, ended = sum(one.failed for one in hour), sum(one.completed + one.failed for one in hour)
    note = f"{percent(100 * failed / ended)} of {ended:,}" if ended else "no jobs ended"
    chart = charts.line([float(one.failed) for one in hour], top=3)
    return Tile("Failed, last hour", "cross", "failed" if failed else "none", failed, "", note, chart)


def _oldest(rows: Sequence[QueueRow], chart: charts.Line) -> Tile:
    waiting = [row for row in rows if row.oldest_seconds is not None]
    oldest = max(waiting, key=lambda row: row.oldest_seconds or 0, default=None)
    state = "stuck" if oldest and oldest.has_no_worker else "none"
    note = f"in {oldest.name}" if oldest else "no jobs waiting"
    since = oldest.oldest_at if oldest else None
    return Tile("Oldest wait", "clock", state, 0, "duration", note, chart, since=since)


def _busy(workers: Mapping[str, int], chart: charts.Line) -> Tile:
    note = f"{workers['idle']} idle" + (f", {workers['lost']} lost" if workers["lost"] else "")
    state = "completed" if workers["total"] else "none"
    return Tile("Workers busy", "workers", state, workers["busy"], f"/ {workers['total']}", note, chart)
