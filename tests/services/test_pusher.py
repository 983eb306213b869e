"""Entries on their way to Redis: none is lost, their order is kept, and nobody waits for each one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.integration.redis_proxy import RedisProxy, redis_proxy
from tests.support import eventually
from workers.broker import connection, queues
from workers.broker.connection import connect
from workers.broker.embedded import EmbeddedValkey
from workers.broker.live import LivePublisher
from workers.services import delivery
from workers.services.enqueueing import NewJob, enqueue, enqueue_many
from workers.settings import Settings
from workers.yard import Yard


def listed(yard: Yard, queue: str = "default") -> set[str]:
    """Read which jobs stand on a queue."""
    return {entry.rpartition("-")[0] for entry in queues.listed(yard.redis, queue)}


def test_a_single_job_is_on_its_queue_when_the_call_returns(light_yard: Yard) -> None:
    job_id = enqueue(light_yard, NewJob("samples.noop")).job_id
    assert listed(light_yard) == {job_id}


def test_a_stream_of_jobs_gets_there_whole_and_in_order(light_yard: Yard) -> None:
    made = [enqueue(light_yard, NewJob("samples.noop")).job_id for _ in range(300)]
    made += [one.job_id for one in enqueue_many(light_yard, [NewJob("samples.noop")] * 1200)]
    made += [enqueue(light_yard, NewJob("samples.noop")).job_id for _ in range(20)]
    assert light_yard.pusher.flush(30)
    key = queues.ordered_keys(light_yard.redis.names, ["default"])[1]
    assert [one.decode().rpartition("-")[0] for one in light_yard.redis.lrange(key, 0, -1)] == made


def test_jobs_of_many_threads_all_get_there(light_yard: Yard) -> None:
    made: list[str] = []

    def work() -> None:
        made.extend(enqueue(light_yard, NewJob("samples.noop")).job_id for _ in range(40))

    threads = [threading.Thread(target=work) for _ in range(5)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert light_yard.pusher.flush(30)
    assert listed(light_yard) == set(made)
    assert len(made) == 200


def test_what_gathers_is_sent_without_a_further_call(light_yard: Yard) -> None:
    made = {enqueue(light_yard, NewJob("samples.noop")).job_id for _ in range(50)}

    def arrived() -> None:
        assert listed(light_yard) == made

    eventually(arrived, within=20)


def test_the_thread_ends_when_there_is_nothing_to_send(light_yard: Yard) -> None:
    for _ in range(50):
        enqueue(light_yard, NewJob("samples.noop"))

    def ended() -> None:
        assert "taskyard-pusher" not in {one.name for one in threading.enumerate()}

    eventually(ended, within=30)


@pytest.mark.parametrize("ending", ["", "raise SystemExit(3)", "1 / 0"], ids=["end", "exit", "error"])
def test_a_process_that_ends_sends_what_it_has_enqueued(light_yard: Yard, ending: str) -> None:
    code = (
        "from workers.settings import Settings; from workers.yard import Yard\n"
        "from workers.services.enqueueing import NewJob, enqueue\n"
        "yard = Yard.open(Settings.from_env())\n"
        "for _ in range(60): enqueue(yard, NewJob('samples.noop'))\n"
    )
    settings = light_yard.settings
    values = {
        **os.environ,
        "DATA_DIR": str(settings.data_dir),
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.effective_redis_url,
    }
    subprocess.run([sys.executable, "-c", code + ending], env=values, stderr=subprocess.DEVNULL, check=False)
    assert len(listed(light_yard)) == 60


def test_a_forked_child_sends_its_own_jobs_and_none_of_its_parents(light_yard: Yard) -> None:
    made = [enqueue(light_yard, NewJob("samples.noop")).job_id for _ in range(10)]
    light_yard.database.close()
    child = os.fork()
    if child == 0:
        with_refs = len(light_yard.pusher._refs)
        enqueue_many(light_yard, [NewJob("samples.noop", queue="child")] * 5)
        os._exit(0 if with_refs == 0 and light_yard.pusher.flush() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert light_yard.pusher.flush(30)
    assert listed(light_yard) == set(made)
    assert len(listed(light_yard, "child")) == 5


def test_jobs_enqueued_while_redis_is_away_wait_for_the_sweep(yard: Yard) -> None:
    dead = connect(replace(yard.settings, redis_url="redis://127.0.0.1:1/0"), yard.redis.names)
    cut_off = replace(yard, redis=dead, live=LivePublisher(dead))
    made = {enqueue(cut_off, NewJob("samples.noop")).job_id for _ in range(20)}
    assert cut_off.pusher.wait(30)
    assert listed(yard) == set()
    with yard.database.read() as connection:
        now = max(row["created_at"] for row in delivery.jobs.get_many(connection, list(made)).values())
    assert delivery.deliver_missing(yard, now + 2 * delivery.SETTLED) == 20
    assert listed(yard) == made


@pytest.fixture
def proxy(valkey: Settings) -> Iterator[RedisProxy]:
    with redis_proxy(str(EmbeddedValkey(valkey).socket)) as running:
        yield running


@pytest.mark.parametrize("is_connected", [True, False])
def test_nobody_waits_for_a_redis_that_hangs(
    yard: Yard, proxy: RedisProxy, monkeypatch: pytest.MonkeyPatch, is_connected: bool
) -> None:
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 3600)
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 3600)
    slow = connect(replace(yard.settings, redis_url=proxy.url), yard.redis.names)
    hung = replace(yard, redis=slow, live=LivePublisher(slow))
    made: list[str] = []
    if is_connected:
        hung.live.publish({"type": "published"})
        made.append(enqueue(hung, NewJob("samples.noop")).job_id)
        assert hung.pusher.flush(30)
    proxy.hang()

    def work() -> None:
        for _ in range(5):
            made.append(enqueue(hung, NewJob("samples.noop")).job_id)
            hung.live.publish({"type": "published"})
        made.extend(one.job_id for one in enqueue_many(hung, [NewJob("samples.noop")] * 100))

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(60)
    assert not worker.is_alive()
    with yard.database.read() as sql:
        now = max(row["created_at"] for row in delivery.jobs.get_many(sql, made).values())
    proxy.resume()
    assert hung.pusher.wait(60)
    delivery.deliver_missing(yard, now + 2 * delivery.SETTLED)
    assert len(made) == 105 + is_connected
    assert listed(yard) == set(made)
    assert len(queues.listed(yard.redis, "default")) == len(made)


def test_a_server_that_answers_again_is_pushed_to_at_once(light_yard: Yard, proxy: RedisProxy) -> None:
    slow = connect(replace(light_yard.settings, redis_url=proxy.url), light_yard.redis.names)
    hung = replace(light_yard, redis=slow, live=LivePublisher(slow))
    proxy.hang()
    enqueue(hung, NewJob("samples.noop"))
    proxy.resume()
    assert hung.pusher.wait(60)

    def is_pushed() -> None:
        assert enqueue(hung, NewJob("samples.noop", queue="next")).job_id in listed(light_yard, "next")

    eventually(is_pushed, within=60)
