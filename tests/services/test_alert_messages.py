"""What a message of an alert says: everything that somebody who is woken by it needs, and no secret."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from workers.domain.actors import Actor
from workers.domain.alarms import KINDS, said
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput, SettingsError
from workers.domain.plurals import counted, plural
from workers.services import alerting, channels, conditions, deliveries, execution, jobs, monitoring, rules
from workers.services.alert_messages import ENDED, FIRED, REPEATED, WORSENED, Message, compose
from workers.services.enqueueing import NewJob
from workers.services.facts import Facts, Found
from workers.settings import Settings
from workers.store import alerts
from workers.store import jobs as rows
from workers.yard import Yard

ADA = Actor("user", "ada", "admin")
START = datetime(2026, 7, 1, 1, 0, tzinfo=UTC)
SITE = Settings(site_name="Shop", public_url="https://jobs.example.org/yard/")
ALERT: dict[str, Any] = {
    "id": "0197c0de-0000-7000-8000-000000000001",
    "kind": "queue_depth",
    "title": "1,500 jobs waiting on emails",
    "detail": "2 workers listening",
    "link": "/queues/emails",
    "host": "web-1",
    "value": 1500.0,
    "threshold": 1000.0,
    "severity": "warning",
    "first_at": START,
}


def lines(message: Message) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in message.body.splitlines() if ": " in line)


def test_it_names_everything_that_a_person_needs() -> None:
    message = compose(SITE, ALERT, FIRED, "Europe/Berlin", START + timedelta(minutes=12))
    assert message.title == "[Shop] 1,500 jobs waiting on emails"
    assert message.body.splitlines()[0] == "2 workers listening"
    assert lines(message) == {
        "Value": "1,500 jobs (limit: more than 1,000 jobs)",
        "Severity": "warning",
        "Since": "2026-07-01 03:00:00 CEST (12 min)",
        "Host": "web-1",
        "Queue": "https://jobs.example.org/yard/queues/emails",
        "First step": KINDS["queue_depth"].remedy,
        "Acknowledge or silence": f"https://jobs.example.org/yard/alerts/{ALERT['id']}#acknowledge",
        "Installation": "Shop, https://jobs.example.org/yard/",
    }


@pytest.mark.parametrize(
    ("about", "title"),
    [
        (FIRED, "1,500 jobs waiting on emails"),
        (REPEATED, "Still open after 4 h: 1,500 jobs waiting on emails"),
        (WORSENED, "Worse: 1,500 jobs waiting on emails"),
        (ENDED, "Resolved: 1,500 jobs waiting on emails"),
    ],
)
def test_a_title_says_what_has_happened(about: str, title: str) -> None:
    assert compose(Settings(), ALERT, about, "UTC", START + timedelta(hours=4)).title == title


def test_a_resolution_says_when_and_asks_for_nothing() -> None:
    message = lines(compose(SITE, ALERT, ENDED, "Asia/Kathmandu", START + timedelta(hours=1)))
    assert (message["Since"], message["Resolved"]) == (
        "2026-07-01 06:45:00 +0545 (1 h)",
        "2026-07-01 07:45:00 +0545",
    )
    assert not {"First step", "Acknowledge or silence"} & set(message)


def test_without_an_address_it_names_the_paths() -> None:
    message = lines(compose(Settings(), ALERT, FIRED, "UTC", START))
    assert (message["Queue"], message["Installation"]) == ("/queues/emails", "Taskyard")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("about", [FIRED, REPEATED, WORSENED, ENDED])
def test_every_kind_has_a_whole_message(kind: str, about: str) -> None:
    message = compose(SITE, {**ALERT, "kind": kind}, about, "UTC", START)
    assert {"Value", "Severity", "Since", "Host", "Installation"} <= set(lines(message))
    assert len(KINDS[kind].remedy) > 20


@pytest.mark.parametrize("n", [0, 1, 2, 1000, 1_000_000])
@pytest.mark.parametrize("unit", sorted({kind.unit for kind in KINDS.values()}))
def test_a_value_agrees_with_its_noun(n: int, unit: str) -> None:
    shown = said(n, unit)
    if found := re.fullmatch(r"([\d,]+) ([a-z ]*(?:job|fire|sweep))(s?)", shown):
        assert (found[1] == "1") == (found[3] == ""), shown


@pytest.mark.parametrize(
    ("n", "shown"), [(0, "0 jobs"), (1, "1 job"), (2, "2 jobs"), (12431, "12,431 jobs"), (1.0, "1 job"), (1.4, "1 job")]
)
def test_a_noun_agrees_with_the_number_as_it_is_written(n: float, shown: str) -> None:
    assert counted(n, "job") == shown
    assert plural(n, "is", "are") == ("is" if shown == "1 job" else "are")


def facts_with(n: int) -> Facts:
    queue = {"waiting": n, "workers": n, "is_paused": False, "oldest_seconds": 9999.0}
    row = {"id": "a", "name": "nightly", "missed": n}
    return Facts(
        Settings(),
        START,
        {"queues": {"emails": {**queue}}, "probe_ms": 5000.0},
        reset=n,
        failed=0,
        ended={3600.0: {"reports.daily": {"completed": 0, "failed": n}}},
        missed={3600.0: [row]},
    )


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("failed", [False, True], ids=["reset", "failed"])
def test_no_finding_counts_one_as_many(n: int, failed: bool) -> None:
    facts = facts_with(n)
    if failed:
        facts.reset, facts.failed = 0, n
    for kind in KINDS.values():
        rule = {"kind": kind.name, "threshold": 0, "window_seconds": kind.window_seconds, "scope": ""}
        for found in conditions.find(rule, facts):
            words = f"{found.title} {found.detail}"
            assert not re.search(r"\b1 (jobs|tasks|workers|fires|schedules|were|are|have)\b", words), words
            assert not re.search(r"\b[02-9] (job|task|worker|fire|schedule)\b", words), words


def test_links_hold_no_spaces_or_markup_whatever_a_name_is() -> None:
    link = "/jobs?status=failed&task=a b<c>\"'\n&since=1h"
    shown = lines(compose(SITE, {**ALERT, "link": link}, FIRED, "UTC", START))["Jobs"]
    assert not re.search(r"[\s<>\"']", shown)


def test_a_message_holds_no_secret(yard: Yard) -> None:
    channels.create(yard, "ops", "json://example.com/", ADA)
    found = Found(
        "x", 9, "password=hunter2 in the title", "token=abcdefghijklmnop1234567890 Bearer abc.def.ghi", "/stuck"
    )
    with yard.database.write() as connection:
        rule = rules.get(connection, "rule-stuck_reset")
        alerting.observe(connection, yard, {rule["id"]: (rule, [found])}, START)
        (alert,) = alerts.open_alerts_of(connection, rule["id"])
        (sent,) = alerts.deliveries(connection, [alert["id"]])[alert["id"]]
    assert "hunter2" not in sent["title"] + sent["body"]
    assert "abcdefghijklmnop1234567890" not in sent["body"]


def test_times_are_in_the_zone_of_the_channel_or_of_the_installation(yard: Yard) -> None:
    at_home = replace(yard, settings=replace(yard.settings, timezone="America/New_York"))
    channels.create(yard, "away", "json://example.com/", ADA, "Asia/Tokyo")
    channels.create(yard, "home", "json://example.org/", ADA)
    with yard.database.write() as connection:
        rule = rules.get(connection, "rule-stuck_reset")
        alerting.observe(connection, at_home, {rule["id"]: (rule, [Found("x", 9, "t", "d")])}, START)
        (alert,) = alerts.open_alerts_of(connection, rule["id"])
        bodies = {row["channel"]: row["body"] for row in alerts.deliveries(connection, [alert["id"]])[alert["id"]]}
        names = {one.name: one.id for one in channels.every(connection, yard.settings)}
    assert "Since: 2026-07-01 10:00:00 JST" in bodies[names["away"]]
    assert "Since: 2026-06-30 21:00:00 EDT" in bodies[names["home"]]


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../UTC", "utc+25", "x" * 65, 5], ids=lambda one: str(one)[:12])
def test_a_zone_that_there_is_not_is_refused(yard: Yard, zone: Any) -> None:
    with pytest.raises(BadInput) as refused:
        channels.create(yard, "ops", "json://example.com/", ADA, zone)
    assert refused.value.field == "timezone"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SITE_NAME", "x" * 61),
        ("SITE_NAME", "a\nb"),
        ("PUBLIC_URL", "jobs.example.org"),
        ("PUBLIC_URL", "ftp://jobs.example.org"),
        ("PUBLIC_URL", "https://user:pw@jobs.example.org"),
        ("PUBLIC_URL", "https://jobs.example.org/?a=1"),
        ("PUBLIC_URL", "https://jobs.example.org/#x"),
        ("PUBLIC_URL", "https://jobs.example.org:99999"),
        ("PUBLIC_URL", "https://"),
        ("PUBLIC_URL", 'https://jobs.example.org/"onclick'),
        ("TIMEZONE", "Mars/Olympus"),
    ],
)
def test_a_setting_of_the_site_that_cannot_be_used_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_env({name: value})


def test_stuck_jobs_arrive_at_a_real_counterpart_with_their_counts(light_yard: Yard, httpserver: HTTPServer) -> None:
    settings = replace(light_yard.settings, allow_private_http=True, site_name="Shop", public_url="https://j.example")
    yard = replace(light_yard, settings=settings)
    httpserver.expect_request("/hook", method="POST").respond_with_data("ok")
    channel = channels.create(yard, "ops", httpserver.url_for("/hook").replace("http://", "json://"), ADA)
    rules.change(yard, "rule-stuck_reset", {"channels": [channel.id]}, ADA)
    for retries in (1, 0):
        made = jobs.enqueue(yard, NewJob("samples.noop", max_retries=retries)).job_id
        execution.begin(yard, made, 1, "gone")
        with yard.database.write() as connection:
            rows.touch(connection, made, 1, {"heartbeat_at": utcnow() - timedelta(minutes=20)})
    monitoring.sweep(yard)
    with yard.database.read() as connection:
        (alert,) = alerts.open_alerts_of(connection, "rule-stuck_reset")
        (message,) = alerts.deliveries(connection, [alert["id"]])[alert["id"]]
    assert deliveries.send(yard, message["id"])[0]
    (request, _), *_ = httpserver.log
    told = json.loads(request.get_data())
    assert told["title"] == "[Shop] 2 stuck jobs: 1 reset, 1 failed"
    assert f"Host: {socket.gethostname()}" in told["message"]
    assert f"Acknowledge or silence: https://j.example/alerts/{alert['id']}#acknowledge" in told["message"]
