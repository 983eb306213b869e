"""Queues, tasks and workers over HTTP."""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field

from dashboard.api.answers import accepted_action
from dashboard.api.contract import Strict, operation, read_body
from dashboard.context import actor, conn, yard
from dashboard.presenters.plain import plain
from dashboard.security import requires
from dashboard.slices import json_answer
from workers.domain.clock import utcnow
from workers.services import catalogue, clocks, pool, queues, statistics
from workers.services import workers as worker_service
from workers.store import workers as worker_rows
from workers.store.types import Row

bp = Blueprint("queues_api", __name__, url_prefix="/api/v1")


@bp.get("/queues")
@requires("viewer")
@operation("List queues with their waiting and running jobs", tag="queues", answer="Queues")
def page() -> ResponseReturnValue:
    """Answer every queue."""
    told = statistics.snapshot(conn(), utcnow(), yard().settings.heartbeat_seconds)["queues"]
    return json_answer(queues=[{"name": name, **one} for name, one in told.items()], next_cursor=None)


@bp.get("/queues/<queue:name>")
@requires("viewer")
@operation("Get a queue", tag="queues", answer="Queue")
def one(name: str) -> ResponseReturnValue:
    """Answer one queue."""
    return jsonify(_one(name))


@bp.put("/queues/<queue:name>/pause")
@requires("operator")
@operation("Pause a queue; it keeps accepting jobs", tag="queues", answer="Queue")
def pause(name: str) -> ResponseReturnValue:
    """Pause."""
    queues.pause(yard(), name, actor())
    return jsonify(_one(name))


@bp.delete("/queues/<queue:name>/pause")
@requires("operator")
@operation("Resume a queue", tag="queues", answer="Queue")
def resume(name: str) -> ResponseReturnValue:
    """Resume."""
    queues.resume(yard(), name, actor())
    return jsonify(_one(name))


@bp.post("/queues/<queue:name>/purges")
@requires("operator")
@operation("Cancel every waiting job of a queue with a bulk action", tag="queues", answer="BulkAction", status=202)
def purge(name: str) -> ResponseReturnValue:
    """Purge."""
    return accepted_action(queues.purge(yard(), name, actor()))


@bp.get("/tasks")
@requires("viewer")
@operation("List tasks with their payload schemas", tag="tasks", answer="Tasks")
def tasks() -> ResponseReturnValue:
    """Answer the catalogue."""
    reasons = catalogue.unavailable_tasks(conn())
    rows = [_task(row, reasons.get(row["name"])) for row in catalogue.list_tasks(conn())]
    return json_answer(tasks=rows, next_cursor=None)


@bp.get("/workers")
@requires("viewer")
@operation("List workers with their current jobs", tag="workers", answer="Workers")
def workers() -> ResponseReturnValue:
    """Answer the workers that have not stopped."""
    moment, beat = clocks.read(conn()), yard().settings.heartbeat_seconds
    told = [
        {**plain(row), "queues": json.loads(row["queues"]), "is_lost": worker_rows.is_lost(row, moment, beat)}
        for row in worker_rows.present(conn())
    ]
    return json_answer(workers=told, next_cursor=None)


@bp.post("/workers/<name:name>/stops")
@requires("operator")
@operation("Stop a worker after its current job", tag="workers", answer="Worker", status=202)
def stop(name: str) -> ResponseReturnValue:
    """Stop a worker."""
    return jsonify(plain(worker_service.stop(yard(), name, actor()))), 202


class PoolRequest(Strict):
    """How many workers each pool keeps; null = as many as WORKERS says."""

    workers: int | None = Field(ge=0, le=256, examples=[4])


@bp.put("/pool")
@requires("operator")
@operation("Set the number of workers of each pool", tag="workers", body=PoolRequest, answer="Pool")
def resize_pool() -> ResponseReturnValue:
    """Grow or shrink the pool."""
    return jsonify(workers=pool.resize(yard(), read_body(PoolRequest).workers, actor()))


def _task(row: Row, unavailable: str | None) -> dict[str, Any]:
    delays = json.loads(row["retry_delays"]) if row["retry_delays"] else None
    schema = json.loads(row["payload_schema"])
    return {**plain(row), "payload_schema": schema, "retry_delays": delays, "unavailable": unavailable}


def _one(name: str) -> dict[str, Any]:
    with yard().database.read() as connection:  # as it is after the change, not as it was when the request began
        queues.get(connection, name)
        told = statistics.snapshot(connection, utcnow(), yard().settings.heartbeat_seconds)["queues"]
    return {"name": name, **told[name]}
