"""Entries that a worker takes ahead while a job runs: they follow at once, or go back to the front of their queue."""

from __future__ import annotations

import signal
from functools import partial

import pytest

from tests.conftest import running_worker
from tests.support import eventually
from workers.broker import queues as carriers
from workers.domain.actors import Actor
from workers.processes.intake import Entry, Intake
from workers.processes.served import ServedQueues
from workers.services import jobs, queues
from workers.services.enqueueing import NewJob
from workers.store import attempts
from workers.yard import Yard


@pytest.fixture
def intake(light_yard: Yard) -> Intake:
    served = ServedQueues(light_yard, ["shelf"])
    served.keys()
    return Intake(light_yard, served, light_yard.redis, "w")


def enqueue(yard: Yard, count: int, task: str = "samples.noop", queue: str = "shelf", **payload: float) -> list[str]:
    made = [jobs.enqueue(yard, NewJob(task, dict(payload), queue=queue)).job_id for _ in range(count)]
    yard.pusher.flush()
    return made


def waiting(yard: Yard, queue: str = "shelf") -> list[str]:
    key = carriers.QUEUE_PREFIX + yard.redis.names.queue(queue)
    return [entry.decode().rpartition("-")[0] for entry in yard.redis.lrange(key, 0, -1)]


def status(yard: Yard, job_id: str) -> str:
    with yard.database.read() as connection:
        return str(jobs.get(connection, job_id)["status"])


def test_what_was_taken_ahead_is_the_next_to_be_taken(light_yard: Yard, intake: Intake) -> None:
    made = enqueue(light_yard, 3)
    taken = [intake.take(block=False)]
    intake.take_ahead()
    taken += [intake.take(block=False), intake.take(block=False)]
    assert [entry and entry.id.rpartition("-")[0] for entry in taken] == made
    assert intake.take(block=False) is None


def test_what_was_taken_ahead_goes_back_to_the_front(light_yard: Yard, intake: Intake) -> None:
    made = enqueue(light_yard, 3)
    intake.take(block=False)
    intake.take_ahead()
    assert waiting(light_yard) == made[2:]
    intake.give_back()
    assert waiting(light_yard) == made[1:]
    intake.give_back()
    assert waiting(light_yard) == made[1:]


def test_a_worker_that_ends_gives_back_what_it_took_ahead(light_yard: Yard, intake: Intake) -> None:
    made = enqueue(light_yard, 2)
    intake.take(block=False)
    intake.take_ahead()
    intake.close()
    assert waiting(light_yard) == made[1:]


def test_nothing_is_taken_ahead_when_the_queue_was_empty(light_yard: Yard, intake: Intake) -> None:
    assert intake.take(block=False) is None
    made = enqueue(light_yard, 1)
    intake.take_ahead()
    assert waiting(light_yard) == made


def test_a_job_of_plain_rq_that_was_taken_ahead_goes_to_the_end_of_the_line(light_yard: Yard, intake: Intake) -> None:
    made = enqueue(light_yard, 1)
    name = light_yard.redis.names.queue("shelf")
    light_yard.redis.rpush(carriers.QUEUE_PREFIX + name, "somebody-elses")
    made += enqueue(light_yard, 1)
    intake.take(block=False)
    intake.take_ahead()
    assert intake.ref_of(Entry("somebody-elses", name)) is None
    intake.give_back()
    assert [entry.decode() for entry in light_yard.redis.lrange(carriers.QUEUE_PREFIX + name, 0, -1)] == [
        f"{made[1]}-1",
        "somebody-elses",
    ]


def test_a_job_that_lasts_holds_back_nobody(yard: Yard) -> None:
    short = enqueue(yard, 20)
    long, behind = enqueue(yard, 1, "samples.sleep", seconds=600)[0], enqueue(yard, 1)[0]

    def is_behind_a_running_job() -> None:
        assert status(yard, long) == "processing"
        assert waiting(yard) == [behind]

    with running_worker(yard, "shelf") as first:
        eventually(is_behind_a_running_job, within=60)
        assert {status(yard, job_id) for job_id in short} == {"completed"}
        with running_worker(yard, "shelf"):
            eventually(lambda: _is(yard, behind, "completed"), within=60)
        assert status(yard, long) == "processing"
        first.send_signal(signal.SIGKILL)


def test_a_queue_that_is_paused_in_a_rush_keeps_its_order(yard: Yard, operator: Actor) -> None:
    made = enqueue(yard, 400)
    with running_worker(yard, "shelf"):
        eventually(lambda: _is(yard, made[40], "completed"), within=60)
        queues.pause(yard, "shelf", operator)

        def all_are_back() -> None:
            left = [job_id for job_id in made if status(yard, job_id) == "pending"]
            assert waiting(yard) == left

        eventually(all_are_back, within=30, every=0.5)
        queues.resume(yard, "shelf", operator)
        eventually(lambda: _is(yard, made[-1], "completed"), within=60)
    assert {status(yard, job_id) for job_id in made} == {"completed"}


def _is(yard: Yard, job_id: str, expected: str) -> None:
    assert status(yard, job_id) == expected


def test_a_death_in_a_rush_costs_its_own_attempt_alone(yard: Yard) -> None:
    def make(index: int) -> str:
        new = NewJob("samples.noop", queue="shelf", max_retries=0)
        if index % 12 == 11:
            new = NewJob("samples.crash", {"how": "exit"}, queue="shelf", max_retries=0)
        return jobs.enqueue(yard, new).job_id

    made = [make(index) for index in range(120)]
    yard.pusher.flush()
    with running_worker(yard, "shelf"):
        for index, job_id in enumerate(made):
            expected = "failed" if index % 12 == 11 else "completed"
            eventually(partial(_is, yard, job_id, expected), within=60)
    with yard.database.read() as connection:
        outcomes = [[one["outcome"] for one in attempts.of_job(connection, job_id)] for job_id in made]
        errors = {jobs.get(connection, job_id)["error"] for job_id in made[11::12]}
    assert outcomes == [["lost"] if index % 12 == 11 else ["completed"] for index in range(120)]
    assert all("exited with status 3" in error for error in errors)


def test_a_stop_in_a_rush_leaves_no_job_behind(yard: Yard) -> None:
    made = enqueue(yard, 300)
    for number in (20, 120, 220):
        with running_worker(yard, "shelf") as process:
            eventually(partial(_is, yard, made[number], "completed"), within=60)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        left = [job_id for job_id in made if status(yard, job_id) != "completed"]
        assert {status(yard, job_id) for job_id in left} == {"pending"}
        assert waiting(yard) == left
