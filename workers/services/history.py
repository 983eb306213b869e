"""The past as charts show it, read from minute roll-ups and histograms, never from jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Select, Table, func, select

from workers.domain import histograms
from workers.services.statistics import HEALTH, minute_of
from workers.store.models import JobMinute
from workers.store.monitor_models import JobHistogram

_MINUTES = cast(Table, JobMinute.__table__)
_HISTOGRAMS = cast(Table, JobHistogram.__table__)
MEASURED_MINUTES = 5
SHARES = (0.5, 0.95, 0.99)
# What is chosen on the page: the name, its minutes, the minutes of one bucket.
PERIODS: dict[str, tuple[int, int]] = {
    "1h": (60, 1),
    "6h": (360, 5),
    "24h": (1440, 20),
    "7d": (7 * 1440, 120),
    "30d": (30 * 1440, 720),
    "90d": (90 * 1440, 1440),
}
_OUTCOMES = ("completed", "retried", "failed", "canceled")
_NUMBERS = (
    "queue_length",
    "processing_count",
    "oldest_wait_seconds",
    "workers_busy",
    "cpu_percent",
    "memory_percent",
    "disk_percent",
    "database_bytes",
    "probe_ms",
)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time in buckets of whole minutes; the last bucket holds this moment and is not over."""

    first: int  # minutes since 1970 UTC
    last: int
    step: int

    @classmethod
    def until(cls, now: datetime, minutes: int, step: int) -> Span:
        """Make the span of so many minutes up to now, aligned to its step."""
        last = minute_of(now)
        return cls((last - minutes) // step * step + step, last, step)

    @property
    def starts(self) -> list[int]:
        """List the first minute of each bucket."""
        return list(range(self.first, self.last + 1, self.step))

    @property
    def measured(self) -> Span:
        """Tell the span in which durations are measured: five minutes at least."""
        if self.step >= MEASURED_MINUTES:
            return self
        first, last = self.first // MEASURED_MINUTES, self.last // MEASURED_MINUTES
        return Span(first * MEASURED_MINUTES, last * MEASURED_MINUTES, MEASURED_MINUTES)

    def moment(self, minute: int) -> datetime:
        """Tell the instant at which a bucket begins."""
        return datetime.fromtimestamp(minute * 60, UTC)


@dataclass(frozen=True, slots=True)
class TaskRow:
    """How one task did in a span; durations in seconds, None where nothing ran."""

    task: str
    completed: int
    failed: int
    run: tuple[float | None, float | None, float | None]  # p50, p95, p99
    wait_p95: float | None

    @property
    def share(self) -> float | None:
        """Tell how many percent completed, of those that ended."""
        ended = self.completed + self.failed
        return 100 * self.completed / ended if ended else None


def throughput(connection: Connection, span: Span, queue: str = "", task: str = "") -> list[dict[str, int]]:
    """Tell for each bucket how many jobs completed, will be retried, failed, were canceled."""
    start = _bucket(_MINUTES, span)
    sums = [func.sum(_MINUTES.c[name]) for name in _OUTCOMES]
    selected = cast(Select[Any], select(start, *sums))
    chosen = _kept(selected, _MINUTES, span, queue, task).group_by(start)
    found = {row[0]: dict(zip(_OUTCOMES, map(int, row[1:]), strict=True)) for row in connection.execute(chosen)}
    return [found.get(minute) or dict.fromkeys(_OUTCOMES, 0) for minute in span.starts]


def percentiles(
    connection: Connection, span: Span, queue: str = "", task: str = ""
) -> dict[str, list[tuple[float | None, ...]]]:
    """Tell for each bucket of `span.measured` p50, p95 and p99 of `run` and `wait`, in seconds."""
    span = span.measured
    start = _bucket(_HISTOGRAMS, span)
    keys = (_HISTOGRAMS.c.kind, start, _HISTOGRAMS.c.bucket)
    chosen = _kept(select(*keys, func.sum(_HISTOGRAMS.c.n)), _HISTOGRAMS, span, queue, task).group_by(*keys)
    counts: dict[str, dict[int, dict[int, int]]] = {"run": {}, "wait": {}}
    for kind, minute, bucket, n in connection.execute(chosen):
        counts[kind].setdefault(minute, {})[bucket] = int(n)
    return {
        kind: [tuple(histograms.percentile(of.get(minute, {}), share) for share in SHARES) for minute in span.starts]
        for kind, of in counts.items()
    }


def by_task(connection: Connection, span: Span, queue: str = "", limit: int = 100) -> list[TaskRow]:
    """Tell how each task did, those with most jobs first."""
    sums = (func.sum(_MINUTES.c.completed), func.sum(_MINUTES.c.failed))
    chosen = _kept(select(_MINUTES.c.task, *sums), _MINUTES, span, queue).group_by(_MINUTES.c.task)
    totals = {task: (int(completed), int(failed)) for task, completed, failed in connection.execute(chosen)}
    keys = (_HISTOGRAMS.c.task, _HISTOGRAMS.c.kind, _HISTOGRAMS.c.bucket)
    measured = _kept(select(*keys, func.sum(_HISTOGRAMS.c.n)), _HISTOGRAMS, span, queue).group_by(*keys)
    counts: dict[tuple[str, str], dict[int, int]] = {}
    for task, kind, bucket, n in connection.execute(measured):
        counts.setdefault((task, kind), {})[bucket] = int(n)
    rows = []
    for task, (completed, failed) in sorted(totals.items(), key=lambda item: (-sum(item[1]), item[0]))[:limit]:
        run = counts.get((task, "run"), {})
        p50, p95, p99 = (histograms.percentile(run, share) for share in SHARES)
        wait = histograms.percentile(counts.get((task, "wait"), {}), 0.95)
        rows.append(TaskRow(task, completed, failed, (p50, p95, p99), wait))
    return rows


def numbers(connection: Connection, span: Span) -> list[dict[str, float | None]]:
    """Tell how things stood in each bucket, as the mean of its sweeps; None where none was made."""
    start = _bucket(HEALTH, span)
    means = [func.avg(HEALTH.c[name]) for name in _NUMBERS]
    chosen = select(start, *means).where(HEALTH.c.minute.between(span.first, span.last)).group_by(start)
    found = {
        row[0]: {name: None if value is None else float(value) for name, value in zip(_NUMBERS, row[1:], strict=True)}
        for row in connection.execute(chosen)
    }
    return [found.get(minute) or dict.fromkeys(_NUMBERS) for minute in span.starts]


def newest_numbers(connection: Connection, span: Span) -> dict[str, Any]:
    """Return the newest measurement within a span with its `minute`; empty when nothing was measured."""
    columns = [HEALTH.c.minute, *(HEALTH.c[name] for name in _NUMBERS)]
    chosen = select(*columns).where(HEALTH.c.minute.between(span.first, span.last))
    row = connection.execute(chosen.order_by(HEALTH.c.minute.desc()).limit(1)).mappings().first()
    return dict(row) if row else {}


def names(connection: Connection, span: Span) -> tuple[Sequence[str], Sequence[str]]:
    """Name the queues and the tasks that ended anything in a span."""
    within = _MINUTES.c.minute.between(span.first, span.last)
    pairs = connection.execute(select(_MINUTES.c.queue, _MINUTES.c.task).where(within).distinct()).all()
    return sorted({queue for queue, _ in pairs}), sorted({task for _, task in pairs})


def _bucket(table: Table, span: Span) -> ColumnElement[int]:
    return (table.c.minute - table.c.minute % span.step).label("start")


def _kept(chosen: Select[Any], table: Table, span: Span, queue: str = "", task: str = "") -> Select[Any]:
    chosen = chosen.where(table.c.minute.between(span.first, span.last))
    if queue:
        chosen = chosen.where(table.c.queue == queue)
    if task:
        chosen = chosen.where(table.c.task == task)
    return chosen
