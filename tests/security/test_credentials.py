"""The credential that is sent is the one that is checked; a session needs its token for whatever changes something."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from tests.conftest import PASSWORD
from tests.routes import declared_routes
from workers.yard import Yard

BODY = {"task": "samples.noop"}


def test_sign_in_needs_the_token_of_its_form(app: Flask) -> None:
    client = app.test_client()
    assert client.post("/sign-in", data={"name": "vera", "password": PASSWORD}).status_code == 400
    client.get("/sign-in")
    answer = client.post("/sign-in", data={"name": "vera", "password": PASSWORD, "csrf_token": "invented"})
    assert answer.status_code == 400
    assert "Load the page again" in answer.text
    assert client.get("/jobs").status_code == 401


def test_sign_out_needs_a_token(auth: Any) -> None:
    client = auth.client("vera")
    assert client.post("/sign-out").status_code == 400
    assert client.get("/jobs").status_code == 200
    assert client.post("/sign-out", data={"csrf_token": auth.csrf(client)}).status_code == 303
    assert client.get("/jobs").status_code == 401


@pytest.mark.parametrize(
    "header",
    ["Bearer ty_invented", "Bearer", "Bearer ", "bearer x y", "Basic dmVyYTp4", "Token x", "Digest a=b", "", "x"],
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


def test_every_write_with_a_session_needs_its_token(auth: Any) -> None:
    client = auth.client("ada")
    writes = [route for route in declared_routes() if route.method in {"POST", "PUT", "PATCH", "DELETE"}]
    assert len(writes) > 40
    for route in writes:
        assert client.open(route.path(), method=route.method).status_code == 400, route
