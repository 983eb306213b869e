"""What people and programs do with jobs, on SQLite and PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from workers.broker import queues as carriers
from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput, Conflict, NotFound
from workers.domain.filters import JobFilter
from workers.domain.states import TRANSITIONS, Status
from workers.services import bulk_actions, delivery, execution, jobs, queues, statistics
from workers.services.enqueueing import NewJob
from workers.services.execution import Ending, Refused
from workers.store import job_lists
from workers.store import jobs as rows
from workers.yard import Yard


def get(yard: Yard, job_id: str) -> dict[str, object]:
    with yard.database.read() as connection:
        return dict(jobs.get(connection, job_id))


def counts(yard: Yard) -> dict[str, int]:
    with yard.database.read() as connection:
        return {status: n for status, n in statistics.status_counts(connection).items() if n}


def fail(yard: Yard, job_id: str, **how: object) -> None:
    row = get(yard, job_id)
    assert not isinstance(execution.begin(yard, job_id, row["attempt"], "w"), Refused)
    execution.end(yard, job_id, row["attempt"], Ending("failed", error="boom", **how))


def test_a_job_is_a_row_and_an_entry(yard: Yard) -> None:
    made = jobs.enqueue(yard, NewJob("samples.noop", created_by="olga"))
    row = get(yard, made.job_id)
    assert (row["status"], row["attempt"], row["created_by"]) == ("pending", 1, "olga")
    assert carriers.listed(yard.redis, "default") == {f"{made.job_id}-1"}
    assert counts(yard) == {"pending": 1}


@pytest.mark.parametrize(
    ("payload", "field"),
    [({"seconds": "x"}, "payload.seconds"), ({"nope": 1}, "payload.nope"), ({"steps": 0}, "payload.steps")],
)
def test_a_payload_that_does_not_fit_is_refused_with_its_field(yard: Yard, payload: dict, field: str) -> None:
    with pytest.raises(BadInput) as refused:
        jobs.enqueue(yard, NewJob("samples.sleep", payload))
    assert [one["field"] for one in refused.value.errors] == [field]
    assert counts(yard) == {}


def test_an_unknown_task_is_refused(yard: Yard) -> None:
    with pytest.raises(BadInput, match=r"no task samples\.nothing"):
        jobs.enqueue(yard, NewJob("samples.nothing"))


def test_the_same_key_gives_the_first_job_under_a_race(yard: Yard) -> None:
    def ask(_n: int) -> jobs.Enqueued:
        return jobs.enqueue(yard, NewJob("samples.noop", idempotency_key="one"))

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(ask, range(16)))
    assert len({one.job_id for one in made}) == 1
    assert sum(not one.deduplicated for one in made) == 1
    assert counts(yard) == {"pending": 1}


def test_a_bulk_is_taken_whole_or_not_at_all(yard: Yard) -> None:
    with pytest.raises(BadInput) as refused:
        jobs.enqueue_many(yard, [NewJob("samples.noop"), NewJob("samples.sleep", {"steps": "x"}), NewJob("no.such")])
    assert sorted({one["index"] for one in refused.value.errors}) == [1, 2]
    assert counts(yard) == {}
    assert len(jobs.enqueue_many(yard, [NewJob("samples.noop")] * 1200)) == 1200
    assert counts(yard) == {"pending": 1200}


def test_a_delayed_job_waits_until_its_moment(yard: Yard) -> None:
    made = jobs.enqueue(yard, NewJob("samples.noop", delay_seconds=60))
    assert made.status == "scheduled"
    assert delivery.promote_due(yard, utcnow()) == 0
    assert delivery.promote_due(yard, utcnow() + timedelta(seconds=61)) == 1
    assert get(yard, made.job_id)["status"] == "pending"


def test_a_failed_attempt_waits_longer_each_time_and_then_fails(yard: Yard) -> None:
    made = jobs.enqueue(yard, NewJob("samples.noop", max_retries=2))
    for attempt, seconds in ((1, 60), (2, 120)):
        fail(yard, made.job_id)
        row = get(yard, made.job_id)
        wait = (row["next_retry_at"] - utcnow()).total_seconds()
        assert row["status"] == "retry_scheduled"
        assert seconds * 0.85 < wait < seconds * 1.15
        assert delivery.promote_due(yard, row["due_at"]) == 1
        assert get(yard, made.job_id)["attempt"] == attempt + 1
    fail(yard, made.job_id)
    assert get(yard, made.job_id)["status"] == "failed"


def test_a_permanent_error_is_not_tried_again(yard: Yard) -> None:
    made = jobs.enqueue(yard, NewJob("samples.noop", max_retries=5))
    fail(yard, made.job_id, permanent=True)
    assert get(yard, made.job_id)["status"] == "failed"


def test_an_attempt_that_was_overtaken_can_write_nothing(yard: Yard, operator: Actor) -> None:
    made = jobs.enqueue(yard, NewJob("samples.noop", max_retries=0))
    fail(yard, made.job_id)
    jobs.retry(yard, made.job_id, operator)
    execution.begin(yard, made.job_id, 2, "w2")
    assert execution.end(yard, made.job_id, 1, Ending("completed", result="1")) is None
    assert execution.save_progress(yard, made.job_id, 1, {"done": 5}) is False
    assert execution.beat(yard, made.job_id, 1) is None
    assert get(yard, made.job_id)["status"] == "processing"


def test_a_retry_keeps_the_history_and_both_payloads(yard: Yard, operator: Actor) -> None:
    made = jobs.enqueue(yard, NewJob("samples.sleep", {"seconds": 1, "steps": 1}, max_retries=0))
    fail(yard, made.job_id)
    row = jobs.retry(yard, made.job_id, operator, {"seconds": 2, "steps": 1})
    assert (row["status"], row["attempt"], row["error"]) == ("pending", 2, None)
    with yard.database.read() as connection:
        told = [one["event"] for one in rows.events(connection, row)]
    assert told == ["enqueued", "started", "failed", "retried", "payload_edited"]


def test_a_double_click_does_one_thing(yard: Yard, operator: Actor) -> None:
    made = jobs.enqueue(yard, NewJob("samples.noop", max_retries=0))
    fail(yard, made.job_id)
    jobs.retry(yard, made.job_id, operator)
    with pytest.raises(Conflict) as refused:
        jobs.retry(yard, made.job_id, operator)
    assert refused.value.state == "pending"


def test_a_waiting_job_is_canceled_at_once_and_cannot_begin(yard: Yard, operator: Actor) -> None:
    made = jobs.enqueue(yard, NewJob("samples.noop"))
    assert jobs.cancel(yard, made.job_id, operator)["status"] == "canceled"
    assert execution.begin(yard, made.job_id, 1, "w") is Refused.LOST
    assert carriers.listed(yard.redis, "default") == set()
    with pytest.raises(Conflict):
        jobs.cancel(yard, made.job_id, operator)


def test_run_now_does_not_wait(yard: Yard, operator: Actor) -> None:
    made = jobs.enqueue(yard, NewJob("samples.noop", delay_seconds=600))
    assert jobs.run_now(yard, made.job_id, operator)["status"] == "pending"
    with pytest.raises(Conflict):
        jobs.run_now(yard, made.job_id, operator)


def test_run_again_makes_a_linked_job(yard: Yard, operator: Actor) -> None:
    made = jobs.enqueue(yard, NewJob("samples.noop"))
    execution.begin(yard, made.job_id, 1, "w")
    execution.end(yard, made.job_id, 1, Ending("completed", result="null"))
    again = jobs.run_again(yard, made.job_id, operator)
    assert get(yard, again.job_id)["rerun_of"] == made.job_id


def test_a_deleted_job_is_gone_but_one_that_runs_is_not(yard: Yard, operator: Actor) -> None:
    made = jobs.enqueue(yard, NewJob("samples.noop"))
    execution.begin(yard, made.job_id, 1, "w")
    with pytest.raises(Conflict):
        jobs.delete(yard, made.job_id, operator)
    execution.end(yard, made.job_id, 1, Ending("completed"))
    jobs.delete(yard, made.job_id, operator)
    with pytest.raises(NotFound):
        get(yard, made.job_id)
    assert counts(yard) == {}


def test_a_paused_queue_gives_nothing_away_but_accepts(yard: Yard, operator: Actor) -> None:
    made = jobs.enqueue(yard, NewJob("samples.noop"))
    queues.pause(yard, "default", operator)
    jobs.enqueue(yard, NewJob("samples.noop"))
    assert execution.begin(yard, made.job_id, 1, "w") is Refused.PAUSED
    queues.resume(yard, "default", operator)
    assert not isinstance(execution.begin(yard, made.job_id, 1, "w"), Refused)


def test_a_purge_cancels_what_waits(yard: Yard, operator: Actor) -> None:
    jobs.enqueue_many(yard, [NewJob("samples.noop")] * 30)
    action = queues.purge(yard, "default", operator)
    assert bulk_actions.work(yard, action["id"], lambda done, total: None) == {"done": 30, "refused": 0}
    assert counts(yard) == {"canceled": 30, "pending": 1}  # the job that works the purge


def test_what_redis_lost_is_delivered_again(yard: Yard) -> None:
    made = [one.job_id for one in jobs.enqueue_many(yard, [NewJob("samples.noop")] * 20)]
    yard.redis.flushall()
    later = utcnow() + timedelta(seconds=10)
    assert delivery.deliver_missing(yard, later) == 20
    assert delivery.deliver_missing(yard, later) == 0
    assert carriers.listed(yard.redis, "default") == {f"{one}-1" for one in made}


def test_a_unique_task_has_one_unfinished_job_for_a_payload(yard: Yard) -> None:
    from workers import registry
    from workers.services import publishing

    def tidy(day: str) -> None: ...

    tidy.__module__ = "own.house"
    definition = registry.define(tidy, unique=True)
    try:
        publishing.publish(yard, {definition.name: definition})
        first = jobs.enqueue(yard, NewJob("own.house.tidy", {"day": "monday"}))
        assert jobs.enqueue(yard, NewJob("own.house.tidy", {"day": "monday"})).job_id == first.job_id
        assert jobs.enqueue(yard, NewJob("own.house.tidy", {"day": "tuesday"})).job_id != first.job_id
        execution.begin(yard, first.job_id, 1, "w")
        execution.end(yard, first.job_id, 1, Ending("completed"))
        assert jobs.enqueue(yard, NewJob("own.house.tidy", {"day": "monday"})).job_id != first.job_id
    finally:
        registry.REGISTRY.pop("own.house.tidy")


def test_pages_by_keyset_show_every_job_once(yard: Yard) -> None:
    made = {one.job_id for one in jobs.enqueue_many(yard, [NewJob("samples.noop")] * 57)}
    seen: list[str] = []
    cursor = None
    while True:
        with yard.database.read() as connection:
            page = job_lists.jobs_page(connection, JobFilter(), cursor=cursor, limit=10)
        seen += [row["id"] for row in page.rows]
        if page.next_cursor is None:
            break
        cursor = page.next_cursor
    assert len(seen) == 57
    assert set(seen) == made
    with yard.database.read() as connection:
        back = job_lists.jobs_page(connection, JobFilter(), cursor=page.previous_cursor, limit=10)
    assert [row["id"] for row in back.rows] == seen[40:50]


def test_a_filter_finds_words_of_the_payload_and_families_of_tasks(yard: Yard) -> None:
    jobs.enqueue(yard, NewJob("samples.fail", {"message": "100% odd_words"}))
    jobs.enqueue(yard, NewJob("samples.noop"))
    for wanted, n in (
        ({"q": "100% odd_w"}, 1),
        ({"q": "oddXwords"}, 0),
        ({"task": "samples.*"}, 2),
        ({"task": "samples.f*"}, 1),
        ({"status": "failed"}, 0),
        ({"since": "1h", "queue": "default"}, 2),
    ):
        with yard.database.read() as connection:
            assert len(job_lists.jobs_page(connection, JobFilter.from_args(wanted)).rows) == n, wanted


def test_every_move_that_is_not_listed_is_refused(yard: Yard) -> None:
    made = jobs.enqueue(yard, NewJob("samples.noop"))
    for before in Status:
        for after in Status:
            if (before, after) in TRANSITIONS:
                continue
            with yard.database.write() as connection, pytest.raises(ValueError, match="cannot go"):
                rows.transition(connection, made.job_id, before, 1, after, "started", utcnow())


@pytest.mark.parametrize("outcome", ["completed", "skipped", "failed", "timed_out", "lost", "interrupted", "canceled"])
@pytest.mark.parametrize("percent", [None, 40.0])
def test_progress_of_which_the_end_is_unknown_is_kept_however_the_attempt_ends(
    yard: Yard, outcome: str, percent: float | None
) -> None:
    made = jobs.enqueue(yard, NewJob("samples.noop", max_retries=0)).job_id
    begun = execution.begin(yard, made, 1, "w")
    reported = {"done": 3, "total": None, "progress": percent, "message": "third"}
    assert execution.save_progress(yard, made, 1, reported)
    assert execution.end(yard, made, 1, Ending(outcome, progress=reported), begun) is not None  # type: ignore[arg-type]
    with yard.database.read() as connection:
        row = jobs.get(connection, made)
    assert (row["done"], row["message"]) == (3, "third")
    assert row["progress"] == (100.0 if row["status"] == "completed" else percent or 0.0)
