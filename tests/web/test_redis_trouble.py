"""A Redis that is full, read-only or suspended is named where jobs wait for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from redis import Redis

from tests.conftest import Auth
from workers.domain.actors import Actor
from workers.services import jobs, queues
from workers.services.enqueueing import NewJob
from workers.yard import Yard

CASES: dict[str, tuple[Callable[[Redis], object], str]] = {
    "full": (lambda redis: redis.config_set("maxmemory", "1"), "Redis is full"),
    "read-only": (lambda redis: redis.execute_command("REPLICAOF", "127.0.0.1", "1"), "Redis is read-only"),
    "suspended": (lambda redis: redis.set("rq:suspended", 1), "rq resume"),
}


@pytest.fixture(autouse=True)
def mended(light_yard: Yard) -> Iterator[None]:
    """Mend the server that other tests use too."""
    yield
    light_yard.redis.execute_command("REPLICAOF", "NO", "ONE")
    light_yard.redis.config_set("maxmemory", "0")
    light_yard.redis.delete("rq:suspended")


@pytest.mark.parametrize("case", CASES)
def test_pages_and_the_api_say_why_jobs_wait_and_stop_saying_it(
    app: Flask, auth: Auth, light_yard: Yard, case: str
) -> None:
    arrange, words = CASES[case]
    client = auth.client("vera")
    watch = app.extensions["redis_watch"]
    arrange(light_yard.redis)
    made = jobs.enqueue(light_yard, NewJob("samples.noop")).job_id
    pages = ["/queues", "/queues/default", "/health", f"/jobs/{made}", f"/api/v1/jobs/{made}/explanation"]

    watch.look()
    assert [path for path in pages if words not in client.get(path).text] == []
    told = client.get(pages[-1]).json
    assert told["causes"][0] == told["facts"]["redis_trouble"]

    light_yard.redis.execute_command("REPLICAOF", "NO", "ONE")
    light_yard.redis.config_set("maxmemory", "0")
    light_yard.redis.delete("rq:suspended")
    watch.look()
    assert [path for path in pages if words in client.get(path).text] == []


def test_a_paused_queue_is_the_nearer_reason(app: Flask, auth: Auth, light_yard: Yard) -> None:
    made = jobs.enqueue(light_yard, NewJob("samples.noop")).job_id
    queues.pause(light_yard, "default", Actor("user", "ada", "admin"))
    light_yard.redis.set("rq:suspended", 1)
    app.extensions["redis_watch"].look()
    told = auth.client("vera").get(f"/api/v1/jobs/{made}/explanation").json
    assert "was paused" in told["sentence"]
    assert "rq resume" in told["facts"]["redis_trouble"]
