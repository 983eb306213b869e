"""Attempts are counted before they are checked, by name, address and device, and nobody can keep a user out."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from flask import Flask

from dashboard import attempts
from dashboard.factory import create_app
from dashboard.live import NAMESPACE, socketio
from tests.people import PASSWORD
from tests.security.serving import Web
from tests.support import sign_in
from workers.domain.actors import Actor
from workers.domain.errors import Throttled
from workers.services import passwords, users
from workers.yard import Yard

STRANGER = {"REMOTE_ADDR": "198.51.100.7"}
TESTS = Actor("system", "tests", "admin")


def come_from(client: Any, address: str) -> Any:
    client.environ_base["REMOTE_ADDR"] = address
    return client


def statuses(client: Any, name: str, times: int, password: str = "wrong") -> list[int]:
    return [sign_in(client, name, password).status_code for _ in range(times)]


def sign_out(client: Any) -> None:
    """Forget the session, not the device."""
    client.delete_cookie("taskyard_5000")


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hash at a fraction of the cost: these tests make a thousand attempts."""
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    users._nobody.cache_clear()
    yield
    users._nobody.cache_clear()


@pytest.fixture
def owner(app: Flask) -> Any:
    """Make a client that olga has signed in with before."""
    client = app.test_client()
    assert sign_in(client, "olga", PASSWORD).status_code == 303
    sign_out(client)
    return client


# By name and address.


def test_of_sixty_attempts_at_once_exactly_five_are_checked(web: Web) -> None:
    with httpx.Client(base_url=web.address, timeout=60) as visitor:
        page = visitor.get("/sign-in").text
        token = page.split('name="csrf_token" value="', 1)[1].split('"', 1)[0]
        cookies = dict(visitor.cookies)

    def attempt(_number: int) -> int:
        fields = {"name": "olga", "password": "wrong", "csrf_token": token}
        return httpx.post(f"{web.address}/sign-in", data=fields, cookies=cookies, timeout=60).status_code

    with ThreadPoolExecutor(60) as pool:
        codes = list(pool.map(attempt, range(60)))
    assert sorted(codes) == [403] * 5 + [429] * 55


def test_the_right_password_does_not_help_after_too_many_wrong_ones(app: Flask) -> None:
    client = app.test_client()
    assert statuses(client, "olga", 5) == [403] * 5
    last = sign_in(client, "olga", PASSWORD)
    assert last.status_code == 429
    assert 1 <= int(last.headers["Retry-After"]) <= 60
    assert "too many attempts. Wait" in last.text
    assert 'name="password"' in last.text


def test_a_program_is_told_in_its_own_form_how_long_to_wait(app: Flask) -> None:
    client = app.test_client()
    statuses(client, "olga", 5)
    client.environ_base["HTTP_ACCEPT"] = "application/json"
    answer = sign_in(client, "olga", "wrong")
    assert (answer.status_code, answer.content_type) == (429, "application/problem+json")
    assert answer.headers["Retry-After"] in answer.json["detail"]


@pytest.mark.parametrize("name", ["nobody", "", "x" * 500, "'; --", "\u202e", "olga\n"])
def test_names_that_do_not_exist_are_counted_the_same_way(app: Flask, name: str) -> None:
    assert statuses(app.test_client(), name, 6) == [403] * 5 + [429]


def test_spellings_of_one_name_are_counted_together(app: Flask) -> None:
    names = ["olga", "OLGA", " olga", "Olga ", "oLGA"]
    assert [sign_in(app.test_client(), name, "wrong").status_code for name in names] == [403] * 5
    assert sign_in(app.test_client(), "olga", PASSWORD).status_code == 429


def test_patience_does_not_make_up_for_the_limit_of_a_minute(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "ATTEMPTS_A_MINUTE", 1_000)
    monkeypatch.setattr(attempts, "ATTEMPTS_AN_HOUR", 8)
    assert statuses(app.test_client(), "olga", 9) == [403] * 8 + [429]
    answer = sign_in(app.test_client(), "olga", PASSWORD)
    assert 60 < int(answer.headers["Retry-After"]) <= 3_600
    assert "60 min" in answer.text


def test_one_address_cannot_try_one_password_at_many_names(app: Flask) -> None:
    client = app.test_client()
    codes = [sign_in(client, f"user{number}", "wrong").status_code for number in range(32)]
    assert codes == [403] * 30 + [429] * 2


def test_attempts_that_are_refused_use_up_nothing_of_the_address(app: Flask) -> None:
    client = app.test_client()
    statuses(client, "olga", 60)
    assert sign_in(client, "vera", PASSWORD).status_code == 303


def test_signing_in_with_an_account_of_ones_own_makes_no_room_for_guesses(app: Flask) -> None:
    client = app.test_client()
    for number in range(30):
        assert sign_in(app.test_client(), "vera", PASSWORD).status_code == 303
        assert sign_in(client, f"user{number}", "wrong").status_code == 403
    assert sign_in(client, "user31", "wrong").status_code == 429


def test_many_users_behind_one_address_sign_in(app: Flask) -> None:
    assert {sign_in(app.test_client(), "vera", PASSWORD).status_code for _ in range(40)} == {303}


@pytest.mark.parametrize(
    ("addresses", "is_one_client"),
    [
        (["2001:db8:1:2::{}"], True),
        (["2001:db8:1:2:{}::1", "2001:db8:1:2::{}"], True),
        (["2001:db8:1:{}::1"], False),
        (["192.0.2.{}"], False),
        (["192.0.2.1", "::ffff:192.0.2.1"], True),
    ],
)
def test_a_client_is_told_by_its_network(app: Flask, addresses: list[str], is_one_client: bool) -> None:
    codes = []
    for number in range(32):
        client = come_from(app.test_client(), addresses[number % len(addresses)].format(number + 1))
        codes.append(sign_in(client, f"user{number}", "wrong").status_code)
    assert (codes[30:] == [429] * 2) == is_one_client


def test_a_header_does_not_change_the_address_unless_a_proxy_is_trusted(app: Flask) -> None:
    codes = []
    for number in range(32):
        client = app.test_client()
        client.environ_base["HTTP_X_FORWARDED_FOR"] = f"192.0.2.{number}"
        client.environ_base["HTTP_FORWARDED"] = f"for=192.0.2.{number}"
        codes.append(sign_in(client, f"user{number}", "wrong").status_code)
    assert codes[30:] == [429] * 2


@pytest.mark.parametrize(
    ("header", "is_one_client"), [("192.0.2.{}, 203.0.113.9", True), ("8.8.8.8, 192.0.2.{}", False)]
)
def test_behind_a_proxy_only_what_the_proxy_wrote_counts(
    light_yard: Yard, app: Flask, header: str, is_one_client: bool
) -> None:
    behind = create_app(replace(light_yard.settings, trusted_proxies=1), light_yard)
    codes = []
    for number in range(32):
        client = behind.test_client()
        sent = {"X-Forwarded-For": header.format(number), "X-Forwarded-Proto": "https", "Referer": "https://localhost/"}
        page = client.get("/sign-in", base_url="https://localhost", headers=sent).text
        token = page.split('name="csrf_token" value="', 1)[1].split('"', 1)[0]
        fields = {"name": f"user{number}", "password": "wrong", "csrf_token": token}
        codes.append(client.post("/sign-in", base_url="https://localhost", data=fields, headers=sent).status_code)
    behind.extensions["live"].close()
    assert codes[:30] == [403] * 30
    assert (codes[30:] == [429] * 2) == is_one_client


# Known devices.


def test_a_stranger_cannot_keep_a_user_out_of_a_device_that_is_known(app: Flask, owner: Any) -> None:
    stranger = come_from(app.test_client(), "198.51.100.7")
    for _ in range(3):
        assert 429 in statuses(stranger, "olga", 10)
        assert sign_in(owner, "olga", PASSWORD).status_code == 303
        sign_out(owner)


def test_a_stranger_at_the_same_address_cannot_either(app: Flask, owner: Any) -> None:
    stranger = app.test_client()
    for number in range(32):
        sign_in(stranger, f"user{number}", "wrong")
    statuses(stranger, "olga", 10)
    assert sign_in(stranger, "olga", PASSWORD).status_code == 429
    assert sign_in(owner, "olga", PASSWORD).status_code == 303


def test_a_known_device_is_no_unlimited_way_to_guess(owner: Any) -> None:
    assert statuses(owner, "olga", 7) == [403] * 5 + [429] * 2


def test_copies_of_a_device_are_counted_together(app: Flask, owner: Any) -> None:
    cookie = owner.get_cookie("taskyard_5000_device").value
    codes = []
    for number in range(7):
        thief = come_from(app.test_client(), f"198.51.100.{number}")
        thief.set_cookie("taskyard_5000_device", cookie)
        codes += statuses(thief, "olga", 1)
    assert codes == [403] * 5 + [429] * 2


def test_a_device_that_one_user_knows_helps_with_no_other_name(app: Flask) -> None:
    client = app.test_client()
    sign_in(client, "vera", PASSWORD)
    sign_out(client)
    statuses(app.test_client(), "olga", 6)
    assert sign_in(client, "olga", PASSWORD).status_code == 429


def test_two_users_of_one_device_are_both_known(app: Flask, owner: Any) -> None:
    sign_in(owner, "vera", PASSWORD)
    sign_out(owner)
    stranger = come_from(app.test_client(), "198.51.100.7")
    for name in ("olga", "vera"):
        statuses(stranger, name, 6)
        assert sign_in(owner, name, PASSWORD).status_code == 303
        sign_out(owner)


def test_a_new_password_makes_every_device_unknown(app: Flask, owner: Any, light_yard: Yard) -> None:
    users.set_password(light_yard, "olga", "a wholly new phrase", TESTS)
    statuses(app.test_client(), "olga", 5)
    assert sign_in(owner, "olga", "a wholly new phrase").status_code == 429


def test_the_device_on_which_the_password_is_changed_stays_known(app: Flask, auth: Any) -> None:
    client = auth.client("olga")
    fields = {"csrf_token": auth.csrf(client), "present": PASSWORD, "password": "a wholly new phrase"}
    assert client.post("/settings/password", data=fields).status_code == 303
    sign_out(client)
    statuses(app.test_client(), "olga", 6)
    assert sign_in(client, "olga", "a wholly new phrase").status_code == 303


@pytest.mark.parametrize("cookie", ["", "x", "x" * 5000, "e30.a.b", '{"olga": "device"}', "\x00", "eyJ.x"])
def test_a_made_up_device_is_no_device(app: Flask, cookie: str) -> None:
    client = app.test_client()
    statuses(client, "olga", 5)
    client.set_cookie("taskyard_5000_device", cookie)
    assert sign_in(client, "olga", PASSWORD).status_code == 429


def test_a_device_of_another_taskyard_is_no_device(app: Flask, owner: Any) -> None:
    cookie = owner.get_cookie("taskyard_5000_device").value
    app.config["SECRET_KEY"] = "another key of forty characters or so ..."
    client = app.test_client()
    statuses(client, "olga", 5)
    client.set_cookie("taskyard_5000_device", cookie)
    assert sign_in(client, "olga", PASSWORD).status_code == 429


def test_no_script_can_read_the_cookie_of_a_device(app: Flask) -> None:
    answer = sign_in(app.test_client(), "olga", PASSWORD)
    header = next(value for value in answer.headers.getlist("Set-Cookie") if value.startswith("taskyard_5000_device="))
    assert "HttpOnly" in header
    assert "SameSite=Lax" in header


# Other endpoints that take a password or a token.


def test_the_password_of_a_stolen_session_cannot_be_guessed(auth: Any) -> None:
    client = auth.client("vera")
    fields = {"csrf_token": auth.csrf(client), "password": "a new long password"}
    codes = [client.post("/settings/password", data={**fields, "present": "wrong"}).status_code for _ in range(6)]
    assert codes == [422] * 5 + [429]


def test_strangers_cannot_keep_a_user_from_changing_the_password(app: Flask, auth: Any) -> None:
    client = auth.client("vera")
    statuses(app.test_client(), "vera", 6)
    fields = {"csrf_token": auth.csrf(client), "present": PASSWORD, "password": "a new long password"}
    assert client.post("/settings/password", data=fields).status_code == 303


def test_a_new_password_that_is_refused_does_not_count_as_a_wrong_one(auth: Any) -> None:
    client = auth.client("vera")
    fields = {"csrf_token": auth.csrf(client), "present": PASSWORD, "password": "short"}
    assert {client.post("/settings/password", data=fields).status_code for _ in range(8)} == {422}


def test_codes_of_a_second_factor_are_counted(app: Flask) -> None:
    with app.test_request_context(environ_overrides=STRANGER):
        for _ in range(10):
            attempts.count_code("olga").refund()
        for _ in range(5):
            attempts.count_code("olga")
        with pytest.raises(Throttled):
            attempts.count_code("olga")


def test_invented_tokens_are_limited_and_valid_ones_are_not(app: Flask, auth: Any) -> None:
    client = app.test_client()
    headers = [{"Authorization": f"Bearer ty_{number}"} for number in range(62)]
    answers = [client.get("/api/v1/jobs", headers=header) for header in headers]
    assert [answer.status_code for answer in answers] == [401] * 60 + [429] * 2
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
    assert client.get("/api/v1/jobs", headers=auth.token("viewer")).status_code == 200
    assert auth.client("vera").get("/jobs").status_code == 200


def test_invented_tokens_of_live_connections_are_counted_with_the_others(app: Flask, auth: Any) -> None:
    for number in range(60):
        refused = socketio.test_client(app, namespace=NAMESPACE, auth={"token": f"ty_{number}"})
        assert not refused.is_connected(NAMESPACE)
    # The test client of Socket.IO has no address.
    calls = come_from(app.test_client(), "")
    assert calls.get("/api/v1/jobs", headers={"Authorization": "Bearer ty_x"}).status_code == 429
    valid = auth.token("viewer")["Authorization"].removeprefix("Bearer ")
    client = socketio.test_client(app, namespace=NAMESPACE, auth={"token": valid})
    assert client.is_connected(NAMESPACE)
    client.disconnect(NAMESPACE)
