"""Workers that Redis or SQL leaves waiting: jobs run once, and end at their time limit."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import time_machine
from sqlalchemy import text

from tests.conftest import running_worker
from tests.integration.redis_proxy import RedisProxy, redis_proxy
from tests.support import eventually
from workers import loading, registry
from workers.broker.embedded import EmbeddedValkey
from workers.services import jobs, monitoring, publishing
from workers.services.enqueueing import NewJob
from workers.settings import Settings
from workers.store import attempts
from workers.store import jobs as rows
from workers.store import workers as worker_rows
from workers.yard import Yard

MODULE = "tests.integration.ledger_of_runs"


@pytest.fixture
def proxy(valkey: Settings) -> Iterator[RedisProxy]:
    with redis_proxy(str(EmbeddedValkey(valkey).socket)) as running:
        yield running


@pytest.fixture
def ledger(yard: Yard, tmp_path: Path) -> Path:
    loading.load_modules((MODULE,))
    publishing.publish(yard, registry.REGISTRY)
    return tmp_path / "ledger"


def run(yard: Yard, ledger: Path, seconds: float, **options: Any) -> str:
    payload = {"ledger": str(ledger), "seconds": seconds}
    return jobs.enqueue(yard, NewJob("ledger_of_runs.tick", payload, **options)).job_id


def row(yard: Yard, job_id: str) -> Any:
    with yard.database.read() as connection:
        return rows.get(connection, job_id)


def ticks(ledger: Path) -> list[tuple[int, float]]:
    """List the process and the steady clock of each tick of the task."""
    lines = [line.split() for line in ledger.read_text().splitlines()]
    return [(int(pid), float(at)) for pid, at in lines]


def has_begun(ledger: Path) -> None:
    assert ticks(ledger)


def assert_status(yard: Yard, job_id: str, status: str) -> None:
    job = row(yard, job_id)
    assert job["status"] == status, (job["status"], job["error"])


def assert_present(yard: Yard) -> None:
    with yard.database.read() as connection:
        assert worker_rows.present(connection)


def test_a_job_outlives_a_redis_that_hangs_and_runs_once(yard: Yard, proxy: RedisProxy, ledger: Path) -> None:
    with running_worker(yard, REDIS_URL=proxy.url, TASK_MODULES=MODULE):
        made = run(yard, ledger, 20, max_retries=3)
        eventually(lambda: has_begun(ledger), within=60)
        proxy.hang()

        heartbeats = set()

        def completed() -> None:
            done = monitoring.sweep(yard)
            assert (done.reset, done.failed, done.workers_lost) == (0, 0, 0), row(yard, made)["heartbeat_at"]
            with yard.database.read() as connection:
                heartbeats.add(worker_rows.present(connection)[0]["heartbeat_at"])
            assert_status(yard, made, "completed")

        eventually(completed, within=90, every=0.5)
        proxy.resume()
    assert row(yard, made)["attempt"] == 1
    assert len({pid for pid, _ in ticks(ledger)}) == 1
    assert len(heartbeats) >= 6  # one a second; one in ten seconds if it waited for Redis


def test_an_idle_worker_that_redis_leaves_waiting_is_not_lost(light_yard: Yard, proxy: RedisProxy) -> None:
    with running_worker(light_yard, REDIS_URL=proxy.url):
        eventually(lambda: assert_present(light_yard), within=60)
        proxy.hang()
        until = time.monotonic() + 15
        while time.monotonic() < until:
            assert monitoring.sweep(light_yard).workers_lost == 0
            time.sleep(0.5)
        proxy.resume()


def test_the_time_limit_holds_while_redis_hangs(yard: Yard, proxy: RedisProxy, ledger: Path) -> None:
    with running_worker(yard, REDIS_URL=proxy.url, TASK_MODULES=MODULE):
        made = run(yard, ledger, 120, timeout_seconds=8, max_retries=0)
        eventually(lambda: has_begun(ledger), within=60)
        proxy.hang()
        eventually(lambda: assert_status(yard, made, "failed"), within=60)
        proxy.resume()
    assert row(yard, made)["error"] == "Task timeout - exceeded 8 second limit"
    first, last = ticks(ledger)[0][1], ticks(ledger)[-1][1]
    assert 7 <= last - first <= 16
    with yard.database.read() as connection:
        assert attempts.of_job(connection, made)[0]["run_ms"] == pytest.approx(10_000, abs=7_000)


@contextlib.contextmanager
def locked(yard: Yard) -> Iterator[None]:
    """Let everybody else wait for the rows of jobs until the block ends."""
    if yard.database.is_sqlite:
        with yard.database.write():
            yield
        return
    with yard.database.engine.begin() as connection:
        connection.execute(text("LOCK TABLE jobs, workers IN ACCESS EXCLUSIVE MODE"))
        yield


def test_the_time_limit_holds_while_sql_hangs(yard: Yard, ledger: Path) -> None:
    with running_worker(yard, TASK_MODULES=MODULE):
        made = run(yard, ledger, 120, timeout_seconds=4, max_retries=0)
        eventually(lambda: has_begun(ledger), within=60)
        (_, first), *_ = ticks(ledger)
        with locked(yard):

            def ended() -> None:
                assert time.monotonic() - ticks(ledger)[-1][1] > 2

            eventually(ended, within=60)
            assert ticks(ledger)[-1][1] - first <= 10
        eventually(lambda: assert_status(yard, made, "failed"), within=60)
    assert row(yard, made)["error"] == "Task timeout - exceeded 4 second limit"


def test_a_machine_that_was_paused_costs_a_job_neither_its_time_nor_its_attempt(
    light_yard: Yard, tmp_path: Path
) -> None:
    loading.load_modules((MODULE,))
    publishing.publish(light_yard, registry.REGISTRY)
    ledger = tmp_path / "ledger"
    with running_worker(light_yard, TASK_MODULES=MODULE) as process:
        payload = {"ledger": str(ledger), "times": 50}
        made = jobs.enqueue(light_yard, NewJob("ledger_of_runs.count", payload, timeout_seconds=20)).job_id
        eventually(lambda: has_begun(ledger), within=60)
        paused = [psutil.Process(process.pid), psutil.Process(ticks(ledger)[0][0])]
        for one in paused:
            one.suspend()
        time.sleep(25)  # longer than the limit, and than silence may last
        for one in paused:
            one.resume()

        def completed() -> None:
            done = monitoring.sweep(light_yard, worker=f"{socket.gethostname()}-{process.pid}")
            assert (done.reset, done.failed, done.workers_lost) == (0, 0, 0)
            assert_status(light_yard, made, "completed")

        eventually(completed, within=60, every=0.2)
    assert row(light_yard, made)["attempt"] == 1


# Read by each Python process that starts: a signal sets its clock, as the clock of its host would be set.
CLOCK_SETTER = """
import os, signal

def set_clock(number, frame):
    import time, time_machine
    time_machine.travel(time.time() + float(os.environ["CLOCK_STEP"]), tick=True).start()

signal.signal(signal.SIGUSR2, set_clock)
"""


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0], ids=["back", "forward"])
def test_a_host_clock_that_is_set_while_a_job_runs_costs_it_nothing(
    yard: Yard, ledger: Path, tmp_path: Path, ahead: float
) -> None:
    setter = tmp_path / "setter"
    setter.mkdir()
    (setter / "sitecustomize.py").write_text(CLOCK_SETTER)
    environment = {"TASK_MODULES": MODULE, "CLOCK_STEP": str(ahead), "PYTHONPATH": str(setter)}
    with running_worker(yard, **environment) as process:
        made = run(yard, ledger, 12, timeout_seconds=60, max_retries=3)
        eventually(lambda: has_begun(ledger), within=60)
        monitoring.sweep(yard)
        pid = ticks(ledger)[0][0]
        for one in (process.pid, pid):
            psutil.Process(one).send_signal(signal.SIGUSR2)
        # On PostgreSQL only the worker's host is set; SQLite has one host, so this process sees the same clock.
        here = ahead if yard.database.is_sqlite else 0.0
        with time_machine.travel(time.time() + here, tick=True):

            def completed() -> None:
                done = monitoring.sweep(yard)
                assert (done.reset, done.failed, done.workers_lost) == (0, 0, 0)
                assert_status(yard, made, "completed")

            eventually(completed, within=60, every=0.5)
    assert row(yard, made)["attempt"] == 1
    assert row(yard, made)["run_ms"] == pytest.approx(12_500, abs=6_000)
    assert len({pid for pid, _ in ticks(ledger)}) == 1


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_stop_does_not_wait_for_a_redis_that_hangs(
    light_yard: Yard, proxy: RedisProxy, tmp_path: Path, busy: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    loading.load_modules((MODULE,))
    publishing.publish(light_yard, registry.REGISTRY)
    ledger = tmp_path / "ledger"
    settings = {"REDIS_URL": proxy.url, "TASK_MODULES": MODULE, "SHUTDOWN_SECONDS": "1"}
    with running_worker(light_yard, **settings) as process:
        made = run(light_yard, ledger, 5.0 if busy else 0.1)
        eventually(lambda: assert_status(light_yard, made, "processing" if busy else "completed"), within=60)
        proxy.hang()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert "Traceback" not in capfd.readouterr().err
