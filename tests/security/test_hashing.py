"""Passwords are hashed away from the event loop: a crowd of sign-ins holds up nobody, and is told to wait, not failed."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from flask import Flask

from dashboard.hashing import MAX_WAITING, RESERVED, THREADS, HashingPool
from tests.people import PASSWORD
from tests.security.serving import Web, read_to_end, status_of
from tests.support import eventually, sign_in
from workers.domain.actors import Actor
from workers.domain.errors import Unavailable
from workers.services import passwords, users
from workers.store import users as rows
from workers.yard import Yard

ROOT = Path(__file__).resolve().parents[2]
TESTS = Actor("system", "tests", "admin")
PLACES = THREADS + MAX_WAITING


def probe(name: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.security.hashing_probe", name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


# The event loop.


def test_the_event_loop_goes_on_while_a_password_is_hashed() -> None:
    figures = probe("measure_waits")
    assert figures["ticks"] > 10
    assert figures["longest_gap"] < figures["took"] / 2


def forms(web: Web) -> tuple[str, str]:
    """Return the CSRF token of a sign-in form, and the cookies that it came with."""
    answer = httpx.get(f"{web.address}/sign-in")
    token = answer.text.split('name="csrf_token" value="', 1)[1].split('"', 1)[0]
    return token, "; ".join(f"{name}={value}" for name, value in answer.cookies.items())


def attempt(web: Web, number: int, token: str, cookies: str) -> bytes:
    """Try to sign in, from an address of its own, so that the limit of addresses lets it through; the answer."""
    body = f"name=user{number}&password=wrong&csrf_token={token}"
    head = (
        f"POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\nCookie: {cookies}\r\nConnection: close\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    own = (f"127.0.1.{number + 1}", 0)
    with socket.create_connection(("127.0.0.1", web.port), timeout=60, source_address=own) as client:
        client.sendall(f"{head}{body}".encode())
        return read_to_end(client)


def health_seconds(web: Web) -> float:
    start = time.monotonic()
    answer = web.send(f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\nConnection: close\r\n\r\n".encode(), 60)
    assert status_of(answer) == 200
    return time.monotonic() - start


def test_a_crowd_of_sign_ins_holds_up_nobody(web: Web) -> None:
    token, cookies = forms(web)
    is_over = threading.Event()
    waits, memory = [health_seconds(web)], [web.memory_bytes()]

    def sample() -> None:
        while not is_over.wait(0.02):
            waits.append(health_seconds(web))
            memory.append(web.memory_bytes())

    sampler = threading.Thread(target=sample)
    sampler.start()
    with ThreadPoolExecutor(150) as pool:
        answers = list(pool.map(lambda number: attempt(web, number, token, cookies), range(150)))
    is_over.set()
    sampler.join()
    codes = [status_of(answer) for answer in answers]
    assert set(codes) <= {403, 503}
    assert codes.count(403) >= PLACES
    assert all(b"\r\nRetry-After: 5\r\n" in answer for answer in answers if status_of(answer) == 503)
    assert max(waits) < 3
    assert max(memory) - memory[0] < 100_000_000


# The queue.


def test_a_full_queue_refuses_at_once_and_has_room_for_known_devices() -> None:
    assert probe("fill_queue") == {
        "stranger hashed": PLACES,
        "stranger refused": 40 - PLACES,
        "device hashed": RESERVED,
        "device refused": 10 - RESERVED,
    }


def test_without_an_event_loop_the_same_queue_stands_before_the_threads_of_a_server() -> None:
    pool = HashingPool(threads=1, max_waiting=2, reserved=1)
    is_free, running, most = threading.Event(), [0], [0]

    def hash_slowly() -> int:
        running[0] += 1
        most[0] = max(most[0], running[0])
        is_free.wait(30)
        running[0] -= 1
        return 1

    def are_all_inside() -> None:
        assert pool._taken == 3

    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(pool.run, hash_slowly) for _ in range(3)]
        eventually(are_all_inside)
        with pytest.raises(Unavailable):
            pool.run(hash_slowly)
        calls.append(threads.submit(pool.run_for_known_device, hash_slowly))
        is_free.set()
        assert [call.result() for call in calls] == [1] * 4
    assert most == [1]
    assert pool.run(lambda: 7) == 7


def test_a_call_that_fails_gives_its_place_back() -> None:
    pool = HashingPool(threads=1, max_waiting=0, reserved=0)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            pool.run(lambda: 1 // 0)


class FullPool(HashingPool):
    """A pool that has no place for strangers."""

    def __init__(self) -> None:
        super().__init__(threads=1, max_waiting=-1, reserved=1)


def test_a_stranger_is_asked_to_come_back_while_a_known_device_signs_in(app: Flask) -> None:
    owner, stranger = app.test_client(), app.test_client()
    assert sign_in(owner, "olga", PASSWORD).status_code == 303
    owner.delete_cookie("taskyard_5000")
    app.extensions["hashing"] = FullPool()
    for _ in range(10):  # what was not checked is not counted
        refused = sign_in(stranger, "olga", PASSWORD)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert "Too many passwords are being checked" in refused.text
    assert 'name="password"' in refused.text
    assert sign_in(owner, "olga", PASSWORD).status_code == 303


# The database.


class WatchedPool(HashingPool):
    """A pool that looks at the database's connections while it hashes."""

    def __init__(self, yard: Yard) -> None:
        super().__init__()
        self._yard, self.lent = yard, []

    def _run(self, places: int, function: Any, arguments: Any) -> Any:
        self.lent.append(self._yard.database.engine.pool.checkedout())  # type: ignore[attr-defined]
        with self._yard.database.write():  # would wait for another writer
            return super()._run(places, function, arguments)


def test_no_request_holds_a_connection_while_it_hashes(app: Flask, auth: Any, light_yard: Yard) -> None:
    watched = app.extensions["hashing"] = WatchedPool(light_yard)
    client = auth.client("ada")
    sign_in(app.test_client(), "nobody", "wrong")
    fields = {"csrf_token": auth.csrf(client)}
    assert client.post("/settings/users", data={**fields, "name": "otto", "role": "viewer"}).status_code == 200
    assert (
        client.post("/settings/users/otto", data={**fields, "change": "password", "confirmed": "yes"}).status_code
        == 200
    )
    changed = {**fields, "present": PASSWORD, "password": "a wholly new phrase"}
    assert client.post("/settings/password", data=changed).status_code == 303
    assert watched.lent == [0] * 5


def test_no_transaction_is_open_while_a_password_is_hashed(yard: Yard) -> None:
    users.add(yard, "vera", "viewer", PASSWORD, TESTS)

    def run_while_others_write(function: Any, *arguments: Any) -> Any:
        with yard.database.write():
            return function(*arguments)

    users.set_password(yard, "vera", "another long password", TESTS, run_while_others_write)
    users.add(yard, "otto", "viewer", "another long password", TESTS, run_while_others_write)
    assert users.check_password(yard, "vera", "another long password", run_while_others_write) is not None


def test_a_hash_with_old_parameters_is_renewed_at_sign_in(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    current = passwords._hasher
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8_192, parallelism=1))
    users.add(yard, "vera", "viewer", PASSWORD, TESTS)
    monkeypatch.setattr(passwords, "_hasher", current)

    def stored() -> str:
        with yard.database.read() as connection:
            row = rows.by_name(connection, "vera")
        assert row is not None
        return str(row["password_hash"])

    old = stored()
    assert users.check_password(yard, "vera", "wrong") is None
    assert stored() == old
    row = users.check_password(yard, "vera", PASSWORD)
    assert row is not None
    assert row["password_hash"] == stored() != old
    assert not current.check_needs_rehash(stored())
    assert users.check_password(yard, "vera", PASSWORD) is not None


def test_a_sign_in_does_not_fail_because_the_hash_cannot_be_renewed_now(
    light_yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    users.add(light_yard, "vera", "viewer", PASSWORD, TESTS)
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=4))
    calls: list[Any] = []

    def run_once(function: Any, *arguments: Any) -> Any:
        calls.append(function)
        if len(calls) > 1:
            raise Unavailable
        return function(*arguments)

    assert users.check_password(light_yard, "vera", PASSWORD, run_once) is not None
    assert len(calls) == 2


# The time that it takes.


def seconds(yard: Yard, name: str) -> float:
    """Return the CPU time of a check, all threads together: a busy machine does not change it."""
    start = time.process_time()
    assert users.check_password(yard, name, "wrong") is None
    return time.process_time() - start


def test_a_name_that_does_not_exist_takes_as_long_as_one_that_does(yard: Yard) -> None:
    users.add(yard, "vera", "viewer", PASSWORD, TESTS)
    seconds(yard, "vera")
    known = min(seconds(yard, "vera") for _ in range(3))
    for name in ("nobody", "x" * 500, "a\x00b", "", "\ud800"):
        assert 0.3 < min(seconds(yard, name) for _ in range(3)) / known < 3, name


def test_the_first_attempt_of_a_process_does_not_tell_either(light_yard: Yard) -> None:
    users.add(light_yard, "vera", "viewer", PASSWORD, TESTS)
    first = {}
    for name in ("vera", "nobody"):
        attempts = []
        for _ in range(3):
            users._nobody.cache_clear()
            attempts.append(seconds(light_yard, name))
        first[name] = min(attempts)
    assert 0.65 < first["vera"] / first["nobody"] < 1.5


def test_a_password_that_is_too_long_is_no_other_password(light_yard: Yard) -> None:
    longest = "a wholly new phrase " * 50
    users.add(light_yard, "vera", "viewer", longest, TESTS)
    assert users.check_password(light_yard, "vera", longest) is not None
    assert users.check_password(light_yard, "vera", longest + "x") is None
    assert users.check_password(light_yard, "vera", longest[:-1]) is None


def test_the_command_line_hashes_without_an_event_loop() -> None:
    code = "import sys; from workers.services import users; from workers.commands import people; sys.exit('gevent' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
