"""Jobs walked at random against a model: whatever is tried in whatever order, rows, attempts, events and counters agree."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test

from tests.conftest import open_yard, settings_of
from workers.broker import queues as carriers
from workers.broker.connection import connect
from workers.broker.live import LivePublisher
from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.domain.errors import Conflict
from workers.domain.evenness import Clocks
from workers.domain.states import FINAL, TRANSITIONS, Status
from workers.services import delivery, execution, jobs, queues, statistics, stuck
from workers.services.enqueueing import NewJob
from workers.services.execution import Ending, Refused
from workers.settings import Settings
from workers.store import attempts as attempt_rows
from workers.store import jobs as rows
from workers.yard import Yard

OLGA = Actor("user", "olga", "operator")
WAITING = {"scheduled", "pending", "retry_scheduled"}


class Walk(RuleBasedStateMachine):
    yard: Yard
    made = Bundle("made")

    def __init__(self) -> None:
        super().__init__()
        with self.yard.database.write() as connection:
            for table in (
                "jobs",
                "attempts",
                "job_events",
                "job_logs",
                "job_counts",
                "job_minutes",
                "sweep_findings",
                "audit",
            ):
                connection.exec_driver_sql(f"DELETE FROM {table}")
            connection.exec_driver_sql("UPDATE queues SET paused_at = NULL")
        self.yard.redis.flushall()
        self.model: dict[str, dict[str, Any]] = {}
        self.paused = False
        # What dies between the commit and the push leaves what a Redis that is away leaves: a row that nobody carries.
        dead = connect(replace(self.yard.settings, redis_url="redis://127.0.0.1:1/0"), self.yard.redis.names)
        self.cut_off = replace(self.yard, redis=dead, live=LivePublisher(dead))
        self.hand = self.yard

    @rule(target=made, delay=st.sampled_from([None, 600.0]), retries=st.integers(0, 2))
    def enqueue(self, delay: float | None, retries: int) -> Any:
        one = jobs.enqueue(self.hand, NewJob("samples.noop", delay_seconds=delay, max_retries=retries))
        self.model[one.job_id] = {
            "status": "scheduled" if delay else "pending",
            "attempt": 1,
            "retries": retries,
            "runs": 0,
            "is_wanted_off": False,
        }
        return multiple(one.job_id)

    @rule(job=made, late=st.booleans())
    def begin(self, job: str, late: bool) -> None:
        model = self.model[job]
        attempt = model["attempt"] - late
        begun = execution.begin(self.hand, job, attempt, "w")
        if model["status"] == "pending" and not late and not self.paused:
            assert not isinstance(begun, Refused)
            model.update(status="processing", runs=model["runs"] + 1, is_wanted_off=False)
        else:
            assert isinstance(begun, Refused)

    @rule(
        job=made,
        outcome=st.sampled_from(["completed", "skipped", "failed", "rejected", "timed_out", "lost", "canceled"]),
        late=st.booleans(),
    )
    def end(self, job: str, outcome: str, late: bool) -> None:
        model = self.model[job]
        ending = Ending("failed" if outcome == "rejected" else outcome, error="x", permanent=outcome == "rejected")
        after = execution.end(self.hand, job, model["attempt"] - late, ending)
        if model["status"] != "processing" or late:
            assert after is None
            return
        if outcome in {"completed", "skipped"}:
            model["status"] = "completed"
        elif outcome == "canceled":
            model["status"] = "canceled"
        elif outcome == "rejected" or model["attempt"] > model["retries"]:
            model["status"] = "failed"
        else:
            model["status"] = "retry_scheduled"

    @rule(job=made)
    def cancel(self, job: str) -> None:
        model = self.model[job]
        if Status(model["status"]) in FINAL:
            with pytest.raises(Conflict):
                jobs.cancel(self.hand, job, OLGA)
            return
        jobs.cancel(self.hand, job, OLGA)
        if model["status"] in WAITING:
            model["status"] = "canceled"
        else:
            model["is_wanted_off"] = True

    @rule(job=made)
    def retry(self, job: str) -> None:
        model = self.model[job]
        if model["status"] not in {"failed", "canceled"}:
            with pytest.raises(Conflict):
                jobs.retry(self.hand, job, OLGA)
            return
        jobs.retry(self.hand, job, OLGA)
        model.update(status="pending", attempt=model["attempt"] + 1)

    @rule(job=made)
    def run_now(self, job: str) -> None:
        model = self.model[job]
        if model["status"] not in {"scheduled", "retry_scheduled"}:
            with pytest.raises(Conflict):
                jobs.run_now(self.hand, job, OLGA)
            return
        model["attempt"] += model["status"] == "retry_scheduled"
        jobs.run_now(self.hand, job, OLGA)
        model["status"] = "pending"

    @rule()
    def everything_due(self) -> None:
        due = [one for one in self.model.values() if one["status"] in {"scheduled", "retry_scheduled"}]
        assert delivery.promote_due(self.yard, utcnow() + timedelta(days=2)) == len(due)
        for one in due:
            one["attempt"] += one["status"] == "retry_scheduled"
            one["status"] = "pending"

    @rule()
    def pause_or_resume(self) -> None:
        (queues.resume if self.paused else queues.pause)(self.yard, "default", OLGA)
        self.paused = not self.paused

    @rule()
    def the_next_steps_die_before_their_push_or_do_not(self) -> None:
        self.hand = self.yard if self.hand is self.cut_off else self.cut_off

    @rule()
    def the_monitor_finds_every_worker_gone(self) -> None:
        done = stuck.resolve(self.hand, Clocks(utcnow() + timedelta(hours=1)))
        running = [one for one in self.model.values() if one["status"] == "processing"]
        assert len(done) == len(running)
        for one in running:
            if one["is_wanted_off"]:
                one["status"] = "canceled"
            elif one["attempt"] > one["retries"]:
                one["status"] = "failed"
            else:
                one.update(status="pending", attempt=one["attempt"] + 1)

    @rule()
    def redis_forgets(self) -> None:
        assert self.yard.pusher.flush(30)
        self.yard.redis.flushall()

    @invariant()
    def rows_are_as_the_model_says(self) -> None:
        with self.yard.database.read() as connection:
            found = rows.get_many(connection, list(self.model))
            told = statistics.status_counts(connection)
        assert {job: (row["status"], row["attempt"]) for job, row in found.items()} == {
            job: (one["status"], one["attempt"]) for job, one in self.model.items()
        }
        assert {status: n for status, n in told.items() if n} == dict(
            Counter(one["status"] for one in self.model.values())
        )

    def _every_pending_job_is_carried(self) -> None:
        pending = {f"{job}-{one['attempt']}" for job, one in self.model.items() if one["status"] == "pending"}
        assert self.yard.pusher.flush(30)
        # A name that outlived its attempt may hide one that is missing, until a worker takes it and finds it void.
        for stale in carriers.listed(self.yard.redis, "default") - pending:
            job, _, attempt = stale.rpartition("-")
            assert isinstance(execution.begin(self.yard, job, int(attempt), "w"), Refused)
            for key in carriers.ordered_keys(self.yard.redis.names, ["default"]):
                self.yard.redis.lrem(key, 0, stale)
        delivery.deliver_missing(self.yard, utcnow() + timedelta(days=3))
        assert pending == carriers.listed(self.yard.redis, "default")

    def teardown(self) -> None:
        self._every_pending_job_is_carried()
        self.cut_off.redis.close()
        with self.yard.database.read() as connection:
            for job, model in self.model.items():
                row = rows.get(connection, job)
                moves = [one for one in rows.events(connection, row) if one["to_status"]]
                for before, after in pairwise(moves):
                    assert after["from_status"] == before["to_status"]
                    assert after["event"] in TRANSITIONS[Status(after["from_status"]), Status(after["to_status"])]
                assert moves[-1]["to_status"] == model["status"]
                tries = attempt_rows.of_job(connection, job)
                assert len(tries) == model["runs"]
                assert sum(one["ended_at"] is None for one in tries) == (model["status"] == "processing")


def test_jobs_agree_with_the_model_however_they_are_walked(valkey: Settings, database_url: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        yard = open_yard(settings_of(valkey, Path(folder), database_url))
        walk = type("Walk", (Walk,), {"yard": yard})
        quick = settings(
            max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        )
        run_state_machine_as_test(walk, settings=quick)
        yard.close()
