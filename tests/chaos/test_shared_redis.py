"""Two Taskyards and plain RQ on one Redis, all of them busy on queues of the same names while workers are killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from redis import Redis
from rq import Queue
from rq.job import Job
from sqlalchemy import text

from tests.chaos.foreign_tasks import work
from tests.conftest import ROOT
from tests.integration.redis_server import RedisServer, redis_server
from tests.integration.running import Running
from tests.support import eventually
from workers.domain.errors import Unavailable
from workers.domain.states import FINAL
from workers.services import jobs
from workers.services.enqueueing import NewJob
from workers.settings import Settings
from workers.yard import Yard

EACH = int(os.environ.get("CHAOS_SHARED_JOBS", "120"))
QUEUES = ("default", "emails")
TASK = "ledger_tasks.work"
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


@pytest.fixture
def taskyards(server: RedisServer, tmp_path: Path) -> Iterator[list[Running]]:
    """Run two, each with a database and a ledger of its own, on the same database number of one Redis."""
    made = []
    for name in ("first", "second"):
        one = Running(
            tmp_path / name,
            REDIS_URL=server.url(),
            WORKERS="2",
            HEARTBEAT_SECONDS="1",
            MONITOR_INTERVAL_SECONDS="2",
            TASK_MODULES="tests.chaos.ledger_tasks",
            CHAOS_LEDGER=str(tmp_path / f"{name}.ledger"),
        )
        made.append(one)
    try:
        for one in made:
            one.start().ready()
        yield made
    finally:
        for one in made:
            one.clean_up()


@pytest.fixture
def stock_worker(server: RedisServer, tmp_path: Path) -> Iterator[None]:
    """Run RQ's own worker on the queue `default`."""
    environment = {**os.environ, "FOREIGN_LEDGER": str(tmp_path / "foreign"), "PYTHONPATH": str(ROOT)}
    command = [Path(sys.executable).with_name("rq"), "worker", "--url", server.url(), "-q", "default"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL) as process:
        yield
        process.terminate()


def bystanders(redis: Redis) -> dict[bytes, bytes]:
    """Leave what nobody serves now under names that Taskyard might use too; return each key with its content."""
    waiting = [Queue("emails", connection=redis).enqueue(work, n) for n in range(20)]
    redis.hset("rq:worker:shop", mapping={"hostname": "elsewhere", "pid": "1", "queues": "emails"})
    redis.sadd("rq:workers:emails", "rq:worker:shop")
    redis.zadd("rq:scheduler:scheduled_jobs", {"timer-monitor-sweep": 1})
    redis.zadd("taskyard:timers", {"timer-monitor-sweep": 1})
    redis.set("taskyard:cache:prices", "theirs")
    keys = ["rq:queue:emails", "rq:worker:shop", "rq:workers:emails", "rq:scheduler:scheduled_jobs", "taskyard:timers"]
    keys += ["taskyard:cache:prices", *(job.key for job in waiting)]
    return contents(redis, [key if isinstance(key, bytes) else key.encode() for key in keys])


def contents(redis: Redis, keys: list[bytes]) -> dict[bytes, bytes]:
    return {key: redis.dump(key) or b"" for key in keys}


def all_final(yard: Yard, count: int) -> None:
    try:
        with yard.database.read() as connection:
            chosen = text("SELECT status, count(*) FROM jobs WHERE task = :task GROUP BY status")
            told = dict(connection.execute(chosen, {"task": TASK}).all())
    except Unavailable as error:
        raise AssertionError("the database is busy") from error
    assert sum(told.get(str(status), 0) for status in FINAL) == count, told
    assert told == {"completed": count}


def kill_a_worker(yard: Yard) -> None:
    """Kill a worker that runs a long job."""

    found: list[int] = []

    def look() -> None:
        with yard.database.read() as connection:
            chosen = text(
                "SELECT worker FROM jobs WHERE task = :task AND status = 'processing' AND payload LIKE '%1.5%'"
            )
            found.append(int(connection.execute(chosen, {"task": TASK}).scalars().all()[0].rpartition("-")[2]))

    eventually(look, within=60)
    os.kill(found[0], 9)


def cut_off(yard: Yard) -> dict[str, int]:
    with yard.database.read() as connection:
        chosen = "SELECT job_id, count(*) FROM attempts WHERE outcome IN ('lost', 'reset') GROUP BY job_id"
        return dict(connection.execute(text(chosen)).all())


def test_neither_of_two_taskyards_nor_plain_rq_loses_or_takes_what_is_anothers(
    server: RedisServer, taskyards: list[Running], stock_worker: None, tmp_path: Path
) -> None:
    began = time.monotonic()
    untouched = bystanders(server.admin)
    with ExitStack() as stack:
        yards = [
            stack.enter_context(closing(Yard.open(Settings.from_env(running.environment)))) for running in taskyards
        ]
        made: list[list[str]] = [[], []]
        foreign: list[Job] = []
        theirs = Queue("default", connection=server.admin)
        for n in range(EACH):
            foreign.append(theirs.enqueue(work, n))
            for ours, yard in zip(made, yards, strict=True):
                seconds = 1.5 if n % 20 == 10 else 0.01
                new = NewJob(TASK, {"seconds": seconds}, queue=QUEUES[n % 2], priority=("high", "normal", "low")[n % 3])
                ours.append(jobs.enqueue(yard, new).job_id)
        for yard in yards:
            kill_a_worker(yard)
        for yard in yards:
            eventually(lambda yard=yard: all_final(yard, EACH), within=120, every=0.3)

        def rq_is_done() -> None:
            assert {job.get_status(refresh=True) for job in foreign} == {"finished"}

        eventually(rq_is_done, within=120, every=0.5)
        for name, ours, yard in zip(("first", "second"), made, yards, strict=True):
            ledger = (tmp_path / f"{name}.ledger").read_text().split("\n")[:-1]
            begun = Counter(line.split()[1] for line in ledger if line.startswith("began"))
            excused = cut_off(yard)
            assert set(begun) == set(ours), "ran a job of the other, or lost one"
            assert {job: n for job, n in begun.items() if n > 1 + excused.get(job, 0)} == {}
            assert excused, "no worker was killed in a job"
    assert Counter((tmp_path / "foreign").read_text().split()) == Counter(str(n) for n in range(EACH))
    assert contents(server.admin, list(untouched)) == untouched
    assert {b"rq:queue:default", b"rq:queue:emails"} <= server.admin.smembers("rq:queues")
    print(f"\n{EACH} jobs each, in {time.monotonic() - began:.0f} s")  # noqa: T201
