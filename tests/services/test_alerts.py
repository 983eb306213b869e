"""The life of alerts and their deliveries, on SQLite and PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from pytest_httpserver import HTTPServer
from sqlalchemy import select, update

from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput, Conflict
from workers.services import alerting, channels, deliveries, execution, jobs, monitoring, rules
from workers.services.enqueueing import NewJob, enqueue_system
from workers.services.execution import Ending
from workers.store import alerts
from workers.store import jobs as rows
from workers.store import workers as worker_rows
from workers.yard import Yard

MINUTE = timedelta(minutes=1)
Fail = Callable[[int], None]


@pytest.fixture(autouse=True)
def first_second_of_a_minute() -> Iterator[None]:
    """Start each test as a minute starts: failures are counted by minute, and a test must not see two of them."""
    with time_machine.travel(utcnow().replace(second=0, microsecond=0), tick=True):
        yield


@pytest.fixture
def admin() -> Actor:
    return Actor("user", "ada", "admin")


@pytest.fixture
def fail(yard: Yard) -> Fail:
    def some(count: int) -> None:
        for _ in range(count):
            made = jobs.enqueue(yard, NewJob("samples.fail", max_retries=0)).job_id
            execution.begin(yard, made, 1, "w")
            execution.end(yard, made, 1, Ending("failed", error="boom"))

    return some


def open_alerts(yard: Yard) -> dict[str, dict[str, Any]]:
    with yard.database.read() as connection:
        return {row["kind"]: dict(row) for row in alerts.open_alerts(connection)}


def sent(yard: Yard) -> list[Any]:
    """List the messages about failed jobs; the machine that runs the tests may raise alerts of its own."""
    about = alerts.DELIVERIES.c.alert_id == alerts.ALERTS.c.id
    chosen = select(alerts.DELIVERIES).where(about, alerts.ALERTS.c.kind == "failed").order_by(alerts.DELIVERIES.c.id)
    with yard.database.read() as connection:
        return connection.execute(chosen).mappings().all()


def sweep(yard: Yard, at: datetime) -> None:
    assert monitoring.sweep(yard, at).error is None


def test_the_rules_of_the_seeds_are_there_from_the_start(yard: Yard) -> None:
    rules.ensure(yard)
    with yard.database.read() as connection:
        told = {row["kind"]: row["threshold"] for row in alerts.rules(connection)}
    assert (told["stuck_reset"], told["failed"], told["probe"], told["database"]) == (0, 5, 2000, 80)


def test_one_cause_is_one_alert_however_many_sweeps_see_it(yard: Yard, fail: Fail) -> None:
    now = utcnow()
    fail(5)
    sweep(yard, now)
    assert "failed" not in open_alerts(yard)
    fail(1)
    for n in range(3):
        sweep(yard, now + n * MINUTE)
    alert = open_alerts(yard)["failed"]
    assert (alert["status"], alert["count"], alert["value"]) == ("firing", 3, 6)
    assert alert["title"] == "6 tasks failed in last hour"
    assert json.loads(alert["history"]) == [6, 6, 6]


def test_it_is_resolved_by_itself_when_its_cause_has_been_gone_for_two_intervals(yard: Yard, fail: Fail) -> None:
    fail(6)
    now = utcnow()
    sweep(yard, now)
    for n, is_open in ((61, True), (62, True), (63, False)):
        sweep(yard, now + n * MINUTE)
        assert ("failed" in open_alerts(yard)) is is_open, n


def settle_all(yard: Yard) -> None:
    """Mark every message as sent."""
    with yard.database.write() as connection:
        connection.execute(update(alerts.DELIVERIES).values(status="sent"))


def fail_again(yard: Yard, minutes: int) -> None:
    """Move the failures of the last hour to so many minutes later."""
    with yard.database.write() as connection:
        connection.exec_driver_sql(f"UPDATE job_minutes SET minute = minute + {minutes}")


@pytest.mark.parametrize("was_told", [True, False], ids=["after Resolved was sent", "before Resolved was sent"])
def test_what_comes_back_within_the_cool_down_is_sent_to_those_who_were_told_of_its_end(
    yard: Yard, fail: Fail, admin: Actor, was_told: bool
) -> None:
    channels.create(yard, "ops", "json://example.com/", admin)
    rules.change(yard, "rule-failed", {"cooldown_seconds": 7200}, admin)
    fail(6)
    now = utcnow()
    sweep(yard, now)
    settle_all(yard)
    for n in (61, 63, 64):
        sweep(yard, now + n * MINUTE)
    first = sent(yard)[0]
    assert "failed" not in open_alerts(yard)
    if was_told:
        settle_all(yard)
    fail_again(yard, 65)
    sweep(yard, now + 66 * MINUTE)
    again = open_alerts(yard)["failed"]
    assert (again["id"], again["flaps"], again["resolved_at"]) == (first["alert_id"], 1, None)
    messages = [(one["about"], one["status"]) for one in sent(yard)]
    if was_told:
        assert messages == [("fired", "sent"), ("resolved", "sent"), ("fired", "pending")]
    else:
        assert messages == [("fired", "sent"), ("resolved", "canceled")]


def test_a_message_that_was_not_sent_before_the_alert_is_resolved_is_never_sent(
    yard: Yard, fail: Fail, admin: Actor
) -> None:
    channels.create(yard, "ops", "json://example.com/", admin)
    fail(6)
    now = utcnow()
    for n in (0, 61, 63, 64):
        sweep(yard, now + n * MINUTE)
    (message,) = sent(yard)
    assert (message["about"], message["status"]) == ("fired", "canceled")
    assert deliveries.send(yard, message["id"])[1].startswith("another process")


@pytest.mark.parametrize("cooldown_seconds", [0, 7200])
def test_a_silence_lasts_until_its_end_whatever_is_resolved_meanwhile(
    yard: Yard, fail: Fail, admin: Actor, operator: Actor, cooldown_seconds: int
) -> None:
    channels.create(yard, "ops", "json://example.com/", admin)
    rules.change(yard, "rule-failed", {"cooldown_seconds": cooldown_seconds}, admin)
    fail(6)
    now = utcnow()
    sweep(yard, now)
    settle_all(yard)
    alerting.silence(yard, open_alerts(yard)["failed"]["id"], 3 * 3600, operator)
    for n in (61, 63, 64):
        sweep(yard, now + n * MINUTE)
    fail_again(yard, 65)
    sweep(yard, now + 66 * MINUTE)
    assert open_alerts(yard)["failed"]["status"] == "silenced"
    assert [one["about"] for one in sent(yard)] == ["fired"]
    fail_again(yard, 116)
    sweep(yard, now + 181 * MINUTE)
    assert open_alerts(yard)["failed"]["status"] == "firing"
    assert [one["about"] for one in sent(yard)] == ["fired", "fired"]


def test_a_silence_withdraws_what_is_not_sent_yet(yard: Yard, fail: Fail, admin: Actor, operator: Actor) -> None:
    channels.create(yard, "ops", "json://example.com/", admin)
    fail(6)
    sweep(yard, utcnow())
    alerting.silence(yard, open_alerts(yard)["failed"]["id"], 3600, operator)
    assert [one["status"] for one in sent(yard)] == ["canceled"]


def test_the_end_is_sent_only_to_channels_that_were_notified_of_the_alert(yard: Yard, fail: Fail, admin: Actor) -> None:
    first = channels.create(yard, "first", "json://example.com/", admin)
    fail(6)
    now = utcnow()
    sweep(yard, now)
    settle_all(yard)
    channels.create(yard, "later", "json://example.org/", admin)
    for n in (61, 63, 64):
        sweep(yard, now + n * MINUTE)
    assert [one["channel"] for one in sent(yard) if one["about"] == "resolved"] == [first.id]


def test_an_end_after_the_silence_is_sent(yard: Yard, fail: Fail, admin: Actor, operator: Actor) -> None:
    channels.create(yard, "ops", "json://example.com/", admin)
    fail(6)
    now = utcnow()
    sweep(yard, now)
    settle_all(yard)
    alerting.silence(yard, open_alerts(yard)["failed"]["id"], 60 * 60, operator)
    for n in (61, 63, 64):
        sweep(yard, now + n * MINUTE)
    assert [one["about"] for one in sent(yard)] == ["fired", "resolved"]


def test_a_silence_that_was_ended_does_not_come_back_with_the_cause(
    yard: Yard, fail: Fail, admin: Actor, operator: Actor
) -> None:
    rules.change(yard, "rule-failed", {"cooldown_seconds": 0}, admin)
    fail(6)
    now = utcnow()
    sweep(yard, now)
    alerting.silence(yard, open_alerts(yard)["failed"]["id"], 24 * 3600, operator)
    for minutes in (0, 65):
        for n in (61, 63, 64):
            sweep(yard, now + (minutes + n) * MINUTE)
        fail_again(yard, 65)
        sweep(yard, now + (minutes + 66) * MINUTE)
        if minutes == 0:
            alerting.unsilence(yard, open_alerts(yard)["failed"]["id"], operator)
    assert open_alerts(yard)["failed"]["status"] == "firing"


def test_a_channel_that_a_rule_names_cannot_be_deleted(yard: Yard, admin: Actor) -> None:
    channel = channels.create(yard, "ops", "json://example.com/", admin)
    rules.change(yard, "rule-failed", {"channels": [channel.id]}, admin)
    with pytest.raises(Conflict, match="Failed jobs in the last hour"):
        channels.remove(yard, channel.id, admin)
    rules.change(yard, "rule-failed", {"channels": []}, admin)
    channels.remove(yard, channel.id, admin)


def test_somebody_acknowledges_and_silences_and_a_silence_ends_by_itself(
    yard: Yard, fail: Fail, admin: Actor, operator: Actor
) -> None:
    channels.create(yard, "ops", "json://example.com/", admin)
    fail(6)
    now = utcnow()
    sweep(yard, now)
    alert = open_alerts(yard)["failed"]
    told = alerting.acknowledge(yard, alert["id"], "on it", operator)
    assert (told["status"], told["acknowledged_by"], told["note"]) == ("acknowledged", "olga", "on it")
    assert alerting.silence(yard, alert["id"], 600, operator)["status"] == "silenced"
    sweep(yard, now + 5 * MINUTE)
    assert open_alerts(yard)["failed"]["status"] == "silenced"
    sweep(yard, now + 11 * MINUTE)
    assert open_alerts(yard)["failed"]["status"] == "firing"
    assert [one["about"] for one in sent(yard)] == ["fired", "fired"]


def test_a_resolved_alert_cannot_be_acknowledged(yard: Yard, fail: Fail, operator: Actor) -> None:
    fail(6)
    now = utcnow()
    for n in (0, 61, 63):
        sweep(yard, now + n * MINUTE)
    with yard.database.read() as connection:
        (row,) = [one for one in alerts.page(connection, ["resolved"], None, 10) if one["kind"] == "failed"]
    with pytest.raises(Conflict, match="resolved"):
        alerting.acknowledge(yard, row["id"], "", operator)


def test_a_rule_can_be_changed_scoped_and_switched_off(yard: Yard, fail: Fail, admin: Actor) -> None:
    rules.change(yard, "rule-failed", {"is_enabled": False}, admin)
    mine = rules.create(yard, "failure_rate", {"threshold": 10, "scope": "samples.*"}, admin)
    other = rules.create(yard, "failure_rate", {"threshold": 10, "scope": "orders.*"}, admin)
    rules.change(yard, "rule-failure_rate", {"is_enabled": False}, admin)
    fail(12)
    sweep(yard, utcnow())
    alert = open_alerts(yard)
    assert set(alert) == {"failure_rate"}
    assert alert["failure_rate"]["rule_id"] == mine["id"]
    rules.remove(yard, other["id"], admin)
    with pytest.raises(BadInput, match="cannot be deleted"):
        rules.remove(yard, "rule-failed", admin)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"threshold": float("nan")}, "threshold"),
        ({"threshold": -1}, "threshold"),
        ({"window_seconds": 1e9}, "window_seconds"),
        ({"severity": "loud"}, "severity"),
        ({"channels": ["nowhere"]}, "channels"),
        ({"kind": "x"}, "kind"),
        ({"name": " "}, "name"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_its_field(
    yard: Yard, admin: Actor, values: dict[str, Any], field: str
) -> None:
    with pytest.raises(BadInput) as refused:
        rules.change(yard, "rule-failed", values, admin)
    assert refused.value.field == field


def test_a_message_is_sent_once_and_tried_again_until_it_is_taken(
    yard: Yard, fail: Fail, admin: Actor, httpserver: HTTPServer
) -> None:
    open_yard = replace(yard, settings=replace(yard.settings, allow_private_http=True))
    httpserver.expect_ordered_request("/hook", method="POST").respond_with_data("no", status=500)
    httpserver.expect_ordered_request("/hook", method="POST").respond_with_data("ok")
    channels.create(open_yard, "ops", httpserver.url_for("/hook").replace("http://", "json://"), admin)
    fail(6)
    sweep(open_yard, utcnow())
    (message,) = sent(open_yard)
    taken, answer = deliveries.send(open_yard, message["id"])
    assert not taken
    assert "500" in answer
    (waiting,) = sent(open_yard)
    assert (waiting["status"], waiting["tries"]) == ("pending", 1)
    assert deliveries.send(open_yard, message["id"])[1].startswith("another process")  # not due yet
    with yard.database.write() as connection:
        alerts.settle(connection, message["id"], 1, {"due_at": utcnow()})
    assert deliveries.send(open_yard, message["id"])[0]
    assert [one["status"] for one in sent(open_yard)] == ["sent"]
    assert [json.loads(request.get_data())["title"] for request, _ in httpserver.log] == [
        "6 tasks failed in last hour"
    ] * 2


def test_a_channel_that_people_made_does_not_lead_inside(yard: Yard, admin: Actor, httpserver: HTTPServer) -> None:
    lenient = replace(yard, settings=replace(yard.settings, allow_private_http=True))
    made = channels.create(lenient, "inside", httpserver.url_for("/x").replace("http://", "json://"), admin)
    taken, answer = channels.send(yard.settings, made, "t", "b", "warning")
    assert not taken
    assert "ALLOW_PRIVATE_HTTP" in answer
    assert httpserver.log == []


def test_a_rule_speaks_to_its_own_channels_only(yard: Yard, fail: Fail, admin: Actor) -> None:
    ops, _other = (channels.create(yard, name, f"json://{name}.example.com/", admin) for name in ("ops", "others"))
    rules.change(yard, "rule-failed", {"channels": [ops.id]}, admin)
    fail(6)
    sweep(yard, utcnow())
    assert [one["channel"] for one in sent(yard)] == [ops.id]


def test_a_rule_that_is_deleted_leaves_no_alert_open(yard: Yard, fail: Fail, admin: Actor) -> None:
    mine = rules.create(yard, "failure_rate", {"threshold": 10}, admin)
    channels.create(yard, "ops", "json://example.com/", admin)
    fail(12)
    sweep(yard, utcnow())
    settle_all(yard)
    rules.remove(yard, mine["id"], admin)
    with yard.database.read() as connection:
        assert mine["id"] not in {row["rule_id"] for row in alerts.open_alerts(connection)}
        about = [row["about"] for row in connection.execute(select(alerts.DELIVERIES)).mappings()]
    assert about.count("unwatched") == 1, "a channel that received the alert receives its end"


def test_an_address_that_apprise_does_not_know_is_refused(yard: Yard, admin: Actor) -> None:
    with pytest.raises(BadInput, match="ALERT_URLS"):
        channels.create(yard, "odd", "nonsense://x", admin)
    with pytest.raises(BadInput, match="does not support"):
        channels.create(yard, "odd", "slack://x", admin)
    channels.create(yard, "ops", "json://example.com/", admin)
    with pytest.raises(Conflict):
        channels.create(yard, "ops", "json://example.org/", admin)


@pytest.mark.parametrize(
    ("reset", "failed", "title"),
    [
        (1, 0, "⚠️ Alert: 1 stuck task was reset"),
        (2, 0, "⚠️ Alert: 2 stuck tasks were reset"),
        (0, 1, "1 stuck job failed"),
        (0, 2, "2 stuck jobs failed"),
        (1, 1, "2 stuck jobs: 1 reset, 1 failed"),
        (2, 1, "3 stuck jobs: 2 reset, 1 failed"),
    ],
    ids=lambda one: str(one)[:12],
)
def test_stuck_jobs_raise_an_alert_that_counts_what_was_done(yard: Yard, reset: int, failed: int, title: str) -> None:
    for retries in [1] * reset + [0] * failed:
        made = jobs.enqueue(yard, NewJob("samples.noop", max_retries=retries)).job_id
        execution.begin(yard, made, 1, "gone")
    sweep(yard, utcnow() + 20 * MINUTE)
    assert open_alerts(yard)["stuck_reset"]["title"] == title


def test_a_stuck_job_that_was_to_be_canceled_raises_no_alert(yard: Yard, operator: Actor) -> None:
    made = jobs.enqueue(yard, NewJob("samples.noop", max_retries=0)).job_id
    execution.begin(yard, made, 1, "gone")
    jobs.cancel(yard, made, operator)
    sweep(yard, utcnow() + 20 * MINUTE)
    assert "stuck_reset" not in open_alerts(yard)


def test_a_probe_that_is_slow_or_fails_raises_an_alert(yard: Yard, admin: Actor, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/up").respond_with_data("ok")
    httpserver.expect_request("/down").respond_with_data("no", status=503)
    rules.change(yard, "rule-probe", {"threshold": 0, "cooldown_seconds": 0}, admin)
    up = replace(yard, settings=replace(yard.settings, probe_url=httpserver.url_for("/up")))
    down = replace(yard, settings=replace(yard.settings, probe_url=httpserver.url_for("/down")))
    now = utcnow()
    sweep(up, now)
    assert open_alerts(yard)["probe"]["title"].startswith("API slow response: ")
    sweep(down, now + MINUTE)
    alert = open_alerts(yard)["probe"]
    assert (alert["title"], alert["detail"]) == ("The health probe failed", "it answered 503")


def test_a_database_that_nears_its_limit_raises_an_alert(yard: Yard, admin: Actor) -> None:
    rules.change(yard, "rule-database", {"threshold": 1}, admin)
    small = replace(yard, settings=replace(yard.settings, database_limit_mb=5))
    sweep(small, utcnow())
    assert open_alerts(yard)["database"]["title"].startswith("Database usage at ")


def test_a_queue_that_nobody_serves_raises_an_alert_when_that_lasts(yard: Yard) -> None:
    jobs.enqueue(yard, NewJob("samples.noop", queue="reports"))
    now = utcnow()
    for n, is_open in ((0, False), (1, False), (2, True)):
        sweep(yard, now + n * MINUTE)
        assert ("no_worker" in open_alerts(yard)) is is_open, n
    assert open_alerts(yard)["no_worker"]["title"] == "No worker listens to reports"


def test_jobs_that_run_long_or_stand_still_raise_alerts(yard: Yard) -> None:
    for _ in range(4):
        made = jobs.enqueue(yard, NewJob("samples.sleep", {"seconds": 1})).job_id
        execution.begin(yard, made, 1, "w")
        execution.end(yard, made, 1, Ending("completed", result="1"))
    slow = jobs.enqueue(yard, NewJob("samples.sleep", {"seconds": 1}, timeout_seconds=86400)).job_id
    execution.begin(yard, slow, 1, "w")
    execution.save_progress(yard, slow, 1, {"progress": 1.0})
    later = utcnow() + 10 * MINUTE
    with yard.database.write() as connection:
        worker_rows.register(connection, {"name": "w", "host": "elsewhere", "pid": 1, "queues": '["*"]', "state": "busy",
                                          "job_id": slow, "started_at": later, "heartbeat_at": later})  # fmt: skip
        rows.touch(connection, slow, 1, {"heartbeat_at": later})
    sweep(yard, later)
    told = open_alerts(yard)
    assert told["long_running"]["title"].startswith("samples.sleep has run for 10 min")
    assert told["stalled"]["title"].startswith("samples.sleep has made no progress for")


def depths(yard: Yard) -> dict[str, dict[str, Any]]:
    """Return the open alerts about the depth of queues, by what they are about."""
    with yard.database.read() as connection:
        found = [dict(row) for row in alerts.open_alerts(connection) if row["kind"] == "queue_depth"]
    return {row["cause"].removeprefix("rule-queue_depth:"): row for row in found}


def test_causes_beyond_fifty_are_counted_and_named_by_one_alert(yard: Yard, admin: Actor) -> None:
    rules.change(yard, "rule-queue_depth", {"threshold": 0, "cooldown_seconds": 0}, admin)
    jobs.enqueue_many(yard, [NewJob("samples.noop", queue=f"q{number:02}") for number in range(62)])
    now = utcnow()
    for n in range(3):
        sweep(yard, now + n * MINUTE)
    found = depths(yard)
    more = found.pop("(more)")
    assert len(found) == 50
    assert more["title"] == "Queue depth: 12 more causes"
    assert more["detail"].startswith(
        "50 alerts of this rule are open already. These have none of their own: 1 job waiting"
    )
    assert more["detail"].endswith("; and 7 more")
    assert (more["status"], more["count"], more["value"]) == ("firing", 3, 1)

    # Half of those that are open recover, and the others move up.
    kept = {*sorted(found)[:20], *({f"q{number:02}" for number in range(62)} - set(found))}
    with yard.database.write() as connection:
        for name in set(found) - kept:
            connection.execute(
                update(rows.JOBS).where(rows.JOBS.c.queue == name).values(queue="q-none", status="canceled")
            )
    for n in range(3, 8):
        sweep(yard, now + n * MINUTE)
    assert set(depths(yard)) == kept


def test_the_depth_of_taskyards_own_queues_is_watched_by_name_only(yard: Yard, admin: Actor) -> None:
    rules.change(yard, "rule-queue_depth", {"threshold": 0}, admin)
    enqueue_system(yard, NewJob("system.deliver", {"delivery_id": "none"}))
    sweep(yard, utcnow())
    assert depths(yard) == {}
    rules.change(yard, "rule-queue_depth", {"scope": "system*"}, admin)
    sweep(yard, utcnow() + MINUTE)
    assert "system-deliveries" in depths(yard)
