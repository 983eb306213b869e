"""The parts run one by one, as on many machines: web, workers and scheduler that share a Redis and a database."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.running import Running
from tests.support import eventually, free_port
from workers.broker.embedded import EmbeddedValkey
from workers.processes import home
from workers.settings import Settings

pytestmark = pytest.mark.timeout(120)


class Redis:
    """A server that the test can stop and start; it has a port, as one on another machine."""

    def __init__(self, folder: Path) -> None:
        self._valkey = EmbeddedValkey(home.settle(Settings.from_env({"DATA_DIR": str(folder)})))
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        self._valkey.prepare()
        command = self._valkey.command()
        command[command.index("--port") + 1] = str(self._port)
        self._process = subprocess.Popen([*command, "--bind", "127.0.0.1"])
        eventually(self._answers, within=60)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)

    def _answers(self) -> None:
        assert self._valkey.answers()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path / "redis")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def part(tmp_path: Path, redis: Redis) -> Iterator[Callable[..., Running]]:
    """Start a part with a log and a folder of its own; all share the database."""
    made: list[Running] = []

    def make(name: str, *command: str, **environment: str) -> Running:
        shared = {
            "REDIS_URL": redis.url,
            "DATABASE_URL": f"sqlite:///{tmp_path}/shared.db",
            "SECRET_KEY": "0123456789abcdef" * 3,
        }
        running = Running(tmp_path / name, **{**shared, **environment})
        made.append(running)
        return running.start(*command) if command else running

    yield make
    for one in made:
        one.clean_up()


def _is(running: Running, job: str, status: str) -> None:
    assert running.status(job) == status


def test_web_workers_and_scheduler_work_together_and_each_stops_by_itself(part: Callable[..., Running]) -> None:
    web = part("web", "web").ready()
    worker = part("worker", "worker", "--count", "2")
    scheduler = part("scheduler", "scheduler", MONITOR_INTERVAL_SECONDS="1")
    command_line = part("command-line")
    eventually(lambda: command_line.enqueue("samples.noop"), within=60)
    job = command_line.enqueue("samples.noop", "--delay", "1")
    eventually(lambda: _is(command_line, job, "completed"), within=60)
    with urllib.request.urlopen(f"{web.address}/readyz", timeout=5) as answer:
        assert answer.status == 200

    def swept() -> None:
        assert command_line.run("jobs", "--task", "monitor.sweep", "--status", "completed").stdout

    eventually(swept, within=60)
    for one in (scheduler, worker, web):
        assert one.stop() == 0
        one.nothing_is_left()
    assert not (web.data_dir / "valkey").exists()


def test_a_worker_serves_only_the_queues_it_is_given(part: Callable[..., Running]) -> None:
    worker = part("worker", "worker", "--queues", "reports", "--name", "reporter")
    eventually(lambda: worker.enqueue("samples.noop"), within=60)
    other = worker.enqueue("samples.noop", "--queue", "emails")
    ours = worker.enqueue("samples.noop", "--queue", "reports")
    eventually(lambda: _is(worker, ours, "completed"), within=60)
    assert worker.status(other) == "pending"


def test_a_queue_with_an_odd_name_is_refused(part: Callable[..., Running]) -> None:
    refused = part("worker").run("worker", "--queues", "re ports")
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1


def test_parts_wait_for_a_redis_that_is_away_and_go_on_when_it_is_back(
    part: Callable[..., Running], redis: Redis
) -> None:
    redis.stop()
    worker = part("worker", "worker")
    scheduler = part("scheduler", "scheduler")
    made: list[str] = []
    eventually(lambda: made.append(worker.enqueue("samples.noop")), within=60)
    assert worker.status(made[0]) == "pending"
    eventually(lambda: _says(worker, "retrying until"), within=60)

    redis.start()

    eventually(lambda: _is(worker, made[0], "completed"), within=45)
    for one in (scheduler, worker):
        assert one.process is not None
        assert one.process.poll() is None
        assert "Traceback" not in one.log()
        assert one.stop(signal.SIGTERM) == 0


def test_the_log_can_be_json(part: Callable[..., Running]) -> None:
    scheduler = part("scheduler", "scheduler", "--alone", LOG_FORMAT="json", LOG_LEVEL="debug")
    worker = part("worker", "worker", LOG_FORMAT="json")
    eventually(lambda: worker.enqueue("samples.noop"), within=60)
    assert worker.stop() == 0
    assert scheduler.stop() == 0
    lines = [json.loads(line) for line in worker.log().splitlines() if line.startswith("{")]
    assert {"at", "level", "process", "logger", "message"} <= set(lines[0])
    assert "worker" in {line["process"] for line in lines}


def test_the_doctor_says_what_is_missing_and_what_to_do(part: Callable[..., Running], redis: Redis) -> None:
    worker = part("worker", "worker")
    eventually(lambda: worker.enqueue("samples.noop"), within=60)
    eventually(lambda: _healthy(worker, "workers"), within=60)
    report = worker.run("doctor")
    assert report.returncode == 1
    assert "start `python app.py scheduler`" in report.stdout
    assert "start `python app.py web`" in report.stdout

    redis.stop()

    told = worker.run("doctor")
    assert told.returncode == 1
    assert any(line.startswith("failed") and "redis" in line for line in told.stdout.splitlines())
    assert not told.stderr


def _healthy(running: Running, what: str) -> None:
    assert any(line.split() == ["ok", what] for line in running.run("doctor").stdout.splitlines())


def _says(running: Running, words: str) -> None:
    assert words in running.log()
