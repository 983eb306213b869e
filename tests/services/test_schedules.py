"""Schedules on SQLite and PostgreSQL: each moment once, under each policy, whatever the clocks and processes do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from sqlalchemy import delete

from workers import registry
from workers.broker.timers import Timers
from workers.domain.actors import Actor
from workers.domain.errors import BadInput, Conflict
from workers.services import carrying, execution, firing, jobs, monitoring, publishing, schedules
from workers.services.execution import Ending
from workers.store import alerts
from workers.store import schedules as rows
from workers.store.jobs import JOBS
from workers.store.types import Row
from workers.yard import Yard

ADA = Actor("user", "ada", "admin")
NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def clock() -> Any:
    """Hold the clock at noon; `move_to` and `shift` step it."""
    with time_machine.travel(NOON, tick=False) as traveller:
        yield traveller


def make(yard: Yard, **values: Any) -> Row:
    return schedules.create(yard, {"name": "tick", "task": "samples.noop", "cron": "0 * * * *", **values}, ADA)


def fires(yard: Yard, schedule: Row) -> list[tuple[str, str]]:
    """Tell the fires of a schedule, oldest first: the time of day and the outcome."""
    with yard.database.read() as connection:
        found = rows.fires(connection, schedule["id"], limit=500)
    return [(f"{row['fire_at']:%H:%M}", row["outcome"]) for row in reversed(found)]


def made(yard: Yard, schedule: Row) -> list[Row]:
    with yard.database.read() as connection:
        found = [row["job_id"] for row in rows.fires(connection, schedule["id"], limit=500) if row["job_id"]]
        return [jobs.get(connection, job_id) for job_id in reversed(found)]


def finish(yard: Yard, job: Row) -> None:
    execution.begin(yard, job["id"], job["attempt"], "w")
    execution.end(yard, job["id"], job["attempt"], Ending("completed"))


def test_a_due_schedule_makes_one_job_and_waits_for_its_next_moment(yard: Yard, clock: Any) -> None:
    schedule = make(yard, payload={}, queue="reports", priority="high", max_retries=7)
    assert firing.fire(yard, schedule["id"]) == 0

    clock.shift(HOUR)
    assert firing.fire(yard, schedule["id"]) == 1
    assert firing.fire(yard, schedule["id"]) == 0

    (job,) = made(yard, schedule)
    assert (job["task"], job["queue"], job["priority"], job["max_retries"]) == ("samples.noop", "reports", "high", 7)
    assert (job["schedule"], job["status"], job["created_by"]) == (schedule["id"], "pending", "schedule:tick")
    assert Timers(yard.redis).carried()[f"schedule-{schedule['id']}"] == NOON + 2 * HOUR


def test_a_moment_that_was_promised_is_kept_though_the_rhythm_knows_it_no_longer(yard: Yard, clock: Any) -> None:
    schedule = make(yard)
    odd = {"next_fire_at": NOON + HOUR / 2, "next_due_at": NOON + HOUR / 2}
    with yard.database.write() as connection:
        rows.change(connection, schedule["id"], schedule["version"], odd)
    clock.shift(HOUR / 2)
    assert firing.fire(yard, schedule["id"]) == 1
    clock.shift(HOUR / 2)
    assert firing.fire(yard, schedule["id"]) == 1
    assert fires(yard, schedule) == [("12:30", "fired"), ("13:00", "fired")]


def test_many_schedulers_fire_one_moment_once(yard: Yard, clock: Any) -> None:
    schedule = make(yard)
    clock.shift(HOUR)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: firing.fire(yard, schedule["id"]), range(16)))
    assert fires(yard, schedule) == [("13:00", "fired")]
    assert len(made(yard, schedule)) == 1


def test_a_clock_that_is_set_back_fires_nothing_twice(yard: Yard, clock: Any) -> None:
    schedule = make(yard)
    for at in (NOON + HOUR, NOON + timedelta(minutes=5), NOON + HOUR, NOON + timedelta(minutes=119)):
        clock.move_to(at)
        firing.fire(yard, schedule["id"])
    assert fires(yard, schedule) == [("13:00", "fired")]


@pytest.mark.parametrize(
    ("policy", "outcomes"),
    [
        ("skip", [("14:00", "missed")]),
        ("run_once", [("13:00", "missed"), ("14:00", "fired")]),
        ("catch_up", [("13:00", "fired"), ("14:00", "fired")]),
    ],
)
def test_three_hours_without_a_scheduler_end_as_the_policy_says(
    yard: Yard, clock: Any, policy: str, outcomes: list[tuple[str, str]]
) -> None:
    schedule = make(yard, missed=policy)
    clock.shift(timedelta(hours=2, minutes=40))
    firing.fire_overdue(yard, datetime.now(UTC))
    assert fires(yard, schedule) == outcomes
    clock.move_to(NOON + 3 * HOUR)
    firing.fire(yard, schedule["id"])
    assert fires(yard, schedule) == [*outcomes, ("15:00", "fired")]


def test_what_is_caught_up_is_the_newest_and_the_rest_is_counted(yard: Yard, clock: Any) -> None:
    schedule = make(yard, cron="*/10 * * * *", missed="catch_up", catch_up_max=3)
    clock.shift(timedelta(hours=3, minutes=5))
    firing.fire_overdue(yard, datetime.now(UTC))
    assert fires(yard, schedule) == [("14:30", "missed"), ("14:40", "fired"), ("14:50", "fired"), ("15:00", "fired")]
    with yard.database.read() as connection:
        assert rows.fires(connection, schedule["id"])[-1]["missed_count"] == 15


def test_a_rhythm_of_seconds_over_a_month_away_is_counted_at_once(yard: Yard, clock: Any) -> None:
    schedule = make(yard, cron=None, interval_seconds=1, missed="run_once")
    clock.shift(timedelta(days=30))
    assert firing.fire(yard, schedule["id"]) == 1
    with yard.database.read() as connection:
        assert sum(row["missed_count"] for row in rows.fires(connection, schedule["id"])) == 30 * 86400 - 1


def test_a_late_fire_is_no_missed_one(yard: Yard, clock: Any) -> None:
    schedule = make(yard, missed="skip")
    clock.shift(HOUR + timedelta(seconds=50))
    firing.fire_overdue(yard, datetime.now(UTC))
    assert fires(yard, schedule) == [("13:00", "fired")]
    with yard.database.read() as connection:
        assert rows.fires(connection, schedule["id"])[0]["late_ms"] == 50_000


@pytest.mark.parametrize(
    ("policy", "outcomes"),
    [
        ("allow", ["fired", "fired", "fired"]),
        ("skip", ["fired", "overlapped", "overlapped"]),
        ("queue_one", ["fired", "held", "overlapped"]),
    ],
)
def test_a_run_that_lasts_is_overlapped_as_the_policy_says(
    yard: Yard, clock: Any, policy: str, outcomes: list[str]
) -> None:
    schedule = make(yard, overlap=policy)
    for _ in range(3):
        clock.shift(HOUR)
        firing.fire(yard, schedule["id"])
    assert [outcome for _, outcome in fires(yard, schedule)] == outcomes


def test_a_held_fire_runs_when_the_one_before_it_has_ended(yard: Yard, clock: Any) -> None:
    schedule = make(yard, overlap="queue_one")
    for _ in range(2):
        clock.shift(HOUR)
        firing.fire(yard, schedule["id"])
    assert firing.release_held(yard, datetime.now(UTC)) == 0
    finish(yard, made(yard, schedule)[0])
    assert firing.release_held(yard, datetime.now(UTC)) == 1
    assert fires(yard, schedule) == [("13:00", "fired"), ("14:00", "fired")]
    assert len(made(yard, schedule)) == 2


def test_what_is_caught_up_never_overlaps_and_is_not_dropped(yard: Yard, clock: Any) -> None:
    schedule = make(yard, missed="catch_up", overlap="skip")
    clock.shift(timedelta(hours=3, minutes=30))
    firing.fire_overdue(yard, datetime.now(UTC))
    assert [outcome for _, outcome in fires(yard, schedule)] == ["fired", "held", "held"]
    for _ in range(3):
        finish(yard, made(yard, schedule)[-1])
        firing.release_held(yard, datetime.now(UTC))
    assert [outcome for _, outcome in fires(yard, schedule)] == ["fired", "fired", "fired"]


def test_jitter_puts_a_fire_off_by_the_same_time_for_everybody(yard: Yard, clock: Any) -> None:
    schedule = make(yard, jitter_seconds=600)
    due = schedule["next_due_at"]
    assert schedule["next_fire_at"] == NOON + HOUR
    assert NOON + HOUR <= due <= NOON + HOUR + timedelta(seconds=600)
    assert schedules.with_jitter(schedule, NOON + HOUR) == due
    clock.move_to(due)
    assert firing.fire(yard, schedule["id"]) == 1
    with yard.database.read() as connection:
        assert rows.fires(connection, schedule["id"])[0]["late_ms"] == 0


def test_a_single_moment_fires_once_and_never_again(yard: Yard, clock: Any) -> None:
    schedule = make(yard, cron=None, once_at=NOON + HOUR)
    clock.shift(HOUR)
    assert firing.fire(yard, schedule["id"]) == 1
    with yard.database.read() as connection:
        assert schedules.get(connection, schedule["id"])["next_fire_at"] is None
    assert f"schedule-{schedule['id']}" not in Timers(yard.redis).carried()


def test_it_begins_and_ends_when_it_shall(yard: Yard, clock: Any) -> None:
    schedule = make(yard, starts_at=NOON + 2 * HOUR, ends_at=NOON + 3 * HOUR)
    for _ in range(6):
        clock.shift(HOUR)
        firing.fire(yard, schedule["id"])
    assert fires(yard, schedule) == [("14:00", "fired"), ("15:00", "fired")]


def test_a_paused_schedule_does_not_fire_and_goes_on_with_the_next_moment(yard: Yard, clock: Any) -> None:
    schedule = make(yard)
    schedules.change(yard, schedule["id"], {"enabled": False}, ADA)
    clock.shift(timedelta(hours=3, minutes=30))
    assert firing.fire(yard, schedule["id"]) == 0
    again = schedules.change(yard, schedule["id"], {"enabled": True}, ADA)
    assert again["next_fire_at"] == NOON + 4 * HOUR
    assert fires(yard, schedule) == []


def test_run_now_makes_a_job_beside_the_rhythm_and_a_double_click_makes_one(yard: Yard, clock: Any) -> None:
    schedule = make(yard, enabled=False)
    first, second = (firing.run_now(yard, schedule["id"], ADA) for _ in range(2))
    assert (first.job_id, second.deduplicated) == (second.job_id, True)
    assert fires(yard, schedule) == [("12:00", "manual")]


def test_old_fires_are_forgotten_and_new_ones_kept(yard: Yard, clock: Any) -> None:
    schedule = make(yard)
    for _ in range(3):
        clock.shift(HOUR)
        firing.fire(yard, schedule["id"])
    with yard.database.write() as connection:
        assert rows.forget(connection, NOON + timedelta(hours=2, minutes=30), 1) == 1
        assert rows.forget(connection, NOON + timedelta(hours=2, minutes=30), 100) == 1
    assert fires(yard, schedule) == [("15:00", "fired")]


def test_a_task_that_is_gone_is_told_and_the_rhythm_goes_on(yard: Yard, clock: Any) -> None:
    schedule = make(yard)
    with yard.database.write() as connection:
        rows.change(connection, schedule["id"], 1, {"task": "gone.away"})
    for _ in range(2):
        clock.shift(HOUR)
        firing.fire(yard, schedule["id"])
    assert fires(yard, schedule) == [("13:00", "refused"), ("14:00", "refused")]
    with yard.database.read() as connection:
        assert "gone.away" in rows.fires(connection, schedule["id"])[0]["detail"]


def test_a_redis_that_forgot_everything_is_told_again_by_the_monitor(yard: Yard, clock: Any) -> None:
    kept, gone = make(yard), make(yard, name="gone")
    yard.redis.flushall()
    Timers(yard.redis).carry("schedule-nobody", NOON + HOUR)
    with yard.database.write() as connection:
        rows.remove(connection, gone["id"])
    assert monitoring.sweep(yard).error is None
    assert Timers(yard.redis).carried() == {f"schedule-{kept['id']}": NOON + HOUR}
    assert carrying.reconcile(yard) == 0


def test_what_nobody_carries_is_fired_from_sql(yard: Yard, clock: Any) -> None:
    schedule = make(yard)
    yard.redis.flushall()
    clock.shift(HOUR + timedelta(seconds=3))
    assert firing.fire_overdue(yard, datetime.now(UTC)) == 1
    assert fires(yard, schedule) == [("13:00", "fired")]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"cron": "0 0 1--100000000 * *"}, "cron"),
        ({"cron": "* * * *"}, "cron"),
        ({"cron": "0 0 31 2 *"}, "cron"),
        ({"cron": None}, "cron"),
        ({"interval_seconds": 5}, "interval_seconds"),
        ({"cron": None, "interval_seconds": 0}, "interval_seconds"),
        ({"cron": None, "interval_seconds": float("nan")}, "interval_seconds"),
        ({"cron": None, "once_at": NOON - HOUR}, "once_at"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"timezone": "../../etc/passwd"}, "timezone"),
        ({"task": "nobody.knows"}, "task"),
        ({"payload": {"n": 1}}, "payload.n"),
        ({"overlap": "maybe"}, "overlap"),
        ({"missed": "maybe"}, "missed"),
        ({"catch_up_max": 1000}, "catch_up_max"),
        ({"jitter_seconds": -1}, "jitter_seconds"),
        ({"name": " "}, "name"),
        ({"tags": ['"']}, "tags"),
        ({"starts_at": NOON + HOUR, "ends_at": NOON}, "ends_at"),
        ({"secret": 1}, "secret"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_field(
    yard: Yard, clock: Any, values: dict[str, Any], field: str
) -> None:
    with pytest.raises(BadInput) as refused:
        make(yard, **values)
    assert [one["field"] for one in refused.value.errors] == [field]


def test_a_name_is_one_schedules(yard: Yard, clock: Any) -> None:
    make(yard)
    with pytest.raises(Conflict):
        make(yard)
    other = make(yard, name="tock")
    with pytest.raises(Conflict):
        schedules.change(yard, other["id"], {"name": "tick"}, ADA)


def test_a_change_of_rhythm_moves_the_next_fire_and_what_redis_carries(yard: Yard, clock: Any) -> None:
    schedule = make(yard, cron=None, interval_seconds=30)
    changed = schedules.change(yard, schedule["id"], {"cron": "0 18 * * *", "timezone": "America/New_York"}, ADA)
    assert (changed["interval_seconds"], changed["next_fire_at"]) == (None, NOON + timedelta(hours=11))
    assert Timers(yard.redis).carried() == {f"schedule-{schedule['id']}": NOON + timedelta(hours=11)}


def test_workers_that_start_together_declare_one_schedule(yard: Yard) -> None:
    def tick() -> None: ...

    definition = registry.define(tick, name="declared.together", schedule=60)
    registry.REGISTRY.pop("declared.together")
    make(yard, name="declared.together")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: publishing.publish(yard, {definition.name: definition}), range(8)))
    with yard.database.read() as connection:
        found = [(row["name"], row["declared_by"]) for row in rows.page(connection)]
    assert found == [("declared.together", None), ("declared.together (in code)", "declared.together")]


def test_a_schedule_that_code_declares_is_made_kept_and_let_go(yard: Yard, clock: Any) -> None:
    def tick() -> None: ...

    def published(**options: Any) -> Row | None:
        registry.REGISTRY.pop("declared.tick", None)
        definition = registry.define(tick, name="declared.tick", **options)
        publishing.publish(yard, {definition.name: definition})
        registry.REGISTRY.pop("declared.tick", None)
        with yard.database.read() as connection:
            return next((row for row in rows.page(connection) if row["name"] == "declared.tick"), None)

    first = published(schedule="0 6 * * *", timezone="Europe/Berlin")
    assert first is not None
    assert (first["cron"], first["timezone"], first["declared_by"]) == ("0 6 * * *", "Europe/Berlin", "declared.tick")
    schedules.change(yard, first["id"], {"enabled": False, "overlap": "skip"}, ADA)
    with pytest.raises(Conflict, match="Change it in the code"):
        schedules.change(yard, first["id"], {"cron": "0 7 * * *"}, ADA)
    with pytest.raises(Conflict, match="Pause it"):
        schedules.remove(yard, first["id"], ADA)

    same = published(schedule="0 6 * * *", timezone="Europe/Berlin")
    assert same is not None
    assert (same["enabled"], same["overlap"]) == (False, "skip")
    other = published(schedule=90)
    assert other is not None
    assert (other["id"], other["cron"], other["interval_seconds"], other["enabled"]) == (first["id"], None, 90, False)

    gone = published()
    assert gone is not None
    assert (gone["declared_by"], gone["enabled"]) == (None, False)
    schedules.remove(yard, gone["id"], ADA)


def raised(yard: Yard) -> set[str]:
    """Sweep, and tell the titles of the open alerts about schedules."""
    assert monitoring.sweep(yard).error is None
    with yard.database.read() as connection:
        found = alerts.open_alerts(connection)
    return {row["title"] for row in found if row["kind"].startswith("schedule_")}


def test_missed_and_late_fires_raise_alerts(yard: Yard, clock: Any) -> None:
    make(yard)
    make(yard, name="other", cron="55 * * * *")
    assert raised(yard) == set()
    clock.shift(timedelta(hours=2, minutes=57))
    assert raised(yard) == {"tick is 1 h 57 min late", "other is 2 h 2 min late"}
    firing.fire_overdue(yard, datetime.now(UTC))
    assert {"tick missed 1 run", "other missed 2 runs"} <= raised(yard)


def test_an_outage_is_one_alert_however_many_schedules_it_hit(yard: Yard, clock: Any) -> None:
    for number in range(7):
        make(yard, name=f"s{number}")
    clock.shift(timedelta(hours=3, minutes=10))
    assert raised(yard) == {"7 schedules are late"}
    firing.fire_overdue(yard, datetime.now(UTC))
    assert raised(yard) == {"7 schedules are late", "7 schedules missed runs"}


def test_what_should_have_finished_and_has_not_raises_an_alert_until_it_has(yard: Yard, clock: Any) -> None:
    schedule = make(yard, cron="0 6 * * *", finish_within_seconds=1800)
    clock.move_to(NOON + 18 * HOUR)
    firing.fire(yard, schedule["id"])
    clock.shift(timedelta(minutes=29))
    assert raised(yard) == set()
    clock.shift(timedelta(minutes=3))
    assert raised(yard) == {"tick is 2 min past its deadline"}
    finish(yard, made(yard, schedule)[0])
    for _ in range(3):
        clock.shift(timedelta(minutes=10))
        monitoring.sweep(yard)
    assert raised(yard) == set()


@pytest.mark.parametrize("what", ["hangs", "fails", "overlaps", "is canceled"])
def test_a_deadline_counts_from_the_first_run_after_the_last_completed_one(yard: Yard, clock: Any, what: str) -> None:
    schedule = make(
        yard, cron="*/10 * * * *", finish_within_seconds=1800, overlap="skip" if what == "overlaps" else "allow"
    )
    clock.move_to(NOON + timedelta(minutes=10))
    firing.fire(yard, schedule["id"])
    finish(yard, made(yard, schedule)[0])
    for _ in range(3):
        clock.shift(timedelta(minutes=10))
        firing.fire(yard, schedule["id"])
        _end_run(yard, made(yard, schedule)[-1], what)
        assert "past its deadline" not in " ".join(raised(yard)), "the first of these runs has 30 minutes"
    clock.shift(timedelta(minutes=10))
    firing.fire(yard, schedule["id"])
    clock.shift(timedelta(minutes=1))
    assert "tick is 1 min past its deadline" in raised(yard)


def _end_run(yard: Yard, job: Row, what: str) -> None:
    endings = {"fails": Ending("failed", error="boom", permanent=True), "is canceled": Ending("canceled")}
    if what in endings:
        execution.begin(yard, job["id"], 1, "w")
        execution.end(yard, job["id"], 1, endings[what])


def test_a_deadline_is_kept_when_the_completed_job_is_deleted(yard: Yard, clock: Any) -> None:
    schedule = make(yard, cron="0 6 * * *", finish_within_seconds=1800)
    clock.move_to(NOON + 18 * HOUR)
    firing.fire(yard, schedule["id"])
    (job,) = made(yard, schedule)
    finish(yard, job)
    monitoring.sweep(yard)
    with yard.database.write() as connection:
        connection.execute(delete(JOBS).where(JOBS.c.id == job["id"]))
    clock.shift(5 * HOUR)
    assert raised(yard) == set()


def test_a_deadline_that_is_set_later_counts_from_the_next_run(yard: Yard, clock: Any) -> None:
    schedule = make(yard, cron="0 6 * * *")
    clock.move_to(NOON + 18 * HOUR)
    firing.fire(yard, schedule["id"])
    clock.shift(2 * HOUR)
    schedules.change(yard, schedule["id"], {"finish_within_seconds": 1800}, ADA)
    assert raised(yard) == set()
