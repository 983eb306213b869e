"""Open alerts are repeated at their rule's interval and when they get clearly worse, unless somebody looks after them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from sqlalchemy import select, update

from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.services import alerting, channels, rules
from workers.services.facts import Found
from workers.store import alerts
from workers.yard import Yard

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def now() -> Iterator[datetime]:
    start = utcnow().replace(microsecond=0)
    with time_machine.travel(start, tick=True):
        yield start


@pytest.fixture
def admin() -> Actor:
    return Actor("user", "ada", "admin")


@pytest.fixture
def ops(yard: Yard, admin: Actor) -> str:
    return channels.create(yard, "ops", "json://example.com/", admin).id


def see(yard: Yard, value: float, at: datetime, rule_id: str = "rule-queue_depth") -> dict[str, Any]:
    """Let a sweep find this value; the alert as it is then."""
    found = Found("emails", value, f"{value:.0f} jobs waiting on emails", "", "/queues/emails")
    with yard.database.write() as connection:
        rule = rules.get(connection, rule_id)
        alerting.observe(connection, yard, {rule_id: (rule, [found])}, at)
    with yard.database.read() as connection:
        (row,) = alerts.open_alerts_of(connection, rule_id)
    return dict(row)


def messages(yard: Yard) -> list[str]:
    with yard.database.read() as connection:
        chosen = select(alerts.DELIVERIES.c.about).order_by(alerts.DELIVERIES.c.id)
        return list(connection.execute(chosen).scalars())


def settle(yard: Yard) -> None:
    with yard.database.write() as connection:
        connection.execute(update(alerts.DELIVERIES).values(status="sent"))


def test_critical_rules_repeat_every_four_hours_and_others_never_until_somebody_sets_it(
    yard: Yard, admin: Actor
) -> None:
    with yard.database.read() as connection:
        told = {row["severity"]: row["repeat_seconds"] for row in alerts.rules(connection)}
    assert told == {"critical": 14400, "warning": 0}
    made = rules.create(yard, "queue_depth", {"severity": "critical"}, admin)
    assert made["repeat_seconds"] == 14400
    assert rules.create(yard, "failed", {"severity": "info"}, admin)["repeat_seconds"] == 0
    assert rules.create(yard, "failed", {"repeat_seconds": 600}, admin)["repeat_seconds"] == 600


def test_an_open_alert_is_repeated_an_interval_after_its_last_message(
    yard: Yard, admin: Actor, ops: str, now: datetime
) -> None:
    rules.change(yard, "rule-queue_depth", {"repeat_seconds": 3600}, admin)
    for minutes, count in ((0, 1), (1, 1), (59, 1), (60, 2), (61, 2), (119, 2), (121, 3), (180, 3), (181, 4)):
        see(yard, 1500, now + minutes * MINUTE)
        settle(yard)
        assert len(messages(yard)) == count, minutes
    assert messages(yard) == ["fired", "repeated", "repeated", "repeated"]


def test_without_an_interval_it_is_sent_once(yard: Yard, ops: str, now: datetime) -> None:
    for hours in (0, 1, 24, 24 * 30):
        see(yard, 1500, now + hours * HOUR)
    assert messages(yard) == ["fired"]


@pytest.mark.parametrize("state", ["acknowledged", "silenced"])
def test_an_alert_that_somebody_looks_after_is_neither_repeated_nor_sent_for_getting_worse(
    yard: Yard, admin: Actor, operator: Actor, ops: str, now: datetime, state: str
) -> None:
    rules.change(yard, "rule-queue_depth", {"repeat_seconds": 3600}, admin)
    alert = see(yard, 1500, now)
    settle(yard)
    if state == "acknowledged":
        alerting.acknowledge(yard, alert["id"], "", operator)
    else:
        alerting.silence(yard, alert["id"], 30 * 86400, operator)
    for hours in (2, 9, 100):
        see(yard, 1500 * hours, now + hours * HOUR)
    rules.change(yard, "rule-queue_depth", {"severity": "critical"}, admin)
    see(yard, 1e6, now + 101 * HOUR)
    assert messages(yard) == ["fired"]


def test_what_has_doubled_since_the_last_message_is_sent_again(yard: Yard, ops: str, now: datetime) -> None:
    sent = []
    for minute, value in enumerate([1500, 2000, 2999, 3000, 3500, 5999, 6000, 1001, 4000, 12000]):
        see(yard, value, now + minute * MINUTE)
        settle(yard)
        sent.append(len(messages(yard)))
    assert sent == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4]
    assert messages(yard) == ["fired", "worsened", "worsened", "worsened"]


def test_a_value_that_is_an_age_is_not_sent_whenever_it_doubles(yard: Yard, ops: str, now: datetime) -> None:
    # It grows while nothing changes: 5 s, 10 s, 20 s … would be a message at each of the first sweeps.
    for minute in range(9):
        see(yard, 5 + 60 * minute, now + minute * MINUTE, "rule-schedule_unfinished")
    assert messages(yard) == ["fired"]
    see(yard, 605, now + 10 * MINUTE, "rule-schedule_unfinished")
    assert messages(yard) == ["fired", "worsened"]


def test_a_severity_that_rises_is_sent_and_one_that_falls_is_not(
    yard: Yard, admin: Actor, ops: str, now: datetime
) -> None:
    see(yard, 1500, now)
    for minute, (severity, count) in enumerate([("info", 1), ("warning", 2), ("critical", 3), ("warning", 3)], 1):
        settle(yard)
        rules.change(yard, "rule-queue_depth", {"severity": severity, "repeat_seconds": 0}, admin)
        see(yard, 1500, now + minute * MINUTE)
        assert len(messages(yard)) == count, severity


def test_a_repetition_replaces_a_message_that_still_waits(yard: Yard, admin: Actor, ops: str, now: datetime) -> None:
    rules.change(yard, "rule-queue_depth", {"repeat_seconds": 3600}, admin)
    alert = see(yard, 1500, now)
    see(yard, 1500, now + HOUR)
    with yard.database.read() as connection:
        told = [(row["about"], row["status"]) for row in alerts.deliveries(connection, [alert["id"]])[alert["id"]]]
    assert told == [("fired", "canceled"), ("repeated", "pending")]


def test_what_waits_to_be_repeated_is_withdrawn_when_somebody_acknowledges(
    yard: Yard, admin: Actor, operator: Actor, ops: str, now: datetime
) -> None:
    rules.change(yard, "rule-queue_depth", {"repeat_seconds": 3600}, admin)
    alert = see(yard, 1500, now)
    settle(yard)
    see(yard, 1500, now + HOUR)
    alerting.acknowledge(yard, alert["id"], "", operator)
    with yard.database.read() as connection:
        told = [(row["about"], row["status"]) for row in alerts.deliveries(connection, [alert["id"]])[alert["id"]]]
    assert told == [("fired", "sent"), ("repeated", "canceled")]


def test_the_end_goes_to_a_channel_that_has_only_received_the_repetition(
    yard: Yard, admin: Actor, now: datetime
) -> None:
    rules.change(yard, "rule-queue_depth", {"repeat_seconds": 3600}, admin)
    see(yard, 1500, now)
    late = channels.create(yard, "late", "json://example.com/", admin)
    see(yard, 1500, now + HOUR)
    settle(yard)
    with yard.database.write() as connection:
        rule = rules.get(connection, "rule-queue_depth")
        for minutes in (61, 64):
            alerting.observe(connection, yard, {rule["id"]: (rule, [])}, now + minutes * MINUTE)
        chosen = select(alerts.DELIVERIES.c.channel).where(alerts.DELIVERIES.c.about == "resolved")
        assert list(connection.execute(chosen).scalars()) == [late.id]


def test_many_monitors_at_once_repeat_it_once(yard: Yard, admin: Actor, ops: str, now: datetime) -> None:
    rules.change(yard, "rule-queue_depth", {"repeat_seconds": 3600}, admin)
    see(yard, 1500, now)
    settle(yard)
    with ThreadPoolExecutor(6) as monitors:
        list(monitors.map(lambda _: see(yard, 1500, now + HOUR), range(6)))
    assert messages(yard) == ["fired", "repeated"]


def test_a_monitor_that_has_read_the_alert_before_another_repeated_it_does_not_repeat_it(
    yard: Yard, admin: Actor, ops: str, now: datetime
) -> None:
    alert = see(yard, 1500, now)
    with yard.database.write() as connection:
        assert alerts.claim_notice(connection, alert, now + HOUR)
        assert not alerts.claim_notice(connection, alert, now + HOUR)


def test_a_repetition_survives_a_restart(yard: Yard, admin: Actor, ops: str, now: datetime) -> None:
    rules.change(yard, "rule-queue_depth", {"repeat_seconds": 3600}, admin)
    see(yard, 1500, now)
    settle(yard)
    again = Yard.open(yard.settings)
    see(again, 1500, now + 59 * MINUTE)
    assert messages(yard) == ["fired"]
    see(again, 1500, now + 60 * MINUTE)
    assert messages(yard) == ["fired", "repeated"]
    again.close()


def test_an_alert_that_was_silenced_from_its_start_is_sent_when_the_silence_is_ended(
    yard: Yard, admin: Actor, operator: Actor, ops: str, now: datetime
) -> None:
    rules.change(yard, "rule-queue_depth", {"cooldown_seconds": 0}, admin)
    alert = see(yard, 1500, now)
    settle(yard)
    alerting.silence(yard, alert["id"], 86400, operator)
    with yard.database.write() as connection:
        rule = rules.get(connection, "rule-queue_depth")
        for minutes in (1, 4):
            alerting.observe(connection, yard, {rule["id"]: (rule, [])}, now + minutes * MINUTE)
    again = see(yard, 1500, now + 5 * MINUTE)
    assert (again["status"], messages(yard)) == ("silenced", ["fired"])
    alerting.unsilence(yard, again["id"], operator)
    see(yard, 1500, now + 6 * MINUTE)
    assert messages(yard) == ["fired", "fired"]
