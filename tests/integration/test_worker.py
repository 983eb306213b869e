"""Real workers on a real Valkey, over SQLite and PostgreSQL."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest
from rq.command import send_stop_job_command

from tests.conftest import running_worker
from tests.support import eventually
from workers.domain.actors import Actor
from workers.services import jobs, monitoring, queues
from workers.services.enqueueing import NewJob
from workers.store import attempts, logs
from workers.store import jobs as jobs_rows
from workers.yard import Yard


def run(yard: Yard, task: str, payload: dict[str, Any] | None = None, **options: Any) -> str:
    return jobs.enqueue(yard, NewJob(task, payload or {}, **options)).job_id


def row(yard: Yard, job_id: str) -> Any:
    with yard.database.read() as connection:
        return jobs.get(connection, job_id)


def reaches(yard: Yard, job_id: str, *states: str, within: float = 60.0) -> Any:
    def there() -> None:
        job = row(yard, job_id)
        assert job["status"] in states, (job["status"], job["error"])

    eventually(there, within=within)
    return row(yard, job_id)


@pytest.mark.usefixtures("worker")
class TestOneWorker:
    def test_it_runs_jobs_and_keeps_what_they_give_say_and_print(self, yard: Yard) -> None:
        made = run(yard, "samples.chatter", {"lines": 50})
        job = reaches(yard, made, "completed")
        assert (job["result"], job["progress"], job["attempt"]) == ('{"lines":50}', 100.0, 1)
        with yard.database.read() as connection:
            lines = list(logs.page(connection, made, limit=200))
            ended = attempts.of_job(connection, made)
        assert [line["line"] for line in lines][:1] == ["line 1 of 50"]
        assert len(lines) == 50
        assert [one["outcome"] for one in ended] == ["completed"]

    def test_a_failure_is_kept_with_the_place_in_the_tasks_own_code(self, yard: Yard) -> None:
        job = reaches(yard, run(yard, "samples.fail", {"message": "boom"}, max_retries=0), "failed")
        assert job["error"] == "RuntimeError: boom"
        assert "samples.py" in job["traceback"]
        assert "registry.py" not in job["traceback"]

    @pytest.mark.parametrize(("how", "words"), [("exit", "exited with status 3"), ("segfault", "SIGSEGV")])
    def test_a_crash_costs_its_attempt_and_nothing_else(self, yard: Yard, how: str, words: str) -> None:
        crashed = run(yard, "samples.crash", {"how": how})
        after = run(yard, "samples.noop")
        assert words in reaches(yard, crashed, "failed")["error"]
        reaches(yard, after, "completed")

    def test_a_job_past_its_limit_is_killed(self, yard: Yard) -> None:
        job = reaches(yard, run(yard, "samples.crash", {"how": "hang"}, timeout_seconds=1), "failed")
        assert job["error"] == "Task timeout - exceeded 1 second limit"

    def test_a_running_job_stops_when_it_is_canceled(self, yard: Yard, operator: Actor) -> None:
        polite = run(yard, "samples.sleep", {"seconds": 60, "steps": 600})
        reaches(yard, polite, "processing")
        jobs.cancel(yard, polite, operator)
        assert reaches(yard, polite, "canceled")["done"] < 600

    def test_one_that_does_not_listen_is_killed(self, yard: Yard, operator: Actor) -> None:
        deaf = run(yard, "samples.crash", {"how": "hang"})
        reaches(yard, deaf, "processing")
        jobs.cancel(yard, deaf, operator)
        assert "was killed" in reaches(yard, deaf, "canceled")["error"]

    def test_it_obeys_rqs_own_stop_command(self, yard: Yard) -> None:
        made = run(yard, "samples.sleep", {"seconds": 60, "steps": 600})
        reaches(yard, made, "processing")
        send_stop_job_command(yard.redis, f"{made}-1", serializer="json")
        reaches(yard, made, "canceled")

    def test_high_goes_before_normal_and_low(self, yard: Yard, operator: Actor) -> None:
        blocker = run(yard, "samples.sleep", {"seconds": 1, "steps": 1})
        reaches(yard, blocker, "processing")
        made = [run(yard, "samples.noop", priority=one) for one in ("low", "normal", "high")]
        done = [reaches(yard, one, "completed")["started_at"] for one in made]
        assert done == sorted(done, reverse=True)

    def test_a_paused_queue_waits(self, yard: Yard, operator: Actor) -> None:
        reaches(yard, run(yard, "samples.noop"), "completed")
        queues.pause(yard, "default", operator)
        held = run(yard, "samples.noop")
        other = run(yard, "samples.noop", queue="elsewhere")
        reaches(yard, other, "completed")
        assert row(yard, held)["status"] == "pending"
        queues.resume(yard, "default", operator)
        reaches(yard, held, "completed")


def test_a_worker_that_is_killed_costs_its_attempt_and_the_job_runs_again(yard: Yard) -> None:
    with running_worker(yard) as process:
        made = run(yard, "samples.sleep", {"seconds": 3, "steps": 30}, max_retries=3)
        reaches(yard, made, "processing")
        process.send_signal(signal.SIGKILL)
        process.wait()

        def found() -> None:
            assert monitoring.sweep(yard).reset == 1

        eventually(found, within=30, every=0.5)
    with yard.database.read() as connection:
        attempt = attempts.of_job(connection, made)[0]
        told = jobs_rows.events(connection, row(yard, made))[-1]
    assert (attempt["outcome"], attempt["error"].partition(":")[0]) == ("reset", "Worker lost")
    assert json.loads(told["detail"])["evidence"]["process"] == "gone"
    with running_worker(yard):
        assert reaches(yard, made, "completed")["attempt"] == 2


def test_a_warm_stop_finishes_the_job(yard: Yard) -> None:
    with running_worker(yard) as process:
        made = run(yard, "samples.sleep", {"seconds": 1, "steps": 10})
        reaches(yard, made, "processing")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert row(yard, made)["status"] == "completed"


def test_tasks_from_outside_run_sync_and_async_with_children_and_skips(yard: Yard, tmp_path: Any) -> None:
    (tmp_path / "own_tasks.py").write_text(
        "from workers.task import task, enqueue, progress, Skipped, Reject, once, log\n"
        "@task(queue='own')\n"
        "async def outer(n: int) -> dict:\n"
        "    progress(n, n, 'all')\n"
        "    return {'child': enqueue('own_tasks.inner', {'words': ['a'] * n}).job_id}\n"
        "@task\n"
        "def inner(words: list[str]) -> int:\n"
        "    log('hello'); return len(words)\n"
        "@task\n"
        "def idle() -> None:\n"
        "    raise Skipped('nothing to clean')\n"
        "@task\n"
        "def never() -> None:\n"
        "    raise Reject('no use')\n"
    )
    from workers.services import catalogue

    code = "from workers import loading, registry; from workers.services.publishing import publish; from workers.yard import Yard; "
    code += "from workers.settings import Settings; s = Settings.from_env(); loading.load_modules(s.task_modules); "
    code += "publish(Yard.open(s), registry.REGISTRY)"
    more = {"TASK_MODULES": "own_tasks", "PYTHONPATH": str(tmp_path)}
    environment = {
        "DATA_DIR": str(yard.settings.data_dir),
        "DATABASE_URL": yard.settings.database_url,
        "REDIS_URL": yard.settings.effective_redis_url,
        **more,
    }
    _python(["-c", code], environment)
    catalogue._caches.clear()
    with running_worker(yard, **more):
        job = reaches(yard, run(yard, "own_tasks.outer", {"n": 3}), "completed")
        import json

        child = json.loads(job["result"])["child"]
        assert reaches(yard, child, "completed")["result"] == "3"
        assert row(yard, child)["parent"] == job["id"]
        assert reaches(yard, run(yard, "own_tasks.idle"), "completed")["skipped_reason"] == "nothing to clean"
        assert reaches(yard, run(yard, "own_tasks.never"), "failed")["attempt"] == 1


def _python(arguments: Sequence[str], environment: dict[str, str]) -> None:
    import sys

    from tests.conftest import ROOT

    subprocess.run([sys.executable, *arguments], check=True, cwd=ROOT, env=environment)
