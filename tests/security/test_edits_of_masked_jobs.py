"""Who edits sees dots for secrets; dots that are left stand for what is stored, and dots anywhere else are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from workers import registry
from workers.domain.errors import BadInput
from workers.domain.masked_edits import restore
from workers.domain.masking import MASK, mask
from workers.services import execution, jobs, publishing
from workers.services.enqueueing import NewJob
from workers.services.execution import Ending
from workers.yard import Yard

STORED = {"api_key": "hunter2", "url": "https://u:hunter2@a.example/", "rows": [{"pin": "1"}, {"pin": "2"}], "n": 1}


def test_dots_that_were_left_stand_for_what_is_stored() -> None:
    assert restore(mask(STORED), STORED, (), ()) == STORED
    assert restore({**mask(STORED), "n": 2}, STORED, (), ()) == {**STORED, "n": 2}
    assert restore({"api_key": "new"}, STORED, (), ()) == {"api_key": "new"}


@pytest.mark.parametrize(
    "edited",
    [
        {"other": MASK},
        {"n": MASK},
        {"api_key": f"{MASK}x"},
        {"api_key": {"deep": MASK}},
        {"rows": [{"pin": MASK}, {"pin": MASK}, {"pin": MASK}]},
        {"url": f"https://u:{MASK}@evil.example/"},
        [MASK],
    ],
)
def test_dots_where_nothing_was_hidden_are_refused(edited: Any) -> None:
    with pytest.raises(BadInput, match="holds the mask"):
        restore(edited, STORED, (), ())


@pytest.fixture
def task(light_yard: Yard) -> str:
    def call(api_key: str, city: str = "x") -> None: ...

    call.__module__ = "own.remote"
    definition = registry.define(call)
    registry.REGISTRY.pop("own.remote.call")
    publishing.publish(light_yard, {definition.name: definition})
    return "own.remote.call"


def failed(yard: Yard, task: str) -> str:
    job_id = jobs.enqueue(yard, NewJob(task, {"api_key": "hunter2"}, max_retries=0)).job_id
    execution.begin(yard, job_id, 1, "w")
    execution.end(yard, job_id, 1, Ending("failed", error="x"))
    return job_id


def stored(yard: Yard, job_id: str) -> Any:
    with yard.database.read() as connection:
        return json.loads(jobs.get(connection, job_id)["payload"])


def test_a_form_shows_dots_and_keeps_what_they_stand_for(auth: Any, light_yard: Yard, task: str) -> None:
    job_id = failed(light_yard, task)
    client = auth.client("olga")
    page = client.get(f"/jobs/{job_id}/edit").text
    assert "hunter2" not in page
    assert MASK in page
    payload = json.dumps({"api_key": MASK, "city": "Berlin"})
    answer = client.post(f"/jobs/{job_id}/edit", data={"csrf_token": auth.csrf(client), "payload": payload})
    assert answer.status_code == 303
    assert stored(light_yard, job_id) == {"api_key": "hunter2", "city": "Berlin"}


def test_a_call_that_sends_back_what_it_got_changes_nothing(auth: Any, app: Any, light_yard: Yard, task: str) -> None:
    job_id = failed(light_yard, task)
    header, client = auth.token("operator"), app.test_client()
    payload = client.get(f"/api/v1/jobs/{job_id}", headers=header).json["payload"]
    assert payload == {"api_key": MASK}
    assert client.post(f"/api/v1/jobs/{job_id}/retries", json={"payload": payload}, headers=header).status_code == 202
    assert stored(light_yard, job_id) == {"api_key": "hunter2"}


def test_dots_cannot_be_enqueued(auth: Any, app: Any, task: str) -> None:
    body = {"task": task, "payload": {"api_key": MASK}}
    answer = app.test_client().post("/api/v1/jobs", json=body, headers=auth.token("operator"))
    assert answer.status_code == 422
    assert "holds the mask" in answer.json["detail"]


@pytest.mark.parametrize("noun", ["schedules", "triggers"])
def test_a_patch_that_echoes_a_mask_keeps_the_secret_and_the_audit_shows_none(
    auth: Any, app: Any, light_yard: Yard, task: str, noun: str
) -> None:
    header, client = auth.token("operator"), app.test_client()
    body: dict[str, Any] = {"name": "n", "task": task, "payload": {"api_key": "hunter2"}}
    body |= {"interval_seconds": 3600} if noun == "schedules" else {"kind": "event", "listens": "order.paid"}
    made = client.post(f"/api/v1/{noun}", json=body, headers=header)
    assert made.status_code == 201, made.json
    url = f"/api/v1/{noun}/{made.json['id']}"
    shown = client.get(url, headers=header).json["payload"]
    assert shown == {"api_key": MASK}
    assert client.patch(url, json={"payload": {**shown, "city": "Berlin"}}, headers=header).status_code == 200
    assert client.patch(url, json={"payload": {"api_key": "hunter3"}}, headers=header).status_code == 200
    assert client.patch(url, json={"payload": {"city": MASK}}, headers=header).status_code == 422
    from sqlalchemy import text

    with light_yard.database.read() as connection:
        kept = connection.execute(text(f"SELECT payload FROM {noun}")).scalar_one()
        audit = repr(connection.execute(text("SELECT * FROM audit")).all())
    assert json.loads(kept)["api_key"] == "hunter3"
    assert "hunter" not in audit
