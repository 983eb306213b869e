"""What tasks do to their process stays in it: the worker and the next job never notice."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import running_worker
from tests.support import eventually
from workers import loading, registry
from workers.services import jobs, publishing
from workers.services.enqueueing import NewJob
from workers.store import logs
from workers.yard import Yard

MODULE = "tests.integration.unruly_tasks"


@pytest.fixture
def unruly(light_yard: Yard) -> Iterator[Yard]:
    """Open a yard whose worker knows the unruly tasks."""
    loading.load_modules((MODULE,))
    publishing.publish(light_yard, registry.REGISTRY)
    with running_worker(light_yard, TASK_MODULES=MODULE):
        yield light_yard


def run(yard: Yard, task: str, payload: dict[str, Any] | None = None, **options: Any) -> str:
    name = task if "." in task else f"{MODULE}.{task}"
    return jobs.enqueue(yard, NewJob(name, payload or {}, **options)).job_id


def ended(yard: Yard, job_id: str, within: float = 30.0) -> Any:
    found: list[Any] = []

    def is_there() -> None:
        with yard.database.read() as connection:
            found[:] = [jobs.get(connection, job_id)]
        assert found[0]["status"] in {"completed", "failed", "canceled"}, found[0]["status"]

    eventually(is_there, within=within)
    return found[0]


def result(yard: Yard, task: str, payload: dict[str, Any] | None = None) -> Any:
    job = ended(yard, run(yard, task, payload))
    assert job["status"] == "completed", job["error"]
    return json.loads(job["result"])


def lines(yard: Yard, job_id: str) -> list[str]:
    with yard.database.read() as connection:
        return [row["line"] for row in logs.page(connection, job_id, limit=20_000)]


def test_one_child_runs_many_jobs(unruly: Yard) -> None:
    pids = {result(unruly, "disturb", {"how": "nothing"}) for _ in range(5)}
    assert len(pids) == 1


@pytest.mark.parametrize("how", ["folder", "environment", "signal", "thread", "limit", "offspring"])
def test_the_next_job_finds_nothing_of_what_the_last_one_left(unruly: Yard, how: str) -> None:
    before = result(unruly, "surroundings")
    disturbed = result(unruly, "disturb", {"how": how})
    after = result(unruly, "surroundings")
    assert disturbed == before.pop("pid")
    is_renewed = after.pop("pid") != disturbed
    assert is_renewed == (how in {"thread", "limit", "offspring"}), "what can be put back costs no process"
    assert after == before


def test_a_process_that_a_task_forks_does_not_run_on_as_a_worker(unruly: Yard) -> None:
    made = run(unruly, "fork")
    assert ended(unruly, made)["result"] == '"parent"'
    assert lines(unruly, made) == ["the forked one speaks"]
    assert result(unruly, "disturb", {"how": "nothing"})


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("exit", "sys.exit(4)"),
        ("descriptors", "had closed file descriptors"),
        ("memory", "MemoryError"),
    ],
)
def test_a_task_that_ends_its_process_fails_alone(unruly: Yard, how: str, words: str) -> None:
    job = ended(unruly, run(unruly, "leave", {"how": how}))
    assert job["status"] == "failed"
    assert words in job["error"]
    assert result(unruly, "disturb", {"how": "nothing"})


@pytest.mark.parametrize(
    ("what", "stored", "note"),
    [
        ("set", [1], ""),
        ("nan", None, "became null"),
        ("loop", "[[[[[...]]]]]", "stored as text"),
        ("bytes", "eA==", ""),
    ],
)
def test_a_result_of_any_type_completes_the_job(unruly: Yard, what: str, stored: object, note: str) -> None:
    job_id = run(unruly, "give", {"what": what})
    job = ended(unruly, job_id)
    assert job["status"] == "completed"
    assert json.loads(job["result"]) == stored
    assert note in "\n".join(lines(unruly, job_id))


def test_a_large_result_is_a_file_of_the_job_and_the_job_shows_its_beginning(unruly: Yard) -> None:
    job_id = run(unruly, "give", {"what": "large"})
    job = ended(unruly, job_id)
    assert job["status"] == "completed"
    assert json.loads(job["result"]).startswith('"xxxx')
    (note,) = lines(unruly, job_id)
    assert note.endswith("The full result is in the file result-1.json.")
    whole = unruly.settings.files_dir / job_id / "result-1.json"
    assert json.loads(whole.read_text()) == "x" * 1_100_000


def test_a_large_result_that_holds_a_secret_is_not_written_to_a_file(unruly: Yard) -> None:
    job_id = run(unruly, "give", {"what": "large secret"})
    assert ended(unruly, job_id)["status"] == "completed"
    assert "masked" in lines(unruly, job_id)[0]
    assert not (unruly.settings.files_dir / job_id / "result-1.json").exists()


@pytest.mark.parametrize("how", ["nothing", "nan", "text", "decimal", "object", "infinite", "no total"])
def test_progress_of_any_value_fails_no_job(unruly: Yard, how: str) -> None:
    job = ended(unruly, run(unruly, "advance", {"how": how}))
    assert job["status"] == "completed", job["error"]


def test_everything_that_is_written_anywhere_is_in_the_log(unruly: Yard) -> None:
    made = run(unruly, "speak")
    ended(unruly, made)
    kept = lines(unruly, made)
    for said in (
        "by print",
        "by stderr",
        "by descriptor",
        "by buffer",
        "by a process",
        "and its errors",
        "handed on",
        "some.part: by logging",
        "by log",
        "no end of line",
    ):
        assert said in kept, (said, kept)
    assert not any("hunter2" in line for line in kept)


def test_a_flood_of_output_is_cut_and_stops_nothing(unruly: Yard) -> None:
    made = run(unruly, "flood", {"megabytes": 100})
    assert ended(unruly, made, within=60)["status"] == "completed"
    kept = lines(unruly, made)
    assert len(kept) == 10_001
    assert kept[8_000].endswith("lines left out …")
    after = run(unruly, "disturb", {"how": "nothing"})
    ended(unruly, after)
    assert lines(unruly, after) == []


def test_progress_and_log_work_from_a_tasks_own_threads(unruly: Yard) -> None:
    made = run(unruly, "from_threads")
    job = ended(unruly, made)
    assert job["total"] == 4
    assert sorted(lines(unruly, made)) == [f"line {number}" for number in range(1, 5)]


def test_what_a_task_has_started_ends_with_a_worker_that_is_killed(light_yard: Yard) -> None:
    loading.load_modules((MODULE,))
    publishing.publish(light_yard, registry.REGISTRY)
    with running_worker(light_yard, TASK_MODULES=MODULE) as process:
        made = run(light_yard, "with_offspring", {"seconds": 600.0})
        eventually(lambda: lines(light_yard, made)[0], within=20)
        family = psutil.Process(process.pid).children(recursive=True)
        assert int(lines(light_yard, made)[0].split()[1]) in {one.pid for one in family}
        process.send_signal(signal.SIGKILL)
        process.wait()
        eventually(lambda: _all_gone(family), within=5)


def _all_gone(family: list[psutil.Process]) -> None:
    assert not [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_a_child_that_is_killed_while_it_is_idle_costs_nothing(unruly: Yard) -> None:
    os.kill(result(unruly, "disturb", {"how": "nothing"}), signal.SIGKILL)
    assert result(unruly, "disturb", {"how": "nothing"})


def test_a_locked_database_delays_a_result_and_does_not_lose_it(unruly: Yard, tmp_path: Path) -> None:
    result(unruly, "disturb", {"how": "nothing"})
    made = run(unruly, "disturb", {"how": "nothing"})
    with unruly.database.write():
        time.sleep(0.5)  # the lock is what is tried here
    assert ended(unruly, made)["status"] == "completed"
