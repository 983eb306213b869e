"""What the monitor does about stuck jobs, lost entries and dead workers, on SQLite and PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from workers.broker import queues as carriers
from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.domain.errors import Conflict
from workers.services import delivery, execution, jobs, monitoring, retention, statistics, stuck
from workers.services.enqueueing import NewJob
from workers.services.execution import Ending
from workers.store import attempts, sweeps
from workers.store import jobs as rows
from workers.store import workers as worker_rows
from workers.yard import Yard

HOUR = timedelta(hours=1)


def get(yard: Yard, job_id: str) -> dict[str, Any]:
    with yard.database.read() as connection:
        return dict(jobs.get(connection, job_id))


def running(yard: Yard, worker: str = "gone", **how: Any) -> str:
    """Begin a job whose worker has no row."""
    made = jobs.enqueue(yard, NewJob("samples.sleep", {"seconds": 1}, **how)).job_id
    execution.begin(yard, made, 1, worker)
    return made


def alive(yard: Yard, name: str, job_id: str | None, at: Any) -> None:
    told = {"host": "elsewhere", "pid": 1, "queues": '["*"]', "state": "busy", "started_at": at, "heartbeat_at": at}
    with yard.database.write() as connection:
        worker_rows.register(connection, {"name": name, "job_id": job_id, **told})


def test_a_job_whose_worker_is_gone_is_put_back_with_the_evidence(yard: Yard) -> None:
    made = running(yard, max_retries=2)
    done = monitoring.sweep(yard, utcnow() + HOUR / 4)
    assert (done.reset, done.failed, done.error) == (1, 0, None)
    job = get(yard, made)
    assert (job["status"], job["attempt"], job["worker"]) == ("pending", 2, None)
    assert carriers.listed(yard.redis, "default") >= {f"{made}-2"}
    with yard.database.read() as connection:
        event = rows.events(connection, job)[-1]
        (tried,) = attempts.of_job(connection, made)
        (finding,) = sweeps.findings(connection, utcnow() - HOUR)
    detail = json.loads(event["detail"])
    assert (event["event"], detail["verdict"]) == ("reset", "worker_lost")
    assert detail["evidence"]["worker_state"] == "unknown"
    assert detail["evidence"]["heartbeat_age"] == pytest.approx(900, abs=5)
    assert (tried["outcome"], finding["job_id"], finding["done"]) == ("reset", made, "reset")


def test_without_tries_left_it_fails_with_the_reason(yard: Yard) -> None:
    made = running(yard, max_retries=0)
    assert monitoring.sweep(yard, utcnow() + HOUR).failed == 1
    job = get(yard, made)
    assert job["status"] == "failed"
    assert job["error"].startswith("Task timeout - exceeded") or job["error"].startswith("Worker lost")


def test_one_over_its_time_limit_fails_with_the_words_of_a_time_out(yard: Yard) -> None:
    made = running(yard, "w", max_retries=0, timeout_seconds=1800)
    later = utcnow() + HOUR
    alive(yard, "w", made, later)
    with yard.database.write() as connection:
        rows.touch(connection, made, 1, {"heartbeat_at": later})
    assert monitoring.sweep(yard, later).failed == 1
    assert get(yard, made)["error"] == "Task timeout - exceeded 30 minute limit"


def test_one_that_beats_is_never_touched_however_long_it_runs(yard: Yard) -> None:
    made = running(yard, "w", timeout_seconds=86400)
    later = utcnow() + 20 * HOUR
    alive(yard, "w", made, later)
    with yard.database.write() as connection:
        rows.touch(connection, made, 1, {"heartbeat_at": later - timedelta(seconds=1)})
    assert monitoring.sweep(yard, later).reset == 0
    assert get(yard, made)["status"] == "processing"


def test_one_whose_worker_lives_but_says_nothing_of_it_is_put_back_only_after_the_long_limit(yard: Yard) -> None:
    made = running(yard, "w", timeout_seconds=86400)
    for age, reset in ((timedelta(seconds=1700), 0), (timedelta(seconds=1900), 1)):
        later = utcnow() + age
        alive(yard, "w", made, later)
        assert monitoring.sweep(yard, later).reset == reset, age


def test_an_attempt_that_was_reset_can_write_nothing_any_more(yard: Yard) -> None:
    made = running(yard)
    monitoring.sweep(yard, utcnow() + HOUR / 4)
    assert execution.end(yard, made, 1, Ending("completed", result='"late"')) is None
    assert not execution.save_progress(yard, made, 1, {"progress": 50.0})
    assert execution.beat(yard, made, 1) is None
    assert get(yard, made)["result"] is None


def test_a_finished_job_is_never_reset(yard: Yard) -> None:
    made = running(yard)
    execution.end(yard, made, 1, Ending("completed", result="1"))
    assert monitoring.sweep(yard, utcnow() + HOUR).reset == 0
    assert get(yard, made)["status"] == "completed"


def test_one_that_was_to_be_canceled_is_canceled_not_run_again(yard: Yard, operator: Actor) -> None:
    made = running(yard)
    jobs.cancel(yard, made, operator)
    monitoring.sweep(yard, utcnow() + HOUR / 4)
    assert get(yard, made)["status"] == "canceled"


def test_sweeps_at_once_reset_each_job_once(yard: Yard) -> None:
    made = [running(yard) for _ in range(40)]
    later = utcnow() + HOUR / 4
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: monitoring.sweep(yard, later), range(4)))
    assert sum(one.reset for one in done) == 40
    assert {get(yard, one)["attempt"] for one in made} == {2}
    with yard.database.read() as connection:
        assert len(sweeps.findings(connection, utcnow() - HOUR, 100)) == 40


def test_a_row_that_cannot_be_judged_does_not_keep_the_others(light_yard: Yard) -> None:
    poisoned, sound = running(light_yard), running(light_yard)
    with light_yard.database.write() as connection:
        connection.exec_driver_sql("UPDATE jobs SET timeout_seconds = 'soon' WHERE id = ?", (poisoned,))
    done = monitoring.sweep(light_yard, utcnow() + HOUR / 4)
    assert (done.reset, done.error) == (1, None)
    assert get(light_yard, sound)["status"] == "pending"


def test_somebody_can_keep_the_monitor_from_a_job_for_a_while(yard: Yard, operator: Actor) -> None:
    made = running(yard)
    stuck.leave(yard, made, 1800, operator)
    assert monitoring.sweep(yard, utcnow() + HOUR / 4).reset == 0
    assert monitoring.sweep(yard, utcnow() + HOUR).reset == 1


def test_a_dry_run_tells_what_a_sweep_would_do_and_does_nothing(yard: Yard) -> None:
    back, out = running(yard, max_retries=1), running(yard, max_retries=0)
    told = {one.row["id"]: one.will for one in monitoring.would_do(yard, utcnow() + HOUR / 4)}
    assert told == {back: "reset", out: "failed"}
    assert get(yard, back)["status"] == "processing"


def test_people_reset_and_fail_only_what_is_stuck(yard: Yard, operator: Actor) -> None:
    made = running(yard)
    with pytest.raises(Conflict, match="has just sent a heartbeat"):
        stuck.reset(yard, made, operator)
    with yard.database.write() as connection:
        rows.touch(connection, made, 1, {"heartbeat_at": utcnow() - HOUR})
    assert stuck.reset(yard, made, operator)["status"] == "pending"
    with pytest.raises(Conflict, match="it is pending"):
        stuck.fail(yard, made, operator)


def test_what_a_sweep_did_can_be_undone_once(yard: Yard, operator: Actor) -> None:
    back, out = running(yard, max_retries=1), running(yard, max_retries=0)
    monitoring.sweep(yard, utcnow() + HOUR / 4)
    with yard.database.read() as connection:
        found = {one["job_id"]: one["id"] for one in sweeps.findings(connection, utcnow() - HOUR)}
    assert stuck.undo(yard, found[back], operator)["status"] == "canceled"
    assert stuck.undo(yard, found[out], operator)["status"] == "pending"
    with pytest.raises(Conflict, match="olga has already undone it"):
        stuck.undo(yard, found[back], operator)


def begin_next(yard: Yard, job_id: str, attempt: int) -> None:
    execution.begin(yard, job_id, attempt, "w")


def end_next(yard: Yard, job_id: str, attempt: int) -> None:
    begin_next(yard, job_id, attempt)
    execution.end(yard, job_id, attempt, Ending("failed", error="boom", permanent=True))


def retry_next(yard: Yard, job_id: str, attempt: int) -> None:
    end_next(yard, job_id, attempt)
    jobs.retry(yard, job_id, Actor("user", "ada", "admin"))


def run_retry(yard: Yard, job_id: str, attempt: int) -> None:
    retry_next(yard, job_id, attempt)
    begin_next(yard, job_id, attempt + 1)


def fail_next(yard: Yard, job_id: str, attempt: int) -> None:
    begin_next(yard, job_id, attempt)
    execution.end(yard, job_id, attempt, Ending("failed", error="boom"))


def interrupt_next(yard: Yard, job_id: str, attempt: int) -> None:
    begin_next(yard, job_id, attempt)
    execution.end(yard, job_id, attempt, Ending("interrupted"))


MOVES = [begin_next, end_next, retry_next, run_retry, fail_next, interrupt_next]


@pytest.mark.parametrize("move_on", MOVES, ids=lambda one: one.__name__)
def test_undoing_an_old_reset_leaves_the_attempts_alone_that_started_since(
    yard: Yard, operator: Actor, move_on: Callable[[Yard, str, int], None]
) -> None:
    made = running(yard, max_retries=3)
    monitoring.sweep(yard, utcnow() + HOUR / 4)
    with yard.database.read() as connection:
        (found,) = sweeps.findings(connection, utcnow() - HOUR)
    move_on(yard, made, 2)
    before = get(yard, made)
    with pytest.raises(Conflict):
        stuck.undo(yard, found["id"], operator)
    after = get(yard, made)
    kept = ("status", "attempt", "cancel_requested_at", "version")
    assert [after[name] for name in kept] == [before[name] for name in kept]


def test_undoing_an_old_failure_leaves_a_later_one_alone(yard: Yard, operator: Actor) -> None:
    made = running(yard, max_retries=0)
    monitoring.sweep(yard, utcnow() + HOUR / 4)
    with yard.database.read() as connection:
        (found,) = sweeps.findings(connection, utcnow() - HOUR)
    jobs.retry(yard, made, operator)
    end_next(yard, made, 2)
    with pytest.raises(Conflict, match="attempt 2 now, not at attempt 1"):
        stuck.undo(yard, found["id"], operator)


@pytest.mark.parametrize("loss", ["everything", "the list", "the bodies"])
def test_what_redis_has_lost_is_put_back_on_its_queue(yard: Yard, loss: str) -> None:
    made = [one.job_id for one in jobs.enqueue_many(yard, [NewJob("samples.noop")] * 30)]
    if loss == "everything":
        yard.redis.flushall()
    elif loss == "the list":
        yard.redis.delete(f"rq:queue:{yard.redis.names.queue('default')}")
    else:
        for one in made:
            yard.redis.delete(f"rq:job:{one}-1")
        yard.redis.delete(f"rq:queue:{yard.redis.names.queue('default')}")
    assert delivery.deliver_missing(yard, utcnow() + timedelta(minutes=1)) == 30
    assert carriers.listed(yard.redis, "default") == {f"{one}-1" for one in made}
    assert delivery.deliver_missing(yard, utcnow() + timedelta(minutes=1)) == 0


def test_a_silent_worker_is_told_of_once(yard: Yard) -> None:
    alive(yard, "w", None, utcnow())
    later = utcnow() + timedelta(minutes=5)
    assert [monitoring.sweep(yard, later).workers_lost for _ in range(2)] == [1, 0]


def test_a_sweep_whose_steps_fail_still_makes_the_others_and_says_so(yard: Yard) -> None:
    made = running(yard)
    with yard.database.write() as connection:
        connection.exec_driver_sql("DROP TABLE alert_rules")
    done = monitoring.sweep(yard, utcnow() + HOUR / 4)
    assert done.reset == 1
    assert done.error is not None
    assert "alerts" in done.error
    assert get(yard, made)["status"] == "pending"


def test_numbers_are_kept_once_a_minute(yard: Yard) -> None:
    jobs.enqueue(yard, NewJob("samples.noop"))
    now = utcnow()
    for _ in range(2):
        monitoring.sweep(yard, now)
    with yard.database.read() as connection:
        told = connection.exec_driver_sql("SELECT queue_length, database_bytes FROM health_metrics").all()
    assert len(told) == 1
    assert told[0][0] == 1
    assert told[0][1] > 10_000


def test_old_minutes_are_folded_into_hours_without_losing_a_job(yard: Yard) -> None:
    for _ in range(3):
        made = running(yard)
        execution.end(yard, made, 1, Ending("completed", result="1"))
    with yard.database.write() as connection:
        before = connection.exec_driver_sql("SELECT sum(n) FROM job_histograms").scalar_one()
    later = utcnow() + timedelta(days=3)
    while retention.tidy_step(yard, later):
        pass
    with yard.database.read() as connection:
        minutes = connection.exec_driver_sql("SELECT DISTINCT mod(minute, 60) FROM job_minutes").scalars().all()
        after = connection.exec_driver_sql("SELECT sum(n) FROM job_histograms").scalar_one()
        hour = statistics.minutes(connection, utcnow() - HOUR, utcnow() + HOUR)
    assert minutes == [0]
    assert before == after == 6
    assert sum(one.completed for one in hour) == 3
