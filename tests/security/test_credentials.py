"""The credential that is sent is the one that is checked; a session needs its token for whatever changes something."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from flask import Flask

from dashboard.live import NAMESPACE, socketio
from tests.conftest import Auth
from tests.people import PASSWORD
from tests.routes import Route, declared_routes
from tests.security.seeds import plant
from tests.support import sign_in
from workers.store.models import Base
from workers.yard import Yard

_numbers = itertools.count(1)
BODY = {"task": "samples.noop"}


@pytest.fixture(scope="module")
def shared_auth(shared_light_app: Flask) -> Auth:
    """Lend somebody who signs people in, to one application for all tests."""
    return Auth(shared_light_app, shared_light_app.extensions["yard"])


# Sign-in and sign-out.


def test_sign_in_needs_the_token_of_its_form(app: Flask) -> None:
    client = app.test_client()
    for token in (None, "", "invented"):
        fields = {"name": "vera", "password": PASSWORD} | ({} if token is None else {"csrf_token": token})
        answer = client.post("/sign-in", data=fields)
        assert answer.status_code == 400
        assert client.get("/jobs").status_code == 401


def test_a_form_from_before_a_restart_is_shown_again_and_then_works(app: Flask) -> None:
    client = app.test_client()
    client.get("/sign-in")
    app.config["SECRET_KEY"] = "another key of forty characters or so ..."
    old = {"name": "vera", "password": PASSWORD, "csrf_token": "of an old page", "next": "/queues"}
    page = client.post("/sign-in", data=old)
    assert page.status_code == 400
    assert "This page was out of date. Enter your password again." in page.text
    assert 'value="vera"' in page.text
    assert PASSWORD not in page.text
    answer = client.post("/sign-in", data=old | {"csrf_token": form_token(page.text)})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/queues")


def form_token(page: str) -> str:
    return page.split('name="csrf_token" value="', 1)[1].split('"', 1)[0]


def test_the_token_of_another_visitor_signs_nobody_in(app: Flask) -> None:
    attacker, victim = app.test_client(), app.test_client()
    token = form_token(attacker.get("/sign-in").text)
    victim.get("/sign-in")
    fields = {"name": "olga", "password": PASSWORD, "csrf_token": token}
    assert victim.post("/sign-in", data=fields).status_code == 400
    assert victim.get("/jobs").status_code == 401


def test_a_program_that_signs_in_without_a_token_gets_a_problem(app: Flask) -> None:
    fields = {"name": "vera", "password": PASSWORD}
    answer = app.test_client().post("/sign-in", data=fields, headers={"Accept": "application/json"})
    assert (answer.status_code, answer.content_type) == (400, "application/problem+json")


def test_a_session_that_somebody_else_has_planted_is_not_the_one_that_is_signed_in(app: Flask) -> None:
    attacker = app.test_client()
    attacker.get("/sign-in")
    planted = attacker.get_cookie("taskyard_5000").value
    victim = app.test_client()
    victim.set_cookie("taskyard_5000", planted)
    assert sign_in(victim, "olga", PASSWORD).status_code == 303
    attacker.set_cookie("taskyard_5000", planted)
    assert attacker.get("/jobs").status_code == 401
    before, after = form_token(attacker.get("/sign-in").text), form_token(victim.get("/settings").text)
    assert victim.post("/sign-out", data={"csrf_token": before}).status_code == 400
    assert victim.post("/sign-out", data={"csrf_token": after}).status_code == 303


def test_a_token_beside_a_session_does_not_sign_it_out(auth: Any) -> None:
    client = auth.client("vera")
    assert client.post("/sign-out", headers=auth.token("admin")).status_code == 409
    assert client.get("/jobs").status_code == 200


def test_sign_out_needs_a_token(auth: Any) -> None:
    client = auth.client("vera")
    assert client.post("/sign-out").status_code == 400
    assert client.get("/jobs").status_code == 200
    assert client.post("/sign-out", data={"csrf_token": auth.csrf(client)}).status_code == 303
    assert client.get("/jobs").status_code == 401


# Which credential counts.


@pytest.mark.parametrize(
    "header",
    [
        "Bearer ty_invented",
        "Bearer",
        "Bearer ",
        "bearer x y",
        "Basic dmVyYTp4",
        "Token x",
        "Digest a=b",
        "",
        "x",
        "Bearer\u00a0ty_x",
        "ty_x",
    ],
)
def test_a_session_does_not_stand_in_for_a_credential_that_is_not_valid(auth: Any, header: str) -> None:
    client = auth.client("olga")
    for headers in ({"Authorization": header}, {"Authorization": header, "X-CSRFToken": auth.csrf(client)}):
        assert client.get("/api/v1/jobs", headers=headers).status_code == 401
        assert client.post("/api/v1/jobs", json=BODY, headers=headers).status_code == 401


def test_a_header_does_not_free_a_session_of_its_token(auth: Any, light_yard: Yard) -> None:
    client = auth.client("olga")
    for scheme in ("Bearer ty_x", "bearer ", "Basic x"):
        answer = client.post("/api/v1/jobs", json=BODY, headers={"Authorization": scheme})
        assert answer.status_code == 401
    assert client.post("/api/v1/jobs", json=BODY).status_code == 400
    with light_yard.database.read() as connection:
        from workers.services import statistics

        assert statistics.status_counts(connection).get("pending", 0) == 0


def test_the_role_of_a_token_counts_not_that_of_the_session_beside_it(auth: Any) -> None:
    client = auth.client("ada")
    viewer = auth.token("viewer")
    assert client.post("/api/v1/jobs", json=BODY, headers=viewer).status_code == 403
    assert client.post("/settings/users", data={"name": "x"}, headers=viewer).status_code == 403


def test_a_token_needs_no_form_token(app: Flask, auth: Any) -> None:
    assert app.test_client().post("/api/v1/jobs", json=BODY, headers=auth.token("operator")).status_code == 202


@pytest.mark.parametrize("session", [None, "vera", "ada"])
@pytest.mark.parametrize("token", [None, "viewer", "admin", "invented"])
@pytest.mark.parametrize("form_token", ["right", "wrong", None])
def test_one_credential_decides_and_the_form_token_counts_for_sessions_only(
    shared_auth: Auth, session: str | None, token: str | None, form_token: str | None
) -> None:
    """The matrix, at each kind of method, for a read and for a write that needs an admin."""
    client = shared_auth.client(session)
    client.environ_base["REMOTE_ADDR"] = f"10.0.0.{next(_numbers)}"  # wrong tokens are counted by address
    headers = {}
    if form_token == "right" and session is not None:
        headers["X-CSRFToken"] = shared_auth.csrf(client)
    if form_token == "wrong":
        headers["X-CSRFToken"] = "invented"
    if token is not None:
        headers |= {"Authorization": "Bearer ty_invented"} if token == "invented" else shared_auth.token(token)
    role = {"vera": "viewer", "ada": "admin", None: None}[session]
    if token is not None:
        role = None if token == "invented" else token
    is_blocked = token is None and role is not None and form_token != "right"
    read = 401 if role is None else 200
    write = 401 if role is None else {"viewer": 403, "admin": 400 if is_blocked else 404}[role]
    assert client.get("/api/v1/jobs", headers=headers).status_code == read
    assert client.head("/api/v1/jobs", headers=headers).status_code == read
    for method, path, body in WRITES:
        assert client.open(path, method=method, headers=headers, json=body).status_code == write, path


ABSENT = "0197b1f0-0000-7000-8000-000000000000"
WRITES = (
    ("PATCH", "/api/v1/alert-rules/rule-absent", {"severity": "warning"}),
    ("DELETE", "/api/v1/alert-rules/rule-absent", None),
    ("DELETE", f"/api/v1/alert-channels/{ABSENT}", None),
    ("POST", f"/settings/tokens/{ABSENT}/revocations", None),
)


def test_every_write_with_a_session_needs_its_token(shared_auth: Auth) -> None:
    client = shared_auth.client("ada")
    writes = [route for route in declared_routes() if route.is_unsafe]
    statuses = {str(route): client.open(route.path(), method=route.method).status_code for route in writes}
    assert len(statuses) > 40
    assert set(statuses.values()) == {400}, statuses


def test_a_cookie_of_another_application_does_not_take_the_place_of_a_token(app: Flask, auth: Any) -> None:
    client = app.test_client()
    client.set_cookie("remember_token", "1|x")
    client.set_cookie("session", "x")
    assert client.get("/api/v1/jobs", headers=auth.token("viewer")).status_code == 200


def test_a_message_to_a_token_is_not_left_in_the_session_beside_it(auth: Any) -> None:
    client = auth.client("vera")
    assert client.post("/settings/webhook-secret", headers=auth.token("admin")).status_code == 303
    assert "new signature" not in client.get("/settings").text


# Pages of other sites.


@pytest.mark.parametrize(
    ("headers", "is_accepted"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Origin": "http://localhost"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "odd"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "http://localhost.evil.example"}, False),
        ({"Origin": "http://localhost:8080"}, False),
        ({"Origin": "http://evil.example/http://localhost"}, False),
        ({"Origin": "//["}, False),
        ({"Origin": ""}, False),
    ],
)
def test_a_browser_that_acts_for_another_site_is_refused_even_with_the_token(
    app: Flask, auth: Any, headers: dict[str, str], is_accepted: bool
) -> None:
    client = auth.client("olga")
    right = {"X-CSRFToken": auth.csrf(client)}
    assert client.post("/api/v1/jobs", json=BODY, headers=headers | right).status_code == (202 if is_accepted else 403)
    assert client.get("/jobs", headers=headers).status_code == 200
    visitor = app.test_client()
    fields = {"name": "vera", "password": PASSWORD, "csrf_token": form_token(visitor.get("/sign-in").text)}
    assert visitor.post("/sign-in", data=fields, headers=headers).status_code == (303 if is_accepted else 403)
    assert client.post("/api/v1/jobs", json=BODY, headers=headers | auth.token("operator")).status_code == 202


# Live connections.


def connect(app: Flask, client: Any = None, auth: Any = None, **headers: str) -> bool:
    live = socketio.test_client(app, namespace=NAMESPACE, flask_test_client=client, auth=auth, headers=headers)
    is_connected: bool = live.is_connected(NAMESPACE)
    if is_connected:
        live.disconnect(NAMESPACE)
    return is_connected


@pytest.mark.parametrize("session", [None, "vera"])
@pytest.mark.parametrize(
    ("payload", "header", "is_accepted"),
    [
        (None, None, "with a session"),
        ({}, None, "with a session"),
        ({"other": 1}, None, "with a session"),
        ("valid", None, True),
        ("valid", "invalid", True),
        ("invalid", "valid", False),
        ("invalid", None, False),
        ({"token": None}, None, False),
        ({"token": 5}, None, False),
        ({"token": ["x"]}, None, False),
        ({"token": ""}, None, False),
        ("text", None, False),
        (["x"], None, False),
        (None, "valid", True),
        (None, "invalid", False),
        (None, "Basic eDp5", False),
        (None, "", False),
    ],
)
def test_a_live_connection_has_one_credential_too(
    shared_auth: Auth, session: str | None, payload: Any, header: str | None, is_accepted: Any
) -> None:
    valid = shared_auth.token("viewer")["Authorization"]
    secrets = {"valid": valid.removeprefix("Bearer "), "invalid": "ty_invented"}
    if isinstance(payload, str):
        payload = {"token": secrets[payload]} if payload in secrets else payload
    headers = {} if header is None else {"Authorization": f"Bearer {secrets[header]}" if header in secrets else header}
    client = shared_auth.client(session) if session else None
    expected = session is not None if is_accepted == "with a session" else is_accepted
    assert connect(shared_auth._app, client, payload, **headers) == expected


@pytest.mark.parametrize(
    ("headers", "is_accepted"),
    [
        ({}, True),
        ({"Origin": "http://localhost"}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "http://localhost:8080"}, False),
        ({"Origin": "https://evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}, False),
        ({"Origin": "null"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
    ],
)
def test_a_page_of_another_site_opens_no_live_connection_with_a_session(
    app: Flask, auth: Any, headers: dict[str, str], is_accepted: bool
) -> None:
    assert connect(app, auth.client("vera"), None, **headers) == is_accepted


# Reads.


@pytest.fixture(scope="module")
def planted(shared_auth: Auth) -> tuple[Any, dict[str, str]]:
    """Insert a row of each kind and sign an admin in; the client and the parts of addresses."""
    parts = plant(shared_auth._yard)
    return shared_auth.client("ada"), {**parts, "name": "default", "rule_id": "rule-cpu"}


@pytest.mark.parametrize("route", [route for route in declared_routes() if route.method == "GET"], ids=str)
def test_a_read_changes_nothing(shared_auth: Auth, planted: tuple[Any, dict[str, str]], route: Route) -> None:
    client, parts = planted
    before = contents(shared_auth._yard)
    for method in ("HEAD", "GET"):
        answer = client.open(route.path(**parts), method=method, query_string={"confirm": "1", "action": "retry"})
        answer.get_data()
        assert answer.status_code < 500
    assert contents(shared_auth._yard) == before
    assert client.get("/more").status_code == 200


def contents(yard: Yard) -> dict[str, list[Any]]:
    with yard.database.read() as connection:
        tables = Base.metadata.sorted_tables
        return {table.name: sorted(map(repr, connection.execute(table.select()).all())) for table in tables}
