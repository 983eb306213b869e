"""A purge of many jobs goes on after the worker that did it was killed."""

from __future__ import annotations

import pytest

from tests.conftest import running_worker
from tests.support import eventually
from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.domain.evenness import Clocks
from workers.domain.filters import JobFilter
from workers.domain.names import BULK_QUEUE
from workers.domain.states import Status
from workers.services import bulk_actions, statistics, stuck
from workers.services.enqueueing import NewJob, enqueue_many
from workers.store.types import Row
from workers.yard import Yard

COUNT = 3000


def action_of(yard: Yard, action_id: str) -> Row:
    """Read a bulk action."""
    with yard.database.read() as connection:
        return bulk_actions.get(connection, action_id)


@pytest.mark.parametrize("rate", [400.0])
def test_a_killed_worker_leaves_a_purge_that_goes_on(yard: Yard, operator: Actor, rate: float) -> None:
    enqueue_many(yard, [NewJob("samples.noop")] * COUNT)
    wanted = JobFilter(queue=("default",), status=(Status.PENDING,))
    action_id = bulk_actions.create(yard, "cancel", wanted, rate, operator)["id"]

    def has_begun() -> None:
        assert action_of(yard, action_id)["done"] > 0

    def is_put_back() -> None:
        assert [one.will for one in stuck.resolve(yard, Clocks(utcnow()))] == ["reset"]

    def is_complete() -> None:
        assert action_of(yard, action_id)["status"] == "completed"

    with running_worker(yard, BULK_QUEUE) as worker:
        eventually(has_begun, within=60)
        worker.kill()
        worker.wait()
    assert action_of(yard, action_id)["status"] == "processing"
    eventually(is_put_back, within=60)
    with running_worker(yard, BULK_QUEUE):
        eventually(is_complete, within=90)
    assert (action_of(yard, action_id)["done"], action_of(yard, action_id)["refused"]) == (COUNT, 0)
    with yard.database.read() as connection:
        assert statistics.status_counts(connection)["canceled"] == COUNT
