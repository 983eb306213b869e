"""The counters behind the throttle: exact under concurrency, the same for all processes, and there whatever Redis does."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from dashboard.factory import create_app
from tests.people import PASSWORD
from tests.support import eventually, sign_in
from workers.broker.connection import connect_impatiently
from workers.broker.embedded import EmbeddedValkey
from workers.broker.names import RedisNames
from workers.domain.actors import Actor
from workers.domain.errors import Throttled
from workers.services import throttling, users
from workers.services.throttling import Attempt, Limit, Throttle, network_of
from workers.settings import Settings
from workers.yard import Yard

NAMES = RedisNames(lambda: "0a1b")
OLGA = Limit("name", "olga", 5)


def process(yard: Yard) -> Throttle:
    """Make the counters of one more web process."""
    return Throttle(connect_impatiently(yard.settings, answer_within_seconds=10), NAMES)


def count(throttle: Throttle, *limits: Limit) -> Attempt | None:
    try:
        return throttle.count(*limits)
    except Throttled:
        return None


def permitted(throttle: Throttle, times: int, *limits: Limit) -> int:
    return sum(count(throttle, *limits) is not None for _ in range(times))


def test_of_many_attempts_at_once_exactly_the_permitted_number_is_let_through(light_yard: Yard) -> None:
    processes = [process(light_yard) for _ in range(3)]
    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda number: count(processes[number % 3], OLGA), range(60)))
    assert sum(answer is not None for answer in answers) == 5


def test_two_web_processes_share_their_counters(light_yard: Yard) -> None:
    assert [permitted(process(light_yard), 1, OLGA) for _ in range(7)] == [1] * 5 + [0] * 2


def test_an_attempt_is_counted_against_every_limit_or_against_none(light_yard: Yard) -> None:
    throttle, address = process(light_yard), Limit("address", "a", 8)
    assert permitted(throttle, 20, OLGA, address) == 5
    assert permitted(throttle, 20, Limit("name", "vera", 5), address) == 3
    assert permitted(process(light_yard), 20, Limit("name", "vera", 5)) == 2


def test_an_attempt_that_is_taken_back_is_taken_back_once(light_yard: Yard) -> None:
    throttle = process(light_yard)
    for _ in range(20):
        attempt = throttle.count(OLGA)
        attempt.refund()
        attempt.refund()
    assert permitted(throttle, 7, OLGA) == 5


def test_an_attempt_is_taken_back_from_the_window_in_which_it_was_counted_only(light_yard: Yard) -> None:
    early, late = process(light_yard), process(light_yard)
    attempt = early.count(OLGA)
    light_yard.redis.delete(NAMES.key(OLGA.key))  # its window ends
    assert permitted(late, 7, OLGA) == 5
    attempt.refund()
    assert permitted(process(light_yard), 1, OLGA) == 0


def test_a_window_ends(light_yard: Yard) -> None:
    throttle, limit = process(light_yard), Limit("name", "olga", 2, seconds=1)
    assert permitted(throttle, 3, limit) == 2

    def is_permitted_again() -> None:
        assert permitted(throttle, 1, limit) == 1

    eventually(is_permitted_again)


def test_attempts_that_are_refused_do_not_make_the_wait_longer(light_yard: Yard) -> None:
    throttle, limit = process(light_yard), Limit("name", "olga", 1, seconds=2)
    throttle.count(limit)
    until = time.monotonic() + 10
    while count(throttle, limit) is None and time.monotonic() < until:
        time.sleep(0.05)
    assert time.monotonic() < until


def test_every_counter_in_redis_ends_and_none_is_left_of_a_success(light_yard: Yard) -> None:
    throttle = process(light_yard)
    throttle.count(OLGA, Limit("address", "a", 30), Limit("name", "olga", 30, 3_600))
    keys = light_yard.redis.keys("taskyard:0a1b:limit:*")
    assert len(keys) == 3
    assert all(0 < light_yard.redis.pttl(key) <= 3_600_000 for key in keys)
    throttle.count(Limit("name", "vera", 5)).refund()
    assert len(light_yard.redis.keys("taskyard:0a1b:limit:*")) == 3


def test_a_counter_that_has_lost_its_end_gets_one(light_yard: Yard) -> None:
    assert permitted(process(light_yard), 6, OLGA) == 5
    light_yard.redis.persist(NAMES.key(OLGA.key))
    assert permitted(process(light_yard), 1, OLGA) == 0
    assert 0 < light_yard.redis.pttl(NAMES.key(OLGA.key)) <= 60_000


@given(st.text(max_size=5_000))
def test_a_key_has_the_same_size_for_every_name(name: str) -> None:
    assert len(Limit("name", name, 5).key) == len(OLGA.key)


# Without Redis.


@pytest.fixture
def lone_valkey() -> Iterator[tuple[Settings, subprocess.Popen[bytes]]]:
    """Run a Valkey that a test may ruin."""
    with tempfile.TemporaryDirectory(prefix="ty-") as folder:
        settings = Settings.from_env({"DATA_DIR": folder})
        server = EmbeddedValkey(settings)
        server.prepare()
        with subprocess.Popen(server.command(), stdout=subprocess.DEVNULL) as running:

            def is_ready() -> None:
                assert server.answers()

            eventually(is_ready, within=10)
            yield settings, running
            running.send_signal(signal.SIGCONT)
            running.kill()


def configure(name: str, value: str) -> Callable[[Redis, subprocess.Popen[bytes]], object]:
    return lambda redis, _running: redis.config_set(name, value)


def end(_redis: Redis, running: subprocess.Popen[bytes]) -> None:
    running.kill()
    running.wait()


FAULTS: dict[str, Callable[[Redis, subprocess.Popen[bytes]], object]] = {
    "away": end,
    "hanging": lambda _redis, running: running.send_signal(signal.SIGSTOP),
    "paused": lambda redis, _running: redis.execute_command("CLIENT", "PAUSE", "60000", "ALL"),
    "read only": lambda redis, _running: redis.execute_command("REPLICAOF", "127.0.0.1", "1"),
    "out of memory": configure("maxmemory", "1"),
    "locked": configure("requirepass", "another"),
    "a key of another kind": lambda redis, _running: redis.set(NAMES.key(OLGA.key), "x"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_with_any_fault_of_redis_attempts_are_limited_and_answered_soon(
    lone_valkey: tuple[Settings, subprocess.Popen[bytes]], fault: str
) -> None:
    settings, running = lone_valkey
    throttle = Throttle(connect_impatiently(settings), NAMES)
    assert permitted(throttle, 2, OLGA) == 2  # these are remembered when Redis no longer tells
    with Redis.from_url(settings.effective_redis_url) as redis:
        redis.delete(NAMES.key(OLGA.key))
        FAULTS[fault](redis, running)
    started_at = time.monotonic()
    attempts = [count(throttle, OLGA) for _ in range(10)]
    assert [attempt is not None for attempt in attempts] == [True] * 3 + [False] * 7
    first = attempts[0]
    assert first is not None
    first.refund()
    assert permitted(throttle, 3, OLGA) == 1
    assert time.monotonic() - started_at < 5


def test_redis_is_used_again_when_it_is_back(
    lone_valkey: tuple[Settings, subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttling, "REDIS_RETRY_SECONDS", 0.2)
    settings, running = lone_valkey
    throttle = Throttle(connect_impatiently(settings), NAMES)
    running.send_signal(signal.SIGSTOP)
    assert permitted(throttle, 1, Limit("name", "vera", 1_000)) == 1
    running.send_signal(signal.SIGCONT)
    with Redis.from_url(settings.effective_redis_url) as redis:

        def is_counted_there() -> None:
            assert permitted(throttle, 1, Limit("name", "otto", 1_000)) == 1
            assert redis.exists(NAMES.key(Limit("name", "otto", 1_000).key))

        eventually(is_counted_there, within=10)


@pytest.mark.parametrize("fault", ["away", "hanging", "read only"])
def test_a_user_signs_in_and_a_guesser_does_not_while_redis_fails(
    light_yard: Yard, lone_valkey: tuple[Settings, subprocess.Popen[bytes]], fault: str
) -> None:
    settings, running = lone_valkey
    url = settings.effective_redis_url
    app = create_app(replace(light_yard.settings, redis_url=url), light_yard)
    users.add(light_yard, "olga", "operator", PASSWORD, Actor("system", "tests", "admin"))
    with Redis.from_url(url) as redis:
        FAULTS[fault](redis, running)
    owner = app.test_client()
    assert sign_in(owner, "olga", PASSWORD).status_code == 303
    codes = [sign_in(app.test_client(), "olga", "wrong").status_code for _ in range(7)]
    assert codes == [403] * 5 + [429] * 2
    app.extensions["live"].close()


def test_the_counters_of_one_process_do_not_grow_without_end(tmp_path: Path) -> None:
    throttle = Throttle(connect_impatiently(Settings.from_env({"DATA_DIR": str(tmp_path)})), NAMES)
    for number in range(30_000):
        throttle.count(Limit("name", str(number), 5))
    assert len(throttle._local) <= throttling.MAX_LOCAL_COUNTERS


# Addresses.


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:5123", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::1]:443", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::1]", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "unknown"),
        (None, "unknown"),
        ("nonsense", "unknown"),
        ("192.0.2.1.", "unknown"),
    ],
)
def test_one_client_counts_once_whatever_address_of_its_network_it_uses(address: str | None, network: str) -> None:
    assert network_of(address) == network


@given(st.text(max_size=60) | st.ip_addresses().map(str))
def test_any_text_stands_for_a_client(address: str) -> None:
    assert 1 <= len(network_of(address)) <= 45
