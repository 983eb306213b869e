"""The role matrix: every method of every route of the url map, and every event of a live connection, for each kind of caller."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from dashboard.live import NAMESPACE, LiveNamespace, socketio
from dashboard.live_server import EVENTS
from tests.conftest import Auth
from tests.people import PEOPLE, TESTS, add_person
from tests.routes import Route, declared_routes, routes_of
from tests.security.role_table import ROLE_OF, ROLE_OF_EVENT
from workers.domain.actors import ROLES
from workers.services import tokens, users
from workers.store import tokens as token_rows

ROUTES = declared_routes()
RANK = {"public": 0, **{role: rank for rank, role in enumerate(("viewer", "operator", "admin"), 1)}}
LOCKED = "lola"
_addresses = itertools.count(1)


class Callers:
    """Everybody who may call: by session, by token, or without a credential that counts."""

    def __init__(self, app: Flask) -> None:
        self._app, self._yard = app, app.extensions["yard"]
        self._auth = Auth(app, self._yard)
        add_person(self._yard, LOCKED, "admin")
        self.clients: dict[str, FlaskClient] = {name: self._auth.client(name) for name in [*PEOPLE, LOCKED]}
        self.csrf = {name: self._auth.csrf(client) for name, client in self.clients.items()}
        users.change(self._yard, LOCKED, TESTS, disabled=True)
        self.tokens = {role: self._auth.token(role) for role in ROLES}
        self.revoked = self._auth.token("admin")
        with self._yard.database.read() as connection:
            newest = max(token_rows.all_tokens(connection), key=lambda row: row["id"])
        tokens.revoke(self._yard, newest["id"], TESTS)

    def status(self, route: Route, client: FlaskClient | None = None, **headers: str) -> int:
        # Each call from another network: wrong tokens are counted by the network that they come from.
        number = next(_addresses)
        address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        caller = client or self._app.test_client()
        answer = caller.open(
            route.path(), method=route.method, headers=headers, environ_overrides={"REMOTE_ADDR": address}
        )
        return answer.status_code


@pytest.fixture(scope="module")
def callers(shared_light_app: Flask) -> Iterator[Callers]:
    """Sign everybody in once; a session that a call ends is made anew by the test that needs it."""
    return Callers(shared_light_app)


def is_refused(route: Route, status: int) -> bool:
    """Whether a caller without a credential was sent away: to the sign-in page, or with 401."""
    return status == 401 or (status == 302 and route.method == "GET" and not route.is_call)


def test_the_table_names_the_role_of_every_route_and_of_no_other(shared_light_app: Flask) -> None:
    declared = {str(route): route.role for route in routes_of(shared_light_app)}
    assert declared == ROLE_OF
    assert {str(route) for route in ROUTES} == set(ROLE_OF)


def test_every_view_declares_its_role(shared_light_app: Flask) -> None:
    bare = [str(route) for route in routes_of(shared_light_app) if route.role not in RANK]
    assert bare == []


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_a_caller_without_a_credential_that_counts_gets_to_public_routes_only(callers: Callers, route: Route) -> None:
    invented = {"Authorization": "Bearer ty_invented"}
    statuses = {
        "nobody": callers.status(route),
        "revoked token": callers.status(route, **callers.revoked),
        "invented token": callers.status(route, **invented),
        "basic": callers.status(route, Authorization="Basic b2xnYTp4"),
        "locked user": callers.status(route, callers.clients[LOCKED], **{"X-CSRFToken": callers.csrf[LOCKED]}),
        "session beside a revoked token": callers.status(
            route, callers.clients["ada"], **callers.revoked, **{"X-CSRFToken": callers.csrf["ada"]}
        ),
    }
    refused = {who: is_refused(route, status) for who, status in statuses.items()}
    assert set(refused.values()) == {ROLE_OF[str(route)] != "public"}, statuses


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_a_token_gets_as_far_as_its_role(callers: Callers, route: Route) -> None:
    for role in ROLES:
        status = callers.status(route, **callers.tokens[role])
        assert (status == 403) == (RANK[role] < RANK[ROLE_OF[str(route)]]), (role, status)
        assert status not in {302, 401} or ROLE_OF[str(route)] == "public" or route.endpoint.startswith("session"), (
            status
        )


@pytest.mark.parametrize("route", [route for route in ROUTES if not route.endpoint.startswith("session.")], ids=str)
def test_a_user_gets_as_far_as_the_role_that_he_has(callers: Callers, route: Route) -> None:
    for name, role in PEOPLE.items():
        status = callers.status(route, callers.clients[name], **{"X-CSRFToken": callers.csrf[name]})
        may = RANK[role] >= RANK[ROLE_OF[str(route)]]
        assert (status == 403) == (not may), (name, status)
        assert status < 500 or status == 502, (name, status)


@pytest.mark.parametrize("route", [route for route in ROUTES if route.is_unsafe], ids=str)
def test_a_session_changes_nothing_without_its_csrf_token(callers: Callers, route: Route) -> None:
    for headers in ({}, {"X-CSRFToken": "made up"}, {"X-CSRFToken": callers.csrf["vera"]}):
        assert callers.status(route, callers.clients["ada"], **headers) == 400, headers


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_the_methods_that_an_address_names_are_those_that_it_has(callers: Callers, route: Route) -> None:
    token, client = callers.tokens["admin"], callers._app.test_client()
    at_path = {one.method for one in ROUTES if one.path() == route.path()}
    wanted = at_path | {"OPTIONS"} | ({"HEAD"} if "GET" in at_path else set())
    assert methods(client.open(route.path(), method="OPTIONS", headers=token)) == wanted
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"} - at_path:
        refused = client.open(route.path(), method=method, headers=token)
        assert (refused.status_code, methods(refused)) == (405, wanted), method
        assert refused.content_type == "application/problem+json"


def methods(answer: Any) -> set[str]:
    return set(filter(None, answer.headers.get("Allow", "").replace(" ", "").split(",")))


def test_the_table_names_every_event_of_a_live_connection() -> None:
    assert set(ROLE_OF_EVENT) == EVENTS
    handlers = {name.removeprefix("on_") for name in dir(LiveNamespace) if name.startswith("on_")}
    assert handlers <= {"connect", "disconnect"}  # the server answers events itself and dispatches none by its name


@pytest.mark.parametrize("event", sorted(ROLE_OF_EVENT))
@pytest.mark.parametrize("who", ["nobody", "locked", "revoked", *PEOPLE, *(f"token {role}" for role in ROLES)])
def test_a_live_event_is_answered_to_whoever_has_its_role(callers: Callers, event: str, who: str) -> None:
    kind, _, role = who.partition(" ")
    header = callers.tokens[role] if kind == "token" else callers.revoked if who == "revoked" else None
    person = LOCKED if who == "locked" else who if who in PEOPLE else None
    client = socketio.test_client(
        callers._app,
        namespace=NAMESPACE,
        flask_test_client=callers.clients[person] if person else None,
        auth={"token": header["Authorization"].removeprefix("Bearer ")} if header else None,
    )
    is_let_in = who in PEOPLE or kind == "token"
    assert client.is_connected(NAMESPACE) == is_let_in
    if is_let_in:
        answer = client.emit(event, {"rooms": ["jobs"]}, namespace=NAMESPACE, callback=True)
        assert answer["ok"] is True
        client.disconnect(NAMESPACE)
