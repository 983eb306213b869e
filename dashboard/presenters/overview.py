"""The first screen: is work moving, where is it stuck, what needs me?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboard.presenters import charts
from dashboard.presenters.alerts import SEVERITY_ICONS
from dashboard.presenters.queues import QueueRow
from workers.domain.alarms import FIRING, SEVERITIES
from workers.domain.plurals import counted, plural
from workers.services.statistics import Minute
from workers.store.types import Row


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that needs somebody."""

    severity: str
    icon: str
    what: str
    why: str
    link: str
    verb: str


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


def needs(rows: Sequence[QueueRow], workers: Mapping[str, int], alarms: Sequence[Row], stuck: int) -> list[Need]:
    """List what needs somebody, the worst first: the alerts that fire, and what no rule has told of yet."""
    firing = sorted(
        (row for row in alarms if row["status"] == FIRING), key=lambda row: SEVERITIES.index(row["severity"])
    )
    told = {row["link"] for row in firing}
    alone = [row for row in rows if row.has_no_worker and f"/queues/{row.name}" not in told]
    paused = [row for row in rows if row.paused_at is not None and row.waiting]
    return [
        *map(_of_alert, firing),
        *map(_of_lone_queue, alone),
        *_of_silence(stuck, workers["lost"]),
        *map(_of_paused_queue, paused),
    ]


def _of_alert(row: Row) -> Need:
    icon = SEVERITY_ICONS[row["severity"]]
    return Need(row["severity"], icon, row["title"], row["detail"], f"/alerts/{row['id']}", "Look")


def _of_lone_queue(row: QueueRow) -> Need:
    what, why = f"No worker listens to {row.name}", f"{counted(row.waiting, 'job')} waiting"
    return Need("critical", "unplug", what, why, f"/queues/{row.name}", "Open the queue")


def _of_paused_queue(row: QueueRow) -> Need:
    why = f"by {row.paused_by}, {counted(row.waiting, 'job')} waiting"
    return Need("info", "pause", f"{row.name} is paused", why, f"/queues/{row.name}", "Open the queue")


def _of_silence(jobs: int, workers: int) -> list[Need]:
    found = []
    if jobs:
        what = f"{counted(jobs, 'job')} {plural(jobs, 'is', 'are')} silent"
        found.append(Need("warning", "warning", what, "the next sweep puts them right", "/stuck", "See why"))
    if workers:
        what = f"{counted(workers, 'worker')} {plural(workers, 'is', 'are')} lost"
        why = "no heartbeat; jobs go back to their queue"
        found.append(Need("warning", "warning", what, why, "/workers", "See workers"))
    return found


def sentence(found: Sequence[Need], hour: Sequence[Minute]) -> tuple[str, str]:
    """Say how things are: the sentence, and what stands beside it."""
    ended = sum(one.completed + one.failed for one in hour)
    failed = sum(one.failed for one in hour)
    share = f"{100 * failed / ended:.1f} % failed" if ended else "none has ended yet"
    rest = f"{counted(ended, 'job')} in the last hour, {share}." if ended else "No job has ended in the last hour."
    if not found:
        return "All clear.", rest
    what = f"{counted(len(found), 'thing')} {plural(len(found), 'needs', 'need')} you."
    return what, f"The rest moves: {rest}"


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
    note = f"most in {busiest.name}" if busiest and busiest.waiting else "nothing waits"
    return Tile("Waiting", "hourglass", "pending", statuses["pending"], "", note, chart, "pending")


def _processing(statuses: Mapping[str, int], workers: Mapping[str, int], chart: charts.Line) -> Tile:
    note = f"of {counted(workers['total'], 'worker')}; {statuses['retry_scheduled']:,} waiting to be retried"
    return Tile("Processing", "spinner", "processing", statuses["processing"], "", note, chart, "processing")


def _failed(hour: Sequence[Minute]) -> Tile:
    failed, ended = sum(one.failed for one in hour), sum(one.completed + one.failed for one in hour)
    note = f"{100 * failed / ended:.1f} % of {ended:,}" if ended else "of none"
    chart = charts.line([float(one.failed) for one in hour], top=3)
    return Tile("Failed, last hour", "cross", "failed" if failed else "none", failed, "", note, chart)


def _oldest(rows: Sequence[QueueRow], chart: charts.Line) -> Tile:
    waiting = [row for row in rows if row.oldest_seconds is not None]
    oldest = max(waiting, key=lambda row: row.oldest_seconds or 0, default=None)
    state = "stuck" if oldest and oldest.has_no_worker else "none"
    note = f"in {oldest.name}" if oldest else "nothing waits"
    return Tile("Oldest wait", "clock", state, oldest.oldest_seconds or 0 if oldest else 0, "duration", note, chart)


def _busy(workers: Mapping[str, int], chart: charts.Line) -> Tile:
    note = f"{workers['idle']} idle" + (f", {workers['lost']} lost" if workers["lost"] else "")
    state = "completed" if workers["total"] else "none"
    return Tile("Workers busy", "workers", state, workers["busy"], f"/ {workers['total']}", note, chart)
