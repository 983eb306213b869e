"""One Redis for several programs: names hold the installation, and what belongs to others is left alone."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from redis import Redis
from rq import Queue
from sqlalchemy import text

from tests.chaos.foreign_tasks import work
from tests.conftest import ROOT, Auth, open_yard, running_worker, settings_of
from tests.integration.running import Running
from tests.support import eventually
from workers.broker import queues as carriers
from workers.broker.connection import connect_impatiently
from workers.broker.names import RedisNames
from workers.broker.timers import Timers, running_schedulers
from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.domain.errors import Unavailable
from workers.domain.names import PRIORITIES
from workers.services import delivery, former_names, jobs, schedules
from workers.services.enqueueing import NewJob
from workers.services.throttling import Limit, Throttle
from workers.settings import Settings
from workers.store import installation
from workers.yard import Yard

ADA = Actor("user", "ada", "admin")


@pytest.fixture
def other(light_yard: Yard, valkey: Settings, tmp_path: Path) -> Iterator[Yard]:
    """Open a second Taskyard on the same Redis."""
    folder = tmp_path / "other"
    folder.mkdir()
    with closing(open_yard(settings_of(valkey, folder, f"sqlite:///{folder / 'taskyard.db'}"))) as opened:
        yield opened


def body(redis: Redis, job_id: str) -> dict[bytes, bytes]:
    return redis.hgetall(f"rq:job:{job_id}")


def copy_database(path: Path, copied: Path) -> None:
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copied)) as target:
        source.backup(target)


# The id.


def test_all_processes_have_the_same_id_however_many_start_at_once(yard: Yard) -> None:
    with yard.database.write() as connection:
        connection.execute(text("DELETE FROM settings WHERE key = 'installation_id'"))
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(installation.read_id(yard.database))) for _ in range(12)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(found) == 12
    assert len(set(found)) == 1
    with closing(Yard.open(yard.settings)) as again:
        assert again.redis.names.installation == found[0]


def test_before_the_first_migration_redis_waits_for_the_database(
    valkey: Settings, empty_database_url: str, tmp_path: Path
) -> None:
    with closing(Yard.open(settings_of(valkey, tmp_path, empty_database_url))) as empty:
        with pytest.raises(Unavailable):
            empty.redis.names.installation  # noqa: B018
        empty.live.publish({"type": "changed"})
        assert empty.live.dropped == 1
        with pytest.raises(Unavailable):
            Timers(empty.redis).carry("sweep", utcnow())


def test_each_key_and_channel_holds_the_id_or_belongs_to_a_job_of_ours(light_yard: Yard) -> None:
    redis, prefix = light_yard.redis, light_yard.redis.names.prefix
    heard = redis.pubsub(ignore_subscribe_messages=True)
    heard.psubscribe("*")
    made = [jobs.enqueue(light_yard, NewJob("samples.noop", queue="shelf", priority=one)).job_id for one in PRIORITIES]
    schedules.create(light_yard, {"name": "s", "task": "samples.noop", "interval_seconds": 3600}, ADA)
    Timers(redis, "host-1").tell_alive()
    Timers(redis).has_lost_everything()
    Throttle(connect_impatiently(light_yard.settings), redis.names).count(Limit("name", "olga", 5))
    with running_worker(light_yard, "default"):
        ran = jobs.enqueue(light_yard, NewJob("metrics.dashboard")).job_id

        def is_done() -> None:
            with light_yard.database.read() as connection:
                assert jobs.get(connection, ran)["status"] == "completed"
            assert redis.exists("rq:workers")

        eventually(is_done, within=40)
        keys = {key.decode() for key in redis.scan_iter()}
        channels = {key.decode() for key in redis.pubsub_channels()}
    common = {"rq:queues", "rq:workers", *(f"rq:job:{job}-1" for job in [*made, ran])}
    strangers = {key for key in keys - common if prefix not in key and redis.exists(key)}
    assert {key for key in strangers if not key.startswith(f"rq:job:timer-{redis.names.installation}-")} == set()
    assert {channel for channel in channels if prefix not in channel} == set()
    assert all(key.decode().startswith(f"rq:queue:{prefix}") for key in redis.smembers("rq:queues"))
    while message := heard.get_message(timeout=0.1):
        assert message["channel"].decode().startswith((prefix, f"rq:pubsub:{prefix}"))
    heard.close()


def test_a_copy_of_a_database_differs_from_it(yard: Yard, light_yard: Yard, tmp_path: Path) -> None:
    mark = installation.read_mark(yard.database)
    assert mark
    with closing(Yard.open(yard.settings)) as again:
        assert installation.read_mark(again.database) == mark
    copied = tmp_path / "copied.db"
    copy_database(tmp_path / "taskyard.db", copied)
    with closing(Yard.open(replace(light_yard.settings, database_url=f"sqlite:///{copied}"))) as copy:
        assert installation.read_mark(copy.database) != installation.read_mark(light_yard.database)


def test_doctor_names_a_scheduler_on_a_copy_and_a_new_id_parts_them(light_yard: Yard, tmp_path: Path) -> None:
    copied = tmp_path / "copied.db"
    light_yard.redis.names.installation  # noqa: B018
    copy_database(tmp_path / "taskyard.db", copied)
    Timers(light_yard.redis, "host-1").tell_alive(installation.read_mark(light_yard.database))
    environment = {"REDIS_URL": light_yard.settings.redis_url, "DATABASE_URL": f"sqlite:///{copied}"}
    copy = Running(light_yard.settings.data_dir, **environment)
    scheduler = next(line for line in copy.run("doctor").stdout.splitlines() if " scheduler " in line)
    assert "the scheduler host-1 uses another database" in scheduler

    renewed = copy.run("installation", "--renew").stdout.strip()
    assert renewed != light_yard.redis.names.installation
    assert copy.run("installation").stdout.strip() == renewed
    assert "no scheduler is running" in copy.run("doctor").stdout


# Two Taskyards.


@pytest.mark.parametrize("database", [0, 3])
def test_two_taskyards_neither_see_nor_hear_each_other(light_yard: Yard, other: Yard, database: int) -> None:
    url = other.settings.redis_url.replace("db=0", f"db={database}")
    assert url.endswith(f"db={database}")
    with closing(Yard.open(replace(other.settings, redis_url=url))) as second:
        heard = second.redis.pubsub(ignore_subscribe_messages=True)
        heard.subscribe(second.redis.names.live)
        assert heard.get_message(timeout=1) is None
        made = jobs.enqueue(light_yard, NewJob("samples.noop")).job_id
        schedules.create(light_yard, {"name": "s", "task": "samples.noop", "interval_seconds": 3600}, ADA)
        Timers(light_yard.redis, "host-1").tell_alive()
        assert carriers.listed(light_yard.redis, "default") == {f"{made}-1"}
        assert carriers.listed(second.redis, "default") == set()
        assert Timers(second.redis).carried() == {}
        assert running_schedulers(second.redis) == {}
        keys = carriers.ordered_keys(second.redis.names, ["default"])
        assert carriers.take(second.redis, keys, "w", [], []) is None
        assert heard.get_message(timeout=0.3) is None
        heard.close()


def test_attempts_at_two_taskyards_are_counted_apart(light_yard: Yard, other: Yard) -> None:
    limit = Limit("name", "olga", 1)
    for yard in (light_yard, other):
        Throttle(connect_impatiently(yard.settings, answer_within_seconds=10), yard.redis.names).count(limit)


# Plain RQ.


def test_a_worker_leaves_plain_rq_alone(light_yard: Yard) -> None:
    redis = light_yard.redis
    theirs = [
        Queue(name, connection=redis).enqueue(work, 1) for name in ("default", "default:high", "system", "emails")
    ]
    redis.hset("rq:worker:reporter", mapping={"hostname": "elsewhere", "pid": "1"})
    before = {
        key: redis.dump(key) for key in redis.scan_iter("rq:*") if b"taskyard:" not in key and key != b"rq:queues"
    }
    with running_worker(light_yard):
        made = [jobs.enqueue(light_yard, NewJob("samples.noop", queue=name)).job_id for name in ("default", "emails")]

        def are_done() -> None:
            with light_yard.database.read() as connection:
                assert {jobs.get(connection, one)["status"] for one in made} == {"completed"}

        eventually(are_done, within=40)
    after = {key: redis.dump(key) for key in before}
    assert after == before
    assert {job.get_status(refresh=True) for job in theirs} == {"queued"}


def test_a_job_of_plain_rq_on_a_queue_of_ours_is_left_as_it_was(light_yard: Yard) -> None:
    redis = light_yard.redis
    stray = Queue(redis.names.queue("default"), connection=redis).enqueue(work, 1)
    before = body(redis, stray.id)
    keys = carriers.ordered_keys(redis.names, ["default"])
    taken = carriers.take(redis, keys, "w", [], [])
    assert taken is not None
    carriers.mark_taken(redis, taken[1], "w")
    carriers.leave(redis, taken[1], redis.names.queue("default"))
    assert body(redis, stray.id) == before
    assert Queue(redis.names.queue("default"), connection=redis).get_job_ids() == [stray.id]


def test_the_tools_of_rq_list_our_queues(light_yard: Yard) -> None:
    jobs.enqueue(light_yard, NewJob("samples.noop", queue="shelf"))
    command = [Path(sys.executable).with_name("rq"), "info", "--raw", "-u", light_yard.settings.redis_url]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert f"queue {light_yard.redis.names.queue('shelf')} 1" in told


def test_rqs_own_prefix_is_obeyed(light_yard: Yard) -> None:
    code = """
from workers.settings import Settings; from workers.yard import Yard; from workers.services import delivery, jobs
from workers.services.enqueueing import NewJob; from workers.broker import queues
yard = Yard.open(Settings.from_env()); made = jobs.enqueue(yard, NewJob("samples.noop")).job_id
assert queues.listed(yard.redis, "default") == {f"{made}-1"}
assert queues.take(yard.redis, queues.ordered_keys(yard.redis.names, ["default"]), "w", [], [])[1] == f"{made}-1"
assert yard.redis.hget(f"acme:job:{made}-1", "status") == b"started"
"""
    environment = {
        **os.environ,
        "RQ_KEY_PREFIX": "acme",
        "REDIS_URL": light_yard.settings.redis_url,
        "DATABASE_URL": light_yard.settings.database_url,
        "DATA_DIR": str(light_yard.settings.data_dir),
    }
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, check=True, timeout=60)
    assert light_yard.redis.smembers("acme:queues") == {
        f"acme:queue:{light_yard.redis.names.queue('default')}".encode()
    }
    assert list(light_yard.redis.scan_iter("rq:*")) == []


def test_neither_pages_nor_the_api_show_the_prefix(light_yard: Yard, auth: Auth) -> None:
    client = auth.client("ada")
    made = jobs.enqueue(light_yard, NewJob("samples.noop", queue="shelf")).job_id
    with running_worker(light_yard, "shelf"):

        def is_done() -> None:
            with light_yard.database.read() as connection:
                assert jobs.get(connection, made)["status"] == "completed"

        eventually(is_done, within=40)
        for path in (
            "/",
            "/queues",
            "/queues/shelf",
            "/workers",
            f"/jobs/{made}",
            f"/jobs/{made}?tab=events",
            "/health",
        ):
            page = client.get(path)
            assert page.status_code == 200
            assert light_yard.redis.names.installation not in page.text, path
        for path in ("queues", "workers", f"jobs/{made}", f"jobs/{made}/events", f"jobs/{made}/attempts"):
            assert light_yard.redis.names.installation not in client.get(f"/api/v1/{path}").text, path
        assert light_yard.redis.names.installation not in client.get("/metrics").text


def test_a_second_worker_of_a_name_waits_until_the_first_has_ended(light_yard: Yard, tmp_path: Path) -> None:
    shared = {"REDIS_URL": light_yard.settings.redis_url, "DATABASE_URL": light_yard.settings.database_url}
    first, second = Running(tmp_path / "a", **shared), Running(tmp_path / "b", **shared)
    try:
        first.start("worker", "--name", "reporter")
        key = f"rq:worker:{light_yard.redis.names.worker('reporter')}"
        eventually(lambda: _exists(light_yard.redis, key), within=40)
        registered = light_yard.redis.hget(key, "pid")
        second.start("worker", "--name", "reporter")
        eventually(lambda: _says(second, "A worker named reporter is already running"), within=40)
        assert light_yard.redis.hget(key, "pid") == registered
        assert first.stop() == 0

        def has_taken_over() -> None:
            assert light_yard.redis.hget(key, "pid") not in {None, registered}

        eventually(has_taken_over, within=40)
        assert "Traceback" not in second.log()
    finally:
        first.clean_up()
        second.clean_up()


def _exists(redis: Redis, key: str) -> None:
    assert redis.exists(key)


def _says(running: Running, words: str) -> None:
    assert words in running.log()


# What an earlier version left.


def push_as_before(redis: Redis, job_id: str, attempt: int = 1, queue: str = "default") -> None:
    """Put an entry where Taskyard put it before names held the installation."""
    data = json.dumps([carriers.RUNNER, None, [job_id, attempt], {}])
    redis.hset(f"rq:job:{job_id}-{attempt}", mapping={"data": data, "origin": queue, "status": "queued"})
    redis.rpush(f"rq:queue:{queue}", f"{job_id}-{attempt}")
    redis.sadd("rq:queues", f"rq:queue:{queue}")


def test_what_waits_at_the_upgrade_is_brought_over_and_the_rest_stays(yard: Yard, valkey: Settings) -> None:
    redis = yard.redis
    ours = [one.job_id for one in jobs.enqueue_many(yard, [NewJob("samples.noop", priority="high")] * 3)]
    ours += [one.job_id for one in jobs.enqueue_many(yard, [NewJob("samples.noop")] * 40)]
    assert yard.pusher.flush()
    redis.flushall()
    stock = Queue("default", connection=redis)
    theirs = [stock.enqueue(work, n).id for n in range(3)]
    unknown = "0199a000-0000-7000-8000-000000000000"
    for n, job_id in enumerate(ours):
        push_as_before(redis, job_id, queue="default:high" if n < 3 else "default")
        if n % 20 == 0:
            theirs.append(stock.enqueue(work, n).id)
    push_as_before(redis, unknown)  # of another Taskyard
    bodies = {one: body(redis, one) for one in [*theirs, f"{unknown}-1"]}

    assert former_names.leave(yard) == len(ours)
    assert delivery.deliver_missing(yard, utcnow() + timedelta(minutes=1)) == len(ours)

    assert carriers.listed(redis, "default") == {f"{one}-1" for one in ours}
    assert [one.decode() for one in redis.lrange("rq:queue:default", 0, -1)] == [*theirs, f"{unknown}-1"]
    assert redis.llen("rq:queue:default:high") == 0
    assert {one: body(redis, one) for one in bodies} == bodies
    assert former_names.leave(yard) == 0


def test_entries_that_older_processes_add_after_the_first_look_go_too_and_then_nobody_looks(light_yard: Yard) -> None:
    made = jobs.enqueue(light_yard, NewJob("samples.noop")).job_id
    for _ in range(2):
        push_as_before(light_yard.redis, made)
        assert former_names.leave(light_yard) == 1
    assert former_names.leave(light_yard) == 0
    push_as_before(light_yard.redis, made)
    assert former_names.leave(light_yard) == 0


def test_a_timer_of_ours_leaves_the_former_key_and_those_of_others_stay(light_yard: Yard) -> None:
    redis = light_yard.redis
    ours = schedules.create(light_yard, {"name": "s", "task": "samples.noop", "interval_seconds": 3600}, ADA)
    entries = {f"timer-schedule-{ours['id']}": 5, "timer-schedule-elsewhere": 6, "timer-monitor-sweep": 7}
    redis.zadd("taskyard:timers", entries)
    for entry in entries:
        redis.hset(f"rq:job:{entry}", "data", "x")
    assert former_names.leave(light_yard) == 1
    assert redis.zrange("taskyard:timers", 0, -1) == [b"timer-schedule-elsewhere", b"timer-monitor-sweep"]
    assert [redis.exists(f"rq:job:{entry}") for entry in entries] == [0, 1, 1]


def test_names_and_queues_are_each_others_inverse() -> None:
    names = RedisNames(lambda: "0a1b")
    for queue in ("default", "a.b-c_d", "0"):
        for priority in PRIORITIES:
            assert names.split_queue(names.queue(queue, priority)) == (queue, priority)
