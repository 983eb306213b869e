"""Lines of an attempt in SQL: whose they are, and what is left of them when there are many."""

from __future__ import annotations

from typing import Any

import pytest

from workers.domain.actors import Actor
from workers.domain.log_bounds import HEAD_LINES, TAIL_LINES, LogLine, LogState, Waiting, plan_log
from workers.journal import STDOUT
from workers.running import RunningJob
from workers.services import execution, jobs
from workers.services.enqueueing import NewJob
from workers.services.execution import Ending
from workers.store import logs
from workers.yard import Yard


def begun(yard: Yard, **options: Any) -> RunningJob:
    made = jobs.enqueue(yard, NewJob("samples.noop", {}, **options)).job_id
    row = execution.begin(yard, made, 1, "w")
    assert not isinstance(row, execution.Refused)
    return RunningJob(yard, row, lambda: None)


def rows(yard: Yard, job_id: str) -> list[tuple[int, str]]:
    with yard.database.read() as connection:
        return [(row["attempt"], row["line"]) for row in logs.page(connection, job_id, limit=20_000)]


def unstored(*texts: str) -> Waiting:
    lines = [LogLine(number, 1_700_000_000_000_000 + number, "print", text) for number, text in enumerate(texts, 1)]
    return Waiting(lines, LogState())


def test_what_was_left_is_written_with_the_end_of_its_attempt(yard: Yard) -> None:
    job = begun(yard)
    job.write(STDOUT, "stored\n")
    job.flush()
    waiting = Waiting([LogLine(2, 1_900_000_000_000_000, "print", "left")], LogState(saved=1, head_lines=1))
    after = execution.end(yard, job.job_id, 1, Ending("lost", error="died", unstored=waiting))
    assert after is not None
    assert rows(yard, job.job_id) == [(1, "stored"), (1, "left")]


def test_an_end_that_comes_too_late_writes_nothing_and_its_lines_stay_with_their_attempt(yard: Yard) -> None:
    job = begun(yard, max_retries=2)
    execution.end(yard, job.job_id, 1, Ending("lost", error="reset", retry_after_seconds=0.0))
    assert execution.end(yard, job.job_id, 1, Ending("failed", unstored=unstored("late"))) is None
    assert rows(yard, job.job_id) == []
    execution.keep_lines(yard, job.job_id, 1, unstored("late"))
    assert rows(yard, job.job_id) == [(1, "late")]


def test_lines_of_a_deleted_job_are_not_written(yard: Yard) -> None:
    job = begun(yard)
    job.write(STDOUT, "said before it was deleted\n")
    execution.end(yard, job.job_id, 1, Ending("completed"))
    jobs.delete(yard, job.job_id, Actor("user", "olga", "operator"))
    job.flush()
    execution.keep_lines(yard, job.job_id, 1, unstored("late"))
    assert rows(yard, job.job_id) == []


@pytest.mark.parametrize("batch", [700, 2_500, 60_000])
def test_a_long_log_has_as_many_rows_as_are_kept(yard: Yard, batch: int) -> None:
    job, state, total = begun(yard), LogState(), 16_000
    for start in range(1, total + 1, batch):
        numbers = range(start, min(start + batch, total + 1))
        plan = plan_log(state, [LogLine(number, 1_000 * number, "print", str(number)) for number in numbers])
        with yard.database.write() as connection:
            state, _ = logs.keep(connection, job.job_id, 1, plan)
    found = [line for _, line in rows(yard, job.job_id)]
    left_out = total - HEAD_LINES - TAIL_LINES
    assert found == [
        *map(str, range(1, HEAD_LINES + 1)),
        f"… {left_out:,} lines left out …",
        *map(str, range(total - TAIL_LINES + 1, total + 1)),
    ]


def test_a_rewritten_line_that_was_left_out_comes_again(yard: Yard) -> None:
    job = begun(yard)
    plan = plan_log(LogState(), [LogLine(0, 5_000, "print", "100 %", replaces=True)])
    with yard.database.write() as connection:
        state, shown = logs.keep(connection, job.job_id, 1, plan)
    assert rows(yard, job.job_id) == [(1, "100 %")]
    assert (state.tail_lines, shown[0]["replaces"]) == (1, False)
