"""Passwords are hashed away from the event loop: a crowd of sign-ins holds up nobody, and is told to wait, not failed."""

from __future__ import annotations

import http.client
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

from tests.security.serving import Web
from workers.services import users
from workers.yard import Yard


def attempt(web: Web, number: int) -> int:
    # Each attempt comes from an address of its own, so that the limit of addresses lets it through. http.client is used
    # since a crowd of larger clients would measure itself.
    source = (f"127.0.1.{number + 1}", 0)
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=60, source_address=source)
    connection.request("GET", "/sign-in")
    page = connection.getresponse()
    token = page.read().decode().split('name="csrf_token" value="', 1)[1].split('"', 1)[0]
    form = urlencode({"name": f"user{number}", "password": "wrong", "csrf_token": token})
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": page.headers["Set-Cookie"].split(";")[0]}
    connection.request("POST", "/sign-in", form, headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def test_a_crowd_of_sign_ins_holds_up_nobody(web: Web) -> None:
    done = threading.Event()
    slowest = [0.0]

    def sample() -> None:
        while not done.is_set():
            slowest[0] = max(slowest[0], web.health_seconds())
            time.sleep(0.05)

    before = web.memory_bytes()
    sampler = threading.Thread(target=sample)
    sampler.start()
    with ThreadPoolExecutor(150) as pool:
        codes = list(pool.map(lambda number: attempt(web, number), range(150)))
    done.set()
    sampler.join()
    assert set(codes) <= {403, 503}
    assert codes.count(403) >= 10
    assert slowest[0] < 3
    assert web.memory_bytes() - before < 250_000_000


def test_a_name_that_does_not_exist_takes_as_long_as_one_that_does(yard: Yard) -> None:
    from workers.domain.actors import Actor

    users.add(yard, "vera", "viewer", "correct horse battery", Actor("system", "tests", "admin"))

    def seconds(name: str) -> float:
        start = time.perf_counter()
        assert users.check_password(yard, name, "wrong") is None
        return time.perf_counter() - start

    seconds("nobody")
    for name in ("nobody", "x" * 500, "a\x00b", "", "\ud800"):
        shortest = min(seconds(name) for _ in range(3))
        assert shortest > 0.3 * min(seconds("vera") for _ in range(3)), name


def test_no_transaction_is_open_while_a_password_is_hashed(yard: Yard) -> None:
    from workers.domain.actors import Actor

    actor = Actor("system", "tests", "admin")
    users.add(yard, "vera", "viewer", "correct horse battery", actor)

    def run_while_others_write(function, *arguments):  # type: ignore[no-untyped-def]
        with yard.database.write():
            return function(*arguments)

    users.set_password(yard, "vera", "another long password", actor, run_while_others_write)
    users.add(yard, "otto", "viewer", "another long password", actor, run_while_others_write)
    assert users.check_password(yard, "vera", "another long password", run_while_others_write) is not None
