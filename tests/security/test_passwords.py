"""Passwords: weak ones are refused with the reason, one-time ones are changed at first use, keys are long enough."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from dashboard.live import NAMESPACE, socketio
from tests.people import PASSWORD
from tests.support import sign_in
from workers.domain.actors import Actor
from workers.domain.errors import BadInput, SettingsError
from workers.services import users
from workers.settings import Settings
from workers.yard import Yard

ADA = Actor("system", "tests", "admin")
WEAK = [
    "password",
    "12345678",
    " " * 8,
    "aaaaaaaaaaaa",
    "qwertyuiop",
    "Password1!",
    "short",
    "",
    "taskyard",
    "margarethe",
    "x" * 1001,
    "\ud800" * 20,
]


@pytest.mark.parametrize("password", WEAK)
def test_a_weak_password_is_refused_with_the_reason(light_yard: Yard, password: str) -> None:
    with pytest.raises(BadInput) as refused:
        users.add(light_yard, "margarethe", "viewer", password, ADA)
    assert refused.value.errors[0]["field"] == "password"
    users.add(light_yard, "margarethe", "viewer", PASSWORD, ADA)
    with pytest.raises(BadInput):
        users.set_password(light_yard, "margarethe", password, ADA)


@pytest.mark.parametrize(
    "password",
    [
        "violet tractor 7 nobody",
        "ünïcödé ßätze sind auch gut",
        "x9$kQ2!vLm",
        "a b c d violet pram",
        "日本語のパスワードです",
        "violet tractor " * 60,
    ],
)
def test_a_password_of_any_characters_is_accepted(light_yard: Yard, password: str) -> None:
    users.add(light_yard, "otto", "viewer", password, ADA)
    assert users.check_password(light_yard, "otto", password) is not None
    assert users.check_password(light_yard, "otto", password + "x") is None


def test_the_password_before_is_refused(yard: Yard) -> None:
    users.add(yard, "otto", "viewer", PASSWORD, ADA)
    with pytest.raises(BadInput, match="your current password"):
        users.set_password(yard, "otto", PASSWORD, ADA)


def test_the_form_says_why_a_password_is_refused(auth: Any) -> None:
    client = auth.client("vera")
    fields = {"csrf_token": auth.csrf(client), "present": PASSWORD, "password": "password"}
    answer = client.post("/settings/password", data=fields)
    assert answer.status_code == 422
    assert "too weak" in answer.text


def test_a_weak_admin_password_stops_the_first_start_only(yard: Yard) -> None:
    with pytest.raises(SettingsError, match="ADMIN_PASSWORD"):
        users.ensure_admin(yard, "password")
    made = users.ensure_admin(yard, "")
    assert made is not None
    assert users.ensure_admin(yard, "password") is None


def test_a_one_time_password_opens_only_the_form_that_ends_it(app: Flask, light_yard: Yard) -> None:
    password = users.add(light_yard, "otto", "admin", None, ADA)
    client = app.test_client()
    assert sign_in(client, "otto", password).status_code == 303
    page = client.get("/jobs", headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["Location"]) == (302, "/settings")
    assert client.get("/api/v1/jobs").status_code == 403
    assert client.get("/jobs", headers={"X-Region": "jobs"}).status_code == 403
    live = socketio.test_client(app, namespace=NAMESPACE, flask_test_client=client)
    assert not live.is_connected(NAMESPACE)
    token = client.get("/settings").text.split('name="csrf_token" value="', 1)[1].split('"', 1)[0]
    assert client.post("/settings/users", data={"csrf_token": token, "name": "x"}).status_code == 403
    fields = {"csrf_token": token, "present": password, "password": "violet tractor 7 nobody"}
    assert client.post("/settings/password", data=fields).status_code == 303
    assert client.get("/api/v1/jobs").status_code == 200


@pytest.mark.parametrize("key", ["short", "x" * 40, "0123456789abcdef", "abcabcabc" * 10])
def test_a_key_that_can_be_guessed_is_refused_at_the_start(key: str) -> None:
    with pytest.raises(SettingsError, match="SECRET_KEY") as refused:
        Settings.from_env({"SECRET_KEY": key})
    assert key not in str(refused.value)


def test_a_random_key_is_accepted() -> None:
    import secrets

    assert Settings.from_env({"SECRET_KEY": secrets.token_hex(32)}).secret_key
