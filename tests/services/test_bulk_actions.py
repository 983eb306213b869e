"""Bulk actions: what they match is fixed, they go on after a crash, they can be aborted."""

from __future__ import annotations

import pytest

from workers.domain.actors import Actor
from workers.domain.errors import BadInput, Conflict
from workers.domain.filters import JobFilter
from workers.services import bulk_actions, execution, jobs, statistics
from workers.services.enqueueing import NewJob
from workers.services.execution import Ending
from workers.yard import Yard


def failed(yard: Yard, n: int) -> list[str]:
    made = [one.job_id for one in jobs.enqueue_many(yard, [NewJob("samples.noop", max_retries=0)] * n)]
    for job_id in made:
        execution.begin(yard, job_id, 1, "w", "default")
        execution.end(yard, job_id, 1, Ending("failed", error="boom"))
    return made


def counts(yard: Yard) -> dict[str, int]:
    with yard.database.read() as connection:
        return {status: n for status, n in statistics.status_counts(connection).items() if n}


def test_all_that_a_filter_matches_is_retried_and_nothing_else(yard: Yard, operator: Actor) -> None:
    failed(yard, 30)
    jobs.enqueue_many(yard, [NewJob("samples.noop")] * 5)
    with yard.database.read() as connection:
        told = bulk_actions.preview(connection, "retry", JobFilter())
    assert (told["count"], told["is_capped"], len(told["sample"])) == (30, False, 10)
    made = bulk_actions.create(yard, "retry", JobFilter(), None, operator)
    assert bulk_actions.work(yard, made["id"], lambda done, total: None) == {"done": 30, "refused": 0}
    assert counts(yard) == {"pending": 36}  # the thirty, the five, and the job that works the action


def test_an_aborted_action_does_no_more(yard: Yard, operator: Actor) -> None:
    failed(yard, 10)
    made = bulk_actions.create(yard, "retry", JobFilter(), 4.0, operator)
    assert bulk_actions.step(yard, made["id"])["done"] == 4
    bulk_actions.abort(yard, made["id"], operator)
    assert bulk_actions.work(yard, made["id"], lambda done, total: None) == {"done": 4, "refused": 0}
    assert counts(yard)["failed"] == 6
    with pytest.raises(Conflict):
        bulk_actions.abort(yard, made["id"], operator)


def test_a_killed_action_goes_on_where_it_was(yard: Yard, operator: Actor) -> None:
    failed(yard, 10)
    made = bulk_actions.create(yard, "delete", JobFilter(task=("samples.noop",)), 3.0, operator)
    bulk_actions.step(yard, made["id"])
    assert bulk_actions.work(yard, made["id"], lambda done, total: None)["done"] == 10
    assert counts(yard) == {"pending": 1}


def test_waiting_jobs_are_canceled_and_run_now_moves_what_waits_for_its_time(yard: Yard, operator: Actor) -> None:
    jobs.enqueue_many(yard, [NewJob("samples.noop", delay_seconds=600)] * 3)
    wanted = JobFilter(task=("samples.noop",))
    made = bulk_actions.create(yard, "run_now", wanted, None, operator)
    assert bulk_actions.work(yard, made["id"], lambda done, total: None)["done"] == 3
    made = bulk_actions.create(yard, "cancel", wanted, None, operator)
    assert bulk_actions.work(yard, made["id"], lambda done, total: None)["done"] == 3
    assert counts(yard)["canceled"] == 3


@pytest.mark.parametrize(("action", "rate"), [("explode", None), ("retry", 0), ("retry", -1)])
def test_what_cannot_be_done_is_refused(yard: Yard, operator: Actor, action: str, rate: float | None) -> None:
    with pytest.raises(BadInput):
        bulk_actions.create(yard, action, JobFilter(), rate, operator)
