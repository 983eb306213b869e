"""No input is a fault: every route with hostile values in each part of its address, field, header and body.

The routes, their parts and their fields are read from the application itself; a new route is attacked without being named.
"""

from __future__ import annotations

import inspect
import json
import logging
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask

from dashboard.api.contract import NoQuery
from dashboard.factory import create_app
from tests.people import TESTS
from tests.routes import Route, declared_routes, routes_of
from tests.security.hostile import BODIES, FOR_SQL, HEADER_NAMES, HEADERS, HOSTS, JSON_VALUES, SEGMENTS, TEXTS
from tests.security.raw_requests import Answer, send
from tests.security.seeds import plant
from workers.services import tokens

ROUTES = declared_routes()
FORM = "application/x-www-form-urlencoded"
_READ = r"""(?:\.get|\.getlist)?[\[(]\s*["']([a-z_.]+)["']"""
_FROM_QUERY = re.compile(r"args" + _READ)
_FROM_FORM = re.compile(
    r"""(?:(?:form|values|files|given)(?:\.get|\.getlist)?[\[(]|_number\((?:given, )?)\s*["']([a-z_.]+)["']"""
)
_TUPLE = re.compile(r"^(KEYS|_OPTIONS|_MOMENTS)\b.*?\((.*?)\)", re.MULTILINE | re.DOTALL)
_CALL = re.compile(r"(?<![.\w])(_?[a-z_]+)\(")
_PAYLOAD = ("payload.seconds", "payload.steps", "payload.source", "as_json", "json", "csrf_token")


class Attacker:
    """Sends requests as an admin and remembers what must not be answered."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        secret = tokens.create(app.extensions["yard"], "attacker", "admin", None, TESTS)
        self._header = {"Authorization": f"Bearer {secret}"}
        self.faults: list[str] = []

    def send(self, what: str, method: str, target: str, **parts: Any) -> Answer:
        headers = self._header | parts.pop("headers", {})
        answer = send(self.app, method, target, headers=headers, **parts)
        if answer.status >= 500 and answer.status != 502:  # 502: a channel that was tried did not take the message
            self.faults.append(f"{what}: {method} {target[:200]} answered {answer.status} {answer.text[:200]}")
        is_for_programs = target.startswith("/api/") and answer.status >= 400
        if is_for_programs and answer.media_type != "application/problem+json":
            self.faults.append(f"{what}: {method} {target[:200]} answered {answer.status} as {answer.media_type}")
        return answer


@pytest.fixture
def attacker(shared_app: Flask, caplog: pytest.LogCaptureFixture) -> Iterator[Attacker]:
    """Attack the application on each database; nothing may fail or be logged as a fault."""
    found = Attacker(shared_app)
    yield found
    assert found.faults == []
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.fixture
def light_attacker(shared_light_app: Flask, caplog: pytest.LogCaptureFixture) -> Iterator[Attacker]:
    """Attack the application on SQLite alone, where the database does not matter."""
    found = Attacker(shared_light_app)
    yield found
    assert found.faults == []
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


def query_fields(app: Flask, route: Route) -> list[str]:
    """Name the parameters that a view takes in its query."""
    about = getattr(app.view_functions[route.endpoint], "taskyard_operation", None)
    if about is not None:
        return [] if about["query"] is NoQuery else list(about["query"].model_fields)
    source = source_of(app, route)
    names = set(_FROM_QUERY.findall(source)) | constants_of(app, route, source)
    return sorted(names | (set(_FROM_FORM.findall(source)) if "args.to_dict()" in source else set()))


def form_fields(app: Flask, route: Route) -> list[str]:
    """Name the fields that a view takes in its form."""
    source = source_of(app, route)
    names = set(_FROM_FORM.findall(source)) | constants_of(app, route, source)
    return sorted(names) + (list(_PAYLOAD) if route.endpoint == "tasks.run" else [])


def source_of(app: Flask, route: Route) -> str:
    """Return the source of a view and of the functions of its module that it calls."""
    view = inspect.unwrap(app.view_functions[route.endpoint])
    module = sys.modules[view.__module__]
    sources: dict[str, str] = {}
    waiting = [view.__name__]
    while waiting:
        name = waiting.pop()
        function = getattr(module, name, None)
        if name not in sources and inspect.isfunction(function) and function.__module__ == module.__name__:
            sources[name] = inspect.getsource(function)
            waiting += _CALL.findall(sources[name])
    return "\n".join(sources.values())


def constants_of(app: Flask, route: Route, source: str) -> set[str]:
    module = sys.modules[inspect.unwrap(app.view_functions[route.endpoint]).__module__]
    listed = {name: text for name, text in _TUPLE.findall(inspect.getsource(module)) if name in source}
    return {name for text in listed.values() for name in re.findall(r'"([a-z_]+)"', text)}


def texts_for(app: Flask) -> dict[str, str]:
    is_light = app.extensions["yard"].database.is_sqlite
    return TEXTS if is_light else {name: TEXTS[name] for name in FOR_SQL}


def test_the_routes_that_are_attacked_are_all_that_there_are(shared_light_app: Flask) -> None:
    assert [str(route) for route in ROUTES] == [str(route) for route in routes_of(shared_light_app)]


@pytest.mark.parametrize("route", [route for route in ROUTES if route.parts], ids=str)
def test_no_part_of_an_address_is_a_fault(attacker: Attacker, route: Route) -> None:
    for name in route.parts:
        for what, text in SEGMENTS.items():
            if attacker.app.extensions["yard"].database.is_sqlite is False and what not in FOR_SQL:
                continue
            answer = attacker.send(what, route.method, route.path(**{name: text}))
            if route.parts[name] in {"id", "number"} and what not in {"id", "zero", "many digits"}:
                assert answer.status in {400, 404}, (what, answer.status)


@pytest.mark.parametrize("route", [route for route in ROUTES if not route.is_unsafe], ids=str)
def test_no_parameter_of_a_query_is_a_fault(attacker: Attacker, route: Route) -> None:
    seeds = plant(attacker.app.extensions["yard"]) if route.parts else {}
    path = route.path(**seeds)
    for name in [*query_fields(attacker.app, route), "unknown"]:
        for what, text in texts_for(attacker.app).items():
            answer = attacker.send(what, route.method, f"{path}?{name}={text}")
            if route.is_call and name == "unknown":
                assert answer.status in {400, 422}, (what, answer.status)
    attacker.send("names", route.method, f"{path}?" + "&".join(TEXTS.values()))
    attacker.send("twice", route.method, f"{path}?limit=1&limit=2&q=a&q=b")


@pytest.mark.parametrize("route", [route for route in ROUTES if route.is_unsafe and not route.is_call], ids=str)
def test_no_field_of_a_form_is_a_fault(attacker: Attacker, route: Route) -> None:
    seeds = plant(attacker.app.extensions["yard"]) if route.parts else {}
    path = route.path(**{"name": "samples.sleep"} if route.endpoint == "tasks.run" else {}, **seeds)
    fields = form_fields(attacker.app, route)
    for sound, attacked in sound_forms(route.endpoint, fields):
        for name in attacked:
            for what, text in texts_for(attacker.app).items():
                body = "&".join(f"{key}={value}" for key, value in {**sound, name: text}.items()).encode()
                attacker.send(f"{name} {what}", "POST", path, body=body, headers={"Content-Type": FORM})


def sound_forms(endpoint: str, fields: list[str]) -> list[tuple[dict[str, str], list[str]]]:
    """Return forms that can be used but for one field, of each kind that the form knows, and the fields to attack."""
    kinds = {"schedule_form": ("cron", "interval", "once"), "triggers": ("event", "queue"), "alerts": ("cpu",)}
    of_kind = {"interval": ["every", "every_unit"], "once": ["once_at"], "queue": ["queue", "measure", "above"]}
    values = {
        "name": "hostile",
        "task": "samples.noop",
        "cron": "0 6 * * *",
        "every": "5",
        "once_at": "2100-01-01T00:00",
        "timezone": "UTC",
        "listens": "a.b",
        "queue": "default",
        "measure": "depth",
        "above": "1",
        "cooldown_seconds": "60",
        "cap_per_hour": "60",
        "threshold": "1",
        "window_seconds": "60",
        "severity": "info",
        "seconds": "60",
        "action": "retry",
    }
    sound = {name: values[name] for name in fields if name in values}
    if "kind" not in fields:
        return [(sound, fields)]
    found = kinds.get(endpoint.partition(".")[0], ("",))
    return [({**sound, "kind": kind}, of_kind.get(kind, fields)) for kind in found]


@pytest.mark.parametrize("route", [route for route in ROUTES if route.is_unsafe], ids=str)
def test_no_body_is_a_fault(light_attacker: Attacker, route: Route) -> None:
    path = route.path(**plant(light_attacker.app.extensions["yard"]))
    for what, (body, kind) in BODIES.items():
        light_attacker.send(what, route.method, path, body=body, headers={"Content-Type": kind} if kind else {})


@pytest.mark.parametrize("route", [route for route in ROUTES if route.is_unsafe and route.is_call], ids=str)
def test_no_value_in_a_body_is_a_fault(attacker: Attacker, route: Route) -> None:
    model = attacker.app.view_functions[route.endpoint].taskyard_operation["body"]  # type: ignore[attr-defined]
    sound = json_of(model.__name__) if model is not None else {}
    path = route.path(**plant(attacker.app.extensions["yard"]))
    for name in [*(model.model_fields if model is not None else ()), "unknown"]:
        for what, value in JSON_VALUES.items():
            body = json.dumps(sound | {name: value}).encode()
            headers = {"Content-Type": "application/json"}
            answer = attacker.send(f"{name} {what}", route.method, path, body=body, headers=headers)
            if name == "unknown":
                assert 400 <= answer.status < 500, (what, answer.status)


def json_of(name: str) -> dict[str, Any]:
    """Return a body that can be used, for the others of its fields."""
    task = {"task": "samples.noop"}
    return {
        "JobRequest": task,
        "BulkRequest": {"jobs": [task]},
        "NewSchedule": {**task, "name": "hostile", "cron": "0 6 * * *"},
        "PreviewRequest": {"cron": "0 6 * * *"},
        "NewTrigger": {**task, "name": "hostile", "listens": "a.b"},
        "NewEvent": {"name": "a.b"},
        "Trial": {"name": "a.b"},
        "BulkActionRequest": {"action": "retry", "preview": True},
        "NewRule": {"kind": "cpu"},
        "NewChannel": {"name": "hostile", "url": "json://127.0.0.1:1/"},
        "Leave": {"seconds": 60},
        "Silence": {"seconds": 60},
        "PoolRequest": {"workers": 2},
    }.get(name, {})


@pytest.mark.parametrize("header", HEADER_NAMES)
def test_no_header_is_a_fault(light_attacker: Attacker, header: str) -> None:
    job_id = plant(light_attacker.app.extensions["yard"])["job_id"]
    for target in (
        "/jobs",
        "/api/v1/jobs",
        "/static/mark.svg",
        f"/jobs/{job_id}/files/report.html",
        "/nowhere",
        "/sign-in",
    ):
        for what, value in HEADERS.items():
            for method in ("GET", "POST"):
                light_attacker.send(f"{header} {what}", method, target, headers={header: value})


@pytest.mark.parametrize(("host", "is_sound"), HOSTS.items(), ids=list(map(ascii, HOSTS)))
@pytest.mark.parametrize("by_proxy", [False, True])
def test_a_host_is_a_host_before_anything_reads_it(
    shared_light_app: Flask, host: str, is_sound: bool, by_proxy: bool
) -> None:
    app = shared_light_app
    if by_proxy:
        yard = app.extensions["yard"]
        yard = replace(yard, settings=replace(yard.settings, trusted_proxies=1))
        app = create_app(yard.settings, yard)
    name = "X-Forwarded-Host" if by_proxy else "Host"
    for target in ("/sign-in", "/nowhere", "/api/v1/jobs", "/jobs", "/socket.io/?EIO=4&transport=websocket"):
        answer = send(app, "GET", target, headers={name: host})
        if is_sound or (by_proxy and host in {"", "a,b"}) or target.startswith("/socket.io"):
            assert answer.status < 500
        else:
            assert (answer.status, answer.media_type) == (400, "application/problem+json")


@pytest.mark.parametrize("forwarded", ["javascript", "http,javascript", "https\xff", "a" * 1000])
def test_a_scheme_that_a_proxy_forwards_is_http_or_https(shared_light_app: Flask, forwarded: str) -> None:
    yard = shared_light_app.extensions["yard"]
    app = create_app(replace(yard.settings, trusted_proxies=1), yard)
    assert send(app, "GET", "/sign-in", headers={"X-Forwarded-Proto": forwarded}).status == 400
    assert send(app, "GET", "/sign-in", headers={"X-Forwarded-For": forwarded}).status == 200
