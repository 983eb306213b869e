"""The queues of Taskyard's own work: nobody else gets on them, silences them, or holds up the monitor."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import update

from tests.conftest import Auth, running_worker
from tests.integration.running import Running
from tests.support import eventually
from workers import loading, registry
from workers.commands import line
from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput, Conflict, SettingsError
from workers.domain.filters import JobFilter
from workers.domain.names import SYSTEM_QUEUES, SYSTEM_TASKS, check_open_queue, is_reserved_queue
from workers.services import (
    bulk_action_lists,
    bulk_actions,
    deliveries,
    execution,
    firing,
    hearing,
    jobs,
    monitoring,
    publishing,
    schedules,
    statistics,
    triggers,
    watchman,
)
from workers.services.enqueueing import NewJob, enqueue_system
from workers.services.execution import Ending
from workers.settings import Settings
from workers.store import bulk_actions as action_rows
from workers.store import migrate, sweeps, trigger_rows
from workers.store import schedules as schedule_rows
from workers.store import workers as worker_rows
from workers.store.jobs import JOBS
from workers.store.schedules import SCHEDULES
from workers.yard import Yard

pytestmark = pytest.mark.timeout(180)
ADA = Actor("user", "ada", "admin")
RESERVED = ["system", "System", "SYSTEM", "system-deliveries", "system-bulk", "system-x", "SYSTEM.x", "system_x", "system.", "sYsTeM-"]  # fmt: skip
OPEN = ["systems", "system1", "subsystem", "my-system", "default", "s-ystem"]
PAYLOADS = {
    "monitor.sweep": {},
    "system.bulk_action": {"bulk_action_id": "x"},
    "system.callback": {"job_id": "x"},
    "system.deliver": {"delivery_id": "x"},
}
ENQUEUE = "/api/v1/jobs"


def own_job(yard: Yard, task: str, status: str = "pending") -> str:
    """Make a job of Taskyard's own in this state."""
    job_id = enqueue_system(yard, NewJob(task, PAYLOADS[task])).job_id
    set_row(yard, job_id, status=status)
    return job_id


def set_row(yard: Yard, job_id: str, **values: Any) -> None:
    with yard.database.write() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == job_id).values(**values))


def row(yard: Yard, job_id: str) -> Any:
    with yard.database.read() as connection:
        return jobs.get(connection, job_id)


def count(yard: Yard) -> int:
    with yard.database.read() as connection:
        return sum(statistics.status_counts(connection).values())


# The rule.


@pytest.mark.parametrize("name", RESERVED)
def test_a_reserved_name_is_known_in_any_spelling(name: str) -> None:
    assert is_reserved_queue(name)
    with pytest.raises(BadInput, match="reserved"):
        check_open_queue(name)


@pytest.mark.parametrize("name", OPEN)
def test_other_names_are_free(name: str) -> None:
    assert check_open_queue(name) == name


def test_every_task_on_a_reserved_queue_is_known_as_taskyards_own() -> None:
    loading.load_modules(())
    own = {one.name for one in registry.REGISTRY.values() if is_reserved_queue(one.queue)}
    assert own == set(SYSTEM_TASKS) == set(PAYLOADS)


@pytest.mark.parametrize("queue", RESERVED)
def test_a_task_of_a_user_cannot_be_defined_on_a_reserved_queue(queue: str) -> None:
    def quiet() -> None:
        """Do nothing."""

    with pytest.raises(SettingsError, match="reserved"):
        registry.define(quiet, name="users.quiet", queue=queue)
    assert "users.quiet" not in registry.REGISTRY


def test_a_module_with_such_a_task_is_named_and_skipped(tmp_path: Path) -> None:
    (tmp_path / "bold.py").write_text("from workers.task import task\n@task(queue='system')\ndef quiet(): pass\n")
    running = Running(tmp_path / "yard", TASK_MODULES="bold", PYTHONPATH=str(tmp_path))
    done = running.run("migrate")
    assert done.returncode == 0
    assert "the task module bold is skipped" in done.stderr
    assert "bold.quiet names the queue system, which is reserved" in done.stderr


# Every way in.

Way = Callable[[FlaskClient, Auth, dict[str, str], str, str], int]


def by_call(client: FlaskClient, _auth: Auth, token: dict[str, str], task: str, queue: str) -> int:
    body = {"task": task, "payload": PAYLOADS.get(task, {}), **({"queue": queue} if queue else {})}
    return client.post(ENQUEUE, json=body, headers=token).status_code


def by_bulk_call(client: FlaskClient, _auth: Auth, token: dict[str, str], task: str, queue: str) -> int:
    one = {"task": task, "payload": PAYLOADS.get(task, {}), **({"queue": queue} if queue else {})}
    return client.post(f"{ENQUEUE}/bulk", json={"jobs": [{"task": "samples.noop"}, one]}, headers=token).status_code


def by_form(client: FlaskClient, auth: Auth, _token: dict[str, str], task: str, queue: str) -> int:
    form = {f"payload.{name}": value for name, value in PAYLOADS.get(task, {}).items()}
    data = {"csrf_token": auth.csrf(client), "queue": queue, **form}
    return client.post(f"/tasks/{task}/run", data=data).status_code


def by_schedule(client: FlaskClient, _auth: Auth, token: dict[str, str], task: str, queue: str) -> int:
    body = {"name": "s", "task": task, "payload": PAYLOADS.get(task, {}), "cron": "* * * * *"}
    return client.post(
        "/api/v1/schedules", json={**body, **({"queue": queue} if queue else {})}, headers=token
    ).status_code


def by_schedule_change(client: FlaskClient, _auth: Auth, token: dict[str, str], task: str, queue: str) -> int:
    body = {"name": "s", "task": "samples.noop", "cron": "* * * * *"}
    made = client.post("/api/v1/schedules", json=body, headers=token).json
    assert made is not None
    change = {"queue": queue} if queue else {"task": task, "payload": PAYLOADS.get(task, {})}
    return client.patch(f"/api/v1/schedules/{made['id']}", json=change, headers=token).status_code


def by_schedule_form(client: FlaskClient, auth: Auth, _token: dict[str, str], task: str, queue: str) -> int:
    form = {"kind": "cron", "cron": "* * * * *", "timezone": "UTC", "name": "s", "task": task, "queue": queue}
    form |= {"payload": json.dumps(PAYLOADS.get(task, {})), "overlap": "allow", "missed": "skip", "enabled": "on"}
    return client.post("/schedules/new", data={"csrf_token": auth.csrf(client), **form}).status_code


def by_trigger(client: FlaskClient, _auth: Auth, token: dict[str, str], task: str, _queue: str) -> int:
    body = {"name": "t", "listens": "orders.created", "task": task, "payload": PAYLOADS.get(task, {})}
    return client.post("/api/v1/triggers", json=body, headers=token).status_code


def by_trigger_change(client: FlaskClient, _auth: Auth, token: dict[str, str], task: str, _queue: str) -> int:
    body = {"name": "t", "listens": "orders.created", "task": "samples.noop"}
    made = client.post("/api/v1/triggers", json=body, headers=token).json
    assert made is not None
    return client.patch(f"/api/v1/triggers/{made['id']}", json={"task": task}, headers=token).status_code


QUEUE_WAYS: list[Way] = [by_call, by_bulk_call, by_form, by_schedule, by_schedule_change, by_schedule_form]
TASK_WAYS: list[Way] = [*QUEUE_WAYS, by_trigger, by_trigger_change]


@pytest.mark.parametrize("way", QUEUE_WAYS)
@pytest.mark.parametrize("role", ["operator", "admin"])
def test_no_way_leads_onto_a_reserved_queue(auth: Auth, light_yard: Yard, way: Way, role: str) -> None:
    client, before = auth.client({"operator": "olga", "admin": "ada"}[role]), count(light_yard)
    for queue in RESERVED:
        assert way(client, auth, auth.token(role), "samples.noop", queue) in {409, 422}, queue
        _forget_drafts(light_yard)
    assert count(light_yard) == before


@pytest.mark.parametrize("way", TASK_WAYS)
@pytest.mark.parametrize("task", SYSTEM_TASKS)
def test_no_way_runs_a_task_of_taskyards_own(auth: Auth, light_yard: Yard, way: Way, task: str) -> None:
    client, before = auth.client("ada"), count(light_yard)
    for queue in ("", "default"):
        if queue and way in (by_schedule_change,):
            continue
        assert way(client, auth, auth.token("admin"), task, queue) in {409, 422}
        _forget_drafts(light_yard)
    assert count(light_yard) == before


def _forget_drafts(yard: Yard) -> None:
    with yard.database.write() as connection:
        for found in schedule_rows.page(connection, limit=200):
            assert not is_reserved_queue(found["queue"] or "default")
            schedule_rows.remove(connection, found["id"])
        for found in trigger_rows.page(connection, None, 200):
            assert found["task"] not in SYSTEM_TASKS
            trigger_rows.remove(connection, found["id"])


def test_the_answer_says_why_and_what_to_do(auth: Auth, app: Flask) -> None:
    body = {"task": "samples.sleep", "queue": "system", "payload": {"seconds": 3600}}
    answer = app.test_client().post(ENQUEUE, json=body, headers=auth.token("operator"))
    assert answer.status_code == 422
    assert answer.json is not None
    assert "reserved" in answer.json["detail"]
    assert answer.json["errors"][0]["field"] == "queue"


@pytest.mark.parametrize("words", [("samples.noop", "--queue", "system"), ("monitor.sweep",), ("system.deliver", '{"delivery_id": "x"}')])  # fmt: skip
def test_the_command_line_refuses_it_too(
    light_yard: Yard, monkeypatch: Any, capsys: Any, words: tuple[str, ...]
) -> None:
    assert on_command_line(light_yard, monkeypatch, "enqueue", *words) == 1
    assert "Choose another" in capsys.readouterr().err


def on_command_line(yard: Yard, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    settings = yard.settings
    values = {
        "DATA_DIR": str(settings.data_dir),
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return line.run(line.parser()[0], words)


@pytest.mark.parametrize(
    "payload",
    [{"wanted": "samples.noop", "queue": "system"}, {"wanted": "monitor.sweep"}, {"wanted": "system.bulk_action", "payload": {"bulk_action_id": "x"}, "queue": "default"}],
)  # fmt: skip
def test_a_task_cannot_enqueue_there(light_yard: Yard, payload: dict[str, Any]) -> None:
    loading.load_modules(("tests.security.system_tasks",))
    publishing.publish(light_yard, registry.REGISTRY)
    with running_worker(light_yard, TASK_MODULES="tests.security.system_tasks"):
        job_id = jobs.enqueue(light_yard, NewJob("tests.security.system_tasks.enqueue_on", payload)).job_id
        eventually(lambda: _is(light_yard, job_id, "failed"), within=30)
    assert "Choose another" in row(light_yard, job_id)["error"]
    assert count(light_yard) == 1


def _is(yard: Yard, job_id: str, status: str) -> None:
    assert row(yard, job_id)["status"] == status, row(yard, job_id)


@pytest.mark.parametrize("key", ["system:monitor.sweep:1", "system:", "system:deliver:x:0"])
def test_a_key_of_taskyards_own_jobs_cannot_be_taken_beforehand(auth: Auth, app: Flask, key: str) -> None:
    body = {"task": "samples.noop", "idempotency_key": key}
    assert app.test_client().post(ENQUEUE, json=body, headers=auth.token("admin")).status_code == 422


def test_a_key_like_the_monitors_does_not_keep_it_from_sweeping(yard: Yard) -> None:
    key = "monitor.sweep:1234567890"
    jobs.enqueue(yard, NewJob("samples.noop", idempotency_key=key))
    made = enqueue_system(yard, NewJob("monitor.sweep", idempotency_key=key))
    assert not made.deduplicated
    assert row(yard, made.job_id)["task"] == "monitor.sweep"


# Jobs that are there.

CHANGES = {
    "POST /jobs/{id}/retries": ("failed", "canceled"),
    "POST /jobs/{id}/runs": ("completed", "scheduled", "retry_scheduled"),
    "POST /jobs/{id}/cancellations": ("pending", "scheduled", "retry_scheduled", "processing"),
    "GET /jobs/{id}/deletions": ("pending", "completed"),
    "POST /jobs/{id}/deletions": ("pending", "completed", "failed"),
    "GET /jobs/{id}/edit": ("failed", "completed"),
    "POST /jobs/{id}/edit": ("failed", "completed"),
    "POST /api/v1/jobs/{id}/retries": ("failed", "canceled"),
    "POST /api/v1/jobs/{id}/runs": ("completed", "scheduled", "retry_scheduled"),
    "POST /api/v1/jobs/{id}/cancellations": ("pending", "scheduled", "retry_scheduled", "processing"),
    "DELETE /api/v1/jobs/{id}": ("pending", "completed", "failed"),
}


@pytest.mark.parametrize("call", CHANGES)
@pytest.mark.parametrize("task", SYSTEM_TASKS)
def test_people_look_at_taskyards_own_jobs_and_change_nothing(
    auth: Auth, light_yard: Yard, call: str, task: str
) -> None:
    client = auth.client("ada")
    method, _, path = call.partition(" ")
    for status in CHANGES[call]:
        job_id = own_job(light_yard, task, status)
        before = dict(row(light_yard, job_id))
        headers = {"X-CSRFToken": auth.csrf(client)}
        body: dict[str, Any] = {"json": {}} if path.endswith("v1/jobs/{id}/retries") else {"data": {"payload": "{}"}}
        asked = {} if method in {"GET", "DELETE"} or path.endswith(("runs", "cancellations")) else body
        answer = client.open(path.format(id=job_id), method=method, headers=headers, **asked)
        assert answer.status_code == 409, answer.text
        assert "system job" in answer.text
        assert dict(row(light_yard, job_id)) == before
        page = client.get(f"/jobs/{job_id}").text
        assert f"/jobs/{job_id}/cancellations" not in page
        assert f"/jobs/{job_id}/deletions" not in page


@pytest.mark.parametrize("action", ["retry", "run_now", "cancel", "delete"])
def test_a_selection_leaves_them_out(auth: Auth, light_yard: Yard, action: str) -> None:
    client, status = auth.client("olga"), {"retry": "failed", "run_now": "scheduled"}.get(action, "pending")
    made = [own_job(light_yard, task, status) for task in SYSTEM_TASKS]
    fields = {"csrf_token": auth.csrf(client), "action": action, "id": made, "confirmed": "yes"}
    client.post("/jobs/selection", data=fields)
    assert {row(light_yard, job_id)["status"] for job_id in made} == {status}


@pytest.mark.parametrize("action", ["retry", "run_now", "cancel", "delete"])
def test_a_bulk_action_passes_them_over(yard: Yard, action: str) -> None:
    status = {"retry": "failed", "run_now": "scheduled", "delete": "completed"}.get(action, "pending")
    made = [own_job(yard, task, status) for task in SYSTEM_TASKS]
    other = jobs.enqueue(yard, NewJob("samples.noop")).job_id
    set_row(yard, other, status=status)
    with yard.database.read() as connection:
        assert bulk_actions.preview(connection, action, JobFilter())["count"] == 1
    work = bulk_actions.create(yard, action, JobFilter(), None, ADA)
    assert bulk_actions.work(yard, work["id"], lambda done, total: None) == {"done": 1, "refused": 0}
    assert {row(yard, job_id)["status"] for job_id in made} == {status}


@pytest.mark.parametrize("way", ["preview", "call", "preview page", "page"])
@pytest.mark.parametrize("chosen", [*({"queue": name} for name in RESERVED[:5]), {"queue": "default,system"}, {"task": "monitor.sweep"}, {"task": "system.*"}, {"task": "samples.noop,system.deliver"}])  # fmt: skip
def test_a_bulk_action_that_asks_for_them_is_refused(
    auth: Auth, light_yard: Yard, way: str, chosen: dict[str, str]
) -> None:
    client, before = auth.client("olga"), count(light_yard)
    if way in {"preview", "call"}:
        body = {"action": "cancel", "filter": chosen, "preview": way == "preview"}
        answer = client.post("/api/v1/bulk-actions", json=body, headers={"X-CSRFToken": auth.csrf(client)})
    elif way == "preview page":
        answer = client.get("/bulk-actions", query_string={"action": "cancel", **chosen})
    else:
        answer = client.post("/bulk-actions", data={"csrf_token": auth.csrf(client), "action": "cancel", **chosen})
    assert answer.status_code == 422
    assert "cannot be changed" in answer.text.replace("&#39;", "'")
    assert count(light_yard) == before


def test_a_bulk_action_from_before_the_upgrade_passes_them_over_too(yard: Yard) -> None:
    made = own_job(yard, "monitor.sweep")
    work = bulk_actions.create(yard, "cancel", JobFilter(), None, ADA)
    with yard.database.write() as connection:
        values = {"selection": json.dumps({"queue": "system", "status": "pending"})}
        action_rows.change(connection, work["id"], values, before=("pending",))
    bulk_actions.work(yard, work["id"], lambda done, total: None)
    assert row(yard, made)["status"] == "pending"


def test_an_action_that_cancels_everything_is_worked_to_its_end_and_one_can_be_aborted(light_yard: Yard) -> None:
    jobs.enqueue_many(light_yard, [NewJob("samples.noop", delay_seconds=3600)] * 50)
    work = bulk_actions.create(light_yard, "cancel", JobFilter(), None, ADA)
    slow = bulk_actions.create(light_yard, "delete", JobFilter(), 0.5, ADA)
    with running_worker(light_yard, "system-bulk"):
        eventually(lambda: _is(light_yard, work["job_id"], "completed"), within=30)
        eventually(lambda: _is(light_yard, slow["job_id"], "processing"), within=30)
        with pytest.raises(Conflict, match="Abort the bulk action"):
            jobs.cancel(light_yard, slow["job_id"], ADA)
        bulk_actions.abort(light_yard, slow["id"], ADA)
        eventually(lambda: _is(light_yard, slow["job_id"], "completed"), within=30)


# Queues and workers.


@pytest.mark.parametrize("queue", RESERVED[:5])
def test_a_reserved_queue_is_neither_paused_nor_purged(
    auth: Auth, light_yard: Yard, monkeypatch: Any, capsys: Any, queue: str
) -> None:
    made = [own_job(light_yard, task) for task in SYSTEM_TASKS]
    client = auth.client("ada")
    headers = {"X-CSRFToken": auth.csrf(client)}
    for method, path in (
        ("PUT", f"/api/v1/queues/{queue}/pause"),
        ("POST", f"/api/v1/queues/{queue}/purges"),
        ("POST", f"/queues/{queue}/pauses"),
        ("POST", f"/queues/{queue}/purges"),
        ("GET", f"/queues/{queue}/purges"),
    ):
        answer = client.open(path, method=method, headers=headers)
        assert (answer.status_code, "reserved" in answer.text) == (409, True), path
    for words in (("purge", "--queue", queue), ("purge", "--queue", queue, "--dry-run")):
        assert on_command_line(light_yard, monkeypatch, *words) == 1
    assert "reserved" in capsys.readouterr().err
    assert {row(light_yard, job_id)["status"] for job_id in made} == {"pending"}


@pytest.mark.parametrize("queue", SYSTEM_QUEUES)
def test_its_page_shows_it_and_offers_nothing(auth: Auth, light_yard: Yard, queue: str) -> None:
    page = auth.client("ada").get(f"/queues/{queue}")
    assert page.status_code == 200
    assert f"/queues/{queue}/purges" not in page.text
    assert f"/queues/{queue}/pauses" not in page.text


@pytest.mark.parametrize("listens", [["system"], ["system-deliveries"], ["system-bulk"], ["default", "system"]])
def test_its_worker_cannot_be_stopped_from_the_dashboard(auth: Auth, light_yard: Yard, listens: list[str]) -> None:
    _register(light_yard, "own", listens)
    client = auth.client("ada")
    headers = {"X-CSRFToken": auth.csrf(client)}
    for path in ("/workers/own/stops", "/api/v1/workers/own/stops"):
        assert client.post(path, headers=headers).status_code == 409
    assert "/workers/own/stops" not in client.get("/workers").text


def _register(yard: Yard, name: str, listens: list[str]) -> None:
    now = utcnow()
    values = {"name": name, "host": "elsewhere", "pid": 1, "queues": json.dumps(listens), "state": "idle"}
    with yard.database.write() as connection:
        worker_rows.register(connection, {**values, "started_at": now, "heartbeat_at": now})


def test_workers_of_people_do_not_serve_it_and_are_counted_without_its_own(light_yard: Yard) -> None:
    made = own_job(light_yard, "monitor.sweep")
    _register(light_yard, "own", ["system-deliveries"])
    with running_worker(light_yard):
        other = jobs.enqueue(light_yard, NewJob("samples.noop")).job_id
        eventually(lambda: _is(light_yard, other, "completed"), within=30)
        with light_yard.database.read() as connection:
            seen = statistics.snapshot(connection, utcnow(), light_yard.settings.heartbeat_seconds)
    assert seen["workers"]["total"] == 1
    assert [seen["queues"][name]["workers"] for name in SYSTEM_QUEUES] == [0, 1, 0]
    assert row(light_yard, made)["status"] == "pending"


# What was there before the upgrade.


def test_a_job_that_was_on_the_queue_before_still_runs_and_can_be_canceled(light_yard: Yard) -> None:
    old = [jobs.enqueue(light_yard, NewJob("samples.noop", delay_seconds=60)).job_id for _ in range(2)]
    for job_id in old:
        set_row(light_yard, job_id, queue="system", status="pending", due_at=None, pending_at=utcnow())
    jobs.cancel(light_yard, old[0], ADA)
    with pytest.raises(Conflict, match="reserved"):
        jobs.retry(light_yard, old[0], ADA)
    late = own_job(light_yard, "system.deliver")
    set_row(light_yard, late, queue="system")
    from datetime import timedelta

    from workers.services import delivery

    delivery.deliver_missing(light_yard, utcnow() + timedelta(seconds=30))
    with running_worker(light_yard, "system"):
        eventually(lambda: _is(light_yard, old[1], "completed"), within=30)
        eventually(lambda: _is(light_yard, late, "completed"), within=30)
    with pytest.raises(Conflict, match="reserved"):
        jobs.run_again(light_yard, old[1], ADA)
    jobs.delete(light_yard, old[0], ADA)


def test_a_bulk_retry_leaves_an_old_job_of_people_off_the_queue(yard: Yard) -> None:
    old = jobs.enqueue(yard, NewJob("samples.noop")).job_id
    set_row(yard, old, queue="system", status="failed")
    work = bulk_actions.create(yard, "retry", JobFilter(), None, ADA)
    assert bulk_actions.work(yard, work["id"], lambda done, total: None) == {"done": 0, "refused": 1}
    with yard.database.read() as connection:
        assert "reserved" in bulk_action_lists.list_refusals(connection, work["id"]).rows[0]["why"]


def test_a_schedule_from_before_is_refused_at_its_fire_and_can_be_disabled(yard: Yard) -> None:
    made = schedules.create(yard, {"name": "old", "task": "samples.noop", "interval_seconds": 60}, ADA)
    with yard.database.write() as connection:
        connection.execute(update(SCHEDULES).where(SCHEDULES.c.id == made["id"]).values(queue="system"))
    with pytest.raises(BadInput, match="reserved"):
        firing.run_now(yard, made["id"], ADA)
    assert firing.fire(yard, made["id"], made["next_due_at"]) == 0
    with yard.database.read() as connection:
        (fire,) = schedule_rows.fires(connection, made["id"], None, 10)
    assert (fire["outcome"], "reserved" in fire["detail"]) == ("refused", True)
    assert schedules.change(yard, made["id"], {"enabled": False}, ADA)["enabled"] is False
    with pytest.raises(BadInput, match="reserved"):
        schedules.change(yard, made["id"], {"enabled": True}, ADA)
    assert schedules.change(yard, made["id"], {"queue": "default", "enabled": True}, ADA)["enabled"] is True
    assert count(yard) == 0


def test_a_trigger_from_before_is_refused_at_its_firing_and_can_be_disabled(yard: Yard) -> None:
    from workers.services import events

    made = triggers.create(yard, {"name": "old", "listens": "orders.created", "task": "samples.noop"}, ADA)
    with yard.database.write() as connection:
        trigger_rows.change(connection, made["id"], {"task": "monitor.sweep"})
    events.emit(yard, "orders.created", {}, ADA)
    assert hearing.hear(yard) == 1
    with yard.database.read() as connection:
        (found,) = trigger_rows.firings(connection, made["id"], None, 10)
    assert found["outcome"] == "refused"
    assert not triggers.change(yard, made["id"], {"enabled": False}, ADA)["enabled"]
    with pytest.raises(BadInput, match="system task"):
        triggers.change(yard, made["id"], {"enabled": True}, ADA)


def test_the_upgrade_moves_what_waits_to_its_new_queue(yard: Yard) -> None:
    made = {task: own_job(yard, task, "retry_scheduled") for task in SYSTEM_TASKS}
    with yard.database.write() as connection:
        command.downgrade(migrate._config(connection), "0004")
    for job_id in made.values():
        set_row(yard, job_id, queue="system")
    migrate.migrate(yard.database)
    found = {task: row(yard, job_id)["queue"] for task, job_id in made.items()}
    assert found == {
        "monitor.sweep": "system",
        "system.bulk_action": "system-bulk",
        "system.callback": "system-deliveries",
        "system.deliver": "system-deliveries",
    }
    with yard.database.read() as connection:
        seen = statistics.snapshot(connection, utcnow())["queues"]
    assert [seen[name]["retry_scheduled"] for name in SYSTEM_QUEUES] == [1, 2, 1]


def test_no_trigger_hears_of_taskyards_own_jobs(yard: Yard) -> None:
    made = triggers.create(yard, {"name": "all", "listens": "job.*", "task": "samples.noop"}, ADA)
    for task in SYSTEM_TASKS:
        job_id = own_job(yard, task)
        execution.begin(yard, job_id, 1, "w")
        execution.end(yard, job_id, 1, Ending("completed"))
    assert hearing.hear(yard) == 0
    with yard.database.read() as connection:
        assert list(trigger_rows.firings(connection, made["id"], None, 10)) == []


# Each kind of work has its own slot.


class Hanging:
    """A server on loopback that takes connections and never answers."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self.taken: list[socket.socket] = []
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        while True:
            try:
                self.taken.append(self._listener.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        self._listener.close()
        for one in self.taken:
            one.close()


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    one = Hanging()
    yield one
    one.close()


def test_a_flood_of_deliveries_that_hang_delays_neither_the_monitor_nor_a_bulk_action(
    tmp_path: Path, hanging: Hanging
) -> None:
    running = Running(
        tmp_path / "yard",
        MONITOR_INTERVAL_SECONDS="1",
        ALLOW_PRIVATE_HTTP="1",
        ALERT_URLS=f"json://127.0.0.1:{hanging.port}/",
    )
    try:
        running.start().ready()
        yard = Yard.open(Settings.from_env(running.environment))
        url = f"http://127.0.0.1:{hanging.port}/"
        jobs.enqueue_many(yard, [NewJob("samples.noop", callback_url=url)] * 30)
        jobs.enqueue_many(yard, [NewJob("samples.fail", max_retries=0)] * 6)
        eventually(lambda: _delivers(yard), within=40)
        began = utcnow()
        work = bulk_actions.create(yard, "delete", JobFilter(task=("samples.noop",)), None, ADA)
        eventually(lambda: _is(yard, work["job_id"], "completed"), within=20)

        def has_swept() -> None:
            with yard.database.read() as connection:
                assert len(sweeps.recent(connection, began)) >= 8

        eventually(has_swept, within=30)
        _delivers(yard)
        with yard.database.read() as connection:
            moments = [one["at"] for one in sweeps.recent(connection, began)]
        gaps = [(after - before).total_seconds() for before, after in pairwise(moments)]
        assert max(gaps) < 8
        assert hanging.taken
        yard.close()
    finally:
        running.clean_up()


def _delivers(yard: Yard) -> None:
    with yard.database.read() as connection:
        seen = statistics.snapshot(connection, utcnow())["queues"]
    assert seen["system-deliveries"]["processing"] == 1
    assert seen["system-deliveries"]["pending"] > 3


@pytest.mark.parametrize("command_line", [("pool",), ("scheduler",)])
def test_each_system_queue_has_a_worker_of_its_own(tmp_path: Path, valkey: Settings, command_line: tuple[str]) -> None:
    running = Running(tmp_path / "yard", REDIS_URL=valkey.effective_redis_url)
    try:
        running.start(*command_line)
        assert running.run("migrate").returncode == 0
        yard = Yard.open(Settings.from_env(running.environment))

        def are_there() -> None:
            with yard.database.read() as connection:
                listens = [json.loads(one["queues"]) for one in worker_rows.present(connection)]
            assert [listens.count([name]) for name in SYSTEM_QUEUES] == [1, 1, 1]

        eventually(are_there, within=30)
        yard.close()
    finally:
        running.clean_up()


def test_a_worker_for_one_of_them_can_be_started_by_hand(tmp_path: Path, valkey: Settings) -> None:
    running = Running(tmp_path / "yard", REDIS_URL=valkey.effective_redis_url)
    try:
        running.start("worker", "--queues", "system,system-deliveries")
        assert running.run("migrate").returncode == 0
        yard = Yard.open(Settings.from_env(running.environment))
        job_id = monitoring.sweep_soon(yard, ADA)
        eventually(lambda: _is(yard, job_id, "completed"), within=30)
        told = running.run("doctor").stdout
        assert "no worker serves system-bulk" in told
        yard.close()
    finally:
        running.clean_up()


def test_alerts_go_out_from_the_web_process_while_nobody_serves_their_queue(
    light_yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[float] = []
    now = utcnow()
    monitoring.sweep(light_yard, now)
    monkeypatch.setattr(deliveries, "send_due", lambda _yard, seconds: sent.append(seconds))
    assert watchman.watch(light_yard, now, now) is None
    assert sent == [watchman.SEND_AFTER_SECONDS]
    _register(light_yard, "own", ["system-deliveries"])
    watchman.watch(light_yard, now, now)
    assert sent == [watchman.SEND_AFTER_SECONDS]


@pytest.mark.parametrize("way", ["/stuck/sweeps", "/api/v1/sweeps", "command line"])
def test_a_sweep_by_hand_still_works(auth: Auth, light_yard: Yard, monkeypatch: Any, way: str) -> None:
    if way == "command line":
        assert on_command_line(light_yard, monkeypatch, "sweep") == 0
        with light_yard.database.read() as connection:
            assert sweeps.last(connection) is not None
        return
    client = auth.client("olga")
    assert client.post(way, headers={"X-CSRFToken": auth.csrf(client)}).status_code in {202, 303}
    with light_yard.database.read() as connection:
        assert statistics.pending_by_queue(connection)["system"] == 1
