"""Everything is killed, emptied, locked and stopped while jobs run: none is lost, none completes twice.

The short form runs with the other tests; `make chaos` runs 10,000 jobs on each database. A ledger that the tasks write
themselves is compared with the rows.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.chaos.mayhem import Mayhem, away
from tests.integration.running import Running
from tests.postgres import PostgresServer
from tests.support import eventually
from workers.domain.errors import Unavailable
from workers.domain.states import FINAL
from workers.services import jobs, statistics
from workers.services.enqueueing import NewJob
from workers.settings import Settings
from workers.yard import Yard

JOBS = int(os.environ.get("CHAOS_JOBS", "500"))
LASTS_SECONDS = max(45.0, JOBS / 60)
SEED = int(os.environ.get("CHAOS_SEED", "11"))
pytestmark = pytest.mark.timeout(300 + JOBS)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[PostgresServer | None]:
    """Lend a PostgreSQL of its own, or nothing, for SQLite."""
    if request.param == "sqlite":
        yield None
        return
    server = PostgresServer(durable=True)
    server.start()
    yield server
    server.remove()


@pytest.fixture
def running(tmp_path: Path, database: PostgresServer | None) -> Iterator[Running]:
    """Run a whole Taskyard that beats and sweeps every two seconds."""
    url = {"DATABASE_URL": database.address + "postgres"} if database else {}
    one = Running(
        tmp_path / "yard",
        WORKERS="4",
        HEARTBEAT_SECONDS="2",
        MONITOR_INTERVAL_SECONDS="2",
        TASK_MODULES="tests.chaos.ledger_tasks",
        CHAOS_LEDGER=str(tmp_path / "ledger"),
        **url,
    )
    one.start().ready()
    yield one
    one.clean_up()


@pytest.fixture
def yard(running: Running) -> Iterator[Yard]:
    opened = Yard.open(Settings.from_env(running.environment))
    yield opened
    opened.close()


def enqueue(yard: Yard, key: str, **payload: Any) -> str:
    """Enqueue as a careful client does: the same key again until there is an answer."""
    while True:
        try:
            return jobs.enqueue(yard, NewJob("tests.chaos.ledger_tasks.work", payload, idempotency_key=key)).job_id
        except Unavailable:
            time.sleep(0.2)


def statuses(yard: Yard) -> dict[str, int]:
    with yard.database.read() as connection:
        chosen = text("SELECT status, count(*) FROM jobs WHERE task = 'tests.chaos.ledger_tasks.work' GROUP BY status")
        return dict(connection.execute(chosen).all())


def all_final(yard: Yard, count: int) -> None:
    try:
        told = statuses(yard)
    except Unavailable as error:
        raise AssertionError("the database is away") from error
    assert sum(told.get(str(status), 0) for status in FINAL) == count, told


def all_done(yard: Yard, made: list[str]) -> None:
    try:
        with yard.database.read() as connection:
            found = {one: jobs.get(connection, one)["status"] for one in made}
    except Unavailable as error:
        raise AssertionError("the database is away") from error
    assert set(found.values()) == {"completed"}, found


def _some_run(yard: Yard) -> None:
    assert statuses(yard).get("processing", 0) > 0


def _enqueue_until_refused(yard: Yard) -> None:
    for n in range(2000):
        jobs.enqueue(yard, NewJob("tests.chaos.ledger_tasks.work", {}, idempotency_key=f"full-{n}", queue="nobody"))


def _fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as ballast:
        while True:
            ballast.write(b"x" * 65_536)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a small disk of its own; only root can."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", folder], check=False, capture_output=True)
    if done.returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=False)


def test_no_job_is_lost_and_none_completes_twice(
    running: Running, yard: Yard, database: PostgresServer | None, tmp_path: Path
) -> None:
    with Mayhem(running, yard, SEED, database) as mayhem:
        began = time.monotonic()
        made = []
        for n in range(JOBS):
            made.append(enqueue(yard, f"job-{n}", seconds=1.2 if n % (JOBS // 120) == 0 else 0.02))
            # Work comes all the while, so that whatever goes wrong meets some.
            time.sleep(max(0.0, began + LASTS_SECONDS * n / JOBS - time.monotonic()))
        while time.monotonic() - began < LASTS_SECONDS or len(mayhem.did) < 9:
            time.sleep(0.5)
    eventually(lambda: all_final(yard, JOBS), within=60 + JOBS / 20, every=0.5)

    assert len(set(made)) == JOBS
    assert statuses(yard) == {"completed": JOBS}
    ledger = (tmp_path / "ledger").read_text().split("\n")[:-1]
    began_at = Counter(line.split()[1] for line in ledger if line.startswith("began"))
    ended_at = Counter(line.split()[1] for line in ledger if line.startswith("ended"))
    assert set(made) <= set(ended_at), "completed without having run to its end"
    with yard.database.read() as connection:
        once = (
            "SELECT job_id, count(*) FROM job_events WHERE to_status = 'completed' GROUP BY job_id HAVING count(*) > 1"
        )
        assert connection.execute(text(once)).all() == []
        cut_off = "SELECT job_id, count(*) FROM attempts WHERE outcome IN ('lost', 'reset') GROUP BY job_id"
        excused = dict(connection.execute(text(cut_off)).all())
        counted = statistics.status_counts(connection)
        rows = dict(connection.execute(text("SELECT status, count(*) FROM jobs GROUP BY status")).all())
    # A job ran again only where an attempt was cut off.
    again = {job: n - 1 for job, n in began_at.items() if n > 1}
    assert all(n <= excused.get(job, 0) for job, n in again.items()), again
    assert {status: n for status, n in counted.items() if n} == rows, "the counters have lost the rows"
    told = f"{JOBS} jobs, {len(again)} ran more than once, {sum(excused.values())} attempts cut off; {dict(mayhem.did)}"
    print(f"\n{told}")  # noqa: T201


def test_redis_can_be_emptied_in_the_middle(running: Running, yard: Yard) -> None:
    made = [enqueue(yard, f"job-{n}") for n in range(JOBS)]
    yard.redis.flushall()
    eventually(lambda: all_final(yard, JOBS), within=30 + JOBS / 50, every=0.2)
    assert statuses(yard) == {"completed": len(made)}


def test_a_worker_that_is_killed_gives_its_job_back_within_seconds(running: Running, yard: Yard) -> None:
    def attempt(job_id: str, number: int) -> None:
        with yard.database.read() as connection:
            row = jobs.get(connection, job_id)
        assert (row["status"], row["attempt"]) == ("processing", number)

    made = enqueue(yard, "long", seconds=30)
    eventually(lambda: attempt(made, 1), within=10)
    with yard.database.read() as connection:
        pid = int(jobs.get(connection, made)["worker"].rpartition("-")[2])
    os.kill(pid, 9)
    killed = time.monotonic()
    eventually(lambda: attempt(made, 2), within=10)
    print(f"\nruns again {time.monotonic() - killed:.1f} s after its worker was killed")  # noqa: T201


def test_a_database_that_is_locked_for_long_loses_no_result(
    running: Running, yard: Yard, database: PostgresServer | None
) -> None:
    made = [enqueue(yard, f"job-{n}", seconds=1.0) for n in range(8)]
    eventually(lambda: _some_run(yard), within=10)
    with away(yard, database):
        time.sleep(20 if database is None else 5)
    eventually(lambda: all_final(yard, len(made)), within=60, every=0.3)
    assert statuses(yard) == {"completed": len(made)}


def test_a_full_disk_stops_nothing_for_good(tmp_path: Path, disk: Path) -> None:
    running = Running(disk / "yard", WORKERS="2", HEARTBEAT_SECONDS="2", MONITOR_INTERVAL_SECONDS="2")
    running.environment |= {"TASK_MODULES": "tests.chaos.ledger_tasks", "CHAOS_LEDGER": str(tmp_path / "ledger")}
    running.log_path = tmp_path / "log"
    try:
        running.start().ready()
        yard = Yard.open(Settings.from_env(running.environment))
        made = [enqueue(yard, f"job-{n}", seconds=2.0) for n in range(6)]
        eventually(lambda: _some_run(yard), within=10)
        _fill(disk / "ballast")
        with pytest.raises(Unavailable):
            _enqueue_until_refused(yard)
        time.sleep(5)
        (disk / "ballast").unlink()
        eventually(lambda: all_done(yard, made), within=90, every=0.5)
        after = enqueue(yard, "after")
        eventually(lambda: all_done(yard, [after]), within=60, every=0.5)
        yard.close()
    finally:
        running.clean_up()


@pytest.mark.parametrize("hours", [-2.0, 2.0])
def test_a_clock_that_steps_in_a_job_does_no_harm(running: Running, yard: Yard, hours: float) -> None:
    made = jobs.enqueue(yard, NewJob("tests.chaos.ledger_tasks.step_clock", {"hours": hours})).job_id

    def ended() -> None:
        with yard.database.read() as connection:
            assert jobs.get(connection, made)["status"] == "completed"

    eventually(ended, within=15)
    after = enqueue(yard, "after")
    eventually(lambda: all_final(yard, 1), within=15)
    with yard.database.read() as connection:
        assert jobs.get(connection, made)["run_ms"] >= 0
        assert (
            abs((jobs.get(connection, after)["started_at"] - jobs.get(connection, after)["created_at"]).total_seconds())
            < 30
        )
