"""Every filter finds exactly the jobs that fit it, on both databases: compared with rules written out by hand over all rows."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Table, event, insert, select, text

from workers.domain.clock import utcnow
from workers.domain.errors import BadInput
from workers.domain.filter_words import read_words
from workers.domain.filters import JobFilter
from workers.domain.ids import new_id
from workers.domain.names import SYSTEM_QUEUES
from workers.domain.states import Status
from workers.services import bulk_actions, bulk_selections, job_filters
from workers.services.enqueueing import NewJob, know_queues, row_of
from workers.store import job_lists, job_runs
from workers.store.job_counts import by_rows
from workers.store.job_runs import Names, runs_of
from workers.store.jobs import JOBS
from workers.store.models import Task
from workers.yard import Yard

NAMES = ("samples.noop", "samples.sleep", "samples.fail", "monitor.sweep", "email.send")
QUEUES = ("default", "emails", "emails-slow", "system")
TASKS = cast(Table, Task.__table__)
WORKERS = (None, "one.1", "two.2")
# By name, values that the rows have and one that none has; the first letter of each test draws from them.
VALUES = {
    "status": [*map(str, Status), "stuck"],
    "task": ["samples.noop", "samples.*", "monitor.*", "email.send", "nowhere.*", "none"],
    "queue": ["default", "emails*", "emails-slow", "system", "nothing"],
    "priority": ["high", "normal", "low"],
    "worker": ["one.1", "two.2", "three"],
}


def plant(yard: Yard) -> list[dict[str, Any]]:
    """Store a job of every kind, two seconds apart; half of those that run are stuck, half are left alone."""
    start = utcnow() - timedelta(hours=2)
    kinds = itertools.product(NAMES, QUEUES, Status, WORKERS, ("high", "normal"))
    rows = []
    for index, (task, queue, status, worker, priority) in enumerate(kinds):
        at = start + timedelta(seconds=2 * index)
        row = row_of(yard, NewJob("samples.noop"), at)
        row |= {
            "id": new_id(at),
            "task": task,
            "queue": queue,
            "status": status,
            "worker": worker,
            "priority": priority,
        }
        row |= {"started_at": start, "heartbeat_at": start, "timeout_seconds": 86400.0}
        row |= {"leave_until": start + timedelta(days=1) if index // 3 % 2 else None}
        row |= {"error": "needle in it" if index % 5 == 0 else None}
        rows.append(row)
    with yard.database.write() as connection:
        know_queues(yard, connection, rows, start)
        connection.execute(insert(JOBS), rows)
    return rows


def fits(row: Mapping[str, Any], args: Mapping[str, str], stuck: set[str]) -> bool:
    """Decide by the rules of the documentation alone."""
    for name in VALUES:
        values = args.get(name, "").split(",") if name in args else []
        only = [value for value in values if not value.startswith("-")]
        without = [value[1:] for value in values if value.startswith("-")]
        if only and not any(_is(row, name, value, stuck) for value in only):
            return False
        if any(_is(row, name, value, stuck) for value in without):
            return False
    if "q" in args and args["q"] not in (row["error"] or ""):
        return False
    if _asks_for_system(args):
        return True
    return row["queue"] not in SYSTEM_QUEUES


def _is(row: Mapping[str, Any], name: str, value: str, stuck: set[str]) -> bool:
    if value == "stuck":
        return row["id"] in stuck
    if value.endswith("*"):
        return str(row[name]).startswith(value[:-1])
    return bool(row[name] == value)


def _asks_for_system(args: Mapping[str, str]) -> bool:
    def only(name: str) -> list[str]:
        return [value for value in args.get(name, "").split(",") if value and not value.startswith("-")]

    named = "system" in only("queue") or "monitor.*" in only("task")
    return named or "include" in args or bool(only("worker"))


def drawn(dice: random.Random) -> dict[str, str]:
    args = {}
    for name in dice.sample(sorted(VALUES), dice.randint(0, 3)):
        values = dice.sample(VALUES[name], dice.randint(1, 3))
        args[name] = ",".join(dice.choice(("", "", "-")) + value for value in values)
    if dice.random() < 0.2:
        args["include"] = "system"
    if dice.random() < 0.2:
        args["q"] = "needle"
    return args


def test_every_filter_finds_what_fits_it_and_counts_it(yard: Yard) -> None:
    planted, now, dice = plant(yard), utcnow(), random.Random(11)
    with yard.database.read() as connection:
        stuck = set(
            job_filters.resolve(connection, yard.settings, _wanted(yard, {"status": "stuck"}), now).stuck_ids or ()
        )
        assert 0 < len(stuck) < len(planted) / len(Status)
        for args in [{}, {"include": "system"}, *(drawn(dice) for _ in range(30))]:
            wanted = job_filters.read(connection, yard.settings, args, now)
            expected = [row["id"] for row in reversed(planted) if fits(row, args, stuck)]
            page = job_lists.jobs_page(connection, wanted, limit=len(planted))
            assert [row["id"] for row in page.rows] == expected, args
            assert job_lists.count_matching(connection, wanted)[0] == len(expected), args
            first = job_lists.jobs_page(connection, wanted, limit=7)
            assert [row["id"] for row in first.rows] == expected[:7], args
            _check_counts(yard, connection, args, planted, stuck, now)


def _wanted(yard: Yard, args: Mapping[str, str]) -> Any:
    with yard.database.read() as connection:
        return job_filters.read(connection, yard.settings, args, utcnow())


def _check_counts(
    yard: Yard, connection: Any, args: dict[str, str], planted: Any, stuck: set[str], now: datetime
) -> None:
    others = {name: value for name, value in args.items() if name != "status"}
    matching = [row for row in planted if fits(row, others, stuck)]
    wanted = job_filters.read(connection, yard.settings, args, now)
    counts = job_filters.count_by_state(connection, yard.settings, wanted, now)
    assert {status: counts[status].number for status in map(str, Status)} == {
        str(status): sum(row["status"] == status for row in matching) for status in Status
    }, args
    assert counts["all"].number == len(matching), args
    assert counts["stuck"].number == sum(row["id"] in stuck for row in matching), args


def test_a_count_stops_at_its_cap(yard: Yard) -> None:
    plant(yard)
    with yard.database.read() as connection:
        counts = by_rows(connection, _wanted(yard, {"task": "samples.*"}), 20)
    assert set(counts.values()) == {21}


def test_an_action_on_all_that_match_touches_no_other_job(yard: Yard, operator: Any) -> None:
    planted, dice = plant(yard), random.Random(5)
    now = utcnow()
    with yard.database.read() as connection:
        stuck = set(job_filters.read(connection, yard.settings, {"status": "stuck"}, now).stuck_ids or ())
        for args in (drawn(dice) for _ in range(8)):
            wanted = job_filters.read(connection, yard.settings, args, now)
            for action, allowed in bulk_selections.ALLOWED.items():
                try:
                    narrowed = bulk_selections.narrow(action, wanted, now)
                except BadInput:
                    continue
                told = bulk_actions.preview(connection, action, wanted)
                expected = [row for row in planted if fits(row, args, stuck) and row["status"] in allowed]
                assert told["count"] == sum(row["task"] != "monitor.sweep" for row in expected), (action, args)
                again = job_filters.read(connection, yard.settings, narrowed.to_args(), now)
                assert job_lists.count_matching(connection, again)[0] >= told["count"]
    made = bulk_actions.create(
        yard, "delete", _wanted(yard, {"status": "-failed", "task": "-monitor.*"}), None, operator
    )
    bulk_actions.work(yard, made["id"], lambda _done, _total: None)
    with yard.database.read() as connection:
        left = set(connection.execute(select(JOBS.c.id).where(JOBS.c.queue != "system-bulk")).scalars())
    gone = {row["id"] for row in planted} - left
    args = {"status": "-failed,-processing", "task": "-monitor.*"}
    assert gone == {row["id"] for row in planted if fits(row, args, stuck)}


FILTERS = (
    "status:failed",
    "status:failed,completed",
    "-status:completed",
    "task:samples.*",
    "-task:monitor.*",
    "queue:emails",
    "-queue:emails",
    "worker:one.1",
    "priority:high",
    "since:1h",
    "",
)


def plans(connection: Any, wanted: JobFilter) -> list[str]:
    """Return how the database would read each run of a filter."""
    found = []
    for run in runs_of(Names(connection), wanted):
        chosen = select(JOBS.c.id).where(*run).order_by(JOBS.c.id.desc()).limit(50)
        compiled = chosen.compile(connection, compile_kwargs={"render_postcompile": True})
        how = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "
        values = compiled.construct_params()
        positions = compiled.positiontup
        parameters = tuple(values[name] for name in positions) if positions is not None else values
        found.append(str(connection.exec_driver_sql(how + str(compiled), parameters).all()))
    return found


def publish_tasks(yard: Yard, number: int) -> None:
    """Fill the catalogue with more tasks."""
    rows = [
        {"name": f"more.task{index}", "payload_schema": "{}", "queue": "default", "priority": "normal"}
        for index in range(number)
    ]
    if not rows:
        return
    with yard.database.write() as connection:
        connection.execute(insert(TASKS), [{**row, "published_at": utcnow()} for row in rows])


@pytest.fixture(params=[0, 5_000])
def few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Set how many jobs of many tasks are sorted; more are looked for in the order of the ids."""
    monkeypatch.setattr(job_runs, "_FEW_JOBS", request.param)
    return int(request.param)


def test_a_filter_finds_what_fits_it_however_many_tasks_there_are(yard: Yard, few: int) -> None:
    planted = plant(yard)
    publish_tasks(yard, 60)
    for args in ({"task": "-monitor.*"}, {"task": "samples.*,more.*"}, {"task": "more.*"}):
        wanted = _wanted(yard, args)
        expected = [row["id"] for row in reversed(planted) if fits(row, args, set())]
        with yard.database.read() as connection:
            page = job_lists.jobs_page(connection, wanted, limit=50)
            older = job_lists.jobs_page(connection, wanted, limit=50, cursor=page.next_cursor)
            _check_counts(yard, connection, args, planted, set(), utcnow() - timedelta(days=1))
        assert [row["id"] for row in page.rows] == expected[:50], args
        assert [row["id"] for row in older.rows] == expected[50:100], args


@pytest.mark.parametrize("tasks", [0, 60])
def test_every_filter_is_served_by_indexes_in_order(yard: Yard, monkeypatch: pytest.MonkeyPatch, tasks: int) -> None:
    monkeypatch.setattr(job_runs, "_FEW_JOBS", 0)
    plant(yard)
    publish_tasks(yard, tasks)
    with yard.database.read() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            connection.execute(text("SET LOCAL enable_sort = off"))
        for words in FILTERS:
            wanted = job_filters.read(connection, yard.settings, read_words(words, {}, utcnow()).args, utcnow())
            for plan in plans(connection, wanted):
                assert "INDEX" in plan.upper(), (words, plan)
                assert "TEMP B-TREE" not in plan, (words, plan)
                assert "Seq Scan" not in plan, (words, plan)


def test_a_filter_by_worker_or_priority_has_an_index_of_its_own(light_yard: Yard) -> None:
    plant(light_yard)
    with light_yard.database.read() as connection:
        for args, index in (({"worker": "one.1"}, "worker"), ({"priority": "high", "include": "system"}, "priority")):
            wanted = job_filters.read(connection, light_yard.settings, args, utcnow())
            assert all(f"ix_jobs_{index}" in plan for plan in plans(connection, wanted))


def test_a_page_costs_the_same_number_of_statements_whatever_the_history(light_yard: Yard) -> None:
    numbers = []
    seen: list[str] = []
    for _ in range(2):
        plant(light_yard)
        seen.clear()
        with light_yard.database.read() as connection:
            event.listen(connection, "before_cursor_execute", lambda *args: seen.append(args[2]))
            wanted = job_filters.read(connection, light_yard.settings, {"task": "-monitor.*"}, utcnow())
            job_lists.jobs_page(connection, wanted)
            job_filters.count_by_state(connection, light_yard.settings, wanted, utcnow())
        numbers.append(len(seen))
    assert numbers[0] == numbers[1] < 12


def test_days_are_those_of_the_zone() -> None:
    now = datetime(2026, 3, 29, 22, 30, tzinfo=UTC)
    wanted = JobFilter.from_args({"created": "today"}, now, ZoneInfo("Europe/Berlin"))
    assert (wanted.since, wanted.until) == (
        datetime(2026, 3, 29, 22, 0, tzinfo=UTC),
        datetime(2026, 3, 30, 22, 0, tzinfo=UTC),
    )
    yesterday = JobFilter.from_args({"created": "yesterday"}, now, ZoneInfo("Europe/Berlin"))
    assert yesterday.until is not None
    assert yesterday.since is not None
    assert yesterday.until - yesterday.since == timedelta(hours=23)  # the night in which clocks went forward
