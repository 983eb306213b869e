"""The workers: what each does, and the way to stop one."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from dashboard.actions import done
from dashboard.context import actor, conn, stuck_jobs, yard
from dashboard.rendering import render
from dashboard.security import requires
from dashboard.shared_regions import shares_regions
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput
from workers.domain.evenness import Clocks
from workers.domain.names import SYSTEM_QUEUES
from workers.domain.plurals import counted
from workers.services import clocks, pool
from workers.services import workers as service
from workers.store import jobs, workers

bp = Blueprint("workers", __name__)


@bp.get("/workers")
@requires("viewer")
@shares_regions
def page() -> Response:
    """List the workers by host."""
    now = utcnow()
    moment = clocks.read(conn(), now)
    rows = [dict(row) for row in workers.present(conn())]
    running = jobs.get_many(conn(), [row["job_id"] for row in rows if row["job_id"]][:1000])
    for row in rows:
        _dress(row, running, moment)
    rows.sort(key=lambda row: (row["host"], row["name"]))
    hosts = [(host, list(group)) for host, group in groupby(rows, key=lambda row: row["host"])]
    return render(
        "workers/page.html",
        {"workers": "workers/_table.html"},
        active_page="workers",
        hosts=hosts,
        total=len(rows),
        busy=sum(row["state"] == "busy" and not row["lost"] for row in rows),
        lost=sum(row["lost"] for row in rows),
        memory=sum(row["memory_bytes"] or 0 for row in rows if not row["lost"]),
        stopped=workers.recently_stopped(conn(), now, 10),
        lost_after=workers.lost_after_seconds(yard().settings.heartbeat_seconds),
        heartbeat_seconds=yard().settings.heartbeat_seconds,
        clock_notes=clocks.notes(conn(), now),
        pool_runs=pool.is_running(conn(), now),
        pool_size=pool.size(conn(), yard().settings),
        pool_bounds=pool.bounds(yard().settings),
        now=now,
    )


@bp.post("/pool")
@requires("operator")
def resize_pool() -> ResponseReturnValue:
    """Choose how many workers each pool keeps."""
    given = request.form.get("workers", "").strip()
    if not (given.isascii() and given.isdecimal() and len(given) <= 3):
        raise BadInput("The number of workers must be a whole number.", field="workers")
    size = pool.resize(yard(), int(given), actor())
    message = f"Pool size set to {counted(size, 'worker')}."
    if not pool.is_running(conn(), utcnow()):
        message = f"{message} No pool is running. The next pool starts with this size."
    return done(message, "/workers", stay=True)


@bp.post("/workers/<name:name>/stops")
@requires("operator")
def stop(name: str) -> ResponseReturnValue:
    """Tell a worker to finish its job and end."""
    service.stop(yard(), name, actor())
    return done(f"{name} stops after its current job.", "/workers", stay=True)


def _dress(row: dict[str, Any], running: dict[str, Any], moment: Clocks) -> None:
    row["lost"] = workers.is_lost(row, moment, yard().settings.heartbeat_seconds)
    row["listens"] = ["all queues" if name == "*" else name for name in json.loads(row["queues"])]
    row["is_system"] = any(name in SYSTEM_QUEUES for name in json.loads(row["queues"]))
    job = running.get(row["job_id"] or "")
    row["job"] = job if job is not None and job["status"] == "processing" else None
    is_stuck = row["job"] is not None and row["job"]["id"] in stuck_jobs()
    row["mark"] = "stuck" if row["lost"] or is_stuck else ("processing" if row["job"] else "")
