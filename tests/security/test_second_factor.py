"""The second factor: codes that work once, recovery codes, and what an admin may require."""

from __future__ import annotations

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyotp
import pytest
import time_machine
from flask import Flask
from flask.testing import FlaskClient

from dashboard.live import NAMESPACE, socketio
from tests.conftest import Auth
from tests.people import PASSWORD, add_person
from tests.support import sign_in
from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput, Conflict
from workers.services import second_factor, users
from workers.store import users as user_rows
from workers.store.types import Row
from workers.yard import Yard

TESTS = Actor("system", "tests", "admin")
STEP = second_factor.STEP_SECONDS


def code_of(secret: str, steps: int = 0) -> str:
    """Return the code that an app shows now, or some steps from now."""
    return pyotp.TOTP(secret).generate_otp(int(utcnow().timestamp()) // STEP + steps)


def user(yard: Yard, name: str) -> Row:
    with yard.database.read() as connection:
        row = user_rows.by_name(connection, name)
    assert row is not None
    return row


def turn_on(yard: Yard, name: str = "otto") -> tuple[str, list[str]]:
    """Give a user a second factor; its secret and the recovery codes. The first code used is that of one step ago."""
    secret = second_factor.new_secret()
    return secret, second_factor.turn_on(yard, name, secret, code_of(secret, -1), TESTS)


@pytest.fixture
def otto(yard: Yard) -> str:
    add_person(yard, "otto", "viewer")
    return str(user(yard, "otto")["id"])


# Codes, on both databases.


def test_a_code_works_once(yard: Yard, otto: str) -> None:
    secret, _ = turn_on(yard)
    code = code_of(secret)
    assert second_factor.check(yard, otto, code)
    assert not second_factor.check(yard, otto, code)


def test_a_code_works_once_however_many_use_it_at_the_same_time(yard: Yard, otto: str) -> None:
    secret, _ = turn_on(yard)
    code, together = code_of(secret), threading.Barrier(6)

    def use() -> bool:
        together.wait()
        return second_factor.check(yard, otto, code)

    with ThreadPoolExecutor(6) as pool:
        found = [future.result() for future in [pool.submit(use) for _ in range(6)]]
    assert found.count(True) == 1


def test_an_earlier_code_does_not_work_after_a_later_one(yard: Yard, otto: str) -> None:
    secret, _ = turn_on(yard)
    assert second_factor.check(yard, otto, code_of(secret, 1))
    assert not second_factor.check(yard, otto, code_of(secret))


@pytest.mark.parametrize(("steps", "is_accepted"), [(-2, False), (0, True), (1, True), (2, False), (100, False)])
def test_clocks_may_differ_by_one_step(yard: Yard, otto: str, steps: int, is_accepted: bool) -> None:
    with time_machine.travel(1_800_000_015, tick=False):  # in the middle of a step
        secret, _ = turn_on(yard)
        assert second_factor.check(yard, otto, code_of(secret, steps)) is is_accepted


@pytest.mark.parametrize(
    "text", ["", "x", "12345", "1234567", "\x00" * 6, "\ud800", "٠١٢٣٤٥", "1" * 10_000, "' OR 1=1"]
)
def test_what_is_no_code_is_refused(yard: Yard, otto: str, text: str) -> None:
    turn_on(yard)
    assert not second_factor.check(yard, otto, text)


def test_spaces_in_a_code_do_not_matter(yard: Yard, otto: str) -> None:
    secret, _ = turn_on(yard)
    code = code_of(secret)
    assert second_factor.check(yard, otto, f" {code[:3]} {code[3:]} ")


def test_a_recovery_code_works_once_in_any_spelling(yard: Yard, otto: str) -> None:
    _, codes = turn_on(yard)
    assert len(set(codes)) == second_factor.RECOVERY_CODES
    assert second_factor.check(yard, otto, codes[0].lower().replace("-", " "))
    assert not second_factor.check(yard, otto, codes[0])
    assert second_factor.check(yard, otto, codes[1])
    assert second_factor.count_of_recovery_codes(user(yard, "otto")) == second_factor.RECOVERY_CODES - 2


def test_recovery_codes_are_stored_as_hashes(yard: Yard, otto: str) -> None:
    _, codes = turn_on(yard)
    stored = json.dumps(dict(user(yard, "otto")), default=str)
    assert not [code for code in codes if code in stored or code.replace("-", "") in stored]


def test_new_recovery_codes_end_the_earlier_ones(yard: Yard, otto: str) -> None:
    _, codes = turn_on(yard)
    renewed = second_factor.renew_recovery_codes(yard, "otto", TESTS)
    assert not second_factor.check(yard, otto, codes[0])
    assert second_factor.check(yard, otto, renewed[0])


def test_a_second_factor_is_not_added_without_its_code_nor_twice(yard: Yard, otto: str) -> None:
    with pytest.raises(BadInput):
        second_factor.turn_on(yard, "otto", second_factor.new_secret(), "000000", TESTS)
    assert user(yard, "otto")["totp_secret"] is None
    turn_on(yard)
    with pytest.raises(Conflict):
        turn_on(yard)


def test_a_removed_second_factor_is_no_second_factor(yard: Yard, otto: str) -> None:
    secret, codes = turn_on(yard)
    second_factor.turn_off(yard, "otto", TESTS)
    assert not second_factor.check(yard, otto, code_of(secret))
    assert not second_factor.check(yard, otto, codes[0])
    with pytest.raises(Conflict):
        second_factor.turn_off(yard, "otto", TESTS)


# Over HTTP.


def form_token(text: str) -> str:
    return text.split('name="csrf_token" value="', 1)[1].split('"', 1)[0]


def send_code(client: FlaskClient, code: str) -> Any:
    page = client.get("/sign-in/code")
    if page.status_code != 200:
        page = client.get("/sign-in")
    fields = {"code": code, "csrf_token": form_token(page.text)}
    return client.post("/sign-in/code", data=fields)


def post(client: FlaskClient, auth: Auth, path: str, **fields: str) -> Any:
    return client.post(path, data={"csrf_token": auth.csrf(client), **fields})


def test_the_password_alone_opens_nothing(app: Flask, light_yard: Yard) -> None:
    secret, _ = turn_on(light_yard, "vera")
    client = app.test_client()
    answer = sign_in(client, "vera", PASSWORD, next="/queues")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/sign-in/code")
    assert client.get("/api/v1/jobs").status_code == 401
    assert not socketio.test_client(app, namespace=NAMESPACE, flask_test_client=client).is_connected(NAMESPACE)
    wrong = send_code(client, "000000")
    assert wrong.status_code == 403
    assert "The code is wrong" in wrong.text
    assert client.get("/api/v1/jobs").status_code == 401
    right = send_code(client, code_of(secret))
    assert (right.status_code, right.headers["Location"]) == (303, "/queues")
    assert client.get("/api/v1/jobs").status_code == 200


def test_a_recovery_code_signs_in(app: Flask, light_yard: Yard) -> None:
    _, codes = turn_on(light_yard, "vera")
    client = app.test_client()
    sign_in(client, "vera", PASSWORD)
    assert send_code(client, codes[3]).status_code == 303
    assert client.get("/api/v1/jobs").status_code == 200


def test_a_code_without_the_password_leads_back_to_the_start(app: Flask, light_yard: Yard) -> None:
    turn_on(light_yard, "vera")
    client = app.test_client()
    page = client.get("/sign-in/code")
    assert (page.status_code, page.headers["Location"]) == (303, "/sign-in")
    token = form_token(client.get("/sign-in").text)
    answer = client.post("/sign-in/code", data={"code": "000000", "csrf_token": token})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/sign-in")


def test_the_step_between_ends_after_five_minutes_and_with_the_password(app: Flask, light_yard: Yard) -> None:
    secret, _ = turn_on(light_yard, "vera")
    client = app.test_client()
    sign_in(client, "vera", PASSWORD)
    with time_machine.travel(utcnow().timestamp() + 301):
        assert client.get("/sign-in/code").status_code == 303
    client = app.test_client()
    sign_in(client, "vera", PASSWORD)
    users.set_password(light_yard, "vera", "violet tractor 7 nobody", TESTS)
    assert send_code(client, code_of(secret)).headers["Location"] == "/sign-in"


def test_codes_cannot_be_guessed_without_limit(app: Flask, light_yard: Yard) -> None:
    secret, _ = turn_on(light_yard, "vera")
    client = app.test_client()
    sign_in(client, "vera", PASSWORD)
    statuses = [send_code(client, f"{number:06}").status_code for number in range(8)]
    assert statuses == [403] * 5 + [429] * 3
    assert send_code(client, code_of(secret)).status_code == 429
    other = app.test_client()
    sign_in(other, "vera", PASSWORD)
    assert send_code(other, "000001").status_code == 429


def test_a_user_adds_and_removes_a_second_factor(app: Flask, auth: Auth, light_yard: Yard) -> None:
    client, other = auth.client("vera"), auth.client("vera")
    assert post(client, auth, "/settings/second-factor", present="wrong").status_code == 422
    setup = post(client, auth, "/settings/second-factor", present=PASSWORD)
    assert 'src="data:image/svg+xml' in setup.text
    found = re.search(r'<code class="mono code--wrap">([A-Z2-7 ]+)</code>', setup.text)
    assert found is not None
    secret = found[1].replace(" ", "")
    assert post(client, auth, "/settings/second-factor/confirmations", code="000000").status_code == 422
    codes = post(client, auth, "/settings/second-factor/confirmations", code=code_of(secret))
    assert codes.status_code == 200
    assert codes.text.count('<li><code class="mono">') == second_factor.RECOVERY_CODES
    assert client.get("/api/v1/jobs").status_code == 200
    assert other.get("/api/v1/jobs").status_code == 401
    assert "recovery codes left" in client.get("/settings").text
    assert post(client, auth, "/settings/second-factor/recovery-codes", present="wrong").status_code == 422
    assert post(client, auth, "/settings/second-factor/recovery-codes", present=PASSWORD).status_code == 200
    assert post(client, auth, "/settings/second-factor/removals", present="wrong").status_code == 422
    assert post(client, auth, "/settings/second-factor/removals", present=PASSWORD).status_code == 303
    assert user(light_yard, "vera")["totp_secret"] is None
    assert client.get("/api/v1/jobs").status_code == 200


def test_a_second_factor_is_not_confirmed_without_a_beginning(auth: Auth) -> None:
    client = auth.client("vera")
    assert post(client, auth, "/settings/second-factor/confirmations", code="000000").status_code == 409


@pytest.mark.parametrize(
    "path", ["", "/confirmations", "/removals", "/recovery-codes"], ids=["begin", "confirm", "remove", "renew"]
)
def test_a_token_has_no_second_factor(app: Flask, auth: Auth, path: str) -> None:
    answer = app.test_client().post(f"/settings/second-factor{path}", headers=auth.token("admin"))
    assert answer.status_code == 409


def test_an_admin_removes_a_lost_second_factor(app: Flask, auth: Auth, light_yard: Yard) -> None:
    turn_on(light_yard, "vera")
    ada = auth.client("ada")
    assert "Remove second factor" in ada.get("/settings").text
    assert post(ada, auth, "/settings/users/vera", change="second_factor", confirmed="yes").status_code == 303
    assert sign_in(app.test_client(), "vera", PASSWORD).headers["Location"] == "/"


@pytest.mark.parametrize(
    ("least", "opened"),
    [
        ("nobody", {"vera", "olga", "ada"}),
        ("admin", {"vera", "olga"}),
        ("operator", {"vera"}),
        ("viewer", set()),
    ],
)
def test_an_admin_requires_a_second_factor(
    app: Flask, auth: Auth, light_yard: Yard, least: str, opened: set[str]
) -> None:
    clients = {name: auth.client(name) for name in ("vera", "olga", "ada")}
    assert post(clients["ada"], auth, "/settings/second-factor/policy", least=least).status_code == 303
    assert {name for name, client in clients.items() if client.get("/api/v1/jobs").status_code == 200} == opened
    for name in clients.keys() - opened:
        page = clients[name].get("/jobs", headers={"Accept": "text/html"})
        assert (page.status_code, page.headers["Location"]) == (302, "/settings")
        assert "An admin requires a second factor" in clients[name].get("/settings").text
        live = socketio.test_client(app, namespace=NAMESPACE, flask_test_client=clients[name])
        assert not live.is_connected(NAMESPACE)
    assert app.test_client().get("/api/v1/jobs", headers=auth.token("admin")).status_code == 200


def test_who_must_add_a_second_factor_can_do_it_and_goes_on(auth: Auth, light_yard: Yard) -> None:
    client = auth.client("vera")
    second_factor.set_policy(light_yard, "viewer", TESTS)
    token = form_token(client.get("/settings").text)
    setup = client.post("/settings/second-factor", data={"csrf_token": token, "present": PASSWORD})
    assert setup.status_code == 200
    found = re.search(r'<code class="mono code--wrap">([A-Z2-7 ]+)</code>', setup.text)
    assert found is not None
    fields = {"csrf_token": token, "code": code_of(found[1].replace(" ", ""))}
    assert client.post("/settings/second-factor/confirmations", data=fields).status_code == 200
    assert client.get("/api/v1/jobs").status_code == 200


def test_an_admin_without_the_required_second_factor_sees_nothing_of_others(auth: Auth, light_yard: Yard) -> None:
    client = auth.client("ada")
    second_factor.set_policy(light_yard, "admin", TESTS)
    page = client.get("/settings").text
    assert "Add second factor" in page
    assert "vera" not in page
    assert "API tokens" not in page
    assert "whsec_" not in page


@pytest.mark.parametrize("least", ["", "root", "\x00", "viewer\x00", "VIEWER"])
def test_a_policy_of_no_role_is_refused(auth: Auth, light_yard: Yard, least: str) -> None:
    client = auth.client("ada")
    assert post(client, auth, "/settings/second-factor/policy", least=least).status_code in {400, 422}
    with light_yard.database.read() as connection:
        assert second_factor.policy(connection) is None
