"""Bulk actions: what they match is fixed, they go on after a crash, they can be aborted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from sqlalchemy import text

from workers import registry
from workers.domain.actors import Actor
from workers.domain.errors import BadInput, Conflict
from workers.domain.filters import JobFilter
from workers.services import bulk_action_lists, bulk_actions, execution, jobs, monitoring, publishing, statistics
from workers.services.enqueueing import NewJob
from workers.services.execution import Ending
from workers.store import bulk_actions as action_rows
from workers.yard import Yard


def failed(yard: Yard, n: int) -> list[str]:
    made = [one.job_id for one in jobs.enqueue_many(yard, [NewJob("samples.noop", max_retries=0)] * n)]
    for job_id in made:
        execution.begin(yard, job_id, 1, "w")
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


def _end_of_job(yard: Yard, how: str, job_id: str) -> None:
    """End the job of an action in one of the ways in which it can end for good."""
    execution.begin(yard, job_id, 1, "w")
    if how in {"failed", "lost"}:
        execution.end(yard, job_id, 1, Ending(how, error="boom\nat line 3", permanent=True))
    elif how == "canceled":
        execution.end(yard, job_id, 1, Ending("canceled"))
    elif how == "completed":
        execution.end(yard, job_id, 1, Ending("completed"))
    else:
        with yard.database.write() as connection:
            connection.execute(text("DELETE FROM jobs WHERE id = :id"), {"id": job_id})


@pytest.mark.parametrize("how", ["failed", "lost", "canceled", "completed", "deleted"])
def test_an_action_whose_job_ended_for_good_fails_and_is_resumed_where_it_was(
    yard: Yard, operator: Actor, how: str
) -> None:
    failed(yard, 10)
    made = bulk_actions.create(yard, "retry", JobFilter(), 4.0, operator)
    assert bulk_actions.step(yard, made["id"])["status"] == "processing"
    _end_of_job(yard, how, made["job_id"])
    monitoring.sweep(yard)
    with yard.database.read() as connection:
        row = bulk_actions.get(connection, made["id"])
    assert (row["status"], row["done"]) == ("failed", 4)
    assert row["error"].startswith("Its job ended")
    assert "line 3" not in row["error"]
    assert row["ended_at"] is not None
    with pytest.raises(Conflict):
        bulk_actions.abort(yard, made["id"], operator)

    resumed = bulk_actions.resume(yard, made["id"], operator)
    assert resumed["job_id"] != made["job_id"]
    with pytest.raises(Conflict):  # by a second click, or somebody else
        bulk_actions.resume(yard, made["id"], operator)
    assert bulk_actions.work(yard, made["id"], lambda done, total: None) == {"done": 10, "refused": 0}
    monitoring.sweep(yard)
    with yard.database.read() as connection:
        assert bulk_actions.get(connection, made["id"])["status"] == "completed"


def test_an_action_whose_job_waits_for_its_next_attempt_goes_on(yard: Yard, operator: Actor) -> None:
    failed(yard, 3)
    made = bulk_actions.create(yard, "retry", JobFilter(), None, operator)
    execution.begin(yard, made["job_id"], 1, "w")
    execution.end(yard, made["job_id"], 1, Ending("failed", error="the database was away", retry_after_seconds=5.0))
    monitoring.sweep(yard)
    with yard.database.read() as connection:
        assert bulk_actions.get(connection, made["id"])["status"] == "pending"


def test_every_refused_job_is_listed_page_by_page_with_its_reason(yard: Yard, operator: Actor) -> None:
    ids = failed(yard, 25)
    made = bulk_actions.create(yard, "retry", JobFilter(), None, operator)
    with yard.database.write() as connection:
        action_rows.refuse(connection, made["id"], [(job_id, "it is completed") for job_id in ids])
    with yard.database.read() as connection:
        page = bulk_action_lists.list_refusals(connection, made["id"], limit=10)
        found = list(page.rows)
        while page.following is not None:
            page = bulk_action_lists.list_refusals(connection, made["id"], page.following, limit=10)
            found += page.rows
    assert sorted(one["job_id"] for one in found) == sorted(ids)
    assert {one["why"] for one in found} == {"it is completed"}


def test_actions_are_listed_newest_first_by_pages(yard: Yard, operator: Actor) -> None:
    made = [bulk_actions.create(yard, "retry", JobFilter(), None, operator)["id"] for _ in range(5)]
    with yard.database.read() as connection:
        first = bulk_action_lists.list_actions(connection, limit=3)
        second = bulk_action_lists.list_actions(connection, first.older or "", limit=3)
    assert [row["id"] for row in [*first.rows, *second.rows]] == made[::-1]
    assert second.older is None


def spoil(yard: Yard, job_ids: Sequence[str]) -> None:
    """Have the database refuse every change of these rows, as a constraint of the site's own would."""
    listed = ", ".join(f"'{one}'" for one in job_ids)
    if yard.database.is_sqlite:
        statements = [
            f"CREATE TRIGGER spoilt_{verb} BEFORE {verb} ON jobs WHEN old.id IN ({listed}) "
            "BEGIN SELECT RAISE(ABORT, 'this row is spoilt'); END"
            for verb in ("UPDATE", "DELETE")
        ]
    else:
        statements = [
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'this row is spoilt'; END $$",
            f"CREATE TRIGGER spoilt BEFORE UPDATE OR DELETE ON jobs FOR EACH ROW WHEN (old.id IN ({listed})) "
            "EXECUTE FUNCTION refuse()",
        ]
    with yard.database.write() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


@pytest.mark.parametrize(("action", "rate"), [("retry", None), ("delete", None), ("retry", 1.0)])
def test_a_job_that_cannot_be_changed_is_refused_and_the_others_are_done(
    yard: Yard, operator: Actor, monkeypatch: pytest.MonkeyPatch, action: str, rate: float | None
) -> None:
    made = failed(yard, 4 if rate else 21)
    bad = [made[0], made[-1]] if rate else [made[0], made[7], made[8], made[20]]
    spoil(yard, bad)
    row = bulk_actions.create(yard, action, JobFilter(task=("samples.noop",)), rate, operator)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    done = bulk_actions.work(yard, row["id"], lambda done, total: None)
    assert done == {"done": len(made) - len(bad), "refused": len(bad)}
    with yard.database.read() as connection:
        refused = action_rows.refused(connection, row["id"])
        assert bulk_actions.get(connection, row["id"])["status"] == "completed"
    assert [one["job_id"] for one in refused] == bad
    assert {one["detail"] for one in refused} == {"it could not be changed: this row is spoilt"}
    left = {"failed": len(bad), "pending": 1 if action == "delete" else 1 + len(made) - len(bad)}
    assert counts(yard) == left


def test_a_payload_that_cannot_be_read_is_refused(yard: Yard, operator: Actor) -> None:
    made = failed(yard, 5)
    publishing.publish(yard, {"samples.noop": replace(registry.REGISTRY["samples.noop"], unique=True)})
    with yard.database.write() as connection:
        connection.execute(text("UPDATE jobs SET payload = '{' WHERE id = :id"), {"id": made[2]})
        for number, job_id in enumerate(made):
            if number != 2:
                payload = {"id": job_id, "payload": f'{{"n": {number}}}'}
                connection.execute(text("UPDATE jobs SET payload = :payload WHERE id = :id"), payload)
    row = bulk_actions.create(yard, "retry", JobFilter(task=("samples.noop",)), None, operator)
    assert bulk_actions.work(yard, row["id"], lambda done, total: None) == {"done": 4, "refused": 1}
