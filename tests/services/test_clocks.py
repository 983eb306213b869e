"""A clock that was set, a machine that slept and a host that is off are no evidence against jobs and workers."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from sqlalchemy import func, select

from tests.support import eventually
from workers.broker.timers import Timers
from workers.domain import clock
from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.domain.errors import Conflict
from workers.domain.staleness import heartbeat_limit
from workers.processes.scheduler import SWEEP_TIMER, Scheduler
from workers.services import clocks, execution, jobs, monitoring, statistics, stuck
from workers.services.enqueueing import NewJob
from workers.services.execution import Ending
from workers.store import jobs as rows
from workers.store import settings as values
from workers.store import workers as worker_rows
from workers.yard import Yard

JUMPS = [-86400.0, -3600.0, -90.0, 90.0, 3600.0, 86400.0]
by_jump = pytest.mark.parametrize("jump", JUMPS, ids=lambda seconds: f"{seconds:+.0f}s")


def begin(yard: Yard, worker: str = "w", **options: Any) -> str:
    made = jobs.enqueue(yard, NewJob("samples.sleep", {"seconds": 1}, **options)).job_id
    execution.begin(yard, made, 1, worker)
    add_worker(yard, worker, made)
    return made


def add_worker(yard: Yard, name: str, job_id: str | None = None, **more: Any) -> None:
    now = utcnow()
    row = {"name": name, "host": socket.gethostname(), "pid": os.getpid(), "queues": '["*"]', "state": "busy"}
    with yard.database.write() as connection:
        worker_rows.register(
            connection, {**row, "started_at": now, "heartbeat_at": now, "job_id": job_id, "state": "busy", **more}
        )


def beat(yard: Yard, worker: str, job_id: str, at: datetime) -> None:
    with yard.database.write() as connection:
        rows.touch(connection, job_id, 1, {"heartbeat_at": at})
        worker_rows.tell(connection, worker, {"heartbeat_at": at})


def shift(yard: Yard, seconds: float) -> None:
    """Set the clock forward (back: below zero), seen from now: every row is that much older (from the future)."""
    by = timedelta(seconds=seconds)
    with yard.database.write() as connection:
        for table, columns in (
            ("jobs", ("started_at", "heartbeat_at", "pending_at")),
            ("workers", ("heartbeat_at", "started_at")),
            ("sweeps", ("at",)),
        ):
            shift_rows(connection, table, columns, by)
        references = values.get(connection, "clock.references", {})
        for reading in references.values():
            reading["at"] = (datetime.fromisoformat(reading["at"]) - by).isoformat()
        values.put(connection, "clock.references", references, utcnow())


def shift_rows(connection: Any, name: str, columns: tuple[str, ...], by: timedelta) -> None:
    from workers.store.models import Base

    table = Base.metadata.tables[name]
    key = next(iter(table.primary_key))
    for row in connection.execute(table.select()).mappings().all():
        moved = {one: row[one] - by for one in columns if row[one] is not None}
        connection.execute(table.update().where(key == row[key.name]).values(moved))


def status(yard: Yard, job_id: str) -> tuple[str, int]:
    with yard.database.read() as connection:
        row = jobs.get(connection, job_id)
    return row["status"], row["attempt"]


def after(yard: Yard, beats: float = 1.0) -> datetime:
    return utcnow() + timedelta(seconds=heartbeat_limit(yard.settings.heartbeat_seconds) * beats + 5)


@by_jump
def test_a_clock_that_was_set_resets_no_job_and_loses_no_worker(yard: Yard, jump: float) -> None:
    made = begin(yard, timeout_seconds=60)
    monitoring.sweep(yard)
    shift(yard, jump)
    with yard.database.read() as connection:
        assert statistics.snapshot(connection, utcnow(), 1.0)["workers"]["lost"] == 0
    done = monitoring.sweep(yard)
    assert (done.reset, done.failed, done.workers_lost, done.error) == (0, 0, 0, None)
    assert status(yard, made) == ("processing", 1)
    with yard.database.read() as connection:
        found = clocks.recent_disturbance(connection, utcnow())
    assert found is not None
    assert found.kind == "clock"
    assert found.seconds == pytest.approx(jump, abs=1.5)


@by_jump
def test_after_a_jump_one_that_beats_is_left_alone_and_one_that_does_not_is_reset(yard: Yard, jump: float) -> None:
    dead, live = begin(yard, "dead", max_retries=2), begin(yard, "live", max_retries=2)
    monitoring.sweep(yard)
    shift(yard, jump)
    monitoring.sweep(yard)
    later = after(yard)
    beat(yard, "live", live, later)
    assert monitoring.sweep(yard, later).reset == 1
    assert status(yard, dead) == ("pending", 2)
    assert status(yard, live) == ("processing", 1)


@by_jump
def test_a_dead_worker_is_not_kept_for_ever_after_a_jump(yard: Yard, jump: float) -> None:
    add_worker(yard, "dead")
    monitoring.sweep(yard)
    shift(yard, jump)
    assert monitoring.sweep(yard).workers_lost == 0
    later = after(yard)
    assert monitoring.sweep(yard, later).workers_lost == 1
    with yard.database.read() as connection:
        row = worker_rows.get(connection, "dead")
    assert row is not None
    assert row["heartbeat_at"] <= later


@by_jump
def test_people_and_the_dry_run_are_not_misled_by_a_jump_that_no_sweep_has_seen_yet(
    yard: Yard, operator: Actor, jump: float
) -> None:
    made = begin(yard, timeout_seconds=60)
    monitoring.sweep(yard)
    shift(yard, jump)
    assert monitoring.would_do(yard) == []
    with pytest.raises(Conflict, match="not stuck"):
        stuck.reset(yard, made, operator)
    with yard.database.read() as connection:
        assert statistics.silent_jobs(connection, utcnow(), yard.settings) == 0


@by_jump
def test_two_jumps_in_a_row_are_two_disturbances(yard: Yard, jump: float) -> None:
    made = begin(yard)
    monitoring.sweep(yard)
    for by in (jump, -jump):
        shift(yard, by)
        assert monitoring.sweep(yard).reset == 0
    assert status(yard, made) == ("processing", 1)


def test_a_day_of_silence_that_a_clock_made_stops_no_worker(yard: Yard) -> None:
    add_worker(yard, "w")
    monitoring.sweep(yard)
    shift(yard, 30 * 86400.0)
    monitoring.sweep(yard)
    with yard.database.read() as connection:
        assert [row["name"] for row in worker_rows.present(connection)] == ["w"]


@pytest.mark.parametrize("minutes", [2, 60, 1440])
def test_silence_is_no_evidence_while_the_monitors_own_worker_could_not_beat(yard: Yard, minutes: int) -> None:
    made = begin(yard, max_retries=2)
    add_worker(yard, "monitor")
    resumed = utcnow() + timedelta(minutes=minutes)
    assert monitoring.sweep(yard, resumed, "monitor").reset == 0
    assert status(yard, made) == ("processing", 1)


def test_silence_counts_from_the_end_of_the_pause(yard: Yard) -> None:
    made = begin(yard, max_retries=2)
    resumed = utcnow() + timedelta(hours=1)
    add_worker(yard, "monitor", heartbeat_at=resumed, resumed_at=resumed)
    assert monitoring.sweep(yard, resumed + timedelta(seconds=1), "monitor").reset == 0
    later = resumed + timedelta(seconds=30)
    add_worker(yard, "monitor", heartbeat_at=later, resumed_at=resumed)
    assert monitoring.sweep(yard, later, "monitor").reset == 1
    assert status(yard, made) == ("pending", 2)


def test_a_monitor_that_beats_resets_as_ever(yard: Yard) -> None:
    begin(yard, max_retries=2)
    later = utcnow() + timedelta(minutes=15)
    add_worker(yard, "monitor", heartbeat_at=later)
    assert monitoring.sweep(yard, later, "monitor").reset == 1


@pytest.mark.parametrize("ahead", [90.0, 3600.0])
def test_rows_from_the_future_live_while_they_change_and_not_longer(yard: Yard, ahead: float) -> None:
    live, dead = begin(yard, "live", max_retries=2), begin(yard, "dead", max_retries=2)
    now = utcnow()
    beat(yard, "dead", dead, now + timedelta(seconds=ahead))
    beat(yard, "live", live, now + timedelta(seconds=ahead))
    assert monitoring.sweep(yard, now).reset == 0
    later = now + timedelta(seconds=30)
    beat(yard, "live", live, later)
    assert monitoring.sweep(yard, later).reset == 1
    assert status(yard, dead) == ("pending", 2)
    assert status(yard, live) == ("processing", 1)


@pytest.mark.parametrize("garbage", [None, [], {}, {"at": 1}, "x", 5, {"at": "soon", "kind": 1, "seconds": "y"}])
def test_what_is_kept_of_the_clock_may_be_anything(yard: Yard, garbage: Any) -> None:
    with yard.database.write() as connection:
        for key in ("clock.disturbance", "clock.ahead", "clock.references"):
            values.put(connection, key, garbage, utcnow())
    assert monitoring.sweep(yard).error is None


@pytest.mark.parametrize("offset", [-90.0, 90.0, 3600.0])
def test_a_host_that_is_off_follows_the_clock_of_postgresql(yard: Yard, offset: float) -> None:
    real = utcnow()
    with time_machine.travel(time.time() + offset, tick=True):
        measured = clocks.synchronize(yard, force=True)
        told = utcnow()
    expected = offset if yard.database.is_sqlite else 0.0
    assert (told - real).total_seconds() == pytest.approx(expected, abs=20)
    if yard.database.is_sqlite:
        assert measured is None
    else:
        assert measured == pytest.approx(-offset, abs=1.5)


# SQLite has no clock but the host's.
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_host_clock_set_after_the_measurement_changes_nothing_on_postgresql(yard: Yard) -> None:
    clocks.synchronize(yard, force=True)
    real = utcnow()
    with time_machine.travel(time.time() + 3600, tick=True):
        assert (utcnow() - real).total_seconds() == pytest.approx(0, abs=60)
    assert clock.followed_offset() == pytest.approx(0, abs=0.1)


def test_the_evidence_never_shows_more_silence_than_ran_evenly(yard: Yard) -> None:
    begin(yard, max_retries=2)
    monitoring.sweep(yard)
    shift(yard, 3600.0)
    monitoring.sweep(yard)
    later = after(yard)
    monitoring.sweep(yard, later)
    with yard.database.read() as connection:
        (finding,) = connection.exec_driver_sql("SELECT evidence FROM sweep_findings").all()
    assert json.loads(finding[0])["heartbeat_age"] < 60


def sweeps_enqueued(yard: Yard) -> int:
    with yard.database.read() as connection:
        chosen = select(func.count()).select_from(rows.JOBS).where(rows.JOBS.c.task == monitoring.TASK)
        return connection.execute(chosen).scalar_one()


def test_a_sweep_is_enqueued_once_though_its_timer_lies_an_hour_ahead(yard: Yard) -> None:
    hasty = replace(yard, settings=replace(yard.settings, monitor_interval_seconds=0.2))
    scheduler = Scheduler(hasty, "s")
    timers = Timers(yard.redis, "other")
    timers.carry(SWEEP_TIMER, utcnow() + timedelta(hours=1))
    step = next(one for one in scheduler.steps if one.name == "overdue sweep")

    def enqueued() -> None:
        step.call(hasty, utcnow())
        assert sweeps_enqueued(yard) == 1

    eventually(enqueued)
    assert timers.carried()[SWEEP_TIMER] < utcnow() + timedelta(minutes=1)
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        step.call(hasty, utcnow())
    assert sweeps_enqueued(yard) == 1


def test_the_times_that_a_clock_shows_twice_have_a_sweep_each(yard: Yard) -> None:
    scheduler, at = Scheduler(yard, "s"), utcnow()
    for _ in range(2):
        scheduler._fire(SWEEP_TIMER, at)
    assert sweeps_enqueued(yard) == 1
    monitoring.sweep(yard)
    shift(yard, -3600.0)
    monitoring.sweep(yard)
    scheduler._fire(SWEEP_TIMER, at)
    assert sweeps_enqueued(yard) == 2


def test_a_clock_set_ahead_by_a_year_deletes_no_history(yard: Yard) -> None:
    made = begin(yard)
    execution.end(yard, made, 1, Ending("completed", result="1"))
    monitoring.sweep(yard)
    later = utcnow() + timedelta(days=365)
    with time_machine.travel(later, tick=True):
        step = next(one for one in Scheduler(yard, "s").steps if one.name == "retention")
        assert step.call(yard, utcnow()) == 0
    assert status(yard, made) == ("completed", 1)
    # A year that has passed is another thing.
    assert step.call(yard, later) == 1


def test_hosts_that_are_off_are_named_and_others_are_not(yard: Yard) -> None:
    for host, offset in (("behind", 90.4), ("ahead", -3700.0), ("right", 1.9), ("unknown", None)):
        add_worker(yard, f"w-{host}", host=host, clock_offset_seconds=offset)
    with yard.database.read() as connection:
        told = clocks.notes(connection, utcnow())
    assert [note.partition(". ")[0] for note in told] == [
        "The clock of ahead is 1 h 1 min ahead of the database's",
        "The clock of behind is 1 min 30 s behind the database's",
    ]
