"""Secrets planted in a real Taskyard: no page, call, export, live message, log, dump or process says any of them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask

from dashboard.live import NAMESPACE, socketio
from tests.conftest import running_worker
from tests.support import eventually
from workers import loading, registry
from workers.domain.actors import Actor
from workers.services import alerting, bulk_actions, conditions, hearing, jobs, publishing, schedules, triggers
from workers.services.enqueueing import NewJob
from workers.store import alerts
from workers.yard import Yard

OLGA = Actor("user", "olga", "operator")
KEY, PHRASE, NOTE, DSN, HEADER = (
    "Kx9-hunter2-Qz",
    "correct horse 7 staple",
    "n0te-pa55word",
    "dsn/pa55@word",
    "Abc.header-77",
)
CALLBACK = "cb-pa55word-9"
SECRETS = (KEY, PHRASE, NOTE, "pa55@word", "pa55%40word", HEADER, CALLBACK)
PAYLOAD = {
    "api_key": KEY,
    "phrase": PHRASE,
    "note": f'password = "{NOTE}"',
    "dsn": f"postgres://user:{DSN}@db.example/x",
    "headers": [{"name": "Authorization", "value": HEADER}],
}
ENDED = ("completed", "failed")
ROOMS = ["overview", "jobs", "queues", "alerts", "schedules", "triggers", "channel:news"]


@dataclass
class Planted:
    """What was planted, by the name of the argument that leads there."""

    ids: dict[str, list[str]]
    heard: list[Any]
    raw: list[bytes]


@pytest.fixture
def planted(app: Flask, light_yard: Yard, auth: Any) -> Iterator[Planted]:
    yard = light_yard
    loading.load_modules(("tests.security.leaking_tasks",))
    publishing.publish(yard, registry.REGISTRY)
    live = socketio.test_client(app, namespace=NAMESPACE, flask_test_client=auth.client("vera"))
    raw_channel = yard.redis.pubsub(ignore_subscribe_messages=True)
    raw_channel.subscribe(yard.redis.names.live)
    trigger = make_trigger(yard)
    schedule = make_schedule(yard)
    made = {name: enqueue(yard, f"tests.security.leaking_tasks.{name}") for name in ("fails", "completes", "skips")}
    live.emit("watch", {"rooms": [*ROOMS, *(f"job:{one}" for one in made.values())]}, namespace=NAMESPACE)
    with running_worker(yard, TASK_MODULES="tests.security.leaking_tasks"):
        for job_id in made.values():
            eventually(lambda job_id=job_id: has_ended(yard, job_id), within=40)
    hearing.hear(yard)
    jobs.retry(yard, made["fails"], OLGA, {**PAYLOAD, "api_key": f"{KEY}2"})
    jobs.cancel(yard, made["fails"], OLGA)
    action = bulk_actions.create(yard, "delete", job_filter(), None, OLGA)
    alert = raise_alert(yard)
    ids = {
        "job_id": list(made.values()),
        "schedule_id": [schedule],
        "trigger_id": [trigger],
        "alert_id": [alert],
        "rule_id": ["rule-stalled"],
        "action_id": [action["id"]],
        "name": ["default", "tests.security.leaking_tasks.fails", "report.json"],
        "index": ["0"],
        "filename": ["js/main.js"],
    }
    raw_channel.get_message(timeout=1)  # that the subscription began
    raw: list[bytes] = []
    while (message := raw_channel.get_message(timeout=0.5)) is not None:
        raw.append(message["data"])
    yield Planted(ids, live.get_received(NAMESPACE), raw)
    raw_channel.close()
    live.disconnect(NAMESPACE)


def enqueue(yard: Yard, task: str) -> str:
    url = f"https://callback.example/hooks/{CALLBACK}aB3dE5gH7jK9mN1/x?token={CALLBACK}"
    return jobs.enqueue(yard, NewJob(task, PAYLOAD, callback_url=url, created_by="olga")).job_id


def has_ended(yard: Yard, job_id: str) -> None:
    with yard.database.read() as connection:
        assert jobs.get(connection, job_id)["status"] in ENDED


def job_filter() -> Any:
    from workers.domain.filters import JobFilter

    return JobFilter.from_args({"q": "nothing-like-this"})


def make_trigger(yard: Yard) -> str:
    """Make a trigger that keeps secrets, fires on what the tasks tell and on failed jobs, and is changed twice."""
    values = {
        "name": "leaks",
        "listens": "leak.*",
        "task": "tests.security.leaking_tasks.skips",
        "payload": PAYLOAD,
        "conditions": {"payload.api_key": KEY},
        "cap_per_hour": 10,
    }
    row = triggers.create(yard, values, OLGA)
    everything = {
        **values,
        "name": "hears failures",
        "listens": "job.failed",
        "conditions": {},
        "payload": {**PAYLOAD, "api_key": "$.job.payload.api_key"},
    }
    heard = triggers.create(yard, everything, OLGA)
    triggers.change(yard, heard["id"], {"payload": {**PAYLOAD, "note": f"token: {KEY}"}}, OLGA)
    triggers.change(yard, row["id"], {"payload": {**PAYLOAD, "api_key": f"{KEY}3"}}, OLGA)
    return str(heard["id"])


def make_schedule(yard: Yard) -> str:
    values = {"name": "leaks", "task": "tests.security.leaking_tasks.fails", "payload": PAYLOAD, "cron": "0 6 * * *"}
    row = schedules.create(yard, values, OLGA)
    schedules.change(yard, row["id"], {"payload": {**PAYLOAD, "api_key": f"{KEY}4"}}, OLGA)
    return str(row["id"])


def raise_alert(yard: Yard) -> str:
    """Raise an alert whose words hold secrets, as a probe's error or a job's message may."""
    from workers.domain.clock import utcnow

    with yard.database.write() as connection:
        rule = alerts.rule(connection, "rule-stalled")
        assert rule is not None
        found = conditions.Found("x", 1.0, f"stalled: token={KEY}", f"{PAYLOAD['note']} {PAYLOAD['dsn']}")
        (row,) = alerting.observe(connection, yard, {rule["id"]: (rule, [found])}, utcnow())
    alerting.tell(yard, [row])
    return str(row["id"])


def told(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


def addresses(app: Flask, ids: dict[str, list[str]]) -> Iterator[str]:
    """Write every address that answers GET, with every argument that was planted, and the queries that change what it shows."""
    adapter = app.url_map.bind("localhost")
    for rule in app.url_map.iter_rules():
        if "GET" not in (rule.methods or ()) or rule.endpoint == "static":
            continue
        choices = [{}]
        for argument in sorted(rule.arguments):
            choices = [{**one, argument: value} for one in choices for value in ids[argument]]
        for values in choices:
            path = adapter.build(rule.endpoint, values)
            yield path
            yield from (f"{path}?{query}" for query in QUERIES.get(rule.endpoint, ()))


QUERIES = {
    "job.page": [f"tab={tab}" for tab in ("payload", "result", "error", "logs", "attempts", "events")],
    "jobs.page": ["limit=200", "status=failed", "q=leaking"],
    "jobs.export": ["format=csv", "format=ndjson"],
    "jobs_api.page": ["limit=200"],
    "bulk_actions.preview": ["action=delete", "action=retry"],
    "schedule_form.new": [],
    "alerts.page": ["tab=open"],
    "palette.find": ["q=leak"],
    "schedules.page": ["q=leak"],
}


def test_no_page_and_no_call_shows_a_planted_secret(
    app: Flask, auth: Any, planted: Planted, capfd: pytest.CaptureFixture[str]
) -> None:
    copies = [f"/schedules/new?from={planted.ids['schedule_id'][0]}"]
    for person in ("vera", "olga", "ada"):
        client = auth.client(person)
        leaks, shown, masked = [], 0, 0
        for path in [*addresses(app, planted.ids), *copies]:
            answer = client.get(path)
            text = answer.get_data(as_text=True)
            shown += answer.status_code == 200
            masked += "••••••" in text or "\\u2022" in text
            leaks += [(path, secret) for secret in told(text)]
            assert answer.status_code < 500, path
        assert leaks == []
        assert shown > 60
        assert masked > 20
    captured = capfd.readouterr()
    assert told(captured.out + captured.err) == []


def test_no_live_message_tells_one(planted: Planted) -> None:
    kinds = {one["name"] for one in planted.heard}
    assert {"progress", "log", "published", "changed"} <= kinds
    assert told(repr(planted.heard)) == []
    assert len(planted.raw) > 5
    assert told(b"\n".join(planted.raw).decode()) == []


def test_redis_holds_none(planted: Planted, light_yard: Yard) -> None:
    dump = [light_yard.redis.dump(name) or b"" for name in light_yard.redis.scan_iter()]
    assert dump
    assert [secret for secret in SECRETS if secret.encode() in b"".join(dump)] == []


def test_the_words_of_jobs_are_stored_masked(planted: Planted, light_yard: Yard) -> None:
    """Whatever reads SQL, be it a search, a backup or a query by hand, finds secrets in payloads alone."""
    from sqlalchemy import text

    with light_yard.database.read() as connection:
        for table in ("attempts", "job_logs", "job_events", "audit", "trigger_firings", "alerts", "alert_deliveries"):
            rows = connection.execute(text(f"SELECT * FROM {table}")).all()
            assert told(repr(rows)) == [], table
        words = "error, traceback, message, step, skipped_reason, search_text"
        rows = connection.execute(text(f"SELECT {words} FROM jobs")).all()
        assert told(repr(rows)) == []


def test_a_result_keeps_its_data_and_masks_what_the_task_declares(
    auth: Any, app: Flask, planted: Planted, light_yard: Yard
) -> None:
    result = (
        app.test_client().get(f"/api/v1/jobs/{planted.ids['job_id'][1]}", headers=auth.token("viewer")).json["result"]
    )
    assert (result["nTokens"], result["pin"]) == (512, "1234")
    assert result["phrase"] == result["rows"][0]["phrase"] == "••••••"


def test_the_command_line_tells_none(planted: Planted, light_yard: Yard) -> None:
    import os
    import sys

    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "DATA_DIR": str(light_yard.settings.data_dir),
        "DATABASE_URL": light_yard.settings.database_url,
        "REDIS_URL": light_yard.settings.effective_redis_url,
    }
    for words in (["jobs", "--limit", "100"], ["jobs", "--json"], ["schedules"], ["schedules", "--json"]):
        done = subprocess.run(
            [sys.executable, "app.py", *words], env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert "leak" in done.stdout
        assert told(done.stdout + done.stderr) == []
