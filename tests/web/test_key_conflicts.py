"""Keys over HTTP: what is in use is 409 with the job that uses it, never 500."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from workers import registry
from workers.services import execution, publishing
from workers.services.enqueueing import NewJob, enqueue
from workers.services.execution import Ending
from workers.task import task
from workers.yard import Yard

TASK = "test_key_conflicts.bill"
JOBS = "/api/v1/jobs"


@pytest.fixture(autouse=True)
def unique(light_yard: Yard) -> Iterator[None]:
    """Publish a unique task beside the ready-made ones."""

    @task(name=TASK, unique=True)
    def bill(customer: int = 4) -> None:
        """Do nothing."""

    publishing.publish(light_yard, registry.REGISTRY)
    yield
    del registry.REGISTRY[TASK]


def ended(yard: Yard, outcome: str, **payload: Any) -> str:
    """Make a job that has ended."""
    job_id = enqueue(yard, NewJob(TASK, payload, max_retries=0)).job_id
    execution.begin(yard, job_id, 1, "w")
    assert execution.end(yard, job_id, 1, Ending(outcome, error="boom")) is not None
    return job_id


@pytest.mark.parametrize(
    ("outcome", "action"), [("failed", "retries"), ("completed", "runs")], ids=["retry", "run-again"]
)
def test_a_job_beside_a_newer_one_is_409(app: Flask, auth: Any, light_yard: Yard, outcome: str, action: str) -> None:
    old = ended(light_yard, outcome)
    newer = enqueue(light_yard, NewJob(TASK, {"customer": 4.0})).job_id
    answer = app.test_client().post(f"{JOBS}/{old}/{action}", json={}, headers=auth.token("operator"))
    assert (answer.status_code, answer.json["job_id"]) == (409, newer)
    assert newer in answer.json["detail"]


def test_a_retry_on_the_page_says_which_job_is_in_the_way(app: Flask, auth: Any, light_yard: Yard) -> None:
    old = ended(light_yard, "failed")
    newer = enqueue(light_yard, NewJob(TASK)).job_id
    client = auth.client("olga")
    answer = client.post(f"/jobs/{old}/retries", data={"csrf_token": auth.csrf(client)})
    assert answer.status_code == 409
    assert newer in answer.text


def test_ticked_jobs_are_retried_one_by_one_and_the_reason_is_shown(app: Flask, auth: Any, light_yard: Yard) -> None:
    both = [ended(light_yard, "failed"), ended(light_yard, "failed")]
    client = auth.client("olga")
    form = {"csrf_token": auth.csrf(client), "action": "retry", "id": both}
    page = client.post("/jobs/selection", data=form, follow_redirects=True)
    assert "1 job retried. 1 refused:" in page.text
    assert both[0] in page.text


def test_a_reused_key_is_409_with_the_job_that_has_it(app: Flask, auth: Any, light_yard: Yard) -> None:
    client, header = app.test_client(), auth.token("operator")
    body = {"task": TASK, "payload": {"customer": 4}, "idempotency_key": "k"}
    first = client.post(JOBS, json=body, headers=header).json["job_id"]
    again = client.post(JOBS, json={**body, "payload": {}}, headers=header)
    assert (again.status_code, again.json["job_id"], again.json["deduplicated"]) == (202, first, True)
    other = client.post(JOBS, json={**body, "payload": {"customer": 5}}, headers=header)
    assert (other.status_code, other.json["job_id"]) == (409, first)


def test_a_batch_names_each_reused_key_by_its_index(app: Flask, auth: Any, light_yard: Yard) -> None:
    first = enqueue(light_yard, NewJob("samples.noop", idempotency_key="k")).job_id
    batch = [{"task": "samples.noop"}, {"task": TASK, "idempotency_key": "k"}]
    answer = app.test_client().post(f"{JOBS}/bulk", json={"jobs": batch}, headers=auth.token("operator"))
    assert answer.status_code == 409
    assert [(error["index"], error["job_id"]) for error in answer.json["errors"]] == [(1, first)]


def test_the_form_of_a_task_answers_a_reused_key_with_409(app: Flask, auth: Any, light_yard: Yard) -> None:
    first = enqueue(light_yard, NewJob("samples.noop", idempotency_key="k")).job_id
    client = auth.client("olga")
    form = {"csrf_token": auth.csrf(client), "idempotency_key": "k"}
    answer = client.post(f"/tasks/{TASK}/run", data=form)
    assert answer.status_code == 409
    assert first in answer.text
