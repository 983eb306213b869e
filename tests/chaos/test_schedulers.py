"""Schedulers are killed and Redis is emptied while schedules fire: each due moment makes one job, and soon.

The short form runs with the other tests; `make chaos` runs 500 schedules for five minutes on each database.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from tests.conftest import ROOT
from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.services import schedules
from workers.store import schedules as rows
from workers.store.jobs import JOBS
from workers.yard import Yard

COUNT = int(os.environ.get("CHAOS_SCHEDULES", "60"))
LASTS_SECONDS = float(os.environ.get("CHAOS_SCHEDULES_SECONDS", "25"))
ADA = Actor("user", "ada", "admin")
pytestmark = pytest.mark.timeout(200 + LASTS_SECONDS)


class Schedulers:
    """Three scheduler processes; one that was killed is started again after a while."""

    def __init__(self, yard: Yard) -> None:
        self._environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "DATA_DIR": str(yard.settings.data_dir),
            "DATABASE_URL": yard.settings.database_url,
            "REDIS_URL": yard.settings.effective_redis_url,
        }
        self._processes = {number: self._start(number) for number in range(3)}
        self.killed = 0

    def kill(self, number: int) -> None:
        self._processes[number].kill()
        self._processes[number].wait()
        self.killed += 1

    def start_again(self, number: int) -> None:
        self._processes[number] = self._start(number)

    def close(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        code = (
            "from workers.settings import Settings; from workers.processes.scheduler import run_scheduler;"
            f"run_scheduler(Settings.from_env(), 's{number}')"
        )
        return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=self._environment)


@pytest.fixture
def schedulers(yard: Yard) -> Iterator[Schedulers]:
    made = Schedulers(yard)
    yield made
    made.close()


def some_schedules(yard: Yard, dice: random.Random) -> list[Any]:
    """Make schedules of every policy; most of them fire at the same second as others."""
    made = []
    for number in range(COUNT):
        rhythm = {"cron": "* * * * *"} if number % 10 == 0 else {"interval_seconds": dice.choice([5, 10, 15, 20, 30])}
        policies = {"missed": dice.choice(["skip", "run_once", "catch_up"]), "jitter_seconds": dice.choice([0, 0, 3])}
        values = {"name": f"s{number}", "task": "samples.noop", **rhythm, **policies}
        made.append(schedules.create(yard, values, ADA))
    return made


def due(schedule: Any, since: datetime, until: datetime) -> set[datetime]:
    return set(schedules.rhythm_of(schedule).between(since, until, 10_000))


def test_each_due_moment_makes_one_job_while_schedulers_die_and_redis_forgets(
    yard: Yard, schedulers: Schedulers
) -> None:
    dice = random.Random(7)
    made = some_schedules(yard, dice)
    began = time.monotonic()
    is_emptied = False
    while time.monotonic() - began < LASTS_SECONDS:
        # Two of the three are killed, never the same two; one goes on.
        pair = dice.sample(range(3), 2)
        for number in pair:
            schedulers.kill(number)
        if not is_emptied and time.monotonic() - began > LASTS_SECONDS / 3:
            yard.redis.flushall()
            is_emptied = True
        time.sleep(dice.uniform(1, 4))
        for number in pair:
            schedulers.start_again(number)
        time.sleep(dice.uniform(2, 6))
    until = utcnow() - timedelta(seconds=1)
    time.sleep(8)  # for what is due by then and late
    schedulers.close()

    late = []
    with yard.database.read() as connection:
        jobs_of: dict[str, set[str]] = {}
        for schedule_id, job_id in connection.execute(select(JOBS.c.schedule, JOBS.c.id)):
            jobs_of.setdefault(schedule_id, set()).add(job_id)
        for schedule in made:
            found = rows.fires(connection, schedule["id"], limit=10_000)
            moments = [row["fire_at"] for row in found if row["outcome"] == "fired"]
            # A jitter puts the last ones off beyond the end.
            expected = due(schedule, schedule["created_at"], until - timedelta(seconds=schedule["jitter_seconds"]))
            assert len(moments) == len(set(moments))
            assert expected - set(moments) == set(), schedule["name"]
            assert {row["job_id"] for row in found} == jobs_of.get(schedule["id"], set())
            late += [row["late_ms"] / 1000 for row in found]
    late.sort()
    p99 = late[int(len(late) * 0.99)]
    told = f"late p50 {late[len(late) // 2]:.2f} s, p99 {p99:.2f} s, most {late[-1]:.2f} s"
    print(f"{len(made)} schedules, {len(late)} fires, {schedulers.killed} kills; {told}")  # noqa: T201
