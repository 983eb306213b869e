"""Attempts are counted before they are checked, by name, address and device, and nobody can keep a user out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from redis.exceptions import RedisError

from tests.conftest import PASSWORD
from tests.support import sign_in
from workers.domain.errors import Throttled
from workers.services.throttling import Limit, Throttle, network_of
from workers.yard import Yard

STRANGER = {"REMOTE_ADDR": "198.51.100.7"}


def count(throttle: Throttle, *limits: Limit) -> bool:
    try:
        throttle.count(*limits)
    except Throttled:
        return False
    return True


def test_of_many_attempts_at_once_exactly_the_permitted_number_is_let_through(light_yard: Yard) -> None:
    throttle = Throttle(light_yard)
    limit = Limit("name", "olga", 5)
    with ThreadPoolExecutor(30) as pool:
        permitted = list(pool.map(lambda _: count(throttle, limit), range(60)))
    assert sum(permitted) == 5


def test_two_web_processes_share_their_counters(light_yard: Yard) -> None:
    limit = Limit("name", "olga", 5)
    assert [count(Throttle(light_yard), limit) for _ in range(7)] == [True] * 5 + [False] * 2


def test_a_success_is_not_counted_and_never_makes_room_for_more_guesses(light_yard: Yard) -> None:
    throttle = Throttle(light_yard)
    limit = Limit("address", "a", 5)
    for _ in range(20):
        throttle.count(limit)
        throttle.refund(limit)
    throttle.refund(limit)
    assert [count(throttle, limit) for _ in range(6)] == [True] * 5 + [False]


class Broken:
    """A Redis that cannot be used."""

    def eval(self, *_arguments: Any) -> int:
        raise RedisError("READONLY You can't write against a read only replica.")


def test_without_redis_attempts_are_still_limited(light_yard: Yard) -> None:
    throttle = Throttle(Yard(light_yard.settings, light_yard.database, Broken(), light_yard.live))  # type: ignore[arg-type]
    limit = Limit("name", "olga", 5)
    assert [count(throttle, limit) for _ in range(6)] == [True] * 5 + [False]
    throttle.refund(limit)


def test_the_counters_of_one_process_do_not_grow_without_end(light_yard: Yard) -> None:
    throttle = Throttle(Yard(light_yard.settings, light_yard.database, Broken(), light_yard.live))  # type: ignore[arg-type]
    for number in range(10_500):
        throttle.count(Limit("name", str(number), 5))
    assert len(throttle._local) <= 10_000


def test_every_counter_in_redis_ends(light_yard: Yard) -> None:
    Throttle(light_yard).count(Limit("name", "olga", 5), Limit("address", "a", 30))
    keys = light_yard.redis.keys("taskyard:attempts:*")
    assert len(keys) == 2
    assert all(0 < light_yard.redis.pttl(key) <= 60_000 for key in keys)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "unknown"),
        (None, "unknown"),
        ("nonsense", "unknown"),
    ],
)
def test_one_client_counts_once_whatever_address_of_its_network_it_uses(address: str | None, network: str) -> None:
    assert network_of(address) == network


def test_the_right_password_does_not_help_after_too_many_wrong_ones(app: Flask) -> None:
    client = app.test_client()
    codes = [sign_in(client, "olga", "wrong").status_code for _ in range(5)]
    last = sign_in(client, "olga", PASSWORD)
    assert codes == [403] * 5
    assert last.status_code == 429
    assert 1 <= int(last.headers["Retry-After"]) <= 60
    assert "Too many attempts" in last.text


def test_names_that_do_not_exist_are_counted_the_same_way(app: Flask) -> None:
    client = app.test_client()
    codes = [sign_in(client, "nobody", "wrong").status_code for _ in range(6)]
    assert codes == [403] * 5 + [429]


def test_one_address_cannot_try_one_password_at_many_names(app: Flask) -> None:
    client = app.test_client()
    codes = [sign_in(client, f"user{number}", "wrong").status_code for number in range(32)]
    assert codes[:30] == [403] * 30
    assert codes[30:] == [429] * 2


def test_a_stranger_cannot_keep_a_user_out_of_a_device_that_is_known(app: Flask) -> None:
    owner, stranger = app.test_client(), app.test_client()
    stranger.environ_base.update(STRANGER)
    assert sign_in(owner, "olga", PASSWORD).status_code == 303
    owner.delete_cookie("taskyard_5000")
    for _ in range(3):
        assert 429 in [sign_in(stranger, "olga", "wrong").status_code for _ in range(10)]
        assert sign_in(owner, "olga", PASSWORD).status_code == 303
        owner.delete_cookie("taskyard_5000")


def test_a_known_device_is_no_unlimited_way_to_guess(app: Flask) -> None:
    client = app.test_client()
    sign_in(client, "olga", PASSWORD)
    client.delete_cookie("taskyard_5000")
    codes = [sign_in(client, "olga", "wrong").status_code for _ in range(7)]
    assert codes == [403] * 5 + [429] * 2


def test_a_device_that_one_user_knows_helps_with_no_other_name(app: Flask) -> None:
    client = app.test_client()
    sign_in(client, "vera", PASSWORD)
    client.delete_cookie("taskyard_5000")
    stranger = app.test_client()
    for _ in range(6):
        sign_in(stranger, "olga", "wrong")
    assert sign_in(client, "olga", PASSWORD).status_code == 429


@pytest.mark.parametrize("cookie", ["", "x", "x" * 5000, "e30.a.b", '{"olga": "device"}'])
def test_a_made_up_device_is_no_device(app: Flask, cookie: str) -> None:
    client = app.test_client()
    for _ in range(5):
        sign_in(client, "olga", "wrong")
    client.set_cookie("taskyard_5000_device", cookie)
    assert sign_in(client, "olga", PASSWORD).status_code == 429


def test_the_password_of_a_stolen_session_cannot_be_guessed(auth: Any) -> None:
    client = auth.client("vera")
    fields = {"csrf_token": auth.csrf(client), "password": "a new long password"}
    codes = [client.post("/settings/password", data={**fields, "present": "wrong"}).status_code for _ in range(6)]
    assert codes == [422] * 5 + [429]


def test_invented_tokens_are_limited_and_valid_ones_are_not(app: Flask, auth: Any) -> None:
    client = app.test_client()
    codes = [
        client.get("/api/v1/jobs", headers={"Authorization": f"Bearer ty_{number}"}).status_code for number in range(62)
    ]
    assert codes[:60] == [401] * 60
    assert codes[60:] == [429] * 2
    assert client.get("/api/v1/jobs", headers=auth.token("viewer")).status_code == 200
