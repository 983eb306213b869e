"""The first screen names every problem, the most severe first, and calls nothing clear that is not."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, cast

import pytest
from flask import Flask
from sqlalchemy import Table, insert

from dashboard.presenters.needs import Ended, Signs, find_needs, write_sentence
from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.services import alerting, jobs, monitoring, queues, rules, statistics
from workers.services.enqueueing import NewJob
from workers.services.facts import Found
from workers.services.statistics import minute_of
from workers.store import alerts
from workers.store import workers as worker_rows
from workers.store.models import JobMinute
from workers.yard import Yard

ADA = Actor("user", "ada", "admin")
NOW = utcnow()


def raise_alerts(yard: Yard, severities: list[str]) -> None:
    """Raise one alert of each severity, of a rule that no sweep judges; each is a minute newer than the one before."""
    with yard.database.write() as connection:
        base = rules.get(connection, "rule-probe")
        for n, severity in enumerate(severities):
            rule = {**base, "id": f"gone-{n}", "severity": severity}
            cause = Found(f"cause-{n}", 1, f"Problem {n} {severity}", "detail", f"/queues/cause-{n}")
            at = NOW - timedelta(minutes=30 - n)
            alerting.observe(connection, yard, {rule["id"]: (rule, [cause])}, at)


def end_jobs(yard: Yard, completed: int, failed: int, queue: str = "default") -> None:
    numbers = {"completed": completed, "failed": failed, "retried": 0, "canceled": 0, "run_ms": 0, "wait_ms": 0}
    row = {"minute": minute_of(utcnow()), "queue": queue, "task": "t", "slot": 0, **numbers}
    with yard.database.write() as connection:
        connection.execute(insert(cast(Table, JobMinute.__table__)), [row])


def titles(page: str) -> list[str]:
    return re.findall(r'<li class="alert.*?<b><a href="[^"]*">([^<]*)</a>', page, re.S)


def test_problems_stand_by_severity_and_the_rest_follows_behind_more(auth: Any, light_yard: Yard) -> None:
    severities = ["info", "warning", "critical", "info", "warning", "critical", "info", "warning", "critical"]
    raise_alerts(light_yard, severities)
    page = auth.client("olga").get("/").text
    assert "9 problems need attention." in page
    assert [title.split()[-1] for title in titles(page)] == ["critical"] * 3 + ["warning"] * 3 + ["info"] * 3
    assert [title.split()[1] for title in titles(page)][:3] == ["2", "5", "8"]  # the longest first
    assert re.search(r"<summary>.*?3 more</summary>", page, re.S)
    rows = re.findall(r'<li class="alert.*?</li>', page, re.S)
    assert all("for <time" in row and "/acknowledgements" in row and "Open alert" in row for row in rows)


def test_a_viewer_sees_problems_without_actions(auth: Any, light_yard: Yard) -> None:
    raise_alerts(light_yard, ["critical"])
    page = auth.client("vera").get("/").text
    assert "1 problem needs attention." in page
    assert "/acknowledgements" not in page


def test_a_thousand_problems_are_counted_and_bounded(auth: Any, light_yard: Yard) -> None:
    raise_alerts(light_yard, ["info"] * 60)
    page = auth.client("olga").get("/").text
    assert "60 problems need attention." in page
    assert "54 more" in page
    assert "The 50 most severe of 60 problems are shown." in page


def test_what_is_acknowledged_is_no_problem_and_not_all_is_clear(auth: Any, light_yard: Yard) -> None:
    raise_alerts(light_yard, ["critical", "warning"])
    with light_yard.database.read() as connection:
        found = [row["id"] for row in alerts.open_alerts(connection)]
    alerting.acknowledge(light_yard, found[0], "", ADA)
    alerting.silence(light_yard, found[1], 3600, ADA)
    page = auth.client("olga").get("/").text
    assert "All clear" not in page
    assert "No new problems." in page
    assert "1 acknowledged alert and 1 silenced alert." in page


@pytest.mark.parametrize(
    ("completed", "failed", "expected"),
    [(0, 0, "All clear."), (1000, 0, "All clear."), (1000, 3, "All clear."), (925, 75, "7.5 % of jobs failed")],
)
def test_failures_are_a_problem_from_one_percent_on(
    auth: Any, light_yard: Yard, completed: int, failed: int, expected: str
) -> None:
    end_jobs(light_yard, completed, failed)
    page = auth.client("olga").get("/").text
    assert expected in page
    assert ("All clear" in page) == (failed / max(completed + failed, 1) < 0.01)


def test_the_monitors_own_jobs_neither_dilute_failures_nor_end_the_empty_state(auth: Any, light_yard: Yard) -> None:
    end_jobs(light_yard, 100_000, 0, "system")
    monitoring.sweep_soon(light_yard, ADA)
    page = auth.client("olga").get("/").text
    assert "No jobs yet" in page
    assert "No jobs ended in the last hour." in page
    end_jobs(light_yard, 9, 1)
    assert "10 % of jobs failed in the last hour" in auth.client("olga").get("/").text


def test_a_paused_queue_is_resumed_where_it_is_named(auth: Any, light_yard: Yard) -> None:
    jobs.enqueue(light_yard, NewJob("samples.noop"))
    queues.pause(light_yard, "default", ADA)
    client = auth.client("olga")
    page = client.get("/").text
    assert "default is paused" in page
    form = {"csrf_token": auth.csrf(client)}
    assert client.post("/queues/default/resumes", data=form).status_code == 303
    assert "default is paused" not in client.get("/").text


def test_a_silent_monitor_and_a_broken_redis_are_problems(auth: Any, app: Flask) -> None:
    app.extensions["watchman"].silent_seconds = 400.0
    app.extensions["redis_watch"].trouble = "Redis is full."
    page = auth.client("olga").get("/").text
    assert "2 problems need attention." in page
    assert titles(page) == ["The monitor is not running", "Redis is not available"]


def test_every_kind_of_problem_is_ranked_and_has_a_row_of_its_own() -> None:
    signs = Signs(3, NOW, 2, NOW - timedelta(minutes=5), NOW, "Redis is away.")
    found = find_needs([], signs, [], Ended(50, 50))
    assert [one.severity for one in found] == ["critical"] * 3 + ["warning"] * 2
    assert len({one.id for one in found}) == len(found)
    assert found[-1].what == "3 jobs are stuck"
    assert write_sentence(found, Ended(50, 50), {})[0] == "5 problems need attention."


def test_times_of_stuck_jobs_lost_workers_and_ended_jobs_come_from_sql(yard: Yard) -> None:
    with yard.database.read() as connection:
        assert statistics.silent_since(connection) is None
        assert worker_rows.oldest_heartbeat(connection) is None
    end_jobs(yard, 5, 1)
    end_jobs(yard, 7, 0, "system")
    with yard.database.read() as connection:
        now = utcnow()
        of_people = statistics.minutes(connection, now - timedelta(minutes=2), now, without=("system",))
        of_all = statistics.minutes(connection, now - timedelta(minutes=2), now)
    assert Ended.of(of_people) == Ended(5, 1)
    assert Ended.of(of_all) == Ended(12, 1)
