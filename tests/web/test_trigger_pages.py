"""Triggers and events in the dashboard and over the API."""

from __future__ import annotations

from typing import Any

from flask import Flask

from workers.domain.actors import Actor
from workers.services import events, hearing, triggers
from workers.store import trigger_rows
from workers.yard import Yard

ADA = Actor("user", "ada", "admin")
HOSTILE = "<img src=x onerror=alert(1)>"
FORM = {
    "kind": "event",
    "listens": "orders.created",
    "name": "Refund check",
    "task": "samples.fail",
    "payload": '{"message": "$.payload.id"}',
    "conditions": "{}",
    "cooldown_seconds": "0",
    "cap_per_hour": "20",
    "enabled": "on",
}


def post(auth: Any, client: Any, path: str, **form: Any) -> Any:
    return client.post(path, data={"csrf_token": auth.csrf(client), **form})


def test_a_trigger_is_made_fires_and_shows_what_it_saw(auth: Any, light_yard: Yard) -> None:
    client = auth.client("olga")
    assert "No triggers yet" in client.get("/triggers").text
    made = post(auth, client, "/triggers/new", **FORM)
    assert made.status_code == 303, made.text
    assert post(auth, client, "/events", name="orders.created", payload=f'{{"id": "{HOSTILE}"}}').status_code == 303
    hearing.hear(light_yard)
    for path in ("/triggers", made.headers["Location"]):
        page = client.get(path).text
        assert "Refund check" in page
        assert "1 of 20 this hour" in page
        assert HOSTILE not in page
    assert post(auth, client, f"{made.headers['Location']}/pauses").status_code == 303
    assert "Paused" in client.get("/triggers").text
    assert 'value="orders.created"' in client.get(f"{made.headers['Location']}/edit").text
    assert post(auth, client, f"{made.headers['Location']}/deletions").status_code == 303
    assert client.get(made.headers["Location"]).status_code == 404


def test_a_form_that_cannot_be_used_comes_back_with_the_reason(auth: Any, light_yard: Yard) -> None:
    client = auth.client("olga")
    for field, value, words in (
        ("listens", "a b", "letters, digits"),
        ("payload", "{", "not valid JSON"),
        ("conditions", "[]", "JSON object"),
        ("cap_per_hour", "x", "must be a number"),
    ):
        answer = post(auth, client, "/triggers/new", **{**FORM, field: value})
        assert answer.status_code == 422
        assert words in answer.text
        assert f'id="{field}-e"' in answer.text
    with light_yard.database.read() as connection:
        assert trigger_rows.page(connection, None, 10) == []


def test_a_queue_is_watched_by_a_form_too(auth: Any, light_yard: Yard) -> None:
    client = auth.client("olga")
    form = {**FORM, "kind": "queue", "queue": "default", "measure": "depth", "above": "100", "cooldown_seconds": "60"}
    made = post(auth, client, "/triggers/new", **form)
    assert made.status_code == 303
    assert "more than 100 jobs wait" in client.get("/triggers").text


def test_a_stopped_trigger_says_why(auth: Any, light_yard: Yard) -> None:
    row = triggers.create(light_yard, {"name": "echo", "listens": "x", "task": "samples.noop"}, ADA)
    with light_yard.database.write() as connection:
        trigger_rows.change(connection, row["id"], {"enabled": False, "stopped_reason": "It fed itself."})
    page = auth.client("vera").get("/triggers").text
    assert "1 disabled" in page
    assert "Loop detected" in page


def test_the_api_makes_tries_hears_and_deletes(app: Flask, auth: Any, light_yard: Yard) -> None:
    client, header = app.test_client(), auth.token("operator")
    body = {"name": "t", "listens": "orders.*", "task": "samples.fail", "payload": {"message": "$.payload.id"}}
    made = client.post("/api/v1/triggers", json=body, headers=header)
    assert made.status_code == 201
    path = made.headers["Location"]
    tried = client.post(f"{path}/tests", json={"name": "orders.created", "payload": {"id": "7"}}, headers=header).json
    assert (tried["fires"], tried["payload"]) == (True, {"message": "7"})
    sent = client.post("/api/v1/events", json={"name": "orders.created", "payload": {"id": "8"}}, headers=header)
    assert (sent.status_code, sent.json) == (202, {"name": "orders.created", "heard_by": 1})
    hearing.hear(light_yard)
    (firing,) = client.get(f"{path}/firings", headers=header).json["firings"]
    assert (firing["outcome"], firing["facts"]["payload"]) == ("fired", {"id": "8"})
    assert client.patch(path, json={"cap_per_hour": 5}, headers=header).json["cap_per_hour"] == 5
    assert [one["name"] for one in client.get("/api/v1/triggers", headers=header).json["triggers"]] == ["t"]
    assert client.post("/api/v1/events", json={"name": "job.failed"}, headers=header).status_code == 422
    assert client.delete(path, headers=header).status_code == 204
    assert events.emit(light_yard, "orders.created", {}, ADA) == 0


def test_a_viewer_sees_and_changes_nothing(auth: Any) -> None:
    client = auth.client("vera")
    assert client.get("/triggers/new").status_code == 403
    assert post(auth, client, "/events", name="x").status_code == 403
