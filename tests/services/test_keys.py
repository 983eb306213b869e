"""Unique tasks and idempotency keys: what is the same request, and what is refused, on both databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select, text, update

from workers import registry
from workers.domain.actors import Actor
from workers.domain.errors import KeyConflict
from workers.domain.evenness import Clocks
from workers.domain.filters import JobFilter
from workers.services import bulk_actions, delivery, execution, jobs, publishing, stuck
from workers.services.enqueueing import NewJob, enqueue, enqueue_many
from workers.services.execution import Ending
from workers.store import bulk_actions as action_rows
from workers.store.jobs import JOBS
from workers.task import task
from workers.yard import Yard

TASK = "test_keys.bill"
MOMENT = datetime.fromisoformat("2026-01-31T08:00:00+00:00")
FULL = {"customer": 4, "amount": 1.5, "at": "2026-01-31T08:00:00+00:00", "options": {"a": 1, "b": {"c": "é"}}}


@pytest.fixture
def unique(yard: Yard) -> Iterator[Yard]:
    """Publish a unique task beside the ready-made ones."""

    @task(name=TASK, unique=True, max_retries=1)
    def bill(
        customer: int = 4,
        amount: Decimal = Decimal("1.50"),
        at: datetime = MOMENT,
        options: dict[str, Any] = {"b": {"c": "é"}, "a": 1},  # noqa: B006
    ) -> None:
        """Do nothing."""

    publishing.publish(yard, registry.REGISTRY)
    yield yard
    del registry.REGISTRY[TASK]


def failed(yard: Yard, payload: dict[str, Any]) -> str:
    """Make a job that has failed."""
    job_id = enqueue(yard, NewJob(TASK, payload, max_retries=0)).job_id
    end(yard, job_id)
    return job_id


def end(yard: Yard, job_id: str, attempt: int = 1, outcome: str = "failed") -> None:
    """Run a job to its end."""
    execution.begin(yard, job_id, attempt, "w")
    assert execution.end(yard, job_id, attempt, Ending(outcome, error="boom")) is not None


def status_of(yard: Yard, job_id: str) -> str:
    """Read the status of a job."""
    with yard.database.read() as connection:
        return str(jobs.get(connection, job_id)["status"])


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param({}, id="defaults"),
        pytest.param(FULL, id="in-full"),
        pytest.param(dict(reversed(FULL.items())), id="other-order"),
        pytest.param({"options": {"b": {"c": "\u00e9"}, "a": 1.0}}, id="nested-order-and-float"),
        pytest.param({"customer": 4.0}, id="whole-float"),
        pytest.param({"amount": "1.5"}, id="decimal-as-text"),
        pytest.param({"at": "2026-01-31T09:00:00+01:00"}, id="other-zone"),
        pytest.param({"at": "2026-01-31T08:00:00Z"}, id="z"),
        pytest.param({"at": "2026-01-31T08:00:00.000000Z"}, id="fraction"),
    ],
)
def test_equal_payloads_are_one_unfinished_job(unique: Yard, payload: dict[str, Any]) -> None:
    first = enqueue(unique, NewJob(TASK, {"customer": 4}))
    again = enqueue(unique, NewJob(TASK, payload))
    assert (again.job_id, again.deduplicated) == (first.job_id, True)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param({"customer": 5}, id="number"),
        pytest.param({"options": {"a": 1, "b": {"c": "e\u0301"}}}, id="other-code-points"),
        pytest.param({"options": {"a": True, "b": {"c": "é"}}}, id="true-is-not-one"),
        pytest.param({"options": {"a": "1", "b": {"c": "é"}}}, id="text-is-not-a-number"),
        pytest.param({"options": {"a": 2**53 + 1, "b": 2.0**53}}, id="large"),
        pytest.param({"at": "2026-01-31T08:00:00.000001Z"}, id="a-microsecond-later"),
    ],
)
def test_different_payloads_are_different_jobs(unique: Yard, payload: dict[str, Any]) -> None:
    enqueue(unique, NewJob(TASK))
    assert not enqueue(unique, NewJob(TASK, payload)).deduplicated


def test_a_retry_beside_a_newer_job_is_refused_with_the_id_of_that_job(unique: Yard, operator: Actor) -> None:
    old = failed(unique, {"customer": 4.0})
    newer = enqueue(unique, NewJob(TASK, {"customer": 4}))
    with pytest.raises(KeyConflict) as refusal:
        jobs.retry(unique, old, operator)
    assert refusal.value.job_id == newer.job_id
    assert status_of(unique, old) == "failed"


def test_a_retry_with_an_edited_payload_is_compared_by_that_payload(unique: Yard, operator: Actor) -> None:
    old = failed(unique, {"customer": 1})
    newer = enqueue(unique, NewJob(TASK, {"customer": 2}))
    with pytest.raises(KeyConflict) as refusal:
        jobs.retry(unique, old, operator, {"customer": 2.0})
    assert refusal.value.job_id == newer.job_id
    assert jobs.retry(unique, old, operator, {"customer": 3})["status"] == "pending"


def test_running_again_beside_an_unfinished_job_is_refused(unique: Yard, operator: Actor) -> None:
    old = enqueue(unique, NewJob(TASK)).job_id
    end(unique, old, outcome="completed")
    newer = enqueue(unique, NewJob(TASK))
    with pytest.raises(KeyConflict) as refusal:
        jobs.run_again(unique, old, operator)
    assert refusal.value.job_id == newer.job_id


def test_of_many_retried_jobs_each_has_its_own_outcome(unique: Yard, operator: Actor) -> None:
    same = [failed(unique, {"customer": 7}) for _ in range(3)]
    other = failed(unique, {"customer": 8})
    held = failed(unique, {"customer": 9})
    newer = enqueue(unique, NewJob(TASK, {"customer": 9})).job_id
    action = bulk_actions.create(unique, "retry", JobFilter(task=(TASK,)), None, operator)
    assert bulk_actions.work(unique, action["id"], lambda done, total: None) == {"done": 2, "refused": 3}
    assert sorted(status_of(unique, one) for one in same) == ["failed", "failed", "pending"]
    assert status_of(unique, other) == "pending"
    with unique.database.read() as connection:
        reasons = {row["job_id"]: row["detail"] for row in action_rows.refused(connection, action["id"])}
    assert newer in reasons[held]
    assert status_of(unique, held) == "failed"


def test_jobs_retried_together_hold_their_keys(unique: Yard, operator: Actor) -> None:
    old = failed(unique, {"customer": 7})
    action = bulk_actions.create(unique, "retry", JobFilter(task=(TASK,)), None, operator)
    bulk_actions.work(unique, action["id"], lambda done, total: None)
    again = enqueue(unique, NewJob(TASK, {"customer": 7}))
    assert (again.job_id, again.deduplicated) == (old, True)


def test_a_job_that_waits_for_its_retry_keeps_its_key_and_goes_on(unique: Yard) -> None:
    job_id = enqueue(unique, NewJob(TASK, max_retries=3)).job_id
    end(unique, job_id)
    assert status_of(unique, job_id) == "retry_scheduled"
    assert enqueue(unique, NewJob(TASK)).job_id == job_id
    with unique.database.write() as connection:
        connection.execute(update(JOBS).values(due_at=JOBS.c.created_at))
    assert delivery.promote_due(unique) == 1
    assert status_of(unique, job_id) == "pending"


def test_undoing_a_failure_beside_a_newer_job_is_refused(unique: Yard, operator: Actor) -> None:
    job_id = enqueue(unique, NewJob(TASK, max_retries=0)).job_id
    execution.begin(unique, job_id, 1, "w")
    with unique.database.write() as connection:
        connection.execute(update(JOBS).values(heartbeat_at=JOBS.c.created_at, started_at=JOBS.c.created_at))
    with unique.database.read() as connection:
        row = jobs.get(connection, job_id)
    later = row["created_at"] + timedelta(days=1)
    assert [one.will for one in stuck.resolve(unique, Clocks(later))] == ["failed"]
    newer = enqueue(unique, NewJob(TASK))
    with unique.database.read() as connection:
        finding = connection.execute(text("SELECT max(id) FROM sweep_findings")).scalar_one()
    with pytest.raises(KeyConflict) as refusal:
        stuck.undo(unique, finding, operator)
    assert refusal.value.job_id == newer.job_id


def test_of_requests_and_retries_at_the_same_moment_one_job_is_unfinished(unique: Yard, operator: Actor) -> None:
    old = [failed(unique, {}) for _ in range(6)]

    def ask(n: int) -> str:
        with_own = replace_database(unique)
        try:
            if n % 2:
                return jobs.retry(with_own, old[n // 2], operator)["id"]
            return enqueue(with_own, NewJob(TASK)).job_id
        except KeyConflict as conflict:
            return str(conflict.job_id)
        finally:
            with_own.database.close()

    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(ask, range(12)))
    with unique.database.read() as connection:
        unfinished = select(JOBS.c.id).where(JOBS.c.task == TASK, JOBS.c.unique_key.is_not(None))
        assert set(connection.execute(unfinished).scalars()) == answers
    assert len(answers) == 1


def replace_database(yard: Yard) -> Yard:
    """Open the same database anew, as another process would."""
    return replace(yard, database=type(yard.database).open(yard.settings.database_url))


@pytest.mark.parametrize(
    ("name", "payload"),
    [("samples.noop", {}), (TASK, {"customer": 5}), (TASK, {"options": {}})],
    ids=["other-task", "other-payload", "other-nested"],
)
def test_a_key_used_for_another_request_is_refused(unique: Yard, name: str, payload: dict[str, Any]) -> None:
    first = enqueue(unique, NewJob(TASK, {"customer": 4.0}, idempotency_key="k"))
    again = enqueue(unique, NewJob(TASK, {"customer": 4}, idempotency_key="k"))
    assert (again.job_id, again.deduplicated) == (first.job_id, True)
    with pytest.raises(KeyConflict) as refusal:
        enqueue(unique, NewJob(name, payload, idempotency_key="k"))
    assert refusal.value.job_id == first.job_id


def test_a_key_stands_for_the_first_request_whatever_became_of_its_job(unique: Yard, operator: Actor) -> None:
    first = enqueue(unique, NewJob(TASK, {"customer": 1}, idempotency_key="k", max_retries=0)).job_id
    end(unique, first)
    jobs.retry(unique, first, operator, {"customer": 2})
    assert enqueue(unique, NewJob(TASK, {"customer": 1}, idempotency_key="k")).job_id == first
    with pytest.raises(KeyConflict):
        enqueue(unique, NewJob(TASK, {"customer": 2}, idempotency_key="k"))


def test_keys_of_earlier_rows_stand_for_their_payload(unique: Yard, operator: Actor) -> None:
    first = enqueue(unique, NewJob("samples.noop", idempotency_key="k", max_retries=0)).job_id
    with unique.database.write() as connection:
        connection.execute(update(JOBS).values(request_hash=None))
    assert enqueue(unique, NewJob("samples.noop", idempotency_key="k")).job_id == first
    with pytest.raises(KeyConflict):
        enqueue(unique, NewJob(TASK, idempotency_key="k"))


def test_a_batch_names_every_job_whose_key_was_used_and_makes_none(unique: Yard) -> None:
    first = enqueue(unique, NewJob("samples.noop", idempotency_key="used")).job_id
    batch = [
        NewJob("samples.noop"),
        NewJob("samples.noop", idempotency_key="used"),  # the same request
        NewJob(TASK, idempotency_key="used"),
        NewJob(TASK, {"customer": 1}, idempotency_key="twice"),
        NewJob(TASK, {"customer": 2}, idempotency_key="twice"),
    ]
    with pytest.raises(KeyConflict) as refusal:
        enqueue_many(unique, batch)
    found = {error["index"]: error for error in refusal.value.errors}
    assert set(found) == {2, 4}
    assert found[2]["job_id"] == first
    assert "index 3" in found[4]["message"]
    with unique.database.read() as connection:
        assert connection.execute(select(JOBS.c.id)).scalars().all() == [first]


def test_the_upgrade_gives_unfinished_jobs_canonical_keys(unique: Yard) -> None:
    from importlib import import_module

    migration = import_module("workers.store.migrations.versions.0011_keys_and_uploads")
    ids = [enqueue(unique, NewJob(TASK, {"customer": n})).job_id for n in (1, 2, 3)]
    with unique.database.write() as connection:
        for n, payload in enumerate(({"customer": 4}, {"customer": 4.0}, {"options": {}})):
            old = {"payload": json.dumps(payload), "unique_key": f"{TASK}:old-{n}"}
            connection.execute(update(JOBS).where(JOBS.c.id == ids[n]).values(old))
        migration._write_unique_keys(connection)
        kept = {row.id: row.unique_key for row in connection.execute(select(JOBS.c.id, JOBS.c.unique_key))}
    assert kept[ids[1]] is None
    assert enqueue(unique, NewJob(TASK)).job_id == ids[0]
    assert enqueue(unique, NewJob(TASK, {"options": {}})).job_id == ids[2]


def test_jobs_get_their_keys_when_their_task_becomes_unique_or_changes(unique: Yard) -> None:
    definition = registry.REGISTRY[TASK]
    publishing.publish(unique, {TASK: replace(definition, unique=False)})
    ids = [enqueue(unique, NewJob(TASK, payload)).job_id for payload in ({"customer": 4}, {}, {"customer": 5})]
    assert len(set(ids)) == 3
    publishing.publish(unique, {TASK: definition})
    assert enqueue(unique, NewJob(TASK)).job_id == ids[0]
    assert enqueue(unique, NewJob(TASK, {"customer": 5})).job_id == ids[2]


def test_a_key_that_a_unique_job_answered_for_stands_for_that_request(unique: Yard, operator: Actor) -> None:
    first = enqueue(unique, NewJob(TASK, {"customer": 1})).job_id
    assert enqueue(unique, NewJob(TASK, {"customer": 1}, idempotency_key="k")).job_id == first
    for payload in ({"customer": 2}, {"customer": 3}):
        with pytest.raises(KeyConflict) as refusal:
            enqueue(unique, NewJob(TASK, payload, idempotency_key="k"))
        assert refusal.value.job_id == first
    with pytest.raises(KeyConflict):
        enqueue(unique, NewJob("samples.noop", idempotency_key="k"))
    end(unique, first)
    assert enqueue(unique, NewJob(TASK, {"customer": 1}, idempotency_key="k")).job_id == first
    jobs.cancel(unique, first, operator)
    jobs.delete(unique, first, operator)
    assert enqueue(unique, NewJob(TASK, {"customer": 2}, idempotency_key="k")).job_id != first


def test_a_key_that_a_unique_job_answered_for_in_a_batch_stands_for_that_request(unique: Yard) -> None:
    keyed = NewJob(TASK, {"customer": 8}, idempotency_key="b")
    made = enqueue_many(unique, [NewJob(TASK, {"customer": 8}), keyed, keyed])
    assert len({one.job_id for one in made}) == 1
    with pytest.raises(KeyConflict):
        enqueue(unique, NewJob(TASK, {"customer": 9}, idempotency_key="b"))
    again = enqueue_many(unique, [keyed, NewJob(TASK, {"customer": 10}, idempotency_key="c")])
    assert [one.deduplicated for one in again] == [True, False]


def test_of_two_requests_with_one_key_at_the_same_moment_one_is_refused(unique: Yard) -> None:
    first = enqueue(unique, NewJob(TASK, {"customer": 1})).job_id

    def ask(n: int) -> str:
        own = replace_database(unique)
        try:
            return enqueue(own, NewJob(TASK, {"customer": n % 2 + 1}, idempotency_key=f"k{n // 2}")).job_id
        except KeyConflict:
            return "refused"
        finally:
            own.database.close()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(16)))
    for pair in (answers[n : n + 2] for n in range(0, 16, 2)):
        assert pair.count("refused") == 1, answers
    assert first in answers or all(answers[n] == "refused" for n in range(0, 16, 2))
