"""Everything on one machine: started, refused, killed in parts and as a whole, stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.integration.running import Running
from tests.support import eventually
from workers.settings import Settings

Start = Callable[..., Running]

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Make Taskyards that are gone when the test is over."""
    made: list[Running] = []

    def make(name: str = "yard", **environment: str) -> Running:
        running = Running(tmp_path / name, **environment)
        made.append(running)
        return running

    yield make
    for one in made:
        one.clean_up()


def answers(running: Running) -> None:
    with urllib.request.urlopen(f"{running.address}/readyz", timeout=5) as answer:
        assert answer.status == 200


def valkey_of(running: Running) -> Redis:
    settings = Settings.from_env(running.environment)
    return Redis(unix_socket_path=str(settings.valkey_socket))


def test_it_starts_and_a_stop_leaves_no_process_behind(start: Start) -> None:
    running = start().start().ready()
    answers(running)
    assert len(running.processes()) >= 6

    assert running.stop(signal.SIGTERM) == 0

    running.nothing_is_left()
    assert not (running.data_dir / "run" / "valkey.sock").exists()


def test_ctrl_c_stops_it_cleanly(start: Start) -> None:
    running = start().start().ready()
    assert running.stop(signal.SIGINT) == 0
    running.nothing_is_left()
    assert "Traceback" not in running.log()


def test_the_folder_is_private_and_so_is_what_lies_in_it(start: Start) -> None:
    running = start().start().ready()
    assert stat.S_IMODE(running.data_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((running.data_dir / "secret_key").stat().st_mode) == 0o600
    assert stat.S_IMODE((running.data_dir / "run").stat().st_mode) == 0o700
    assert valkey_of(running).config_get("port") == {"port": "0"}


def test_the_secret_key_stays_the_same_over_restarts(start: Start) -> None:
    running = start().start().ready()
    key = (running.data_dir / "secret_key").read_text()
    running.stop()
    running.start().ready()
    assert (running.data_dir / "secret_key").read_text() == key


def test_a_second_start_on_the_same_folder_is_refused_with_who_runs(start: Start) -> None:
    running = start().start().ready()
    assert running.process is not None

    second = running.run()

    assert second.returncode == 1
    assert len(second.stderr.splitlines()) == 1
    assert f"pid {running.process.pid}" in second.stderr
    assert running.address in second.stderr
    answers(running)


def test_a_taken_port_is_told_before_anything_starts(start: Start) -> None:
    running = start()
    with socket.create_server(("127.0.0.1", running.port)):
        refused = running.run()
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert f"Port {running.port} on 127.0.0.1" in refused.stderr
    assert not (running.data_dir / "valkey").exists()
    assert not (running.data_dir / "taskyard.db").exists()


@pytest.mark.parametrize(
    ("name", "value"), [("PORT", "many"), ("WORKERS", "-1"), ("DATABASE_URL", "oracle://x"), ("LOG_FORMAT", "xml")]
)
def test_a_setting_that_cannot_be_used_is_one_line(start: Start, name: str, value: str) -> None:
    refused = start(**{name: value}).run()
    assert refused.returncode == 78
    assert len(refused.stderr.splitlines()) == 1
    assert name in refused.stderr


def test_a_task_module_that_is_not_there_is_named_and_the_rest_runs(start: Start) -> None:
    running = start(TASK_MODULES="no_such_module").start().ready()
    assert "the task module no_such_module is skipped: Module no_such_module not found." in running.log()
    assert "Traceback" not in running.log()
    job = running.enqueue("samples.noop")
    eventually(lambda: _is(running, job, "completed"), within=60)


def test_a_job_enqueued_on_the_command_line_completes(start: Start) -> None:
    running = start().start().ready()
    job = running.enqueue("samples.noop")
    eventually(lambda: _is(running, job, "completed"), within=60)


def test_a_delayed_job_comes_to_its_queue_when_it_is_due(start: Start) -> None:
    running = start().start().ready()
    job = running.enqueue("samples.noop", "--delay", "2")
    assert running.status(job) == "scheduled"
    eventually(lambda: _is(running, job, "completed"), within=60)


def test_the_monitor_sweeps_by_a_timer(start: Start) -> None:
    running = start(MONITOR_INTERVAL_SECONDS="1").start().ready()

    def swept() -> None:
        rows = running.run("jobs", "--task", "monitor.sweep", "--status", "completed", "--json").stdout.splitlines()
        assert len(rows) >= 2
        assert {json.loads(row)["queue"] for row in rows} == {"system"}

    eventually(swept, within=60)


def test_a_killed_web_is_started_again_on_the_same_port(start: Start) -> None:
    running = start().start().ready()
    web = running.part("web")
    web.kill()
    eventually(lambda: answers(running), within=60)
    assert running.part("web").pid != web.pid
    assert "web was killed by SIGKILL" in running.log()


def test_a_killed_worker_is_started_again_and_its_job_is_run_again(start: Start) -> None:
    running = start(MONITOR_INTERVAL_SECONDS="1").start().ready()
    job = running.enqueue("samples.sleep", '{"seconds": 3}')
    eventually(lambda: _is(running, job, "processing"), within=60)
    for worker in psutil.Process(running.part("pool").pid).children():
        worker.kill()
    eventually(lambda: _is(running, job, "completed"), within=60)


def test_workers_end_with_a_killed_pool_and_come_back_with_the_next(start: Start) -> None:
    running = start().start().ready()
    pool = running.part("pool")
    members: list[psutil.Process] = []

    def started() -> None:
        # The web process may be ready before the pool has started its processes.
        members[:] = pool.children(recursive=True)
        assert len(members) >= 3

    eventually(started, within=60)
    pool.kill()

    eventually(lambda: _all_gone(members), within=60)
    job = running.enqueue("samples.noop")
    eventually(lambda: _is(running, job, "completed"), within=60)


def test_a_killed_valkey_is_started_again_with_what_it_held(start: Start) -> None:
    running = start().start().ready()
    valkey_of(running).set("kept", "yes")
    time.sleep(1.5)  # the append-only file is written out every second
    running.part("valkey-server").kill()

    def is_back() -> None:
        assert valkey_of(running).get("kept") == b"yes"

    eventually(lambda: _without_redis_errors(is_back), within=60)
    job = running.enqueue("samples.noop")
    eventually(lambda: _is(running, job, "completed"), within=60)


def test_everything_ends_when_the_supervisor_is_killed_and_the_next_start_works(start: Start) -> None:
    running = start().start().ready()
    assert running.process is not None
    running.process.kill()
    running.process.wait(60)
    eventually(running.nothing_is_left, within=60)
    running.start().ready()
    answers(running)


def test_a_job_that_runs_when_the_supervisor_is_killed_is_ended_and_goes_back(start: Start) -> None:
    running = start().start().ready()
    job = running.enqueue("samples.sleep", '{"seconds": 600}')
    eventually(lambda: _is(running, job, "processing"), within=60)
    assert running.process is not None
    running.process.kill()
    running.process.wait(60)
    eventually(running.nothing_is_left, within=60)
    assert running.status(job) in {"retry_scheduled", "pending"}


def test_a_start_right_after_the_supervisor_was_killed_waits_for_what_is_left(start: Start) -> None:
    running = start().start().ready()
    assert running.process is not None
    running.process.kill()
    running.process.wait(60)
    running.start().ready()
    answers(running)


def test_a_job_that_runs_may_finish_before_the_stop(start: Start) -> None:
    running = start().start().ready()
    job = running.enqueue("samples.sleep", '{"seconds": 3}')
    eventually(lambda: _is(running, job, "processing"), within=60)
    assert running.stop() == 0
    running.nothing_is_left()
    assert running.status(job) == "completed"


def test_a_job_that_runs_too_long_goes_back_and_the_stop_does_not_wait_for_it(start: Start) -> None:
    running = start().start().ready()
    job = running.enqueue("samples.sleep", '{"seconds": 600}')
    eventually(lambda: _is(running, job, "processing"), within=60)
    began = time.monotonic()
    assert running.stop() == 0
    assert 9 < time.monotonic() - began < 20
    running.nothing_is_left()
    assert running.status(job) in {"retry_scheduled", "pending"}


def test_the_pool_grows_when_somebody_wishes_and_shrinks_without_ending_a_job(start: Start) -> None:
    running = start().start().ready()
    token = running.run("tokens", "create", "pool", "--role", "operator").stdout.strip()

    def resize(workers: int) -> None:
        call = urllib.request.Request(f"{running.address}/api/v1/pool", json.dumps({"workers": workers}).encode())
        call.add_header("Authorization", f"Bearer {token}")
        call.add_header("Content-Type", "application/json")
        call.method = "PUT"
        with urllib.request.urlopen(call, timeout=5) as answer:
            assert json.load(answer) == {"workers": workers}

    resize(2)
    jobs = [running.enqueue("samples.sleep", '{"seconds": 10}') for _ in range(2)]
    eventually(lambda: _same(["processing"] * 2, [running.status(job) for job in jobs]), within=60)
    resize(1)
    eventually(lambda: _same(["completed"] * 2, [running.status(job) for job in jobs]), within=60)
    eventually(lambda: _same(1, _working(running, token)), within=60)


def _same(wanted: object, found: object) -> None:
    assert found == wanted


def _working(running: Running, token: str) -> int:
    call = urllib.request.Request(f"{running.address}/api/v1/workers", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(call, timeout=5) as answer:
        return sum(one["queues"] == ["*"] for one in json.load(answer)["workers"])


def test_a_second_ctrl_c_hurries(start: Start) -> None:
    running = start().start().ready()
    job = running.enqueue("samples.sleep", '{"seconds": 600}')
    eventually(lambda: _is(running, job, "processing"), within=60)
    assert running.process is not None
    began = time.monotonic()
    running.process.send_signal(signal.SIGINT)
    eventually(lambda: _says(running, "stops after its job"), within=60)
    time.sleep(1.2)  # a worker takes two signals within a second for one
    assert running.stop(signal.SIGINT) == 0
    assert time.monotonic() - began < 8
    running.nothing_is_left()


def test_a_long_path_to_the_folder_is_no_hindrance(start: Start) -> None:
    running = start("d" * 120).start().ready()
    job = running.enqueue("samples.noop")
    eventually(lambda: _is(running, job, "completed"), within=60)
    settings = Settings.from_env(running.environment)
    assert stat.S_IMODE(settings.valkey_socket.parent.stat().st_mode) == 0o700
    assert running.stop() == 0
    os.rmdir(settings.valkey_socket.parent)


def test_enqueueing_works_while_redis_is_away_and_the_job_runs_when_it_is_back(start: Start) -> None:
    running = start().start().ready()
    assert running.stop() == 0
    job = running.enqueue("samples.noop")
    assert running.status(job) == "pending"
    running.start().ready()
    eventually(lambda: _is(running, job, "completed"), within=45)


def _is(running: Running, job: str, status: str) -> None:
    assert running.status(job) == status


def _says(running: Running, words: str) -> None:
    assert words in running.log()


def _all_gone(processes: list[psutil.Process]) -> None:
    assert not [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def _without_redis_errors(assertion: Callable[[], None]) -> None:
    try:
        assertion()
    except RedisError as error:
        raise AssertionError(str(error)) from error
