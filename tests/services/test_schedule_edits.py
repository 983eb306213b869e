"""Edits of schedules on SQLite and PostgreSQL: while a run is due, of broken ones, by two people, and by code."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from sqlalchemy import delete

from tests.services.test_schedules import ADA, HOUR, NOON, finish, fires, made, make
from workers import registry
from workers.domain.errors import BadInput, Conflict, Edited
from workers.services import catalogue, firing, monitoring, publishing, schedules, triggers
from workers.store import alerts, deadlines
from workers.store import schedules as rows
from workers.store.models import Task
from workers.store.types import Row
from workers.yard import Yard

JITTER = 600


@pytest.fixture
def clock() -> Iterator[Any]:
    """Hold the clock at noon; `move_to` and `shift` step it."""
    with time_machine.travel(NOON, tick=False) as traveller:
        yield traveller


def stored(yard: Yard, schedule: Row) -> Row:
    with yard.database.read() as connection:
        return schedules.get(connection, schedule["id"])


def forget_task(yard: Yard, name: str) -> None:
    """Take a task out of the catalogue, as a new version does that no longer has it."""
    with yard.database.write() as connection:
        connection.execute(delete(Task).where(Task.name == name))
    catalogue._caches.clear()


EDITS: dict[str, dict[str, Any]] = {
    "cron": {"cron": "30 * * * *"},
    "to an interval": {"interval_seconds": 7200},
    "to once": {"once_at": NOON + 5 * HOUR},
    "zone": {"timezone": "Asia/Kolkata"},
    "jitter": {"jitter_seconds": 0},
    "end": {"ends_at": NOON + 9 * HOUR},
    "start": {"starts_at": NOON + 2 * HOUR},
    "all at once": {"cron": "5 * * * *", "timezone": "Asia/Tokyo", "name": "new", "jitter_seconds": 5},
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=list(EDITS))
@pytest.mark.parametrize("late", [timedelta(milliseconds=1), timedelta(seconds=59), timedelta(seconds=61)], ids=str)
def test_a_run_that_is_due_when_its_schedule_is_edited_is_carried_out_once(
    yard: Yard, clock: Any, edit: dict[str, Any], late: timedelta
) -> None:
    schedule = make(yard, jitter_seconds=JITTER)
    clock.move_to(NOON + HOUR + late)
    schedules.change(yard, schedule["id"], edit, ADA)
    firing.fire(yard, schedule["id"])
    assert ("13:00", "fired") in fires(yard, schedule)
    assert len(made(yard, schedule)) == 1
    assert stored(yard, schedule)["next_fire_at"] > NOON + HOUR


def test_edits_while_no_scheduler_ran_follow_the_policy_for_what_was_missed(yard: Yard, clock: Any) -> None:
    schedule = make(yard, missed="run_once")
    clock.shift(3 * HOUR + timedelta(minutes=5))
    schedules.change(yard, schedule["id"], {"cron": "45 * * * *"}, ADA)
    assert fires(yard, schedule) == [("14:00", "missed"), ("15:00", "fired")]
    with yard.database.read() as connection:
        assert sum(row["missed_count"] for row in rows.fires(connection, schedule["id"])) == 2


def test_a_pause_within_the_jitter_of_a_run_records_it_as_missed(yard: Yard, clock: Any) -> None:
    schedule = make(yard, jitter_seconds=JITTER)
    clock.move_to(NOON + HOUR + timedelta(milliseconds=5))
    schedules.change(yard, schedule["id"], {"enabled": False}, ADA)
    assert fires(yard, schedule) == [("13:00", "missed")]
    schedules.change(yard, schedule["id"], {"enabled": True}, ADA)
    firing.fire(yard, schedule["id"])
    assert fires(yard, schedule) == [("13:00", "missed")]
    assert stored(yard, schedule)["next_fire_at"] == NOON + 2 * HOUR
    with yard.database.read() as connection:
        assert "paused" in rows.fires(connection, schedule["id"])[0]["detail"]
        assert rows.missed_since(connection, NOON) == []


def test_a_pause_after_hours_without_a_scheduler_counts_what_was_missed(yard: Yard, clock: Any) -> None:
    schedule = make(yard)
    clock.shift(3 * HOUR)
    schedules.change(yard, schedule["id"], {"enabled": False}, ADA)
    assert fires(yard, schedule) == [("14:00", "missed"), ("15:00", "missed")]
    with yard.database.read() as connection:
        (missed,) = rows.missed_since(connection, NOON)
    assert missed["missed"] == 2


def test_an_edit_that_is_refused_runs_and_changes_nothing(yard: Yard, clock: Any) -> None:
    schedule = make(yard, jitter_seconds=JITTER)
    clock.move_to(NOON + HOUR + timedelta(seconds=1))
    with pytest.raises(BadInput):
        schedules.change(yard, schedule["id"], {"cron": "99 * * * *"}, ADA)
    assert fires(yard, schedule) == []
    assert stored(yard, schedule) == schedule


def test_a_run_between_reading_and_saving_is_no_conflict(yard: Yard, clock: Any) -> None:
    schedule = make(yard)
    clock.shift(HOUR)
    firing.fire(yard, schedule["id"])
    after = schedules.change(yard, schedule["id"], {"name": "renamed"}, ADA, frozenset({schedule["revision"]}))
    assert (after["name"], after["revision"]) == ("renamed", 2)


HARMLESS: dict[str, dict[str, Any]] = {
    "pause": {"enabled": False},
    "rename": {"name": "renamed"},
    "tags": {"tags": ["old"]},
    "cron": {"cron": "15 * * * *"},
    "policy": {"overlap": "skip", "missed": "skip", "catch_up_max": 7},
    "priority": {"priority": "low", "max_retries": 1},
}


def breakage(yard: Yard, schedule: Row, kind: str) -> None:
    if kind == "task gone":
        forget_task(yard, "samples.noop")
    else:
        with yard.database.write() as connection:
            rows.change(connection, schedule["id"], schedule["version"], {"payload": '{"no_such_field": 1}'})


@pytest.mark.parametrize("kind", ["task gone", "payload no longer valid"])
@pytest.mark.parametrize("edit", HARMLESS.values(), ids=list(HARMLESS))
def test_a_schedule_that_can_no_longer_run_can_still_be_edited(
    yard: Yard, clock: Any, kind: str, edit: dict[str, Any]
) -> None:
    schedule = make(yard)
    breakage(yard, schedule, kind)
    everything = {**schedules.settable(stored(yard, schedule)), **edit}
    after = schedules.change(yard, schedule["id"], everything, ADA)
    assert {name: schedules.settable(after)[name] for name in edit} == edit


@pytest.mark.parametrize("kind", ["task gone", "payload no longer valid"])
def test_a_schedule_that_can_no_longer_run_can_be_deleted_but_not_resumed(yard: Yard, clock: Any, kind: str) -> None:
    schedule = make(yard)
    schedules.change(yard, schedule["id"], {"enabled": False}, ADA)
    breakage(yard, stored(yard, schedule), kind)
    with pytest.raises(BadInput):
        schedules.change(yard, schedule["id"], {"enabled": True}, ADA)
    schedules.remove(yard, schedule["id"], ADA)


@pytest.mark.parametrize("kind", ["task gone", "payload no longer valid"])
def test_refused_runs_raise_an_alert_until_a_run_is_accepted(yard: Yard, clock: Any, kind: str) -> None:
    schedule = make(yard)
    breakage(yard, schedule, kind)
    clock.shift(HOUR)
    firing.fire(yard, schedule["id"])
    assert fires(yard, schedule) == [("13:00", "refused")]
    monitoring.sweep(yard)
    assert [row["link"] for row in open_alerts(yard)] == [f"/schedules/{schedule['id']}"]

    publishing.publish(yard, registry.REGISTRY)
    catalogue._caches.clear()
    schedules.change(yard, schedule["id"], {"payload": {}}, ADA)
    clock.shift(HOUR)
    firing.fire(yard, schedule["id"])
    for _ in range(6):
        clock.shift(timedelta(minutes=1))
        monitoring.sweep(yard)
    assert open_alerts(yard) == []


def open_alerts(yard: Yard) -> list[Row]:
    with yard.database.read() as connection:
        return [row for row in alerts.open_alerts(connection) if row["kind"] == "schedule_refused"]


def test_a_trigger_whose_task_is_gone_can_be_paused_renamed_and_deleted(yard: Yard) -> None:
    trigger = triggers.create(yard, {"name": "t", "listens": "orders.created", "task": "samples.noop"}, ADA)
    forget_task(yard, "samples.noop")
    triggers.change(yard, trigger["id"], {"name": "renamed", "task": "samples.noop", "payload": {}}, ADA)
    triggers.change(yard, trigger["id"], {"enabled": False}, ADA)
    with pytest.raises(BadInput):
        triggers.change(yard, trigger["id"], {"enabled": True}, ADA)
    triggers.remove(yard, trigger["id"], ADA)


def test_of_two_edits_of_one_revision_the_second_is_refused_with_both_values(yard: Yard) -> None:
    schedule = make(yard, payload={}, tags=["a"])
    seen = frozenset({schedule["revision"]})
    schedules.change(yard, schedule["id"], {"name": "hers", "tags": ["b"]}, ADA, seen)
    with pytest.raises(Edited) as refused:
        schedules.change(yard, schedule["id"], {"name": "his", "cron": "0 * * * *"}, ADA, seen)
    assert refused.value.differences == [{"field": "name", "yours": "his", "stored": "hers"}]
    assert stored(yard, schedule)["name"] == "hers"
    schedules.change(yard, schedule["id"], {"name": "his"}, ADA, frozenset({refused.value.revision}))
    assert stored(yard, schedule)["name"] == "his"


def test_a_trigger_counts_its_edits_and_not_what_it_does(yard: Yard) -> None:
    trigger = triggers.create(yard, {"name": "t", "listens": "orders.created", "task": "samples.noop"}, ADA)
    seen = frozenset({trigger["revision"]})
    triggers.change(yard, trigger["id"], {"cap_per_hour": 5}, ADA, seen)
    with pytest.raises(Edited) as refused:
        triggers.change(yard, trigger["id"], {"cap_per_hour": 7}, ADA, seen)
    assert refused.value.differences == [{"field": "cap_per_hour", "yours": 7, "stored": 5}]
    with pytest.raises(Edited):
        triggers.remove(yard, trigger["id"], ADA, seen)


def definitions(schedule: str | int | None) -> dict[str, registry.TaskDefinition]:
    import dataclasses

    known = registry.REGISTRY["samples.noop"]
    return {"samples.noop": dataclasses.replace(known, schedule=schedule)}


def of_code(yard: Yard) -> list[Row]:
    with yard.database.read() as connection:
        return list(rows.page(connection, limit=100))


def test_a_schedule_in_code_continues_its_own_row_over_two_rollbacks(yard: Yard, clock: Any) -> None:
    publishing.publish(yard, definitions("0 * * * *"))
    (first,) = of_code(yard)
    clock.shift(HOUR)
    firing.fire(yard, first["id"])
    for _ in range(2):
        publishing.publish(yard, definitions(None))
        (paused,) = of_code(yard)
        assert (paused["id"], paused["enabled"], paused["declared_by"]) == (first["id"], False, None)
        publishing.publish(yard, definitions("30 * * * *"))
        (back,) = of_code(yard)
        assert (back["id"], back["enabled"], back["declared_by"], back["name"]) == (
            first["id"],
            True,
            "samples.noop",
            first["name"],
        )
    assert fires(yard, first) == [("13:00", "fired")]
    assert back["next_fire_at"] == NOON + HOUR + timedelta(minutes=30)


@pytest.mark.parametrize("choice", [True, False], ids=["enabled", "paused"])
def test_what_people_chose_meanwhile_stays_when_code_declares_it_again(yard: Yard, clock: Any, choice: bool) -> None:
    publishing.publish(yard, definitions("0 * * * *"))
    (row,) = of_code(yard)
    if not choice:
        schedules.change(yard, row["id"], {"enabled": False}, ADA)
    publishing.publish(yard, definitions(None))
    if choice:
        schedules.change(yard, row["id"], {"enabled": True}, ADA)
    publishing.publish(yard, definitions("0 * * * *"))
    assert [(one["id"], one["enabled"]) for one in of_code(yard)] == [(row["id"], choice)]


def test_a_name_that_people_took_leaves_the_declared_schedule_another(yard: Yard) -> None:
    for name in ("samples.noop", "samples.noop (in code)"):
        make(yard, name=name)
    publishing.publish(yard, definitions("0 * * * *"))
    assert {row["name"] for row in of_code(yard) if row["declared_by"]} == {"samples.noop (in code 2)"}


def test_code_that_changes_a_due_schedule_runs_it_first(yard: Yard, clock: Any) -> None:
    publishing.publish(yard, definitions("0 * * * *"))
    (row,) = of_code(yard)
    clock.move_to(NOON + HOUR + timedelta(seconds=1))
    publishing.publish(yard, definitions("30 * * * *"))
    assert fires(yard, row) == [("13:00", "fired")]


def test_a_schedule_that_is_resumed_counts_its_deadline_from_then(yard: Yard, clock: Any) -> None:
    schedule = make(yard, finish_within_seconds=60)
    clock.shift(HOUR)
    firing.fire(yard, schedule["id"])
    schedules.change(yard, schedule["id"], {"enabled": False}, ADA)
    clock.shift(24 * HOUR)
    schedules.change(yard, schedule["id"], {"enabled": True}, ADA)
    with yard.database.read() as connection:
        (row,) = deadlines.open_deadlines(connection)
    assert row["open_since"] is None
    assert row["next_fire_at"] > datetime.now(UTC)


def test_two_names_conflict_and_nothing_else_does(yard: Yard) -> None:
    make(yard, name="taken")
    schedule = make(yard, name="mine")
    with pytest.raises(Conflict, match="already"):
        schedules.change(yard, schedule["id"], {"name": "taken"}, ADA)


def test_a_finished_run_now_job_is_not_in_the_way_of_a_deletion(yard: Yard, clock: Any) -> None:
    schedule = make(yard)
    firing.run_now(yard, schedule["id"], ADA)
    with yard.database.read() as connection:
        running = rows.unfinished_job(connection, schedule["id"])
    assert running is not None
    assert running["status"] == "pending"
    finish(yard, made(yard, schedule)[0])
    with yard.database.read() as connection:
        assert rows.unfinished_job(connection, schedule["id"]) is None


NEVER: dict[str, tuple[dict[str, Any], timedelta, dict[str, Any]]] = {
    "once, resumed late": ({"cron": None, "once_at": NOON + HOUR}, 2 * HOUR, {"enabled": True}),
    "resumed after its end": ({"ends_at": NOON + 2 * HOUR}, 3 * HOUR, {"enabled": True}),
    "no run before its end in the new zone": (
        {"cron": "0 23 1 3 *", "ends_at": NOON + 12 * HOUR},
        0 * HOUR,
        {"timezone": "America/Los_Angeles"},
    ),
}


@pytest.mark.parametrize(("values", "pause", "edit"), NEVER.values(), ids=list(NEVER))
def test_an_edit_after_which_a_schedule_would_never_run_is_refused(
    yard: Yard, clock: Any, values: dict[str, Any], pause: timedelta, edit: dict[str, Any]
) -> None:
    row = make(yard, **values)
    if pause:
        schedules.change(yard, row["id"], {"enabled": False}, ADA)
        clock.shift(pause)
    before = stored(yard, row)
    with pytest.raises(BadInput, match=r"Set a later|never run"):
        schedules.change(yard, row["id"], edit, ADA)
    assert stored(yard, row) == before
    assert schedules.change(yard, row["id"], {"name": "renamed"}, ADA)["name"] == "renamed"


def test_code_that_runs_a_schedule_more_often_shortens_its_jitter(yard: Yard, clock: Any) -> None:
    publishing.publish(yard, definitions("0 * * * *"))
    (row,) = of_code(yard)
    schedules.change(yard, row["id"], {"jitter_seconds": JITTER}, ADA)
    publishing.publish(yard, definitions("30 * * * *"))
    assert [one["jitter_seconds"] for one in of_code(yard)] == [JITTER]
    publishing.publish(yard, definitions("* * * * *"))
    assert [one["jitter_seconds"] for one in of_code(yard)] == [60]
