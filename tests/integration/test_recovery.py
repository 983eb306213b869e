"""A process that cannot recover ends, to be started again; while the server itself is away it waits."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import MaxConnectionsError, RedisError

from tests.conftest import ROOT
from tests.support import eventually, free_port
from workers import loading, registry
from workers.broker.embedded import EmbeddedValkey
from workers.processes import home
from workers.processes.recovery import CANNOT_RECOVER, Recovery
from workers.services import jobs, publishing
from workers.services.enqueueing import NewJob
from workers.settings import Settings
from workers.store import jobs as rows
from workers.yard import Yard

MODULE = "tests.integration.ledger_of_runs"


@contextlib.contextmanager
def running(yard: Yard, which: str) -> Iterator[subprocess.Popen[bytes]]:
    values = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "DATA_DIR": str(yard.settings.data_dir),
        "DATABASE_URL": yard.settings.database_url,
        "REDIS_URL": yard.settings.effective_redis_url,
        "TASK_MODULES": MODULE,
        "HEARTBEAT_SECONDS": "1",
        "RECOVERY_SECONDS": "1",
        "PORT": str(free_port()),
    }
    command = [sys.executable, "-m", "tests.integration.leaking_process", which]
    with log_file(yard).open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=values, stdout=log, stderr=log)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def log_file(yard: Yard) -> Path:
    return yard.settings.data_dir / "process.log"


def leak(yard: Yard, pool: str) -> None:
    mark = yard.settings.data_dir / "leak.new"
    mark.write_text(pool)
    mark.rename(yard.settings.data_dir / "leak")


def assert_running(yard: Yard, which: str) -> None:
    if which == "web":
        assert "ready: " in log_file(yard).read_text()
    elif which == "worker":
        with yard.database.read() as connection:
            assert connection.exec_driver_sql("SELECT 1 FROM workers WHERE state = 'idle'").first()
    else:
        assert list(yard.redis.scan_iter("taskyard:*:scheduler:*"))


def assert_says(yard: Yard, text: str) -> None:
    assert text in log_file(yard).read_text()


@pytest.mark.parametrize("pool", ["redis", "sql"])
@pytest.mark.parametrize("which", ["worker", "scheduler", "web"])
def test_a_process_ends_whose_own_calls_fail_although_new_ones_are_answered(
    light_yard: Yard, which: str, pool: str
) -> None:
    with running(light_yard, which) as process:
        eventually(lambda: assert_running(light_yard, which), within=60)
        leak(light_yard, pool)
        assert process.wait(60) == CANNOT_RECOVER
    log = log_file(light_yard).read_text()
    assert log.count("The process cannot recover: it ends with status 75") == 1, log


def test_a_worker_ends_after_its_job(yard: Yard, tmp_path: Path) -> None:
    loading.load_modules((MODULE,))
    publishing.publish(yard, registry.REGISTRY)
    with running(yard, "worker") as process:
        ledger = tmp_path / "ledger"
        payload = {"ledger": str(ledger), "seconds": 6}
        job_id = jobs.enqueue(yard, NewJob("ledger_of_runs.tick", payload)).job_id

        def has_begun() -> None:
            assert ledger.stat().st_size

        eventually(has_begun, within=60)
        leak(yard, "redis")
        eventually(lambda: assert_says(yard, "cannot recover"), within=30)
        assert process.wait(60) == CANNOT_RECOVER
    with yard.database.read() as connection:
        row = rows.get(connection, job_id)
    assert (row["status"], row["attempt"]) == ("completed", 1)


def test_a_server_that_is_away_ends_no_process(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = home.settle(Settings.from_env({"DATA_DIR": str(tmp_path / "data")}))
    server = EmbeddedValkey(settings)
    server.prepare()
    yard = Yard.open(replace(settings, recovery_seconds=0.001))
    recovery = Recovery(yard)
    with subprocess.Popen(server.command(), stdout=subprocess.DEVNULL) as process:
        eventually(lambda: assert_answers(yard), within=20)
        assert not recovery.look()
        held: list[Any] = []
        with pytest.raises(MaxConnectionsError):
            held.extend(yard.redis.connection_pool.get_connection() for _ in range(1000))
        process.kill()
        process.wait()
        assert not any(recovery.look() for _ in range(6))
    with subprocess.Popen(server.command(), stdout=subprocess.DEVNULL) as process:
        eventually(lambda: assert_answers(yard), within=20)
        assert [recovery.look() for _ in range(4)].count(True)
        for one in held:
            yard.redis.connection_pool.release(one)
        assert not any(recovery.look() for _ in range(6))
        process.terminate()
    yard.close()
    assert caplog.text.count("The process cannot recover") >= 1


def assert_answers(yard: Yard) -> None:
    try:
        yard.redis.ping_new_connection()
    except RedisError as error:
        raise AssertionError(error) from error
