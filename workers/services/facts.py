"""What alert rules are judged by, read once a sweep: its numbers, the history before it, and the jobs that run."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from workers.domain.alarms import KINDS
from workers.domain.states import Status
from workers.services import statistics
from workers.services.statistics import HEALTH, minute_of
from workers.settings import Settings
from workers.store import deadlines, schedules, task_modules
from workers.store import workers as worker_rows
from workers.store.jobs import JOBS
from workers.store.types import Row

MOST_RUNNING = MOST_MODULES = 1000
_ABOUT_JOBS = {"long_running", "stalled"}
LATELY, PATIENCE = timedelta(minutes=3), timedelta(seconds=10)
_RUNNING_COLUMNS = (JOBS.c.id, JOBS.c.task, JOBS.c.worker, JOBS.c.started_at, JOBS.c.progress_at, JOBS.c.message)
Ended = Mapping[str, Mapping[str, int]]  # task → completed, failed


@dataclass(frozen=True, slots=True)
class Found:
    """One cause for alarm: what it is about (a queue, task or job; empty for the whole), and the words for people."""

    about: str
    value: float
    title: str
    detail: str
    link: str = ""
    host: str = field(default_factory=socket.gethostname)
    subjects: Mapping[str, float] = field(default_factory=dict)  # of one cause of many: each, with its value


@dataclass
class Facts:
    """What rules are judged by. Windows are in seconds."""

    settings: Settings
    now: datetime
    numbers: Mapping[str, Any]  # of this sweep; see measuring.measure
    reset: int = 0
    failed: int = 0
    history: Sequence[Row] = ()  # health rows as far back as a rule looks, oldest first
    ended: Mapping[float, Ended] = field(default_factory=dict)  # by window
    running: Sequence[Row] = ()
    hosts: Mapping[str, str] = field(default_factory=dict)  # of the workers
    usual: Mapping[str, statistics.Usual] = field(default_factory=dict)
    missed: Mapping[float, Sequence[Row]] = field(default_factory=dict)  # schedules with missed fires, by window
    late: Sequence[Row] = ()  # schedules that fired late in the last minutes
    overdue: Sequence[Row] = ()  # schedules whose next fire should have been
    refused: Sequence[Row] = ()  # schedules whose last run was refused
    deadlines: Sequence[Row] = ()  # schedules that must finish within a time
    modules: Sequence[Row] = ()  # task modules that a host cannot import
    open: Mapping[str, frozenset[str]] = field(default_factory=dict)  # by rule: what its open alerts are about

    def is_open(self, rule: Row, about: str) -> bool:
        """Return whether a rule has an open alert about this."""
        return about in self.open.get(rule.get("id", ""), ())

    def held(self, window_seconds: float, holds: Callable[[Row], bool]) -> bool:
        """Return whether it held at every measurement since the window began, the last one before it included.

        False while the history does not reach back to its beginning.
        """
        first = minute_of(self.now - timedelta(seconds=window_seconds))
        before = [row for row in self.history if row["minute"] <= first]
        within = [row for row in self.history if row["minute"] > first]
        return bool(before) and all(map(holds, [before[-1], *within]))

    def host_of(self, worker: str | None) -> str:
        """Return the host of a worker; this one when it is unknown."""
        return self.hosts.get(worker or "") or socket.gethostname()


def gather(
    connection: Connection,
    settings: Settings,
    rules: Sequence[Row],
    numbers: Mapping[str, Any],
    reset: int,
    failed: int,
    now: datetime,
    open_alerts: Sequence[Row] = (),
) -> Facts:
    """Read the facts that these rules ask for, in one statement for each kind of fact and each different window.

    What an open alert is about is read whatever the limits of these statements are.
    """
    rows = _running(connection, open_alerts)
    counted = _windows(rules, "failed") | _windows(rules, "failure_rate")
    return Facts(
        settings,
        now,
        numbers,
        reset,
        failed,
        _history(connection, settings, rules, now),
        {window: _ended(connection, now, window) for window in counted},
        rows,
        {row["name"]: row["host"] for row in worker_rows.present(connection)} if rows else {},
        statistics.usual_of(connection, [row["task"] for row in rows]),
        {
            window: schedules.missed_since(connection, now - timedelta(seconds=window))
            for window in _windows(rules, "schedule_missed")
        },
        schedules.late_since(connection, now - look_back(settings), PATIENCE),
        schedules.overdue(connection, now - PATIENCE),
        schedules.refused(connection),
        deadlines.open_deadlines(connection),
        task_modules.list_failed(connection, MOST_MODULES),
        _open(open_alerts),
    )


def about_of(alert: Row) -> str:
    """Return what an alert is about; empty for the whole."""
    return str(alert["cause"])[len(alert["rule_id"] or "") + 1 :]


def _open(open_alerts: Sequence[Row]) -> dict[str, frozenset[str]]:
    abouts: dict[str, set[str]] = {}
    for alert in open_alerts:
        abouts.setdefault(alert["rule_id"] or "", set()).add(about_of(alert))
    return {rule_id: frozenset(names) for rule_id, names in abouts.items()}


def _running(connection: Connection, open_alerts: Sequence[Row]) -> Sequence[Row]:
    chosen = select(*_RUNNING_COLUMNS).where(JOBS.c.status == str(Status.PROCESSING))
    rows = connection.execute(chosen.limit(MOST_RUNNING)).mappings().all()
    known = {row["id"] for row in rows}
    absent = {about_of(alert) for alert in open_alerts if alert["kind"] in _ABOUT_JOBS} - known
    if not absent:
        return rows
    return [*connection.execute(chosen.where(JOBS.c.id.in_(absent))).mappings(), *rows]


def look_back(settings: Settings) -> timedelta:
    """Return how far back a sweep looks for what happened since the last one, which may have been missed."""
    return max(LATELY, timedelta(seconds=3 * settings.monitor_interval_seconds))


def _windows(rules: Sequence[Row], kind: str) -> set[float]:
    return {float(rule["window_seconds"]) for rule in rules if rule["kind"] == kind and rule["is_enabled"]}


def _history(connection: Connection, settings: Settings, rules: Sequence[Row], now: datetime) -> Sequence[Row]:
    held = [rule["window_seconds"] for rule in rules if KINDS[rule["kind"]].windowed == "held" and rule["is_enabled"]]
    # One measurement from before the window says how things stood at its beginning.
    back = timedelta(seconds=max(held, default=0.0)) + look_back(settings)
    chosen = select(HEALTH).where(HEALTH.c.minute >= minute_of(now - back)).order_by(HEALTH.c.minute)
    return connection.execute(chosen).mappings().all()


def _ended(connection: Connection, now: datetime, window_seconds: float) -> Ended:
    # Whole minutes are counted, the one in which the window began among them: nothing falls between two sweeps.
    return statistics.tasks_within(connection, minute_of(now - timedelta(seconds=window_seconds)), minute_of(now))
