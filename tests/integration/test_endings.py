"""How attempts end: a stop of the worker interrupts them, a time limit lets them clean up, a cancel reaches threads."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import running_worker
from tests.integration.running import Running
from tests.integration.test_worker_isolation import ended
from tests.support import eventually
from workers import loading, registry
from workers.domain.actors import Actor
from workers.services import jobs, publishing
from workers.services.enqueueing import NewJob
from workers.settings import Settings
from workers.store import attempts
from workers.yard import Yard

MODULE = "tests.integration.ending_tasks"
OPERATOR = Actor("user", "olga", "operator")


@pytest.fixture
def ending(yard: Yard) -> Yard:
    """Open a yard that knows the tasks of this file."""
    loading.load_modules((MODULE,))
    publishing.publish(yard, registry.REGISTRY)
    return yard


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Running]:
    """Make a Taskyard that is gone when the test is over."""
    running = Running(tmp_path / "yard", TASK_MODULES=MODULE, SHUTDOWN_SECONDS="2")
    yield running
    running.clean_up()


def enqueue(yard: Yard, task: str, payload: dict[str, Any] | None = None) -> str:
    return jobs.enqueue(yard, NewJob(f"{MODULE}.{task}", payload or {})).job_id


def row_of(yard: Yard, job_id: str) -> Any:
    with yard.database.read() as connection:
        return jobs.get(connection, job_id)


def has_text(file: Path, text: str) -> None:
    assert file.exists(), "not started"
    assert file.read_text() == text


def stop(worker: subprocess.Popen[bytes]) -> None:
    worker.send_signal(signal.SIGTERM)


def test_an_attempt_that_gives_way_is_run_again_and_has_used_no_retry(ending: Yard, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    job_id = enqueue(ending, "give_way", {"mark": str(mark)})
    with running_worker(ending, TASK_MODULES=MODULE) as worker:
        eventually(lambda: has_text(mark, "started"), within=60)
        stop(worker)
        assert worker.wait(30) == 0
    row = row_of(ending, job_id)
    assert (row["status"], row["attempt"], row["interruptions"]) == ("retry_scheduled", 1, 1)
    with ending.database.read() as connection:
        assert [one["outcome"] for one in attempts.of_job(connection, job_id)] == ["interrupted"]
    jobs.run_now(ending, job_id, OPERATOR)
    with running_worker(ending, TASK_MODULES=MODULE):
        row = ended(ending, job_id)
    assert (row["status"], json.loads(row["result"])) == ("completed", "second attempt")


def test_a_task_that_finishes_in_time_completes(ending: Yard, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    job_id = enqueue(ending, "wait", {"mark": str(mark), "finish": True})
    with running_worker(ending, TASK_MODULES=MODULE) as worker:
        eventually(lambda: has_text(mark, "started"), within=60)
        stop(worker)
        assert worker.wait(30) == 0
    assert json.loads(row_of(ending, job_id)["result"]) == "finished"


def test_a_stop_interrupts_what_runs_longer_and_the_next_start_runs_it_again(start: Running, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    start.start().ready()
    job_id = start.enqueue(f"{MODULE}.wait", json.dumps({"mark": str(mark)}))
    eventually(lambda: has_text(mark, "started"), within=60)
    assert start.stop() == 0
    assert mark.read_text() == "interrupted"
    start.start().ready()
    with_yard = Yard.open(Settings.from_env(start.environment))
    row = ended(with_yard, job_id)
    with_yard.close()
    assert (row["status"], row["attempt"], json.loads(row["result"])) == ("completed", 2, "interrupted")


def test_a_task_that_will_not_be_interrupted_is_killed_and_run_again(start: Running, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    start.start().ready()
    job_id = start.enqueue(f"{MODULE}.ignore", json.dumps({"mark": str(mark)}))
    eventually(lambda: has_text(mark, "started"), within=60)
    assert start.stop() == 0
    start.nothing_is_left()
    start.start().ready()
    with_yard = Yard.open(Settings.from_env(start.environment))
    row = ended(with_yard, job_id)
    with_yard.close()
    assert (row["status"], row["interruptions"], json.loads(row["result"])) == ("completed", 1, "second attempt")


@pytest.fixture
def worked(ending: Yard) -> Iterator[Yard]:
    """Run a worker with the tasks of this file."""
    with running_worker(ending, TASK_MODULES=MODULE):
        yield ending


def test_a_time_limit_lets_the_task_clean_up_and_shows_where_it_was(worked: Yard, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    row = ended(worked, enqueue(worked, "clean_up", {"mark": str(mark)}))
    assert row["status"] == "failed"
    assert row["error"] == "Task timeout - exceeded 1 second limit"
    assert "in hang_here" in row["traceback"]
    assert mark.read_text() == "cleaned up"
    with worked.database.read() as connection:
        assert [one["outcome"] for one in attempts.of_job(connection, row["id"])] == ["timed_out"]


def test_a_task_that_ignores_its_time_limit_is_killed_and_its_stack_is_kept(worked: Yard) -> None:
    row = ended(worked, enqueue(worked, "swallow"))
    assert row["error"] == "Task timeout - exceeded 1 second limit"
    assert "in hang_here" in row["traceback"]


def test_what_a_task_saves_at_its_time_limit_counts(worked: Yard) -> None:
    row = ended(worked, enqueue(worked, "save_part"))
    assert (row["status"], json.loads(row["result"])) == ("completed", "a part of it")


@pytest.mark.parametrize("fail", [False, True], ids=["returns", "fails"])
def test_a_cancel_that_a_thread_of_the_task_finds_ends_the_job_as_canceled(worked: Yard, fail: bool) -> None:
    job_id = enqueue(worked, "cancel_in_thread", {"fail": fail})

    def runs() -> None:
        assert row_of(worked, job_id)["status"] == "processing"

    eventually(runs, within=60)
    jobs.cancel(worked, job_id, OPERATOR)
    assert ended(worked, job_id)["status"] == "canceled"
