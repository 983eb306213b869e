"""The inputs that once were faults, as a list, with what they are answered now; each stands for a class tested elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.integration.running import ROOT
from tests.people import TESTS
from tests.security.raw_requests import Answer, send
from tests.security.seeds import plant
from workers.domain import clock, strict_json
from workers.domain.errors import BadInput, Malformed, TooLarge
from workers.services import tokens
from workers.yard import Yard

JOB = b'{"task": "samples.noop", '
TRIGGER = {"name": "t", "listens": "a.b", "task": "samples.noop"}
LAST, FIRST = "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"


def call(app: Flask, method: str, target: str, body: bytes = b"", **headers: str) -> Answer:
    secret = tokens.create(app.extensions["yard"], "regressions", "admin", None, TESTS)
    kind = {"Content-Type": "application/json"} if body else {}
    return send(app, method, target, body=body, headers={"Authorization": f"Bearer {secret}", **kind, **headers})


@pytest.mark.parametrize("target", ["/", "/sign-in", "/jobs", "/api/v1/jobs", "/nowhere", "/static/nothing"])
def test_host_a__b_is_400(shared_app: Flask, target: str) -> None:
    assert call(shared_app, "GET", target, Host="a..b").status == 400


@pytest.mark.parametrize(
    "moment", [LAST, FIRST, "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00Z", "1999-12-31T23:59:59Z"]
)
@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("POST", "/api/v1/schedules/preview", {"cron": "* * * * *", "after": ...}),
        ("POST", "/api/v1/schedules/preview", {"once_at": ...}),
        ("POST", "/api/v1/schedules/preview", {"interval_seconds": 1, "starts_at": ...}),
        ("POST", "/api/v1/schedules", {"name": "a", "task": "samples.noop", "cron": "@daily", "ends_at": ...}),
        ("POST", "/api/v1/jobs", {"task": "samples.noop", "scheduled_for": ...}),
        ("PUT", "/api/v1/alerts/{alert_id}/silence", {"until": ...}),
        ("PATCH", "/api/v1/schedules/{schedule_id}", {"starts_at": ...}),
    ],
)
def test_a_moment_at_the_end_of_the_calendar_is_422_in_a_call(
    shared_app: Flask, method: str, target: str, body: Mapping[str, Any], moment: str
) -> None:
    sent = {name: moment if value is ... else value for name, value in body.items()}
    answer = call(shared_app, method, target.format(**plant(shared_app.extensions["yard"])), json.dumps(sent).encode())
    assert answer.status == 422
    assert "2000-01-01 to 2200-01-01" in answer.text


@pytest.mark.parametrize(
    "moment", ["9999-12-31T23:59", "0001-01-01T00:00", "9999-12-31T23:59:59Z", "0001-01-01T00:00+14:00"]
)
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Etc/GMT%2B12"])
def test_a_moment_at_the_end_of_the_calendar_is_told_in_a_form(shared_app: Flask, moment: str, zone: str) -> None:
    sent = moment.replace("+", "%2B")
    for field in ("kind=once&once_at", "kind=cron&cron=@daily&starts_at", "kind=interval&every=5&ends_at"):
        page = call(shared_app, "GET", f"/schedules/preview?timezone={zone}&{field}={sent}")
        assert page.status == 200
        assert "2000-01-01 to 2200-01-01" in page.text
    form = f"name=a&task=samples.noop&kind=once&timezone={zone}&once_at={sent}".encode()
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert call(shared_app, "POST", "/schedules/new", form, **kind).status == 422
    assert call(shared_app, "POST", "/tasks/samples.noop/run", f"scheduled_for={sent}".encode(), **kind).status == 422
    for target in ("/jobs?since", "/jobs/export?until", "/api/v1/jobs?since", "/schedules/{schedule_id}?before"):
        address = target.format(**plant(shared_app.extensions["yard"]))
        assert call(shared_app, "GET", f"{address}={sent}").status == 422, target


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (JOB + b'"max_retries": false}', 422, "max_retries"),
        (JOB + b'"task": "samples.noop"}', 422, "task"),
        (JOB + b'"payload": {"a": [{"b": 1, "b": 2}]}}', 422, "'b'"),
        (JOB + b'"delay_seconds": 1e308}', 422, "delay_seconds"),
        (JOB + b'"delay_seconds": 1e400}', 422, "out of range"),
        (JOB + b'"max_retries": ' + b"9" * 100_000 + b"}", 422, "100,000 characters"),
        (JOB + b'"idempotency_key": "\\ud800"}', 422, "idempotency_key"),
        (JOB + b'"idempotency_key": "a\\u0000"}', 422, "idempotency_key"),
        (JOB + b'"payload": {"\\udc00": 1}}', 422, "surrogate"),
        (b'{"a":' * 3000 + b"1" + b"}" * 3000, 422, "nested"),
        (b"[" * 100_000, 422, "nested"),
        (b"\xff\xfe{\x00}\x00", 400, "UTF-8"),
        (b"\xef\xbb\xbf{}", 400, "byte order mark"),
        (b"{", 400, "not valid JSON"),
    ],
    ids=range(14),
)
def test_json_that_cannot_be_used_says_why(shared_app: Flask, body: bytes, status: int, words: str) -> None:
    answer = call(shared_app, "POST", "/api/v1/jobs", body)
    assert (answer.status, answer.media_type) == (status, "application/problem+json")
    assert words in answer.json["detail"] + str(answer.json["errors"])


def test_once_at_0_is_422(shared_app: Flask) -> None:
    answer = call(shared_app, "POST", "/api/v1/schedules/preview", b'{"once_at": 0}')
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, "once_at")


def test_a_lone_surrogate_in_a_condition_of_a_trigger_is_422(shared_app: Flask) -> None:
    for conditions in ({"payload.a": "\ud800"}, {"payload.\ud800": 1}):
        body = json.dumps({**TRIGGER, "conditions": conditions}).encode()
        assert call(shared_app, "POST", "/api/v1/triggers", body).status == 422
    form = b"name=t&listens=a.b&task=samples.noop&cooldown_seconds=0&cap_per_hour=1&payload={}&conditions="
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = call(shared_app, "POST", "/triggers/new", form + b'{"payload.a": "\\ud800"}', **kind)
    assert answer.status == 422


def test_a_form_nested_3000_deep_is_422(shared_app: Flask) -> None:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    deep = b'{"a":' * 3000 + b"1" + b"}" * 3000
    rest = b"name=a&task=samples.noop&listens=a.b&cron=@daily&cap_per_hour=1&cooldown_seconds=1&"
    for target, body in (
        ("/tasks/samples.sleep/run", b"as_json=1&json=" + deep),
        ("/tasks/samples.sleep/run", b"payload.steps=" + deep),
        ("/tasks/samples.sleep/run", b"payload" + b".a" * 3000 + b"=1"),
        ("/schedules/new", rest + b"payload=" + deep),
        ("/triggers/new", rest + b"payload={}&conditions=" + deep),
        ("/triggers/new", rest + b"conditions={}&payload=" + deep),
        ("/events", rest + b"payload=" + deep),
    ):
        assert call(shared_app, "POST", target, body, **kind).status == 422, (target, body[:100])


def test_nul_in_a_search_a_tag_a_cursor_and_a_note_is_422(shared_app: Flask) -> None:
    alert_id = plant(shared_app.extensions["yard"])["alert_id"]
    for target in ("/jobs?q", "/jobs?cursor", "/schedules?tag", "/schedules?after", "/triggers?after", "/palette?q"):
        assert call(shared_app, "GET", f"{target}=%00").status == 422, target
    for target in ("/api/v1/jobs?q", "/api/v1/jobs?cursor", "/api/v1/schedules?tag", "/api/v1/triggers?cursor"):
        assert call(shared_app, "GET", f"{target}=%00").status == 422, target
    body = b'{"note": "a\\u0000"}'
    assert call(shared_app, "PUT", f"/api/v1/alerts/{alert_id}/acknowledgement", body).status == 422
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert call(shared_app, "POST", f"/alerts/{alert_id}/acknowledgements", b"note=%00", **kind).status == 422


def test_the_methods_of_jobs_bulk_are_told_rightly(shared_app: Flask) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"):
        answer = call(shared_app, method, "/api/v1/jobs/bulk")
        assert (answer.status, set(answer.headers["Allow"].split(", "))) == (405, {"POST", "OPTIONS"})
    assert set(call(shared_app, "OPTIONS", "/api/v1/jobs/bulk").headers["Allow"].split(", ")) == {"POST", "OPTIONS"}


def test_a_cookie_that_claims_to_remember_somebody_is_not_read(shared_app: Flask) -> None:
    for cookie in ("remember_token=1|\xe9", "remember_token=a|b", "remember_token=|"):
        assert send(shared_app, "GET", "/jobs", headers={"Cookie": cookie, "Accept": "text/html"}).status == 302


@pytest.mark.parametrize(
    ("kind", "status"), [("text/plain", 415), ("", 415), ("application/json; charset=utf-16", 415)]
)
def test_a_body_of_another_type_is_415(shared_app: Flask, kind: str, status: int) -> None:
    answer = call(shared_app, "POST", "/api/v1/jobs", b"{}", **{"Content-Type": kind})
    assert (answer.status, answer.media_type) == (status, "application/problem+json")


def test_a_count_of_values_is_bounded_before_anything_is_parsed() -> None:
    with pytest.raises(TooLarge):
        strict_json.parse(b"[" + b"[]," * 600_000 + b"[]]")
    with pytest.raises(BadInput):
        strict_json.parse(b"[" * 600_000)
    with pytest.raises(Malformed):
        strict_json.parse(b'"' + b'\\"' * 600_000)
    assert len(strict_json.parse(b'"' + b"," * 600_000 + b'"')) == 600_000


@pytest.mark.parametrize(
    "text",
    [
        LAST,
        FIRST,
        "2016-12-31T23:59:60Z",
        "2030-01-01T24:00:00Z",
        "2030-13-01T00:00:00Z",
        "2030-01-01",
        "",
        "0",
        "2030-01-01T00:00:00+24:00",
        "2030-W01-1T00:00:00Z",
        "20300101T000000Z",
        "٢٠٣٠-01-01T00:00:00Z",
        "2030-01-01T00:00:00",
    ],
)
def test_an_instant_that_cannot_be_used_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|day|month"):
        clock.parse_instant(text)


@pytest.mark.parametrize(
    "text", ["2000-01-01T00:00:00Z", "2200-01-01T00:00:00Z", "2030-01-31t08:00:00.123456z", "2030-01-01 00:00+14:00"]
)
def test_an_instant_within_the_range_is_read(text: str) -> None:
    assert clock.EARLIEST <= clock.parse_instant(text) <= clock.LATEST


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["enqueue", "samples.noop", "--at", LAST], "2000-01-01 to 2200-01-01"),
        (["enqueue", "samples.noop", "--at", "0001-01-01T00:00:00+23:59"], "2000-01-01 to 2200-01-01"),
        (["enqueue", "samples.noop", "--delay", "1e308"], "delay_seconds"),
        (["enqueue", "samples.noop", "--delay", "nan"], "must be a number"),
        (["enqueue", "samples.noop", "--max-retries", "٣"], "must be a whole number"),
        (["enqueue", "samples.noop", "--max-retries", "9" * 30], "must be a whole number"),
        (["enqueue", "samples.noop", "--timeout", "-1"], "timeout_seconds"),
        (["enqueue", "samples.noop", '{"a": 1, "a": 2}'], "'a' twice"),
        (["enqueue", "samples.noop", '{"a": 1e400}'], "out of range"),
        (["enqueue", "samples.noop", "{"], "not valid JSON"),
        (["enqueue", "samples.noop", "[" * 5000], "nested"),
        (["enqueue", "samples.noop", '{"a": "\\ud800"}'], "surrogate"),
        (["enqueue", "samples.noop", "--key", b"\xff"], "surrogate"),
        (["retry", b"\xff"], "surrogate"),
        (["jobs", "--task", b"\xed\xa0\x80"], "surrogate"),
        (["tokens", "create", b"\xff"], "surrogate"),
    ],
    ids=range(16),
)
def test_a_command_says_in_a_line_what_is_wrong(light_yard: Yard, words: list[str | bytes], reason: str) -> None:
    environment = {
        "PATH": "/usr/bin:/bin",
        "DATA_DIR": str(light_yard.settings.data_dir),
        "DATABASE_URL": light_yard.settings.database_url,
        "REDIS_URL": light_yard.settings.effective_redis_url,
    }
    done = subprocess.run(
        [sys.executable, str(Path(ROOT) / "app.py"), *words], env=environment, cwd=ROOT, capture_output=True, timeout=60
    )
    said = done.stderr.decode(errors="replace")
    assert done.returncode in {1, 2}
    assert reason in said
    assert "Traceback" not in said
