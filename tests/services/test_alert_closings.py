"""How alerts end: "Resolved" is sent only when the cause is gone, on SQLite and PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from sqlalchemy import select, update

from tests.services.test_schedule_edits import breakage
from tests.services.test_schedules import ADA, HOUR, NOON, finish, made, make
from workers.domain.clock import utcnow
from workers.services import channels, deliveries, firing, jobs, monitoring, queues, rules, schedules
from workers.services.enqueueing import NewJob
from workers.store import alerts, task_modules
from workers.store.types import Row
from workers.yard import Yard

MINUTE = timedelta(minutes=1)


@pytest.fixture
def clock() -> Any:
    """Hold the clock at noon; `move_to` and `shift` step it."""
    with time_machine.travel(NOON, tick=False) as traveller:
        yield traveller


@pytest.fixture(autouse=True)
def ops(yard: Yard) -> str:
    return channels.create(yard, "ops", "json://example.com/", ADA).id


def messages(yard: Yard) -> list[Row]:
    with yard.database.read() as connection:
        return list(connection.execute(select(alerts.DELIVERIES).order_by(alerts.DELIVERIES.c.id)).mappings())


def titles(yard: Yard, words: str = "") -> list[str]:
    """List the titles that were sent and hold these words, but for those about Taskyard's own queues."""
    sent = [row["title"] for row in messages(yard) if row["status"] == "sent" and "system-" not in row["title"]]
    return [title for title in sent if words in title]


def sweep(yard: Yard, clock: Any, count: int = 1) -> None:
    """Sweep each minute, and let every message be received at once."""
    for _ in range(count):
        assert monitoring.sweep(yard).error is None
        sent = {"status": "sent", "sent_at": utcnow()}
        with yard.database.write() as connection:
            waiting = alerts.DELIVERIES.c.status == "pending"
            connection.execute(update(alerts.DELIVERIES).where(waiting).values(**sent))
        clock.shift(MINUTE)


def watch_depth_only(yard: Yard, **values: Any) -> None:
    rules.change(yard, "rule-queue_depth", {"threshold": 0, **values}, ADA)
    for kind in ("no_worker", "queue_age", "cpu", "memory", "disk"):
        rules.change(yard, f"rule-{kind}", {"is_enabled": False}, ADA)


def put(yard: Yard, queue: str) -> str:
    return jobs.enqueue(yard, NewJob("samples.noop", queue=queue)).job_id


def unfinished(yard: Yard, clock: Any) -> list[Row]:
    """Leave five schedules past their deadline, one alert each, then a sixth."""
    deadline = {"cron": "0 13 * * *", "finish_within_seconds": 60}
    made_rows = [make(yard, name=f"S{n}", **deadline) for n in range(5)]
    made_rows.append(make(yard, name="S5", **{**deadline, "cron": "20 13 * * *"}))
    clock.move_to(NOON + HOUR + timedelta(seconds=1))
    for row in made_rows[:5]:
        firing.fire(yard, row["id"])
    clock.shift(5 * MINUTE)
    sweep(yard, clock, 2)
    clock.move_to(NOON + HOUR + 20 * MINUTE)
    firing.fire(yard, made_rows[5]["id"])
    clock.shift(2 * MINUTE)
    sweep(yard, clock, 5)
    return made_rows


def test_alerts_that_become_one_are_not_resolved_until_the_last_run_completes(yard: Yard, clock: Any) -> None:
    watch_depth_only(yard, is_enabled=False)
    rows = unfinished(yard, clock)
    assert len(titles(yard)) == 6
    assert titles(yard)[5] == "6 schedules are past their deadlines"
    for count, row in enumerate(rows):
        assert not [title for title in titles(yard) if title.startswith("Resolved")], count
        (job,) = made(yard, row)
        finish(yard, job)
        sweep(yard, clock, 1 if count < 5 else 4)
    assert [title for title in titles(yard) if title.startswith("Resolved")] == [
        "Resolved: 1 schedule is past its deadline"
    ]


def test_a_cause_that_was_part_of_another_alert_is_sent_when_it_recurs(yard: Yard, clock: Any) -> None:
    rules.change(yard, "rule-schedule_unfinished", {"cooldown_seconds": 86400}, ADA)
    rows = unfinished(yard, clock)
    for row in rows:
        finish(yard, made(yard, row)[0])
    sweep(yard, clock, 4)
    count = len(titles(yard))
    clock.move_to(NOON + 25 * HOUR + timedelta(seconds=1))
    for row in rows:
        firing.fire(yard, row["id"])
    for row in rows[1:5]:
        finish(yard, made(yard, row)[-1])
    clock.shift(5 * MINUTE)
    sweep(yard, clock, 1)
    assert any("S0 is" in title and "past its deadline" in title for title in titles(yard)[count:])


def pause(yard: Yard, row: Row) -> str:
    schedules.change(yard, row["id"], {"enabled": False}, ADA)
    return "The schedule S0 was paused by ada."


def delete(yard: Yard, row: Row) -> str:
    schedules.remove(yard, row["id"], ADA)
    return "The schedule S0 was deleted by ada."


def remove_deadline(yard: Yard, row: Row) -> str:
    schedules.change(yard, row["id"], {"finish_within_seconds": None}, ADA)
    return "The deadline of the schedule S0 was removed by ada."


def extend_deadline(yard: Yard, row: Row) -> str:
    schedules.change(yard, row["id"], {"finish_within_seconds": 86400}, ADA)
    return "The schedule S0 was changed by ada: its deadline is counted again from then."


def pause_and_resume(yard: Yard, row: Row) -> str:
    pause(yard, row)
    schedules.change(yard, row["id"], {"enabled": True}, ADA)
    return "The schedule S0 was changed by ada: its deadline is counted again from then."


@pytest.mark.parametrize("edit", [pause, delete, remove_deadline, extend_deadline, pause_and_resume])
def test_an_edit_of_a_schedule_is_not_a_run_that_has_completed(yard: Yard, clock: Any, edit: Any) -> None:
    watch_depth_only(yard, is_enabled=False)
    row = make(yard, name="S0", cron="0 13 * * *", finish_within_seconds=60)
    clock.move_to(NOON + HOUR + timedelta(seconds=1))
    firing.fire(yard, row["id"])
    clock.shift(5 * MINUTE)
    sweep(yard, clock)
    why = edit(yard, row)
    sweep(yard, clock, 5)
    about = [one for one in messages(yard) if one["about"] in {"resolved", "unwatched"}]
    assert [one["title"] for one in about] == ["No longer watched: S0 is 4 min 1 s past its deadline"]
    assert about[0]["body"].splitlines()[0] == why


@pytest.mark.parametrize("is_run", [True, False], ids=["accepted run", "edit alone"])
def test_only_an_accepted_run_resolves_a_schedule_that_was_refused(yard: Yard, clock: Any, is_run: bool) -> None:
    watch_depth_only(yard, is_enabled=False)
    first, second = make(yard, name="A"), make(yard, name="B", cron="0 14 * * *")
    for row in (first, second):
        breakage(yard, row, "payload")
    clock.shift(HOUR)
    firing.fire(yard, first["id"])
    sweep(yard, clock, 2)
    clock.move_to(NOON + 2 * HOUR)
    firing.fire(yard, second["id"])
    sweep(yard, clock, 2)
    assert titles(yard) == ["A cannot run", "B cannot run"]
    assert {line for one in messages(yard) for line in one["body"].splitlines() if line.startswith("Value")} == {
        "Value: 1 schedule (limit: more than 0 schedules)"
    }
    schedules.change(yard, first["id"], {"payload": {}}, ADA)
    if is_run:
        clock.move_to(NOON + 3 * HOUR)
        firing.fire(yard, first["id"])
    sweep(yard, clock, 4)
    assert titles(yard, "cannot run")[2:] == (
        ["Resolved: A cannot run"] if is_run else ["No longer watched: A cannot run"]
    )


def test_a_limit_on_what_is_looked_at_is_no_recovery(yard: Yard, clock: Any) -> None:
    watch_depth_only(yard)
    for number in range(50):
        put(yard, f"q{number:02}")
    sweep(yard, clock)
    put(yard, "a0")
    sweep(yard, clock, 4)
    assert len(titles(yard)) == 51
    assert titles(yard, "more")[0].endswith(": 1 more cause")
    assert not [title for title in titles(yard) if "Resolved" in title]


def test_numbers_that_could_not_be_measured_are_no_recovery(
    yard: Yard, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.services import measuring

    watch_depth_only(yard)
    put(yard, "q")
    sweep(yard, clock)
    with monkeypatch.context() as patch:
        patch.setattr(measuring, "database_bytes", lambda *_: 1 / 0)
        for _ in range(5):
            assert "numbers" in str(monitoring.sweep(yard).error)
            clock.shift(MINUTE)
    assert titles(yard) == ["1 job waiting in q"]


def switch_off(yard: Yard) -> str:
    rules.change(yard, "rule-queue_depth", {"is_enabled": False}, ADA)
    return "The rule 'Queue depth' was disabled by ada."


def raise_limit(yard: Yard) -> str:
    rules.change(yard, "rule-queue_depth", {"threshold": 100}, ADA)
    return "The limit of the rule 'Queue depth' was raised from 0 jobs to 100 jobs by ada."


def narrow(yard: Yard) -> str:
    rules.change(yard, "rule-queue_depth", {"scope": "emails*"}, ADA)
    return "The scope of the rule 'Queue depth' was changed to 'emails*' by ada."


def pause_queue(yard: Yard) -> str:
    queues.pause(yard, "q", ADA)
    return "The queue q was paused by ada."


@pytest.mark.parametrize("act", [switch_off, raise_limit, narrow, pause_queue])
def test_what_is_no_longer_watched_is_not_resolved(yard: Yard, clock: Any, act: Any) -> None:
    watch_depth_only(yard)
    put(yard, "q")
    sweep(yard, clock, 2)
    why = act(yard)
    sweep(yard, clock, 4)
    assert titles(yard) == ["1 job waiting in q", "No longer watched: 1 job waiting in q"]
    (message,) = [one for one in messages(yard) if one["title"] == "No longer watched: 1 job waiting in q"]
    assert message["body"].splitlines()[0] == why
    with yard.database.read() as connection:
        row = alerts.get(connection, message["alert_id"])
    assert row is not None
    assert (row["closed_as"], row["closed_why"]) == ("unwatched", why)


def test_an_alert_that_is_raised_while_its_rule_is_deleted_is_closed(yard: Yard, clock: Any) -> None:
    watch_depth_only(yard, is_enabled=False)
    mine = rules.create(yard, "queue_depth", {"threshold": 0, "scope": "q", "name": "Mine"}, ADA)
    put(yard, "q")
    sweep(yard, clock)
    with yard.database.read() as connection:
        (alert,) = alerts.open_alerts_of(connection, mine["id"])
    rules.remove(yard, mine["id"], ADA)
    with yard.database.write() as connection:  # another monitor that had read the rule before
        alerts.change(connection, alert["id"], ["resolved"], {"status": "firing", "resolved_at": None})
    sweep(yard, clock)
    with yard.database.read() as connection:
        row = alerts.get(connection, alert["id"])
    assert row is not None
    assert (row["status"], row["closed_why"]) == ("resolved", "The rule 'Mine' was deleted by ada.")


def test_what_is_gone_before_its_limit_is_raised_is_resolved(yard: Yard, clock: Any) -> None:
    watch_depth_only(yard)
    job = put(yard, "q")
    sweep(yard, clock)
    raise_limit(yard)
    jobs.cancel(yard, job, ADA)
    sweep(yard, clock, 4)
    assert titles(yard) == ["1 job waiting in q", "Resolved: 1 job waiting in q"]


def test_since_counts_from_the_recurrence(yard: Yard, clock: Any) -> None:
    watch_depth_only(yard, cooldown_seconds=7200, repeat_seconds=120, scope="q")
    job = put(yard, "q")
    sweep(yard, clock)
    jobs.cancel(yard, job, ADA)
    sweep(yard, clock, 4)
    clock.shift(HOUR)
    put(yard, "q")
    sweep(yard, clock, 3)
    assert titles(yard)[-2:] == ["1 job waiting in q", "Still open after 2 min: 1 job waiting in q"]
    (repeated,) = [row["body"] for row in messages(yard) if row["title"] == titles(yard)[-1]]
    assert "Since: 2026-03-01 13:05:00 UTC (2 min)" in repeated


def put_module(yard: Yard, name: str, at: datetime) -> None:
    row = {"host": "h1", "name": name, "tasks": "[]", "error": "NameError: x", "file": "/a.py", "line": 3}
    with yard.database.write() as connection:
        task_modules.put_modules(connection, [{**row, "seconds": 0.1, "imported_at": at}])


def test_another_broken_module_makes_the_first_no_worse_and_one_that_is_dropped_is_not_resolved(
    yard: Yard, clock: Any
) -> None:
    watch_depth_only(yard, is_enabled=False)
    for name in ("one", "two"):
        put_module(yard, name, NOON)
        sweep(yard, clock, 2)
    assert len(titles(yard)) == 2
    assert "Value: 1 task module (limit: more than 0 task modules)" in messages(yard)[0]["body"]
    with yard.database.write() as connection:
        task_modules.drop_others(connection, "h1", ["two"])
    sweep(yard, clock, 3)
    assert titles(yard)[2:] == ["No longer watched: The task module one cannot be imported"]


def ids_of(yard: Yard) -> list[str]:
    """List the ids of the channels of ALERT_URLS."""
    with yard.database.read() as connection:
        return [one.id for one in channels.of_setting(connection, yard.settings.alert_urls)]


def test_the_order_of_alert_urls_moves_no_rule_to_another_channel(yard: Yard, clock: Any) -> None:
    urls = ("json://:s3cret@a.example/", "json://b.example/", "json://b.example/", "json://c.example/")
    before = replace(yard, settings=replace(yard.settings, alert_urls=urls))
    after = replace(yard, settings=replace(yard.settings, alert_urls=("json://new.example/", *reversed(urls))))
    # A rule and a message of an earlier version, which named places.
    watch_depth_only(before, channels=["env-1"])
    put(yard, "first")
    assert monitoring.sweep(before).error is None
    with yard.database.write() as connection:
        alerts.change_rule(connection, "rule-queue_depth", {"channels": '["env-1", "gone"]'})
        connection.execute(update(alerts.DELIVERIES).values(channel="env-1"))
    rules.ensure(before)
    rules.ensure(after)

    wanted = ids_of(before)[0]
    assert len(ids_of(before)) == 3
    assert wanted in ids_of(after)
    with yard.database.read() as connection:
        rule = rules.get(connection, "rule-queue_depth")
        present, absent = channels.of_rule(rule, channels.every(connection, after.settings))
    assert ([one.url for one in present], absent) == ([urls[0]], ["gone"])
    assert {row["channel"] for row in messages(yard)} == {wanted}
    clock.shift(MINUTE)
    put(yard, "second")
    assert monitoring.sweep(after).error is None
    assert {row["channel"] for row in messages(yard) if "second" in row["title"]} == {wanted}


def test_a_rule_whose_channels_are_gone_uses_every_channel(yard: Yard, clock: Any, ops: str) -> None:
    urls = ("json://a.example/", "json://b.example/")
    before = replace(yard, settings=replace(yard.settings, alert_urls=urls))
    after = replace(yard, settings=replace(yard.settings, alert_urls=urls[:1]))
    first, second = ids_of(before)
    watch_depth_only(before, channels=["env-2"])
    put(yard, "first")
    assert monitoring.sweep(before).error is None
    (waiting,) = messages(yard)
    assert waiting["channel"] == second
    assert deliveries.send(after, waiting["id"]) == (True, deliveries.GONE)
    assert {row["channel"] for row in messages(yard) if row["status"] == "pending"} == {first, ops}
    clock.shift(MINUTE)
    put(yard, "second")
    sweep(after, clock)
    sent_to = [row["channel"] for row in messages(yard) if "second" in row["title"]]
    assert sorted(sent_to) == sorted([first, ops])
    with yard.database.read() as connection:
        rule = rules.get(connection, "rule-queue_depth")
        _, absent = channels.of_rule(rule, channels.every(connection, after.settings))
    assert f"ALERT_URLS {second} is no longer set" in channels.why_absent(rule, absent)
