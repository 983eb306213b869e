"""The pages and calls of alerts: the link of a message, repetitions, zones, and rules that could never raise an alert."""

from __future__ import annotations

from typing import Any

import pytest
from alembic import command
from flask import Flask

from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.services import alerting, channels, rules
from workers.services.alert_messages import acknowledge_path
from workers.services.facts import Found
from workers.store import alerts, migrate
from workers.yard import Yard

ADA = Actor("user", "ada", "admin")
HOSTILE = "<img src=x onerror=alert(1)>"


def raise_alert(yard: Yard) -> str:
    found = Found("emails", 1500, f"1,500 jobs waiting on {HOSTILE}", "2 workers listening", "/queues/emails", HOSTILE)
    with yard.database.write() as connection:
        rule = rules.get(connection, "rule-queue_depth")
        alerting.observe(connection, yard, {rule["id"]: (rule, [found])}, utcnow())
        (row,) = alerts.open_alerts_of(connection, rule["id"])
    return str(row["id"])


def state(yard: Yard, alert_id: str) -> tuple[str, Any]:
    with yard.database.read() as connection:
        row = alerting.get(connection, alert_id)
    return row["status"], row["acknowledged_at"]


def test_the_link_of_a_message_leads_through_sign_in_and_changes_nothing(
    app: Flask, auth: Any, light_yard: Yard
) -> None:
    alert_id = raise_alert(light_yard)
    path = acknowledge_path(alert_id).partition("#")[0]
    asked = app.test_client().get(path, headers={"Accept": "text/html"})
    assert asked.status_code == 302
    assert asked.headers["Location"].startswith("/sign-in?next=")
    page = auth.client("olga").get(path)
    assert 'id="acknowledge"' in page.text
    assert f'action="/alerts/{alert_id}/acknowledgements"' in page.text
    assert HOSTILE not in page.text
    assert state(light_yard, alert_id) == ("firing", None)
    assert 'id="acknowledge"' not in auth.client("vera").get(path).text


@pytest.mark.parametrize("method", ["get", "head"])
def test_no_reading_request_acknowledges(auth: Any, light_yard: Yard, method: str) -> None:
    alert_id = raise_alert(light_yard)
    answer = getattr(auth.client("olga"), method)(f"/alerts/{alert_id}/acknowledgements")
    assert answer.status_code in {404, 405}
    assert state(light_yard, alert_id) == ("firing", None)


def test_a_message_without_an_answer_is_shown_as_such(auth: Any, light_yard: Yard) -> None:
    channels.create(light_yard, "ops", "json://example.com/", ADA)
    alert_id = raise_alert(light_yard)
    with light_yard.database.write() as connection:
        connection.exec_driver_sql("UPDATE alert_deliveries SET status = 'unconfirmed', tries = 1, answer = 'late'")
    assert "Unconfirmed" in auth.client("vera").get(f"/alerts/{alert_id}").text
    assert "no answer" in auth.client("vera").get("/alerts").text


def form(**changes: str) -> dict[str, str]:
    whole = {"name": "Depth", "threshold": "10", "severity": "warning", "cooldown_seconds": "10", "repeat_seconds": "0"}
    return {**whole, "scope": "", "is_enabled": "on", **changes}


def post(auth: Any, client: Any, path: str, values: dict[str, str]) -> Any:
    return client.post(path, data={"csrf_token": auth.csrf(client), **values})


def test_the_form_of_a_rule_sets_how_often_it_is_repeated(auth: Any, light_yard: Yard) -> None:
    client = auth.client("ada")
    assert 'name="repeat_seconds"' in client.get("/alert-rules/rule-queue_depth").text
    assert post(auth, client, "/alert-rules/rule-queue_depth", form(repeat_seconds="3600")).status_code == 303
    with light_yard.database.read() as connection:
        assert rules.get(connection, "rule-queue_depth")["repeat_seconds"] == 3600
    assert "repeated every 1 h" in client.get("/alerts").text


@pytest.mark.parametrize(
    ("rule", "changes", "reason"),
    [
        ("rule-cpu", {"threshold": "101", "window_seconds": "60"}, "never above 100 %"),
        ("rule-failed", {"window_seconds": "30"}, "between two sweeps"),
        ("rule-queue_depth", {"repeat_seconds": "5"}, "at most every"),
        ("rule-queue_depth", {"repeat_seconds": "soon"}, "must be a number"),
        ("rule-schedule_refused", {"threshold": "1000000000000"}, "with the value 1 schedule"),
        ("rule-queue_depth", {"scope": "[!a"}, "Close the bracket"),
    ],
)
def test_a_rule_that_could_never_raise_an_alert_is_shown_again_with_the_reason(
    auth: Any, rule: str, changes: dict[str, str], reason: str
) -> None:
    answer = post(auth, auth.client("ada"), f"/alert-rules/{rule}", form(**changes))
    assert answer.status_code == 422
    assert reason in answer.text


def test_a_rule_says_that_its_channel_is_gone_and_where_its_alerts_go(auth: Any, light_yard: Yard) -> None:
    channels.create(light_yard, "ops", "json://example.com/", ADA)
    with light_yard.database.write() as connection:
        alerts.change_rule(connection, "rule-queue_depth", {"channels": '["env-2"]'})
    words = "ALERT_URLS 2 is no longer set. Its alerts go to all channels."
    for path in ("/alerts", "/alert-rules/rule-queue_depth"):
        assert words in auth.client("ada").get(path).text


def test_the_page_says_why_an_alert_was_closed(auth: Any, light_yard: Yard) -> None:
    alert_id = raise_alert(light_yard)
    rules.change(light_yard, "rule-queue_depth", {"is_enabled": False}, ADA)
    for path in ("/alerts?tab=resolved", f"/alerts/{alert_id}"):
        page = auth.client("vera").get(path).text
        assert "No longer watched" in page
        assert "was disabled by ada." in page
        assert "by itself" not in page


def test_rules_for_which_nothing_is_measured_say_so(auth: Any) -> None:
    page = auth.client("ada").get("/alerts").text
    assert "PROBE_URL is not set" in page
    assert "DATABASE_LIMIT_MB is not set" in page
    assert "PROBE_URL is not set" in auth.client("ada").get("/alert-rules/rule-probe").text


def test_repetitions_and_zones_are_set_over_the_api(app: Flask, auth: Any) -> None:
    client, header = app.test_client(), auth.token("admin")
    made = client.post("/api/v1/alert-rules", json={"kind": "failed", "repeat_seconds": 900}, headers=header)
    assert (made.status_code, made.json["repeat_seconds"]) == (201, 900)
    for value in (-1, 5, 1e9, "x", float(604801)):
        answer = client.patch(made.headers["Location"], json={"repeat_seconds": value}, headers=header)
        assert answer.status_code == 422, value
        assert answer.json["errors"][0]["field"] == "repeat_seconds"
    url = "json://example.com/"
    new = client.post(
        "/api/v1/alert-channels", json={"name": "a", "url": url, "timezone": "Asia/Tokyo"}, headers=header
    )
    assert (new.status_code, new.json["timezone"]) == (201, "Asia/Tokyo")
    for zone in ("Mars/Olympus", "x" * 65, 5, "\x00"):
        wrong = client.post("/api/v1/alert-channels", json={"name": "b", "url": url, "timezone": zone}, headers=header)
        assert wrong.status_code == 422, zone
        assert wrong.json["errors"][0]["field"] == "timezone"
    assert [one["name"] for one in client.get("/api/v1/alert-channels", headers=header).json["alert_channels"]] == ["a"]


def test_a_zone_is_given_in_the_form_of_a_channel(auth: Any, light_yard: Yard) -> None:
    client = auth.client("ada")
    post(auth, client, "/alert-channels", {"name": "ops", "url": "json://example.com/", "timezone": "Europe/Berlin"})
    assert "Europe/Berlin" in client.get("/alerts").text
    wrong = post(auth, client, "/alert-channels", {"name": "b", "url": "json://example.com/", "timezone": HOSTILE})
    assert wrong.status_code == 422
    assert HOSTILE not in wrong.text


def test_the_upgrade_repeats_critical_rules_and_does_not_repeat_open_alerts_at_once(yard: Yard) -> None:
    alert_id = raise_alert(yard)
    with yard.database.write() as connection:
        command.downgrade(migrate._config(connection), "0008")
    migrate.migrate(yard.database)
    with yard.database.read() as connection:
        told = {row["severity"]: row["repeat_seconds"] for row in alerts.rules(connection)}
        row = alerting.get(connection, alert_id)
    assert told == {"critical": 14400, "warning": 0}
    assert (row["notified_at"], row["notified_value"]) == (row["last_at"], 1500)
