"""Strict types: every field of every model with every wrong JSON type, made from the models themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from pydantic import BaseModel, ValidationError

from dashboard.api import alerts, bulk_actions, jobs, monitor, queues, schedules, triggers
from dashboard.api.contract import NoBody, NoQuery, Strict
from tests.people import TESTS
from tests.routes import routes_of
from tests.security.raw_requests import send
from workers.domain.errors import BadInput
from workers.domain.numbers import check_flag, check_number, check_whole, parse_number, parse_whole
from workers.services import rules, tokens
from workers.services import schedules as schedule_service
from workers.services import triggers as trigger_service
from workers.services.enqueueing import NewJob, enqueue
from workers.yard import Yard

MODULES = (alerts, bulk_actions, jobs, monitor, queues, schedules, triggers)
VALUES: dict[str, Any] = {
    "null": None,
    "boolean": True,
    "integer": 7,
    "number": 7.5,
    "string": "7",
    "array": ["7"],
    "object": {"7": 7},
}


def models() -> list[type[BaseModel]]:
    found = {
        one
        for module in MODULES
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, Strict) and one.__module__ == module.__name__
    }
    return sorted(found, key=lambda one: (one.__module__, one.__name__))


def types_of(schema: dict[str, Any]) -> set[str]:
    """Name the JSON types that a field takes; a number takes integers too."""
    if "anyOf" in schema:
        return {kind for part in schema["anyOf"] for kind in types_of(part)}
    if "enum" in schema or "const" in schema:
        return {"string"}
    kinds = {schema["type"]} if isinstance(schema.get("type"), str) else set(VALUES)
    return kinds | ({"integer"} if "number" in kinds else set())


def cases() -> Iterator[Any]:
    for model in models():
        for name, schema in model.model_json_schema()["properties"].items():
            for kind in sorted(set(VALUES) - types_of(schema)):
                yield pytest.param(model, name, kind, id=f"{model.__name__}.{name}-{kind}")


@pytest.mark.parametrize(("model", "name", "kind"), list(cases()))
def test_a_field_takes_no_other_type_than_its_own(model: type[BaseModel], name: str, kind: str) -> None:
    with pytest.raises(ValidationError) as refused:
        model.model_validate({name: VALUES[kind]})
    assert name in {error["loc"][0] for error in refused.value.errors() if error["type"] != "missing"}


@pytest.mark.parametrize("model", [*models(), NoBody, NoQuery], ids=lambda model: model.__name__)
def test_a_model_takes_no_field_that_it_does_not_know(model: type[BaseModel]) -> None:
    with pytest.raises(ValidationError) as refused:
        model.model_validate({"unknown": 1})
    assert ("unknown",) in {error["loc"] for error in refused.value.errors()}


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)
def test_a_crowd_of_fields_is_one_error(model: type[BaseModel]) -> None:
    with pytest.raises(ValidationError) as refused:
        model.model_validate({f"field{number}": number for number in range(50_000)})
    assert refused.value.error_count() == 1
    assert "at most 100 fields" in str(refused.value)


def test_a_payload_may_have_any_number_of_fields() -> None:
    body = {"task": "samples.noop", "payload": {f"field{number}": number for number in range(5_000)}}
    assert jobs.JobRequest.model_validate(body).payload == body["payload"]


def test_every_call_that_takes_a_body_takes_a_strict_model(shared_light_app: Flask) -> None:
    for route in routes_of(shared_light_app):
        about = getattr(shared_light_app.view_functions[route.endpoint], "taskyard_operation", None)
        for model in (about["query"], about["body"]) if about is not None else ():
            if model is not None:
                assert issubclass(model, Strict), route
                assert model.model_config["strict"], route


def test_every_number_in_a_call_has_bounds() -> None:
    bounds = {"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}
    for model in models():
        for name, schema in model.model_json_schema()["properties"].items():
            for part in schema.get("anyOf", [schema]):
                if part.get("type") in {"integer", "number"}:
                    assert all(side & set(part) for side in bounds), f"{model.__name__}.{name}"


@pytest.mark.parametrize(
    ("method", "target", "body", "field"),
    [
        ("POST", "/api/v1/jobs", {"task": "samples.noop", "max_retries": False}, "max_retries"),
        ("POST", "/api/v1/jobs", {"task": "samples.noop", "max_retries": "1"}, "max_retries"),
        ("POST", "/api/v1/jobs", {"task": "samples.noop", "max_retries": 1.0}, "max_retries"),
        ("POST", "/api/v1/jobs", {"task": "samples.noop", "timeout_seconds": True}, "timeout_seconds"),
        ("POST", "/api/v1/jobs", {"task": "samples.noop", "scheduled_for": 4102444800}, "scheduled_for"),
        ("POST", "/api/v1/jobs", {"task": 1}, "task"),
        ("POST", "/api/v1/schedules/preview", {"once_at": 0}, "once_at"),
        ("POST", "/api/v1/schedules/preview", {"interval_seconds": True}, "interval_seconds"),
        ("POST", "/api/v1/schedules/preview", {"cron": "@daily", "count": "5"}, "count"),
        ("PUT", "/api/v1/pool", {"workers": True}, "workers"),
        ("PUT", "/api/v1/pool", {"workers": "2"}, "workers"),
        ("POST", "/api/v1/bulk-actions", {"action": "retry", "preview": "yes"}, "preview"),
        ("POST", "/api/v1/bulk-actions", {"action": "retry", "filter": {"status": 1}}, "filter.status"),
        ("PATCH", "/api/v1/alert-rules/rule-cpu", {"is_enabled": 1}, "is_enabled"),
        ("PATCH", "/api/v1/alert-rules/rule-cpu", {"threshold": "1"}, "threshold"),
        ("PATCH", "/api/v1/alert-rules/rule-cpu", {"channels": [1]}, "channels.0"),
    ],
)
def test_a_call_converts_no_type_and_names_the_field(
    shared_light_app: Flask, method: str, target: str, body: dict[str, Any], field: str
) -> None:
    secret = tokens.create(shared_light_app.extensions["yard"], "strict", "admin", None, TESTS)
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    answer = send(shared_light_app, method, target, headers=headers, body=json.dumps(body).encode())
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, field)


def test_each_job_of_many_is_as_strict_as_one(shared_light_app: Flask) -> None:
    secret = tokens.create(shared_light_app.extensions["yard"], "strict", "admin", None, TESTS)
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    body = {"jobs": [{"task": "samples.noop"}, {"task": "samples.noop", "max_retries": False}, 7]}
    answer = send(shared_light_app, "POST", "/api/v1/jobs/bulk", headers=headers, body=json.dumps(body).encode())
    assert answer.status == 422
    assert [(error["index"], error["field"]) for error in answer.json["errors"]] == [(1, "max_retries"), (2, "body")]


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_retries": False},
        {"max_retries": "1"},
        {"max_retries": 1.5},
        {"max_retries": 10**400},
        {"timeout_seconds": True},
        {"timeout_seconds": float("nan")},
        {"timeout_seconds": float("inf")},
        {"delay_seconds": True},
        {"delay_seconds": 1e308},
        {"delay_seconds": "5"},
        {"scheduled_for": "2030-01-01T00:00:00Z"},
        {"scheduled_for": 0},
        {"payload": []},
        {"payload": {"a": float("inf")}},
        {"payload": {"a": "\ud800"}},
        {"idempotency_key": "\x00"},
        {"idempotency_key": "\ud800"},
        {"idempotency_key": 1},
        {"queue": 1},
        {"priority": ["high"]},
        {"callback_url": "http://\ud800/"},
        {"callback_url": "http://[::1"},
    ],
    ids=ascii,
)
def test_code_that_enqueues_is_held_to_the_same_types(light_yard: Yard, wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        enqueue(light_yard, NewJob("samples.noop", **wrong))


@pytest.mark.parametrize(
    "wrong",
    [{"enabled": 1}, {"enabled": "off"}, {"jitter_seconds": True}, {"tags": "a"}, {"tags": [1]}, {"once_at": 0}],
    ids=str,
)
def test_services_of_schedules_and_triggers_convert_no_type(light_yard: Yard, wrong: dict[str, Any]) -> None:
    sound = {"name": "a", "task": "samples.noop"} | ({} if "once_at" in wrong else {"cron": "@daily"})
    with pytest.raises(BadInput):
        schedule_service.create(light_yard, {**sound, **wrong}, TESTS)
    with pytest.raises(BadInput):
        trigger_service.create(
            light_yard, {"name": "a", "task": "samples.noop", "listens": "a", "cap_per_hour": True}, TESTS
        )
    with pytest.raises(BadInput):
        rules.change(light_yard, "rule-cpu", {"is_enabled": 1}, TESTS)


@pytest.mark.parametrize(
    "text", ["", " ", "٣", "²", "1_0", "1e3", "0x1", "nan", "9" * 19, "9" * 5000, "+", "1.0", "１"]
)
def test_a_whole_number_has_plain_digits_only(text: str) -> None:
    with pytest.raises(ValueError, match="whole number"):
        parse_whole(text)


@pytest.mark.parametrize("text", ["", "nan", "inf", "-Infinity", "1e400", "1_0", "٣", "0x1", "9" * 5000, "1e9999", "."])
def test_a_number_is_finite_and_has_plain_digits_only(text: str) -> None:
    with pytest.raises(ValueError, match="number"):
        parse_number(text)


@pytest.mark.parametrize("value", [True, False, "1", None, float("nan"), float("inf"), 10**400, -(10**400), [], 1e308])
def test_checks_of_numbers_refuse_what_is_none_or_out_of_bounds(value: Any) -> None:
    for check in (check_whole, check_number):
        with pytest.raises(BadInput):
            check("field", value, 0, 100)
    if not isinstance(value, bool):
        with pytest.raises(BadInput):
            check_flag("field", value)
