"""Deadlines, jitter and clocks that are set back, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine

from tests.services.test_schedules import ADA, HOUR, NOON, finish, fires, made, make
from workers.domain.errors import BadInput
from workers.domain.filters import JobFilter
from workers.domain.states import Status
from workers.services import (
    bulk_actions,
    clock_repair,
    events,
    execution,
    firing,
    hearing,
    jobs,
    monitoring,
    retention,
    schedules,
    triggers,
)
from workers.services.execution import Ending
from workers.store import alerts, trigger_rows
from workers.store import schedules as rows
from workers.store.types import Row
from workers.yard import Yard

DAY = timedelta(days=1)


@pytest.fixture
def clock() -> Iterator[Any]:
    """Hold the clock at noon; `move_to` and `shift` step it."""
    with time_machine.travel(NOON, tick=False) as traveller:
        yield traveller


def unfinished(yard: Yard) -> list[str]:
    """Sweep, and return the titles of the deadlines that have passed."""
    monitoring.sweep(yard)
    with yard.database.read() as connection:
        return [row["title"] for row in alerts.open_alerts(connection) if row["kind"] == "schedule_unfinished"]


def late(yard: Yard) -> list[str]:
    monitoring.sweep(yard)
    kinds = {"schedule_late", "schedule_missed", "schedule_unfinished"}
    with yard.database.read() as connection:
        return [row["title"] for row in alerts.open_alerts(connection) if row["kind"] in kinds]


def fail(yard: Yard, job: Row) -> None:
    execution.begin(yard, job["id"], job["attempt"], "w")
    execution.end(yard, job["id"], job["attempt"], Ending("failed", error="no", permanent=True))


@pytest.mark.parametrize("times", [1, 2, 3], ids=["run again", "again and again", "three times"])
def test_a_failed_run_that_is_run_again_until_it_completes_satisfies_its_deadline(
    yard: Yard, clock: Any, times: int
) -> None:
    schedule = make(yard, cron="0 13 * * *", finish_within_seconds=600)
    clock.shift(HOUR)
    firing.fire(yard, schedule["id"])
    (job,) = made(yard, schedule)
    for _ in range(times):
        fail(yard, job)
        again = jobs.run_again(yard, job["id"], ADA)
        with yard.database.read() as connection:
            job = jobs.get(connection, again.job_id)
    clock.shift(HOUR)
    assert len(unfinished(yard)) == 1
    finish(yard, job)
    monitoring.sweep(yard)
    with yard.database.read() as connection:
        assert schedules.get(connection, schedule["id"])["last_completed_fire_at"] == NOON + HOUR


def delete_one(yard: Yard, job: Row) -> None:
    jobs.delete(yard, job["id"], ADA)


def delete_in_bulk(yard: Yard, job: Row) -> None:
    action = bulk_actions.create(yard, "delete", JobFilter(status=(Status.COMPLETED,)), None, ADA)
    bulk_actions.work(yard, action["id"], lambda _done, _total: None)


@pytest.mark.parametrize("delete", [delete_one, delete_in_bulk])
def test_a_completed_run_that_is_deleted_before_the_next_sweep_has_completed(
    yard: Yard, clock: Any, delete: Any
) -> None:
    schedule = make(yard, cron="0 13 * * *", finish_within_seconds=600)
    clock.shift(HOUR)
    firing.fire(yard, schedule["id"])
    (job,) = made(yard, schedule)
    finish(yard, job)
    clock.shift(timedelta(minutes=1))
    delete(yard, job)
    with yard.database.read() as connection:
        assert schedules.get(connection, schedule["id"])["last_completed_fire_at"] == NOON + HOUR
    clock.shift(HOUR)
    assert unfinished(yard) == []


def test_a_failed_run_that_is_deleted_has_not_completed(yard: Yard, clock: Any) -> None:
    schedule = make(yard, cron="0 13 * * *", finish_within_seconds=600)
    clock.shift(HOUR)
    firing.fire(yard, schedule["id"])
    (job,) = made(yard, schedule)
    fail(yard, job)
    jobs.delete(yard, job["id"], ADA)
    clock.shift(HOUR)
    assert len(unfinished(yard)) == 1


def test_a_jittered_run_is_neither_late_nor_past_its_deadline(yard: Yard, clock: Any) -> None:
    schedule = make(yard, jitter_seconds=3600, finish_within_seconds=60)
    due = schedules.with_jitter(schedule, schedule["next_fire_at"])
    assert due is not None
    while (now := datetime.now(UTC)) < due:
        assert late(yard) == [], now
        clock.move_to(min(due, now + timedelta(minutes=7)))
    firing.fire(yard, schedule["id"])
    finish(yard, made(yard, schedule)[0])
    assert late(yard) == []
    with yard.database.read() as connection:
        assert rows.fires(connection, schedule["id"])[0]["late_ms"] == 0


@pytest.mark.parametrize(
    "timing",
    [{"cron": "* * * * *"}, {"cron": "0,1 6 * * *"}, {"cron": None, "interval_seconds": 60}],
    ids=["cron", "two minutes a day", "interval"],
)
def test_a_jitter_longer_than_the_period_is_refused(yard: Yard, timing: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="60 s") as refused:
        make(yard, jitter_seconds=61, **timing)
    assert refused.value.field == "jitter_seconds"
    assert make(yard, jitter_seconds=60, **timing)["jitter_seconds"] == 60


NEVER: dict[str, tuple[dict[str, Any], str]] = {
    "end in the past": ({"ends_at": NOON - HOUR}, "ends_at"),
    "end now": ({"ends_at": NOON}, "ends_at"),
    "end before the first run": ({"ends_at": NOON + HOUR / 2}, "ends_at"),
    "end before the start": ({"starts_at": NOON + 2 * DAY, "ends_at": NOON + DAY}, "ends_at"),
    "no run between start and end": (
        {"cron": "0 0 1 1 *", "starts_at": NOON + DAY, "ends_at": NOON + 2 * DAY},
        "ends_at",
    ),
    "once in the past": ({"cron": None, "once_at": NOON - HOUR}, "once_at"),
    "once after the end": ({"cron": None, "once_at": NOON + 2 * DAY, "ends_at": NOON + DAY}, "once_at"),
    "once before the start": ({"cron": None, "once_at": NOON + HOUR, "starts_at": NOON + DAY}, "once_at"),
    "interval past the end": ({"cron": None, "interval_seconds": 7200, "ends_at": NOON + HOUR}, "ends_at"),
    "a day that never comes": ({"cron": "0 0 31 2 *"}, "cron"),
}


@pytest.mark.parametrize(("values", "field"), NEVER.values(), ids=list(NEVER))
@pytest.mark.parametrize("enabled", [True, False], ids=["enabled", "paused"])
def test_what_can_never_run_is_refused_when_it_is_made_and_when_it_is_edited(
    yard: Yard, clock: Any, values: dict[str, Any], field: str, enabled: bool
) -> None:
    with pytest.raises(BadInput) as refused:
        make(yard, enabled=enabled, **values)
    assert refused.value.field == field
    schedule = make(yard, enabled=enabled)
    edit = {name: value for name, value in values.items() if value is not None}
    with pytest.raises(BadInput) as refused:
        schedules.change(yard, schedule["id"], edit, ADA)
    assert refused.value.field == field


def test_a_schedule_that_is_over_can_be_renamed(yard: Yard, clock: Any) -> None:
    schedule = make(yard, cron=None, once_at=NOON + HOUR)
    clock.shift(2 * HOUR)
    firing.fire(yard, schedule["id"])
    with yard.database.read() as connection:
        stored = schedules.settable(schedules.get(connection, schedule["id"]))
    assert schedules.change(yard, schedule["id"], {**stored, "name": "over"}, ADA)["name"] == "over"


AHEAD = [timedelta(hours=2), timedelta(days=3), timedelta(days=3650)]


@pytest.mark.parametrize("ahead", AHEAD, ids=["hours", "days", "years"])
@pytest.mark.parametrize(
    "timing", [{"cron": "0 * * * *"}, {"cron": None, "interval_seconds": 600}], ids=["cron", "interval"]
)
@pytest.mark.parametrize("touch", ["run", "edit", "creation"])
def test_a_clock_that_was_ahead_does_not_stop_a_schedule(
    yard: Yard, clock: Any, ahead: timedelta, timing: dict[str, Any], touch: str
) -> None:
    if touch == "creation":
        clock.move_to(NOON + ahead)
    schedule = make(yard, finish_within_seconds=60, **timing)
    clock.move_to(NOON + ahead)
    if touch == "run":
        firing.fire(yard, schedule["id"])
    else:
        schedules.change(yard, schedule["id"], {"jitter_seconds": 1}, ADA)
    clock.move_to(NOON + timedelta(seconds=30))
    assert clock_repair.bring_back(yard, datetime.now(UTC)) == 1
    assert clock_repair.bring_back(yard, datetime.now(UTC)) == 0
    # Moments that were dealt with while the clock was ahead are not run twice; the others run when they come.
    ran = 0
    for hour in range(1, 5):
        clock.move_to(NOON + hour * HOUR + timedelta(seconds=2))
        ran += firing.fire(yard, schedule["id"])
    assert ran >= 2
    with yard.database.read() as connection:
        row = schedules.get(connection, schedule["id"])
    assert NOON + 4 * HOUR < row["next_fire_at"] <= NOON + 5 * HOUR
    assert row["last_completed_fire_at"] is None or row["last_completed_fire_at"] < NOON + HOUR


def test_a_clock_that_is_set_back_a_little_runs_nothing_twice(yard: Yard, clock: Any) -> None:
    schedule = make(yard, cron="*/10 * * * *")
    for minutes in (10, 20, 30, 40):
        clock.move_to(NOON + timedelta(minutes=minutes))
        firing.fire(yard, schedule["id"])
    clock.move_to(NOON + timedelta(minutes=5))
    for minutes in range(5, 45, 5):
        clock.move_to(NOON + timedelta(minutes=minutes))
        clock_repair.bring_back(yard, datetime.now(UTC))
        firing.fire_overdue(yard, datetime.now(UTC))
    assert len(made(yard, schedule)) == 4


def test_what_ran_while_the_clock_was_ahead_does_not_run_twice_when_its_moment_comes(yard: Yard, clock: Any) -> None:
    schedule = make(yard)
    clock.move_to(NOON + 5 * HOUR)
    firing.fire(yard, schedule["id"])
    clock.move_to(NOON)
    clock_repair.bring_back(yard, datetime.now(UTC))
    for hour in range(1, 7):
        clock.move_to(NOON + hour * HOUR)
        firing.fire(yard, schedule["id"])
    ran = [moment for moment, outcome in fires(yard, schedule) if outcome == "fired"]
    assert len(ran) == len(set(ran)) == len(made(yard, schedule))
    assert "17:00" in ran


def test_a_trigger_that_ran_by_a_clock_ahead_runs_again(yard: Yard, clock: Any) -> None:
    values = {
        "name": "t",
        "listens": "orders.created",
        "task": "samples.noop",
        "cooldown_seconds": 60,
        "cap_per_hour": 1,
    }
    trigger = triggers.create(yard, values, ADA)
    clock.move_to(NOON + 3650 * DAY)
    events.emit(yard, "orders.created", {}, ADA)
    hearing.hear(yard, datetime.now(UTC))
    clock.move_to(NOON)
    events.emit(yard, "orders.created", {}, ADA)
    hearing.hear(yard, datetime.now(UTC))
    with yard.database.read() as connection:
        found = trigger_rows.firings(connection, trigger["id"], None, 10)
    assert [row["outcome"] for row in found] == ["fired", "fired"]


def test_retention_records_what_has_completed(yard: Yard, clock: Any) -> None:
    schedule = make(yard, cron="0 13 * * *", finish_within_seconds=600)
    clock.shift(HOUR)
    firing.fire(yard, schedule["id"])
    finish(yard, made(yard, schedule)[0])
    clock.shift(400 * DAY)
    retention.purge_step(yard, datetime.now(UTC))
    with yard.database.read() as connection:
        assert schedules.get(connection, schedule["id"])["last_completed_fire_at"] == NOON + HOUR
