"""The end of one attempt and the begin of the next, in one transaction: each is what it would be alone."""

from __future__ import annotations

import pytest

from workers.domain.actors import Actor
from workers.services import execution, jobs, queues
from workers.services.enqueueing import NewJob
from workers.services.execution import Ending, Refused, Start
from workers.store import attempts
from workers.store.types import Row
from workers.yard import Yard


def begun(yard: Yard) -> Row:
    made = jobs.enqueue(yard, NewJob("samples.noop", queue="first", max_retries=0)).job_id
    row = execution.begin(yard, made, 1, "w")
    assert not isinstance(row, Refused)
    return row


def following(yard: Yard) -> Start:
    return Start(jobs.enqueue(yard, NewJob("samples.noop", queue="second")).job_id, 1, "w", True)


def status(yard: Yard, job_id: str) -> str:
    with yard.database.read() as connection:
        return str(jobs.get(connection, job_id)["status"])


@pytest.mark.parametrize(
    ("ending", "expected"),
    [(Ending("completed", result="1"), "completed"), (Ending("failed", error="no", permanent=True), "failed")],
)
def test_one_ends_and_the_next_begins(yard: Yard, ending: Ending, expected: str) -> None:
    row, start = begun(yard), following(yard)
    after, next_row = execution.end_and_begin(yard, row, ending, start)
    assert after is not None
    assert not isinstance(next_row, Refused)
    assert (after["status"], next_row["id"], next_row["status"]) == (expected, start.job_id, "processing")
    assert (status(yard, row["id"]), status(yard, start.job_id)) == (expected, "processing")
    with yard.database.read() as connection:
        assert [one["outcome"] for one in attempts.of_job(connection, row["id"])] == [expected]
        assert [one["worker"] for one in attempts.of_job(connection, start.job_id)] == ["w"]


def test_one_ends_though_the_next_is_refused(yard: Yard, operator: Actor) -> None:
    row, start = begun(yard), following(yard)
    queues.pause(yard, "second", operator)
    after, refused = execution.end_and_begin(yard, row, Ending("completed"), start)
    assert after is not None
    assert refused is Refused.PAUSED
    assert (status(yard, row["id"]), status(yard, start.job_id)) == ("completed", "pending")

    jobs.cancel(yard, start.job_id, operator)
    assert execution.end_and_begin(yard, begun(yard), Ending("completed"), start)[1] is Refused.LOST


def test_the_next_begins_though_the_one_had_been_reset(yard: Yard) -> None:
    row, start = begun(yard), following(yard)
    execution.end(yard, row["id"], 1, Ending("lost", error="reset"))
    after, next_row = execution.end_and_begin(yard, row, Ending("completed"), start)
    assert after is None
    assert not isinstance(next_row, Refused)
    assert (status(yard, row["id"]), status(yard, start.job_id)) == ("failed", "processing")
