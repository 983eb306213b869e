"""Queues as the pages show them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dashboard.presenters import charts
from dashboard.slices import in_slices
from workers.domain.clock import parse_instant
from workers.domain.errors import BadInput
from workers.domain.names import is_reserved_queue
from workers.services.statistics import Minute, rate_of_last_minute
from workers.store.types import Row


@dataclass(frozen=True, slots=True)
class QueueRow:
    """One queue."""

    name: str
    waiting: int
    processing: int
    oldest_at: datetime | None  # since when the oldest waiting job has waited
    oldest_seconds: float | None
    paused_at: datetime | None
    paused_by: str | None
    workers: int
    busy: int
    slots: charts.Slots
    bars: charts.Bars
    per_minute: float
    counts: Mapping[str, int]

    @property
    def has_no_worker(self) -> bool:
        """Whether jobs wait that nobody will take."""
        return self.workers == 0 and self.waiting > 0 and self.paused_at is None

    @property
    def is_reserved(self) -> bool:
        """Whether it is a queue of Taskyard's own."""
        return is_reserved_queue(self.name)

    @property
    def state(self) -> str:
        """The state that its row is marked with; empty when there is nothing to say."""
        if self.paused_at is not None:
            return "paused"
        return "stuck" if self.has_no_worker else ""


# By what the rows can be sorted; the largest first, names from A to Z.
ORDERS: dict[str, Callable[[QueueRow], Any]] = {
    "attention": lambda row: (not row.has_no_worker, -row.waiting, row.is_reserved),
    "name": lambda row: row.name.lower(),
    "waiting": lambda row: -row.waiting,
    "busy": lambda row: -row.busy,
    "oldest": lambda row: -(row.oldest_seconds or 0.0),
    "failed": lambda row: -row.counts["failed"],
    "rate": lambda row: -row.per_minute,
}


def queue_rows(
    snapshot: Mapping[str, Any], histories: Mapping[str, Sequence[Minute]], now: datetime, sort: str = "attention"
) -> list[QueueRow]:
    """Make the rows in an order: `attention` is those with trouble first, then those with most work; `-` reverses one."""
    rows = [_row(name, told, histories.get(name, ()), now) for name, told in in_slices(snapshot["queues"].items())]
    order = ORDERS[sort.removeprefix("-")]
    return sorted(sorted(rows, key=lambda row: row.name), key=order, reverse=sort.startswith("-"))


def check_sort(sort: str) -> str:
    """Return an order of queues, or refuse it with BadInput."""
    if sort.removeprefix("-") not in ORDERS or sort.startswith("--"):
        raise BadInput(
            f"Unknown order '{sort[:40]}'. Use one of: {', '.join(ORDERS)}, with - before it to reverse it.", "sort"
        )
    return sort


def _row(name: str, told: Row, history: Sequence[Minute], now: datetime) -> QueueRow:
    oldest = parse_instant(told["oldest_pending_at"]) if told["oldest_pending_at"] else None
    paused = told["paused_at"]
    busy = min(told["processing"], told["workers"])
    return QueueRow(
        name=name,
        waiting=told["pending"],
        processing=told["processing"],
        oldest_at=oldest,
        oldest_seconds=(now - oldest).total_seconds() if oldest else None,
        paused_at=parse_instant(paused) if paused else None,
        paused_by=told["paused_by"],
        workers=told["workers"],
        busy=busy,
        slots=charts.slots(busy, told["workers"]),
        bars=charts.bars(history),
        per_minute=rate_of_last_minute(history, now),
        counts=told,
    )
