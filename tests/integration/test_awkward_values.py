"""Values and exceptions of every kind in a real worker: they arrive unchanged, and none ends the process of the tasks."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import running_worker
from tests.integration import awkward_tasks
from tests.integration.test_worker_isolation import ended
from workers import loading, registry
from workers.services import jobs, publishing
from workers.services.enqueueing import NewJob
from workers.store import logs
from workers.yard import Yard

MODULE = "tests.integration.awkward_tasks"


@pytest.fixture
def worked(yard: Yard) -> Iterator[Yard]:
    """Open a yard that knows the tasks of this file, with a worker."""
    loading.load_modules((MODULE,))
    publishing.publish(yard, registry.REGISTRY)
    with running_worker(yard, TASK_MODULES=MODULE) as process:
        yield yard
        assert process.poll() is None


def run(yard: Yard, task: str, **payload: Any) -> Any:
    """Run a task to its end; its row."""
    return ended(yard, jobs.enqueue(yard, NewJob(f"{MODULE}.{task}", payload)).job_id)


def log_of(yard: Yard, row: Any) -> str:
    with yard.database.read() as connection:
        return "\n".join(line["line"] for line in logs.page(connection, row["id"]))


def test_values_reach_the_task_as_equal_ones(worked: Yard) -> None:
    row = run(worked, "enqueue_show")
    assert row["status"] == "completed", row["error"]
    shown = ended(worked, json.loads(row["result"]))
    assert shown["status"] == "completed", shown["error"]
    assert json.loads(shown["result"]) == repr(tuple(awkward_tasks.PAYLOAD.values()))


def test_awkward_results_and_exceptions_end_their_job_alone(worked: Yard) -> None:
    for what in ("count", "repeat", "liar", "leaving"):
        row = run(worked, "give", what=what)
        assert (row["status"], row["error"]) == ("completed", None)
        assert "stored as text" in log_of(worked, row)
    ways = ("type", "__class__", "__getattribute__", "__str__", "__cause__", "args")
    for task, how in itertools.product(("fail", "fail_async"), ways):
        row = run(worked, task, how=how)
        assert row["status"] == "failed"
        assert row["error"].startswith("Odd")
        assert "awkward_tasks.py" in row["traceback"]


def test_what_async_jobs_leave_costs_neither_their_result_nor_the_next_job(worked: Yard) -> None:
    row = run(worked, "leave_running")
    assert (row["status"], json.loads(row["result"] or "null")) == ("completed", "returned"), row["error"]
    assert "did not end within" in log_of(worked, row)
    row = run(worked, "exit_in_subtask")
    assert (row["status"], row["error"]) == ("failed", "The task called sys.exit(3)")
    assert log_of(worked, row) == ""
    row = run(worked, "look")
    assert (row["result"], log_of(worked, row)) == ("0", "")
