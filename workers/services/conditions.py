"""What each kind of alert rule finds: from the numbers of this sweep, the minutes before, and the jobs that run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, select

from workers.domain.alarms import KINDS, in_scope, said
from workers.domain.states import Status
from workers.services import statistics
from workers.services.schedule_values import past_deadline
from workers.services.statistics import HEALTH, minute_of
from workers.settings import Settings
from workers.store import deadlines, schedules
from workers.store.jobs import JOBS
from workers.store.types import Row

FEWEST_ENDED = 10
SHORTEST_LONG_SECONDS = 60.0
MOST_ALONE = 5  # more schedules in trouble at once are one alert
SCHEDULE_PATIENCE, LATELY = timedelta(seconds=10), timedelta(minutes=3)
_RUNNING_COLUMNS = (JOBS.c.id, JOBS.c.task, JOBS.c.started_at, JOBS.c.progress_at, JOBS.c.message)


@dataclass(frozen=True, slots=True)
class Found:
    """One cause for alarm: what it is about (a queue, task or job; empty for the whole), and the words for people."""

    about: str
    value: float
    title: str
    detail: str
    link: str = ""


@dataclass
class Facts:
    """What rules are judged by, read once a sweep."""

    settings: Settings
    now: datetime
    numbers: Mapping[str, Any]  # of this sweep; see measuring.measure
    reset: int = 0
    failed: int = 0
    history: Sequence[Row] = ()  # health rows of the last hour, oldest first
    tasks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # task → completed, failed in the last hour
    running: Sequence[Row] = ()
    usual: Mapping[str, statistics.Usual] = field(default_factory=dict)
    missed: Sequence[Row] = ()  # schedules with missed fires in the last hour
    late: Sequence[Row] = ()  # schedules that fired late in the last minutes
    overdue: Sequence[Row] = ()  # schedules whose next fire should have been
    refused: Sequence[Row] = ()  # schedules whose last run was refused
    deadlines: Sequence[Row] = ()  # schedules that must finish within a time

    def held(self, window_seconds: float, holds: Callable[[Row], bool]) -> bool:
        """Tell whether it held in every minute that was measured within the window."""
        first = minute_of(self.now) - int(window_seconds // 60)
        rows = [row for row in self.history if row["minute"] >= first]
        return bool(rows) and all(map(holds, rows)) and rows[0]["minute"] <= first


def gather(
    connection: Connection, settings: Settings, numbers: Mapping[str, Any], reset: int, failed: int, now: datetime
) -> Facts:
    """Read the facts in a constant number of statements."""
    minute = minute_of(now)
    chosen = select(HEALTH).where(HEALTH.c.minute > minute - 60).order_by(HEALTH.c.minute)
    history = connection.execute(chosen).mappings().all()
    running = connection.execute(select(*_RUNNING_COLUMNS).where(JOBS.c.status == str(Status.PROCESSING)).limit(1000))
    rows = running.mappings().all()
    return Facts(
        settings,
        now,
        numbers,
        reset,
        failed,
        history,
        statistics.tasks_within(connection, minute - 59, minute),
        rows,
        statistics.usual_of(connection, [row["task"] for row in rows]),
        schedules.missed_since(connection, now - timedelta(hours=1)),
        schedules.late_since(connection, now - LATELY, SCHEDULE_PATIENCE),
        schedules.overdue(connection, now - SCHEDULE_PATIENCE),
        schedules.refused(connection),
        deadlines.open_deadlines(connection),
    )


def find(rule: Row, facts: Facts) -> list[Found]:
    """Tell what a rule finds now."""
    return list(_FINDERS[rule["kind"]](rule, facts))


def _stuck_reset(rule: Row, facts: Facts) -> Iterator[Found]:
    n = facts.reset + facts.failed
    if n > rule["threshold"]:
        put = f"{facts.reset} put back, {facts.failed} failed" if facts.failed else "put back on their queues"
        yield Found("", n, f"⚠️ Alert: {n} stuck tasks were reset", put, "/stuck")


def _failed(rule: Row, facts: Facts) -> Iterator[Found]:
    n = sum(told["failed"] for told in facts.tasks.values())
    if n > rule["threshold"]:
        worst, most = max(facts.tasks.items(), key=lambda item: item[1]["failed"])
        title = f"{n:,} tasks failed in last hour"
        yield Found("", n, title, f"{most['failed']:,} of them {worst}", "/jobs?status=failed&since=1h")


def _failure_rate(rule: Row, facts: Facts) -> Iterator[Found]:
    for task, told in facts.tasks.items():
        ended = told["completed"] + told["failed"]
        if ended < FEWEST_ENDED or not in_scope(rule["scope"], task):
            continue
        rate = 100 * told["failed"] / ended
        if rate > rule["threshold"]:
            detail = f"{told['failed']:,} of {ended:,} in the last hour"
            yield Found(task, rate, f"{rate:.0f} % of {task} fail", detail, f"/jobs?status=failed&task={task}")


def _queues(rule: Row, facts: Facts) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, told in facts.numbers.get("queues", {}).items():
        if in_scope(rule["scope"], name) and not told["is_paused"]:
            yield name, told


def _queue_depth(rule: Row, facts: Facts) -> Iterator[Found]:
    for name, told in _queues(rule, facts):
        if told["waiting"] > rule["threshold"]:
            n = told["waiting"]
            yield Found(name, n, f"{n:,} jobs wait on {name}", f"{told['workers']} workers listen", f"/queues/{name}")


def _queue_age(rule: Row, facts: Facts) -> Iterator[Found]:
    for name, told in _queues(rule, facts):
        age = told["oldest_seconds"] or 0.0
        if age > rule["threshold"]:
            detail = f"{told['waiting']:,} jobs wait"
            yield Found(name, age, f"A job on {name} has waited {said(age, 'seconds')}", detail, f"/queues/{name}")


def _no_worker(rule: Row, facts: Facts) -> Iterator[Found]:
    def alone(name: str, row: Row) -> bool:
        told = json.loads(row["queues"] or "{}").get(name)
        return bool(told and told["workers"] == 0 and told["waiting"] > rule["threshold"] and not told["is_paused"])

    for name, told in _queues(rule, facts):
        if told["workers"] or told["waiting"] <= rule["threshold"]:
            continue
        if facts.held(rule["window_seconds"], partial(alone, name)):
            detail = f"{told['waiting']:,} jobs wait, 0 workers listen"
            yield Found(name, told["waiting"], f"No worker listens to {name}", detail, f"/queues/{name}")


def _long_running(rule: Row, facts: Facts) -> Iterator[Found]:
    for row in facts.running:
        usual = facts.usual.get(row["task"])
        if usual is None or not in_scope(rule["scope"], row["task"]):
            continue
        ran = (facts.now - row["started_at"]).total_seconds()
        times = ran / max(usual.p95, 0.001)
        if times > rule["threshold"] and ran > SHORTEST_LONG_SECONDS:
            detail = f"{said(times, 'times')} its p95 of {said(usual.p95, 'seconds')}"
            title = f"{row['task']} has run for {said(ran, 'seconds')}"
            yield Found(row["id"], times, title, detail, f"/jobs/{row['id']}")


def _stalled(rule: Row, facts: Facts) -> Iterator[Found]:
    for row in facts.running:
        if row["progress_at"] is None or not in_scope(rule["scope"], row["task"]):
            continue
        still = (facts.now - row["progress_at"]).total_seconds()
        if still > rule["threshold"]:
            title = f"{row['task']} has not moved for {said(still, 'seconds')}"
            yield Found(row["id"], still, title, row["message"] or "", f"/jobs/{row['id']}")


def _probe(rule: Row, facts: Facts) -> Iterator[Found]:
    took, error = facts.numbers.get("probe_ms"), facts.numbers.get("probe_error")
    if error:
        yield Found("", took or 0.0, "The health probe fails", error, "/health")
    elif took is not None and took > rule["threshold"]:
        yield Found("", took, f"API slow response: {took:.0f}ms", facts.settings.probe_url, "/health")


def _database(rule: Row, facts: Facts) -> Iterator[Found]:
    size, limit = facts.numbers.get("database_bytes"), facts.settings.database_limit_mb * 1_000_000
    if size and limit and 100 * size / limit > rule["threshold"]:
        share = 100 * size / limit
        detail = f"{size / 1e6:,.0f} MB of {limit / 1e6:,.0f} MB (DATABASE_LIMIT_MB)"
        yield Found("", share, f"Database usage at {share:.0f}%", detail, "/health")


def _share(name: str, words: str) -> Callable[[Row, Facts], Iterator[Found]]:
    def found(rule: Row, facts: Facts) -> Iterator[Found]:
        value = facts.numbers.get(name)
        if value is None or value <= rule["threshold"]:
            return
        if facts.held(rule["window_seconds"], lambda row: (row[name] or 0.0) > rule["threshold"]):
            yield Found("", value, f"{words} is at {value:.0f} %", "", "/health")

    return found


def _together(found: list[Found], words: str) -> list[Found]:
    """Make one cause of many: when no scheduler ran, that is what is wrong, not each of a hundred schedules."""
    if len(found) <= MOST_ALONE:
        return found
    worst = max(found, key=lambda one: one.value)
    return [Found("", worst.value, f"{len(found):,} schedules {words}", f"the worst: {worst.title}", "/schedules")]


def _schedule_missed(rule: Row, facts: Facts) -> list[Found]:
    return _together(list(_missed(rule, facts)), "missed fires")


def _schedule_late(rule: Row, facts: Facts) -> list[Found]:
    return _together(list(_late(rule, facts)), "are late")


def _schedule_unfinished(rule: Row, facts: Facts) -> list[Found]:
    return _together(list(_unfinished(rule, facts)), "have not finished in time")


def _schedule_refused(rule: Row, facts: Facts) -> list[Found]:
    rows = [row for row in facts.refused if in_scope(rule["scope"], row["name"])]
    words = [(row["id"], f"{row['name']} cannot run", row["refused_reason"]) for row in rows]
    found = [Found(about, len(rows), title, why, f"/schedules/{about}") for about, title, why in words]
    return _together(found if len(rows) > rule["threshold"] else [], "cannot run")


def _missed(rule: Row, facts: Facts) -> Iterator[Found]:
    for row in facts.missed:
        n = row["missed"]
        if n > rule["threshold"] and in_scope(rule["scope"], row["name"]):
            title = f"{row['name']} missed {n:,} fire{'' if n == 1 else 's'}"
            yield Found(row["id"], n, title, "no scheduler ran at their time", f"/schedules/{row['id']}")


def _late(rule: Row, facts: Facts) -> Iterator[Found]:
    still = {row["id"]: (row["name"], (facts.now - row["next_due_at"]).total_seconds()) for row in facts.overdue}
    fired = {row["id"]: (row["name"], row["late_ms"] / 1000) for row in facts.late}
    for schedule_id, (name, late) in {**fired, **still}.items():
        if late > rule["threshold"] and in_scope(rule["scope"], name):
            title = f"{name} {'is' if schedule_id in still else 'fired'} {said(late, 'seconds')} late"
            why = "no scheduler runs, or it cannot write" if schedule_id in still else "no scheduler ran at its time"
            yield Found(schedule_id, late, title, why, f"/schedules/{schedule_id}")


def _unfinished(rule: Row, facts: Facts) -> Iterator[Found]:
    for row in facts.deadlines:
        late = past_deadline(row, facts.now)
        if late is not None and late > rule["threshold"] and in_scope(rule["scope"], row["name"]):
            title = f"{row['name']} should have finished {said(late, 'seconds')} ago"
            detail = f"its last run is {(row['status'] or 'not there').replace('_', ' ')}"
            yield Found(row["id"], late, title, detail, f"/schedules/{row['id']}")


def _by_the_web(_rule: Row, _facts: Facts) -> Iterator[Found]:
    # A monitor cannot tell of itself that it is silent: the web process does, see services.watchman.
    return iter(())


_FINDERS: dict[str, Callable[[Row, Facts], Iterable[Found]]] = {
    "stuck_reset": _stuck_reset,
    "failed": _failed,
    "failure_rate": _failure_rate,
    "queue_depth": _queue_depth,
    "queue_age": _queue_age,
    "no_worker": _no_worker,
    "long_running": _long_running,
    "stalled": _stalled,
    "probe": _probe,
    "database": _database,
    "disk": _share("disk_percent", "The disk of the data folder"),
    "cpu": _share("cpu_percent", "The CPU"),
    "memory": _share("memory_percent", "Memory"),
    "schedule_missed": _schedule_missed,
    "schedule_late": _schedule_late,
    "schedule_unfinished": _schedule_unfinished,
    "schedule_refused": _schedule_refused,
    "monitor_silent": _by_the_web,
}
assert set(_FINDERS) == set(KINDS)
