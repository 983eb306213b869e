"""What each kind of alert rule finds: from the numbers of this sweep, the minutes before, and the jobs that run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from workers.domain.alarms import KINDS, in_scope, said
from workers.domain.names import is_reserved_queue
from workers.domain.plurals import counted, plural
from workers.domain.staleness import spoken
from workers.services.facts import Facts, Found
from workers.services.schedule_values import past_deadline
from workers.store.types import Row

FEWEST_ENDED = 10
SHORTEST_LONG_SECONDS, SHORTEST_P95_SECONDS = 60.0, 0.001
MOST_ALONE, MOST_NAMED = 5, 5  # more schedules in trouble at once are one alert


def find(rule: Row, facts: Facts) -> list[Found]:
    """Tell what a rule finds now."""
    return list(_FINDERS[rule["kind"]](rule, facts))


def _stuck_reset(rule: Row, facts: Facts) -> Iterator[Found]:
    n = facts.reset + facts.failed
    if n <= rule["threshold"]:
        return
    stuck = counted(n, "stuck job")
    if not facts.failed:
        title = f"⚠️ Alert: {counted(n, 'stuck task')} {plural(n, 'was', 'were')} reset"
        detail = f"{plural(n, 'It is', 'They are')} waiting again in {plural(n, 'its queue', 'their queues')}."
    elif not facts.reset:
        title, detail = f"{stuck} failed", f"{plural(n, 'It had', 'They had')} no attempts left."
    else:
        title = f"{stuck}: {facts.reset:,} reset, {facts.failed:,} failed"
        detail = "Those that failed had no attempts left."
    yield Found("", n, title, detail, "/stuck")


def _failed(rule: Row, facts: Facts) -> Iterator[Found]:
    window = rule["window_seconds"]
    ended = facts.ended.get(window, {})
    n = sum(told["failed"] for told in ended.values())
    if n > rule["threshold"]:
        worst, most = max(ended.items(), key=lambda item: item[1]["failed"])
        title = f"{counted(n, 'task')} failed in {'last hour' if window == 3600 else 'the last ' + spoken(window)}"
        detail = f"{most['failed']:,} of {n:,} from the task {worst}"
        yield Found("", n, title, detail, f"/jobs?status=failed&since={_since(window)}")


def _failure_rate(rule: Row, facts: Facts) -> Iterator[Found]:
    window = rule["window_seconds"]
    for task, told in facts.ended.get(window, {}).items():
        ended = told["completed"] + told["failed"]
        if ended < FEWEST_ENDED or not in_scope(rule["scope"], task):
            continue
        rate = 100 * told["failed"] / ended
        if rate > rule["threshold"]:
            period = "hour" if window == 3600 else spoken(window)
            detail = f"{told['failed']:,} of {counted(ended, 'job')} in the last {period}"
            link = f"/jobs?status=failed&task={task}&since={_since(window)}"
            yield Found(task, rate, f"{rate:.0f} % of {task} fail", detail, link)


def _since(window_seconds: float) -> str:
    """Return a window as a filter of jobs takes it: whole minutes, or hours."""
    minutes = max(round(window_seconds / 60), 1)
    return f"{minutes}m" if minutes % 60 else f"{minutes // 60}h"


def _queues(rule: Row, facts: Facts) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, told in facts.numbers.get("queues", {}).items():
        if in_scope(rule["scope"], name) and not told["is_paused"]:
            yield name, told


def _queue_depth(rule: Row, facts: Facts) -> Iterator[Found]:
    for name, told in _queues(rule, facts):
        # Messages of alerts wait on a queue of Taskyard's own: a low threshold would raise alerts about alerts.
        if is_reserved_queue(name) and not rule["scope"].lower().startswith("system"):
            continue
        if told["waiting"] > rule["threshold"]:
            n = told["waiting"]
            title, detail = f"{counted(n, 'job')} waiting in {name}", f"{counted(told['workers'], 'worker')} listening"
            yield Found(name, n, title, detail, f"/queues/{name}")


def _queue_age(rule: Row, facts: Facts) -> Iterator[Found]:
    for name, told in _queues(rule, facts):
        age = told["oldest_seconds"] or 0.0
        if age > rule["threshold"]:
            detail = f"{counted(told['waiting'], 'job')} waiting"
            yield Found(name, age, f"A job in {name} has waited {said(age, 'seconds')}", detail, f"/queues/{name}")


def _no_worker(rule: Row, facts: Facts) -> Iterator[Found]:
    def alone(name: str, row: Row) -> bool:
        told = json.loads(row["queues"] or "{}").get(name)
        return bool(told and told["workers"] == 0 and told["waiting"] > rule["threshold"] and not told["is_paused"])

    for name, told in _queues(rule, facts):
        if told["workers"] or told["waiting"] <= rule["threshold"]:
            continue
        # An alert that is open stays open for as long as its cause does, also when the history has a gap.
        if facts.is_open(rule, name) or facts.held(rule["window_seconds"], partial(alone, name)):
            detail = f"{counted(told['waiting'], 'job')} waiting, 0 workers listening"
            yield Found(name, told["waiting"], f"No worker listens to {name}", detail, f"/queues/{name}")


def _long_running(rule: Row, facts: Facts) -> Iterator[Found]:
    for row in facts.running:
        usual = facts.usual.get(row["task"])
        if usual is None or not in_scope(rule["scope"], row["task"]):
            continue
        ran = (facts.now - row["started_at"]).total_seconds()
        times = ran / max(usual.p95, SHORTEST_P95_SECONDS)
        if times > rule["threshold"] and ran > SHORTEST_LONG_SECONDS:
            detail = f"{said(times, 'times')} its p95 of {said(usual.p95, 'seconds')}"
            title = f"{row['task']} has run for {said(ran, 'seconds')}"
            yield Found(row["id"], times, title, detail, f"/jobs/{row['id']}", facts.host_of(row["worker"]))


def _stalled(rule: Row, facts: Facts) -> Iterator[Found]:
    for row in facts.running:
        if row["progress_at"] is None or not in_scope(rule["scope"], row["task"]):
            continue
        still = (facts.now - row["progress_at"]).total_seconds()
        if still > rule["threshold"]:
            title = f"{row['task']} has made no progress for {said(still, 'seconds')}"
            host = facts.host_of(row["worker"])
            yield Found(row["id"], still, title, row["message"] or "", f"/jobs/{row['id']}", host)


def _probe(rule: Row, facts: Facts) -> Iterator[Found]:
    took, error = facts.numbers.get("probe_ms"), facts.numbers.get("probe_error")
    if error:
        yield Found("", took or 0.0, "The health probe failed", error, "/health")
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
        is_held = partial(facts.held, rule["window_seconds"], lambda row: (row[name] or 0.0) > rule["threshold"])
        if facts.is_open(rule, "") or is_held():
            yield Found("", value, f"{words} is at {value:.0f} %", "", "/health")

    return found


def _together(rule: Row, facts: Facts, found: list[Found], one: str, many: str) -> list[Found]:
    """Make one cause of many: when no scheduler ran, that is what is wrong, not each of a hundred schedules.

    What is one alert stays one until its last schedule has recovered.
    """
    is_one = len(found) > MOST_ALONE or (found and facts.is_open(rule, ""))
    if not is_one:
        return found
    found = sorted(found, key=lambda cause: -cause.value)
    names = ", ".join(cause.title for cause in found[:MOST_NAMED])
    others = f" and {len(found) - MOST_NAMED:,} more" if len(found) > MOST_NAMED else ""
    title = f"{counted(len(found), 'schedule')} {plural(len(found), one, many)}"
    value = len(found) if KINDS[rule["kind"]].unit == "schedules" else found[0].value
    subjects = {cause.about: cause.value for cause in found}
    return [Found("", value, title, f"{names}{others}", "/schedules", subjects=subjects)]


def _schedule_missed(rule: Row, facts: Facts) -> list[Found]:
    return _together(rule, facts, list(_missed(rule, facts)), "missed runs", "missed runs")


def _schedule_late(rule: Row, facts: Facts) -> list[Found]:
    return _together(rule, facts, list(_late(rule, facts)), "is late", "are late")


def _schedule_unfinished(rule: Row, facts: Facts) -> list[Found]:
    words = ("is past its deadline", "are past their deadlines")
    return _together(rule, facts, list(_unfinished(rule, facts)), *words)


def _schedule_refused(rule: Row, facts: Facts) -> list[Found]:
    return _together(rule, facts, list(_refused(rule, facts)), "cannot run", "cannot run")


def _refused(rule: Row, facts: Facts) -> Iterator[Found]:
    for row in facts.refused:
        if in_scope(rule["scope"], row["name"]) and rule["threshold"] < 1:
            yield Found(row["id"], 1, f"{row['name']} cannot run", row["refused_reason"], f"/schedules/{row['id']}")


def _task_module(rule: Row, facts: Facts) -> Iterator[Found]:
    for row in facts.modules if rule["threshold"] < 1 else ():
        place = f" ({row['file']}, line {row['line']})" if row["file"] and row["line"] else ""
        title = f"The task module {row['name']} cannot be imported"
        yield Found(module_key(row["host"], row["name"]), 1, title, f"{row['error']}{place}", "/tasks", row["host"])


def module_key(host: str, name: str) -> str:
    """Return what an alert about a task module is about: it has its place in a key."""
    return f"{host}:{name}"[:200]


def _missed(rule: Row, facts: Facts) -> Iterator[Found]:
    for row in facts.missed.get(rule["window_seconds"], ()):
        n = row["missed"]
        if n > rule["threshold"] and in_scope(rule["scope"], row["name"]):
            title = f"{row['name']} missed {counted(n, 'run')}"
            yield Found(row["id"], n, title, "no scheduler was running", f"/schedules/{row['id']}")


def _late(rule: Row, facts: Facts) -> Iterator[Found]:
    still = {row["id"]: (row["name"], (facts.now - row["next_due_at"]).total_seconds()) for row in facts.overdue}
    fired = {row["id"]: (row["name"], row["late_ms"] / 1000) for row in facts.late}
    for schedule_id, (name, late) in {**fired, **still}.items():
        if late > rule["threshold"] and in_scope(rule["scope"], name):
            title = f"{name} {'is' if schedule_id in still else 'ran'} {said(late, 'seconds')} late"
            why = (
                "no scheduler is running, or it cannot write to the database"
                if schedule_id in still
                else "no scheduler was running"
            )
            yield Found(schedule_id, late, title, why, f"/schedules/{schedule_id}")


def _unfinished(rule: Row, facts: Facts) -> Iterator[Found]:
    for row in facts.deadlines:
        late = past_deadline(row, facts.now)
        if late is not None and late > rule["threshold"] and in_scope(rule["scope"], row["name"]):
            title = f"{row['name']} is {said(late, 'seconds')} past its deadline"
            detail = f"last run: {(row['status'] or 'no job').replace('_', ' ')}"
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
    "task_module": _task_module,
    "monitor_silent": _by_the_web,
}
assert set(_FINDERS) == set(KINDS)
