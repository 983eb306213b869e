"""Calls to other systems, made by a real worker to a real HTTP server on loopback."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.conftest import running_worker
from tests.support import eventually
from workers.broker import outgoing
from workers.services import callbacks, delivery, jobs
from workers.services.enqueueing import NewJob
from workers.yard import Yard


@pytest.fixture
def allowed(light_yard: Yard) -> Any:
    with (
        running_worker(light_yard, ALLOW_PRIVATE_HTTP="1"),
        running_worker(light_yard, "system-deliveries", ALLOW_PRIVATE_HTTP="1"),
    ):
        yield replace(light_yard, settings=replace(light_yard.settings, allow_private_http=True))


def ended(yard: Yard, job_id: str, *states: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def is_there() -> None:
        with yard.database.read() as connection:
            found.update(jobs.get(connection, job_id))
        assert found["status"] in (states or ("completed", "failed")), found

    eventually(is_there, within=60)
    return found


def test_a_call_carries_its_headers_and_body_and_keeps_the_answer(allowed: Yard, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/hook", method="POST", json={"n": 1}, headers={"X-Kind": "test"}).respond_with_json(
        {"ok": True, "api_key": "hunter2"}
    )
    payload = {"url": httpserver.url_for("/hook"), "method": "POST", "headers": {"X-Kind": "test"}, "body": {"n": 1}}
    job = ended(allowed, jobs.enqueue(allowed, NewJob("http.request", payload)).job_id)
    result = json.loads(job["result"])
    assert (result["status"], result["body"]["ok"]) == (200, True)
    assert result["body"]["api_key"] == "hunter2"  # a result is masked by shape and where its task says so


@pytest.mark.parametrize(("status", "state"), [(404, "failed"), (500, "retry_scheduled"), (429, "retry_scheduled")])
def test_client_errors_are_final_and_server_errors_are_tried_again(
    allowed: Yard, httpserver: HTTPServer, status: int, state: str
) -> None:
    httpserver.expect_request("/x").respond_with_data("no", status=status, headers={"Retry-After": "120"})
    made = jobs.enqueue(allowed, NewJob("http.request", {"url": httpserver.url_for("/x")}))
    job = ended(allowed, made.job_id, "failed", "retry_scheduled")
    assert (job["status"], str(status) in job["error"]) == (state, True)
    if status == 429:
        assert 110 <= (job["next_retry_at"] - job["started_at"]).total_seconds() <= 130


def test_a_private_address_is_refused_unless_allowed(light_yard: Yard, httpserver: HTTPServer) -> None:
    with running_worker(light_yard):
        # As from another process that allows it: what runs the job still does not.
        lenient = replace(light_yard, settings=replace(light_yard.settings, allow_private_http=True))
        made = jobs.enqueue(lenient, NewJob("http.request", {"url": httpserver.url_for("/secret")}))
        job = ended(light_yard, made.job_id)
    assert job["status"] == "failed"
    assert "ALLOW_PRIVATE_HTTP" in job["error"]
    assert httpserver.log == []


def test_the_end_of_a_job_is_told_once_and_signed(allowed: Yard, httpserver: HTTPServer) -> None:
    seen: list[Request] = []

    def take(request: Request) -> Response:
        seen.append(request)
        return Response("", 500 if len(seen) == 1 else 204)

    httpserver.expect_request("/done", method="POST").respond_with_handler(take)
    made = jobs.enqueue(allowed, NewJob("samples.noop", callback_url=httpserver.url_for("/done")))

    def told() -> None:
        delivery.promote_due(allowed)  # what the scheduler does
        assert len(seen) >= 2

    eventually(told, within=60)
    first, second = seen[:2]
    body = json.loads(second.get_data())
    assert body["data"] == {"job_id": made.job_id, "task": "samples.noop", "status": "completed", "attempt": 1}
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    with allowed.database.read() as connection:
        key = base64.b64decode(callbacks.secret(connection).removeprefix("whsec_"))
    signed = f"{second.headers['webhook-id']}.{second.headers['webhook-timestamp']}.".encode() + second.get_data()
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert second.headers["webhook-signature"] == f"v1,{expected}"


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "http://localhost/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://10.0.0.1/", "http://169.254.169.254/",
     "http://0.0.0.0/", "http://2130706433/", "http://100.64.0.1/", "file:///etc/passwd", "http://me:pw@example.com/", "gopher://x/"],
)  # fmt: skip
def test_addresses_that_lead_inside_are_refused(url: str) -> None:
    with pytest.raises(outgoing.Refused), outgoing.stream("GET", url, allow_private=False):
        pass


def test_redirects_end_and_secrets_stay_at_home(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/loop").respond_with_data("", status=302, headers={"Location": "/loop"})
    with pytest.raises(httpx.TooManyRedirects), outgoing.stream("GET", httpserver.url_for("/loop"), allow_private=True):
        pass
