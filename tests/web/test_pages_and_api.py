"""Pages and calls: they work, they refuse the wrong role, they answer problems."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from flask import Flask

from tests.support import sign_in
from workers.domain.actors import Actor
from workers.services import execution, jobs
from workers.services.enqueueing import NewJob
from workers.services.execution import Ending
from workers.yard import Yard

PAGES = (
    "/",
    "/stuck",
    "/alerts",
    "/alert-rules/rule-cpu",
    "/alert-rules/new",
    "/health",
    "/schedules",
    "/triggers",
    "/triggers/new",
    "/schedules/new",
    "/jobs",
    "/bulk-actions",
    "/queues",
    "/workers",
    "/tasks",
    "/settings",
    "/more",
    "/api/docs",
    "/queues/default",
)
HOSTILE = "<img src=x onerror=alert(1)>"


def test_a_write_without_its_csrf_token_is_refused(auth: Any, light_yard: Yard) -> None:
    made = jobs.enqueue(light_yard, NewJob("samples.noop"))
    client = auth.client("olga")
    assert client.post(f"/jobs/{made.job_id}/cancellations").status_code == 400
    assert client.post("/api/v1/jobs", json={"task": "samples.noop"}).status_code == 400
    allowed = client.post("/api/v1/jobs", json={"task": "samples.noop"}, headers={"X-CSRFToken": auth.csrf(client)})
    assert allowed.status_code == 202


def test_a_wrong_password_and_an_unknown_name_look_the_same(app: Flask) -> None:
    client = app.test_client()
    wrong = sign_in(client, "olga", "wrong")
    unknown = sign_in(client, "otto", "wrong")
    assert (wrong.status_code, unknown.status_code) == (403, 403)
    pages = [re.sub(r'value="[^"]*"', "", answer.text) for answer in (wrong, unknown)]
    assert pages[0] == pages[1]


def test_many_tries_at_one_name_are_slowed_down(app: Flask) -> None:
    client = app.test_client()
    codes = [sign_in(client, "olga", "no").status_code for _ in range(7)]
    assert codes[-1] == 429


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)"]
)
def test_sign_in_leads_to_nobody_elses_place(app: Flask, auth: Any, target: str) -> None:
    answer = sign_in(app.test_client(), "vera", "correct horse battery", next=target)
    assert answer.headers["Location"] == "/"


def test_every_page_is_drawn_and_carries_a_strict_policy(auth: Any, light_yard: Yard) -> None:
    jobs.enqueue(light_yard, NewJob("samples.sleep"))
    client = auth.client("ada")
    for path in (*PAGES, "/audit", "/tasks/samples.sleep/run", "/tasks/samples.crash/run"):
        answer = client.get(path)
        assert answer.status_code == 200, path
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "unsafe-inline" not in policy
        assert not re.search(r"<script(?![^>]*src=)|\sstyle=|\son[a-z]+=", answer.text), path


def test_hostile_text_is_inert_in_every_tab(auth: Any, light_yard: Yard) -> None:
    made = jobs.enqueue(light_yard, NewJob("samples.fail", {"message": HOSTILE}, max_retries=0))
    execution.begin(light_yard, made.job_id, 1, "w")
    ending = Ending("failed", error=HOSTILE, traceback=HOSTILE, result=json.dumps(HOSTILE))
    execution.end(light_yard, made.job_id, 1, ending)
    client = auth.client("olga")
    tabs = [f"/jobs/{made.job_id}?tab={tab}" for tab in ("payload", "result", "error", "logs", "attempts", "events")]
    for path in (*tabs, "/jobs", f"/jobs/{made.job_id}/edit", f"/jobs?q={HOSTILE}", "/"):
        assert HOSTILE not in client.get(path).text, path


def test_a_page_costs_the_same_number_of_statements_however_many_jobs_there_are(auth: Any, light_yard: Yard) -> None:
    from sqlalchemy import event

    client = auth.client("ada")
    statements: list[str] = []
    event.listen(light_yard.database.engine, "before_cursor_execute", lambda *told: statements.append(told[2]))

    def cost(path: str) -> int:
        statements.clear()
        assert client.get(path).status_code == 200
        return len(statements)

    jobs.enqueue(light_yard, NewJob("samples.noop"))
    few = {path: cost(path) for path in PAGES}
    jobs.enqueue_many(light_yard, [NewJob("samples.noop")] * 400)
    assert {path: cost(path) for path in PAGES} == few
    assert max(few.values()) <= 17, few  # one of them: the bulk actions at work, in the head of every page


def test_a_page_makes_the_same_few_trips_to_redis_however_many_jobs_there_are(auth: Any, light_yard: Yard) -> None:
    client = auth.client("ada")

    def trips(path: str) -> int:
        def handled() -> int:
            return int(light_yard.redis.info("stats")["total_commands_processed"])

        before = handled()
        assert client.get(path).status_code == 200
        return handled() - before - 1  # without the question itself

    jobs.enqueue(light_yard, NewJob("samples.noop"))
    few = {path: trips(path) for path in PAGES}
    jobs.enqueue_many(light_yard, [NewJob("samples.noop")] * 400)
    assert light_yard.pusher.flush(30)
    assert {path: trips(path) for path in PAGES} == few
    assert max(few.values()) <= 2, few


def test_a_pool_can_be_sized_within_its_bounds_and_given_back(app: Flask, auth: Any) -> None:
    header, client = auth.token("operator"), app.test_client()
    assert client.put("/api/v1/pool", json={"workers": 5}, headers=header).json == {"workers": 5}
    assert client.put("/api/v1/pool", json={"workers": 99}, headers=header).status_code == 422
    assert client.put("/api/v1/pool", json={"workers": None}, headers=header).json == {"workers": 2}
    assert client.put("/api/v1/pool", json={"workers": 1}, headers=auth.token("viewer")).status_code == 403


def test_a_form_shows_what_is_wrong_at_its_field_and_enqueues_nothing(auth: Any, light_yard: Yard) -> None:
    client = auth.client("olga")
    csrf = {"csrf_token": auth.csrf(client)}
    answer = client.post("/tasks/samples.sleep/run", data={**csrf, "payload.seconds": "-1", "payload.steps": "x"})
    assert answer.status_code == 422
    assert "must be a whole number" in answer.text
    answer = client.post("/tasks/samples.sleep/run", data={**csrf, "payload.seconds": "2", "payload.steps": "4"})
    assert answer.status_code == 303
    told = client.get(answer.headers["Location"].replace("/jobs/", "/api/v1/jobs/")).json
    assert told["payload"] == {"seconds": 2.0, "steps": 4}


def test_the_api_enqueues_lists_and_cancels(app: Flask, auth: Any) -> None:
    header, client = auth.token("operator"), app.test_client()
    made = client.post("/api/v1/jobs", json={"task": "samples.noop", "idempotency_key": "k"}, headers=header)
    assert made.status_code == 202
    assert made.headers["Location"] == made.json["status_url"]
    again = client.post("/api/v1/jobs", json={"task": "samples.noop", "idempotency_key": "k"}, headers=header)
    assert again.json == {**made.json, "deduplicated": True}
    listed = client.get("/api/v1/jobs?status=pending&limit=1", headers=header).json
    assert [one["id"] for one in listed["jobs"]] == [made.json["job_id"]]
    assert listed["next_cursor"] is None
    url = made.json["status_url"]
    assert client.get(f"{url}/explanation", headers=header).json["sentence"].startswith("No worker listens to default")
    assert client.post(f"{url}/cancellations", headers=header).status_code == 202
    refused = client.post(f"{url}/cancellations", headers=header)
    assert (refused.status_code, refused.json["state"]) == (409, "canceled")
    assert refused.content_type == "application/problem+json"
    assert client.post(f"{url}/retries", headers=header).status_code == 202
    assert [one["event"] for one in client.get(f"{url}/events", headers=header).json["events"]] == [
        "enqueued",
        "canceled",
        "retried",
    ]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 422, "task"),
        ({"task": "no.such"}, 422, "task"),
        ({"task": "samples.sleep", "payload": {"steps": "x"}}, 422, "payload.steps"),
        ({"task": "samples.sleep", "payload": {"other": 1}}, 422, "payload.other"),
        ({"task": "samples.noop", "queue": "no spaces"}, 422, "queue"),
        ({"task": "samples.noop", "scheduled_for": "2020-01-01T00:00:00Z"}, 422, "scheduled_for"),
        ({"task": "samples.noop", "delay_seconds": -1}, 422, "delay_seconds"),
        ({"task": "samples.noop", "extra": 1}, 422, "extra"),
        ({"task": "samples.fail", "payload": {"message": "x" * 1_050_000}}, 413, "payload"),
    ],
)
def test_bad_requests_name_the_field_and_store_nothing(
    app: Flask, auth: Any, body: dict[str, Any], status: int, field: str
) -> None:
    header = auth.token("operator")
    answer = app.test_client().post("/api/v1/jobs", json=body, headers=header)
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (status, field)
    assert app.test_client().get("/api/v1/jobs", headers=header).json["jobs"] == []


@pytest.mark.parametrize(
    ("raw", "status"),
    [(b"{", 400), (b'{"task": NaN}', 400), (b"\xff\xfe", 400), (b"[1]", 422), (b"[" * 100_000, 422)],
)
def test_bodies_that_are_no_json_object_are_refused(app: Flask, auth: Any, raw: bytes, status: int) -> None:
    headers = {**auth.token("operator"), "Content-Type": "application/json"}
    assert app.test_client().post("/api/v1/jobs", data=raw, headers=headers).status_code == status


@pytest.mark.parametrize(
    "query", ["limit=1000000000", "limit=0", "cursor=zzz", "status=odd", "since=9999999999d", "nope=1", "queue=a%20b"]
)
def test_queries_that_cannot_be_used_are_refused(app: Flask, auth: Any, query: str) -> None:
    answer = app.test_client().get(f"/api/v1/jobs?{query}", headers=auth.token("viewer"))
    assert answer.status_code == 422


def test_a_queue_is_paused_resumed_and_purged_over_the_api(app: Flask, auth: Any, light_yard: Yard) -> None:
    jobs.enqueue(light_yard, NewJob("samples.noop"))
    header, client = auth.token("operator"), app.test_client()
    assert client.put("/api/v1/queues/default/pause", headers=header).json["paused_by"] == "token:a operator"
    assert client.delete("/api/v1/queues/default/pause", headers=header).json["paused_at"] is None
    purge = client.post("/api/v1/queues/default/purges", headers=header)
    assert (purge.status_code, purge.json["action"], purge.json["total"]) == (202, "cancel", 1)
    assert client.get(purge.headers["Location"], headers=header).json["status"] == "pending"
    assert client.get("/api/v1/queues/none", headers=header).status_code == 404


def test_a_revoked_or_invented_token_opens_nothing(app: Flask, auth: Any, light_yard: Yard) -> None:
    from workers.services import tokens
    from workers.store import tokens as rows

    header = auth.token("operator")
    with light_yard.database.read() as connection:
        token_id = rows.all_tokens(connection)[0]["id"]
    tokens.revoke(light_yard, token_id, Actor("system", "tests", "admin"))
    assert app.test_client().get("/api/v1/jobs", headers=header).status_code == 401
    invented = {"Authorization": "Bearer ty_invented"}
    assert app.test_client().get("/api/v1/jobs", headers=invented).status_code == 401


def test_secrets_in_payloads_are_never_shown(app: Flask, auth: Any, light_yard: Yard) -> None:
    from workers import registry
    from workers.services import publishing

    def call(api_key: str) -> None: ...

    call.__module__ = "own.remote"
    definition = registry.define(call)
    try:
        publishing.publish(light_yard, {definition.name: definition})
        made = jobs.enqueue(light_yard, NewJob("own.remote.call", {"api_key": "hunter2"}))
    finally:
        registry.REGISTRY.pop("own.remote.call")
    client = auth.client("ada")
    for path in (f"/jobs/{made.job_id}?tab=payload", f"/api/v1/jobs/{made.job_id}", "/jobs/export?format=ndjson"):
        assert "hunter2" not in client.get(path).text, path


def test_the_openapi_document_describes_every_call(app: Flask) -> None:
    document = app.test_client().get("/api/openapi.json").json
    assert document["openapi"] == "3.1.0"
    described = {re.sub(r"{[^}]+}", "x", path) for path in document["paths"]}
    served = {
        re.sub(r"<[^>]+>", "x", rule.rule) for rule in app.url_map.iter_rules() if rule.rule.startswith("/api/v1/")
    }
    assert described == served


def test_health_is_public_and_says_what_is_wrong(app: Flask, light_yard: Yard) -> None:
    client = app.test_client()
    assert client.get("/healthz").json == {"status": "ok"}
    assert client.get("/readyz").status_code == 200


def test_prometheus_reads_the_numbers(app: Flask, auth: Any, light_yard: Yard) -> None:
    jobs.enqueue(light_yard, NewJob("samples.noop"))
    text = app.test_client().get("/metrics", headers=auth.token("viewer")).text
    assert 'taskyard_jobs{queue="default",status="pending"} 1.0' in text
