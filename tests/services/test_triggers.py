"""Triggers on SQLite and PostgreSQL: events, ended jobs, full queues and changed data make jobs, within their bounds."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from workers import changes
from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput, Conflict
from workers.services import (
    events,
    execution,
    hearing,
    jobs,
    monitoring,
    own_changes,
    queues,
    schedules,
    triggers,
)
from workers.services.enqueueing import NewJob
from workers.services.execution import Ending
from workers.services.firing import fire
from workers.store import schedules as schedule_rows
from workers.store import trigger_rows
from workers.store import workers as worker_rows
from workers.store.types import Row
from workers.yard import Yard

ADA = Actor("user", "ada", "admin")


class Base(DeclarativeBase):
    """A user's own models."""


class Stock(Base):
    __tablename__ = "stock"

    sku: Mapped[str] = mapped_column(primary_key=True)
    quantity: Mapped[int]
    password: Mapped[str] = mapped_column(default="hidden")


def make(yard: Yard, listens: str = "orders.created", **values: Any) -> Row:
    base = {"name": "on order", "listens": listens, "task": "samples.fail", "payload": {"message": "$.payload.id"}}
    return triggers.create(yard, {**base, **values}, ADA)


def fired(yard: Yard, trigger: Row) -> list[Row]:
    with yard.database.read() as connection:
        return list(reversed(trigger_rows.firings(connection, trigger["id"], None, 100)))


def job_of(yard: Yard, firing: Row) -> Row:
    with yard.database.read() as connection:
        return jobs.get(connection, firing["job_id"])


def end(yard: Yard, job_id: str, outcome: str = "completed", **how: Any) -> None:
    execution.begin(yard, job_id, 1, "w")
    execution.end(yard, job_id, 1, Ending(outcome, **how))


def hear_all(yard: Yard) -> None:
    while hearing.hear(yard):
        pass


def test_an_event_makes_a_job_with_what_it_told(yard: Yard) -> None:
    trigger = make(yard)
    assert events.emit(yard, "orders.created", {"id": "A-17"}, ADA) == 1
    assert events.emit(yard, "orders.deleted", {"id": "A-18"}, ADA) == 0
    hear_all(yard)
    (firing,) = fired(yard, trigger)
    job = job_of(yard, firing)
    assert (job["task"], json.loads(job["payload"]), job["created_by"]) == (
        "samples.fail",
        {"message": "A-17"},
        "trigger:on order",
    )
    facts = json.loads(firing["facts"])
    assert (facts["name"], facts["actor"], facts["payload"]) == ("orders.created", "ada", {"id": "A-17"})


def test_an_event_is_heard_once_however_many_listen_for_events(yard: Yard) -> None:
    trigger = make(yard)
    for number in range(20):
        events.emit(yard, "orders.created", {"id": str(number)}, ADA)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: hear_all(yard), range(4)))
    told = sorted(int(json.loads(job_of(yard, one)["payload"])["message"]) for one in fired(yard, trigger))
    assert told == list(range(20))


def test_conditions_choose_among_events(yard: Yard) -> None:
    trigger = make(yard, conditions={"payload.country": "DE", "payload.total": {"above": 10, "below": 100}})
    for country, total in (("DE", 50), ("DE", 5), ("DE", 500), ("FR", 50), ("DE", "50"), (None, None)):
        events.emit(yard, "orders.created", {"id": "x", "country": country, "total": total}, ADA)
    hear_all(yard)
    assert len(fired(yard, trigger)) == 1


def test_the_end_of_a_job_is_an_event_whoever_ends_it(yard: Yard) -> None:
    trigger = make(
        yard, "job.*", task="samples.fail", payload={"message": "$.job.status"}, conditions={"job.task": "samples.noop"}
    )
    done, failed, called_off = (jobs.enqueue(yard, NewJob("samples.noop", max_retries=0)).job_id for _ in range(3))
    end(yard, done)
    end(yard, failed, "failed", error="no")
    jobs.cancel(yard, called_off, ADA)
    hear_all(yard)
    assert [json.loads(job_of(yard, one)["payload"])["message"] for one in fired(yard, trigger)] == [
        "completed",
        "failed",
        "canceled",
    ]


def test_nobody_listening_writes_nothing(yard: Yard) -> None:
    make(yard)
    end(yard, jobs.enqueue(yard, NewJob("samples.noop")).job_id)
    with yard.database.read() as connection:
        assert trigger_rows.events(connection, 10) == []


def test_a_trigger_that_feeds_itself_is_stopped(yard: Yard) -> None:
    trigger = make(yard, "job.completed", name="echo", task="samples.noop", payload={})
    end(yard, jobs.enqueue(yard, NewJob("samples.noop")).job_id)
    for _ in range(20):
        hear_all(yard)
        for firing in fired(yard, trigger):
            if firing["job_id"] and firing["status"] == "pending":
                end(yard, firing["job_id"])
    with yard.database.read() as connection:
        row = triggers.get(connection, trigger["id"])
    assert [one["outcome"] for one in fired(yard, trigger)] == ["fired"] * 8 + ["looped"]
    assert (row["enabled"], row["stopped_reason"]) == (
        False,
        "The trigger ran in a loop: a chain of 8 trigger runs led to this event.",
    )
    again = triggers.change(yard, trigger["id"], {"enabled": True}, ADA)
    assert again["stopped_reason"] is None


def test_a_chain_is_followed_through_the_jobs_that_a_job_enqueues(yard: Yard) -> None:
    trigger = make(yard, "job.completed", name="echo", task="samples.noop", payload={})
    end(yard, jobs.enqueue(yard, NewJob("samples.noop")).job_id)
    hear_all(yard)
    (first,) = fired(yard, trigger)
    child = jobs.enqueue(yard, NewJob("samples.noop", parent=first["job_id"])).job_id
    end(yard, child)
    hear_all(yard)
    assert [one["depth"] for one in fired(yard, trigger)] == [0, 1]


def test_cool_down_and_cap_let_events_go_by_and_count_them(yard: Yard) -> None:
    cooling = make(yard, name="cools", cooldown_seconds=60)
    capped = make(yard, name="capped", cap_per_hour=3)
    now = utcnow()
    for step in range(5):
        events.emit(yard, "orders.created", {"id": str(step)}, ADA)
        hearing.hear(yard, now + timedelta(seconds=step))
    assert (len(fired(yard, cooling)), len(fired(yard, capped))) == (1, 3)
    with yard.database.read() as connection:
        assert triggers.get(connection, cooling["id"])["passed_over"] == 4
        assert triggers.get(connection, capped["id"])["passed_over"] == 2
    events.emit(yard, "orders.created", {"id": "later"}, ADA)
    hearing.hear(yard, now + timedelta(hours=1, seconds=30))
    assert (len(fired(yard, cooling)), len(fired(yard, capped))) == (2, 4)


def test_an_event_that_does_not_fit_is_kept_with_the_reason(yard: Yard) -> None:
    trigger = make(yard)
    events.emit(yard, "orders.created", {"other": 1}, ADA)
    events.emit(yard, "orders.created", {"id": ["no", "text"]}, ADA)
    hear_all(yard)
    first, second = fired(yard, trigger)
    assert (first["outcome"], first["detail"]) == ("refused", "The event has no payload.id.")
    assert (second["outcome"], second["job_id"]) == ("refused", None)


def test_a_refused_run_consumes_neither_cool_down_nor_cap(yard: Yard) -> None:
    trigger = make(yard, cooldown_seconds=3600, cap_per_hour=1)
    for number in range(5):
        events.emit(yard, "orders.created", {"other": number}, ADA)
    hear_all(yard)
    assert [run["outcome"] for run in fired(yard, trigger)] == ["refused"], "the same refusal is written once a minute"
    with yard.database.read() as connection:
        assert triggers.get(connection, trigger["id"])["passed_over"] == 4
    events.emit(yard, "orders.created", {"id": "A"}, ADA)
    hear_all(yard)
    assert [run["outcome"] for run in fired(yard, trigger)] == ["refused", "fired"]


@pytest.mark.parametrize("patterns", [["data.*"], ["*"], ["data.*", "data.*"], ["*", "data.triggers.*"]])
def test_triggers_do_not_hear_of_their_own_bookkeeping(yard: Yard, patterns: list[str]) -> None:
    own_changes.watch(yard.database)
    made = [
        make(yard, pattern, name=f"t{number}", kind="data" if pattern.startswith("data") else "event", payload={})
        for number, pattern in enumerate(patterns)
    ]
    queues.pause(yard, "default", ADA)
    for _ in range(30):
        hearing.hear(yard)
    with yard.database.read() as connection:
        assert trigger_rows.events(connection, 10) == []
    assert max(len(fired(yard, trigger)) for trigger in made) < 10


def test_a_run_of_a_schedule_is_no_change_of_it(yard: Yard) -> None:
    own_changes.watch(yard.database)
    trigger = make(yard, "data.schedules.*", kind="data", payload={})
    schedule = schedules.create(yard, {"name": "tick", "task": "samples.noop", "interval_seconds": 60}, ADA)
    hear_all(yard)
    before = len(fired(yard, trigger))
    with yard.database.write() as connection:
        past = {"next_fire_at": utcnow(), "next_due_at": utcnow()}
        schedule_rows.change(connection, schedule["id"], schedule["version"], past)
    assert fire(yard, schedule["id"]) == 1
    hear_all(yard)
    assert len(fired(yard, trigger)) == before


def test_facts_that_are_too_long_are_cut_and_the_job_has_them_whole(yard: Yard) -> None:
    trigger = make(yard)
    events.emit(yard, "orders.created", {"id": "A", "list": ["x" * 100] * 1000}, ADA)
    hear_all(yard)
    (firing,) = fired(yard, trigger)
    assert json.loads(firing["facts"])["is_cut"]
    assert json.loads(job_of(yard, firing)["payload"]) == {"message": "A"}


def test_a_full_queue_and_an_old_wait_fire(yard: Yard) -> None:
    deep = make(
        yard,
        "reports",
        name="deep",
        kind="queue",
        measure="depth",
        above=2,
        cooldown_seconds=60,
        payload={"message": "$.queue"},
    )
    old = make(
        yard, "reports", name="old", kind="queue", measure="oldest_seconds", above=600, cooldown_seconds=60, payload={}
    )
    for _ in range(2):
        jobs.enqueue(yard, NewJob("samples.noop", queue="reports"))
    now = utcnow()
    hearing.look_at_queues(yard, now)
    assert (fired(yard, deep), fired(yard, old)) == ([], [])
    jobs.enqueue(yard, NewJob("samples.noop", queue="reports"))
    hearing.look_at_queues(yard, now)
    hearing.look_at_queues(yard, now + timedelta(minutes=11))
    assert (len(fired(yard, deep)), len(fired(yard, old))) == (2, 1)
    facts = json.loads(fired(yard, old)[0]["facts"])
    assert facts["queue"] == "reports"
    assert facts["value"] == pytest.approx(660, abs=5)


def test_a_lost_worker_is_an_event(yard: Yard) -> None:
    trigger = make(yard, "worker.lost", payload={"message": "$.payload.name"})
    now = utcnow()
    told = {"host": "elsewhere", "pid": 1, "queues": '["*"]', "state": "idle", "started_at": now, "heartbeat_at": now}
    with yard.database.write() as connection:
        worker_rows.register(connection, {"name": "far", "job_id": None, **told})
    monitoring.sweep(yard, now + timedelta(minutes=5))
    hear_all(yard)
    assert [json.loads(one["facts"])["payload"]["name"] for one in fired(yard, trigger)] == ["far"]


def test_a_raised_alert_is_an_event(yard: Yard) -> None:
    trigger = make(yard, "alert.raised", payload={"message": "$.payload.title"})
    for _ in range(6):
        end(yard, jobs.enqueue(yard, NewJob("samples.fail", max_retries=0)).job_id, "failed", error="no")
    monitoring.sweep(yard)
    hear_all(yard)
    assert "6 tasks failed in last hour" in [
        json.loads(one["facts"])["payload"]["title"] for one in fired(yard, trigger)
    ]


@pytest.fixture
def orders(tmp_path: Any) -> Engine:
    """Make a user's own database."""
    engine = create_engine(f"sqlite:///{tmp_path / 'orders.db'}")
    Base.metadata.create_all(engine)
    return engine


def test_changed_rows_of_a_users_models_are_events_after_the_commit(yard: Yard, orders: Engine) -> None:
    trigger = make(yard, "data.stock.*", kind="data", payload={"message": "$.payload.row.sku"})
    maker = sessionmaker(orders)
    changes.watch(maker, yard)
    with maker() as session:
        session.add(Stock(sku="88-1204", quantity=10))
        session.commit()
        row = session.get_one(Stock, "88-1204")
        row.quantity = 3
        session.flush()
        session.rollback()
        row.quantity = 4
        session.commit()
        session.delete(row)
        session.commit()
    with Session(orders) as unwatched:
        unwatched.add(Stock(sku="other", quantity=1))
        unwatched.commit()
    hear_all(yard)
    told = [json.loads(one["facts"])["payload"] for one in fired(yard, trigger)]
    assert [(one["operation"], one["row"]["quantity"]) for one in told] == [
        ("inserted", 10),
        ("updated", 4),
        ("deleted", 4),
    ]
    assert told[1]["changed"] == ["quantity"]
    assert "hidden" not in json.dumps(told)


def test_a_savepoint_that_is_rolled_back_takes_its_own_changes_only(yard: Yard, orders: Engine) -> None:
    trigger = make(yard, "data.stock.inserted", kind="data", payload={"message": "$.payload.row.sku"})
    maker = sessionmaker(orders)
    changes.watch(maker, yard)
    with maker() as session:
        session.add(Stock(sku="kept", quantity=1))
        with session.begin_nested() as savepoint:
            session.add(Stock(sku="taken back", quantity=1))
            session.flush()
            savepoint.rollback()
        session.add(Stock(sku="last", quantity=1))
        session.commit()
    hear_all(yard)
    told = [json.loads(one["facts"])["payload"]["row"]["sku"] for one in fired(yard, trigger)]
    assert told == ["kept", "last"]


def test_changes_of_taskyards_own_tables_are_events(yard: Yard) -> None:
    own_changes.watch(yard.database)
    trigger = make(yard, "data.queues.updated", kind="data", payload={"message": "$.payload.table"})
    jobs.enqueue(yard, NewJob("samples.noop", queue="reports"))
    queues.pause(yard, "reports", ADA)
    hear_all(yard)
    (firing,) = fired(yard, trigger)
    assert json.loads(firing["facts"])["payload"]["row"]["paused_by"] == "ada"


def test_secrets_of_a_payload_are_masked_in_what_a_trigger_saw(yard: Yard) -> None:
    own_changes.watch(yard.database)
    trigger = make(yard, "data.triggers.inserted", kind="data", payload={"message": "$.payload.table"})
    make(yard, name="other", payload={"message": "x", "api_key": "hunter2"})
    hear_all(yard)
    firing = fired(yard, trigger)[-1]
    assert json.loads(firing["facts"])["payload"]["row"]["name"] == "other"
    assert "hunter2" not in firing["facts"]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"name": ""}, "name"),
        ({"listens": "<img>"}, "listens"),
        ({"task": "nobody.knows"}, "task"),
        ({"kind": "webhook"}, "kind"),
        ({"kind": "data"}, "listens"),
        ({"kind": "queue", "listens": "reports", "measure": "depth", "cooldown_seconds": 60}, "above"),
        ({"kind": "queue", "listens": "reports", "measure": "depth", "above": 1}, "cooldown_seconds"),
        ({"conditions": {"payload.x": [1]}}, "conditions"),
        ({"conditions": {"payload.x": {"above": "1"}}}, "conditions"),
        ({"cap_per_hour": 0}, "cap_per_hour"),
        ({"cooldown_seconds": float("inf")}, "cooldown_seconds"),
        ({"secret": 1}, "secret"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_field(yard: Yard, values: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInput) as refused:
        make(yard, **values)
    assert [one["field"] for one in refused.value.errors] == [field]


@pytest.mark.parametrize("name", ["", "job.completed", "data.x", "a b", "x" * 300, "<script>"])
def test_names_that_are_not_to_be_had_are_refused(yard: Yard, name: str) -> None:
    with pytest.raises(BadInput):
        events.emit(yard, name, {}, ADA)


def test_a_name_is_one_triggers(yard: Yard) -> None:
    make(yard)
    with pytest.raises(Conflict):
        make(yard)


def test_it_can_be_tried_without_running(yard: Yard) -> None:
    trigger = make(yard)
    told = triggers.attempt(yard, trigger, {"name": "orders.created", "payload": {"id": "7"}})
    assert told == {"fires": True, "why": "The trigger would run samples.fail.", "payload": {"message": "7"}}
    assert not triggers.attempt(yard, trigger, {"name": "orders.created", "payload": {}})["fires"]
    assert fired(yard, trigger) == []
