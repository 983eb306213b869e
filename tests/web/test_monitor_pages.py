"""Stuck jobs, alerts and health in the dashboard and the API, and the web process as the monitor's watchman."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.services import alerting, channels, execution, jobs, monitoring, watchman
from workers.services.enqueueing import NewJob
from workers.services.execution import Ending
from workers.store import alerts, sweeps
from workers.store import jobs as rows
from workers.yard import Yard

ADA = Actor("user", "ada", "admin")
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def stuck(light_yard: Yard) -> str:
    """Make a job whose worker is gone."""
    made = jobs.enqueue(light_yard, NewJob("samples.sleep", {"seconds": 1})).job_id
    execution.begin(light_yard, made, 1, HOSTILE)
    with light_yard.database.write() as connection:
        long_ago = utcnow() - timedelta(minutes=14)
        rows.touch(connection, made, 1, {"heartbeat_at": long_ago, "started_at": long_ago, "message": HOSTILE})
    return made


@pytest.fixture
def firing(light_yard: Yard) -> str:
    """Make an alert that fires."""
    for _ in range(6):
        made = jobs.enqueue(light_yard, NewJob("samples.fail", max_retries=0)).job_id
        execution.begin(light_yard, made, 1, "w")
        execution.end(light_yard, made, 1, Ending("failed", error=HOSTILE))
    monitoring.sweep(light_yard)
    with light_yard.database.read() as connection:
        return next(row["id"] for row in alerts.open_alerts(connection) if row["kind"] == "failed")


def post(auth: Any, client: Any, path: str, **form: Any) -> Any:
    return client.post(path, data={"csrf_token": auth.csrf(client), **form})


def status(yard: Yard, job_id: str) -> str:
    with yard.database.read() as connection:
        return str(jobs.get(connection, job_id)["status"])


def test_a_stuck_job_is_shown_with_its_evidence_and_put_back_by_a_click(
    auth: Any, light_yard: Yard, stuck: str
) -> None:
    client = auth.client("olga")
    page = client.get("/stuck").text
    assert "1 job is stuck." in page
    assert "Worker lost" in page
    assert "not registered" in page
    assert HOSTILE not in page
    assert post(auth, client, f"/jobs/{stuck}/resets").status_code == 303
    assert status(light_yard, stuck) == "pending"
    assert "No stuck jobs" in client.get("/stuck").text


def test_a_stuck_job_is_failed_only_after_a_question(auth: Any, light_yard: Yard, stuck: str) -> None:
    client = auth.client("olga")
    assert "Fail this job" in client.get(f"/jobs/{stuck}/failures").text
    assert status(light_yard, stuck) == "processing"
    post(auth, client, f"/jobs/{stuck}/failures")
    assert status(light_yard, stuck) == "failed"


def test_what_the_monitor_did_is_listed_and_undone(auth: Any, light_yard: Yard, stuck: str) -> None:
    monitoring.sweep(light_yard)
    client = auth.client("olga")
    assert "Cancel job" in client.get("/stuck").text
    with light_yard.database.read() as connection:
        (found,) = sweeps.findings(connection, utcnow() - timedelta(hours=1))
    post(auth, client, f"/stuck/findings/{found['id']}/undo")
    assert status(light_yard, stuck) == "canceled"
    assert "undone by olga" in client.get("/stuck").text


def test_the_path_of_a_job_tells_why_it_was_put_back(auth: Any, light_yard: Yard, stuck: str) -> None:
    monitoring.sweep(light_yard)
    page = auth.client("vera").get(f"/jobs/{stuck}").text
    assert "is no longer registered" in page


def test_the_api_tells_what_is_stuck_and_what_will_be_done(app: Flask, auth: Any, stuck: str) -> None:
    client, header = app.test_client(), auth.token("operator")
    (told,) = client.get("/api/v1/stuck-jobs", headers=header).json["stuck_jobs"]
    assert (told["job"]["id"], told["verdict"], told["will"]) == (stuck, "worker_lost", "reset")
    assert client.put(f"/api/v1/jobs/{stuck}/leave", json={"seconds": 60}, headers=header).status_code == 200
    assert client.get("/api/v1/stuck-jobs", headers=header).json["stuck_jobs"] == []
    assert client.post(f"/api/v1/jobs/{stuck}/resets", headers=header).status_code == 202
    assert client.post(f"/api/v1/jobs/{stuck}/resets", headers=header).status_code == 409


def test_an_alert_is_acknowledged_silenced_and_heard_again(auth: Any, light_yard: Yard, firing: str) -> None:
    client = auth.client("olga")
    assert "6 tasks failed in last hour" in client.get("/alerts").text
    assert "6 tasks failed in last hour" in client.get("/").text
    post(auth, client, f"/alerts/{firing}/acknowledgements", note=HOSTILE)
    page = client.get(f"/alerts/{firing}").text
    assert "Acknowledged" in page
    assert HOSTILE not in page
    post(auth, client, f"/alerts/{firing}/silences", seconds="3600")
    assert "Silenced" in client.get("/alerts?tab=silenced").text
    post(auth, client, f"/alerts/{firing}/unsilences")
    with light_yard.database.read() as connection:
        assert alerting.get(connection, firing)["status"] == "firing"


def test_viewers_look_at_alerts_and_operators_do_not_change_rules(auth: Any, firing: str) -> None:
    vera, olga = auth.client("vera"), auth.client("olga")
    assert vera.get("/alerts").status_code == 200
    assert post(auth, vera, f"/alerts/{firing}/acknowledgements").status_code == 403
    assert olga.get("/alert-rules/rule-failed").status_code == 403
    assert "slack://" not in olga.get("/alerts").text


def test_a_rule_that_cannot_be_kept_is_shown_again_with_the_reason(auth: Any) -> None:
    client = auth.client("ada")
    form = {"name": "CPU", "threshold": "90", "severity": "loud", "cooldown_seconds": "10", "window_seconds": "60"}
    answer = post(auth, client, "/alert-rules/rule-cpu", **form)
    assert answer.status_code == 422
    assert "The severity must be one of" in answer.text
    assert post(auth, client, "/alert-rules/rule-cpu", **{**form, "severity": "info"}).status_code == 303
    assert "90 %" in client.get("/alerts").text


def test_a_rule_is_made_tried_and_deleted_over_the_api(app: Flask, auth: Any, light_yard: Yard) -> None:
    client, header = app.test_client(), auth.token("admin")
    made = client.post(
        "/api/v1/alert-rules", json={"kind": "queue_age", "scope": "emails", "threshold": 30}, headers=header
    )
    assert made.status_code == 201
    place = made.headers["Location"]
    assert client.patch(place, json={"threshold": 60}, headers=header).json["threshold"] == 60
    # As a channel that was made while private addresses were allowed.
    lenient = replace(light_yard, settings=replace(light_yard.settings, allow_private_http=True))
    channels.create(lenient, "inside", "json://127.0.0.1:9/", ADA)
    (told,) = client.post(f"{place}/tests", headers=header).json["tests"]
    assert (told["channel"], told["taken"]) == ("inside", False)
    assert "ALLOW_PRIVATE_HTTP" in told["answer"]
    assert client.delete(place, headers=header).status_code == 204
    assert client.get(place, headers=header).status_code == 404


def test_metrics_tell_what_ended_and_how_long_it_took(app: Flask, auth: Any, light_yard: Yard) -> None:
    for _ in range(4):
        made = jobs.enqueue(light_yard, NewJob("samples.noop")).job_id
        execution.begin(light_yard, made, 1, "w")
        execution.end(light_yard, made, 1, Ending("completed", result="1"))
    monitoring.sweep(light_yard)
    client, header = app.test_client(), auth.token("viewer")
    told = client.get("/api/v1/metrics/tasks?task=samples.noop", headers=header).json
    assert sum(one["completed"] for one in told["buckets"]) == 4
    assert told["tasks"][0]["completed"] == 4
    assert told["tasks"][0]["run"]["p95"] < 1
    health = client.get("/api/v1/metrics/health", headers=header).json["health"]
    (swept,) = [minute for minute in health if minute["queue_length"] is not None]
    assert (swept["queue_length"], swept["processing_count"]) == (0, 0)
    assert client.get("/api/v1/metrics/health?since=1990-01-01T00:00:00Z", headers=header).status_code == 422
    page = auth.client("vera").get("/health?period=1h").text
    assert "100 % completed" in page


def test_the_web_process_tells_of_a_monitor_that_is_silent_and_raises_the_alert_itself(
    app: Flask, auth: Any, light_yard: Yard
) -> None:
    monitoring.sweep(light_yard, utcnow() - timedelta(minutes=30))
    began = utcnow() - timedelta(minutes=10)
    assert watchman.watch(light_yard, began, utcnow()) == pytest.approx(600, abs=5)
    app.extensions["watchman"].silent_seconds = 600.0
    page = auth.client("vera").get("/jobs").text
    assert "The monitor has not run for 10 min" in page
    assert app.test_client().get("/readyz").json["parts"]["monitor"] == "silent for 600 s"
    assert "The monitor has not run for" in auth.client("vera").get("/alerts").text
    monitoring.sweep(light_yard)
    assert watchman.watch(light_yard, began, utcnow()) is None


def test_silence_from_before_the_web_process_was_there_is_nobodys_fault(light_yard: Yard) -> None:
    monitoring.sweep(light_yard, utcnow() - timedelta(hours=9))
    assert watchman.watch(light_yard, utcnow() - timedelta(seconds=20), utcnow()) is None
