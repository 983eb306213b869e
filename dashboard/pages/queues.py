"""The queues, one queue, and what can be done with it."""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from dashboard.actions import came_from, done
from dashboard.context import actor, conn, yard
from dashboard.pages.undo import undo_of
from dashboard.presenters import charts
from dashboard.presenters.queues import check_sort, queue_rows
from dashboard.rendering import render
from dashboard.security import requires
from dashboard.shared_regions import shares_regions
from dashboard.slices import render_template
from workers.domain.clock import utcnow
from workers.domain.filters import JobFilter
from workers.domain.states import Status
from workers.services import queues, statistics
from workers.store import job_lists

bp = Blueprint("queues", __name__)
WAITING_SHOWN = 25


@bp.get("/queues")
@requires("viewer")
@shares_regions
def page() -> Response:
    """List the queues."""
    now = utcnow()
    snapshot = statistics.snapshot(conn(), now, yard().settings.heartbeat_seconds)
    sort = check_sort(request.args.get("sort", "attention"))
    rows = queue_rows(snapshot, statistics.minutes_by_queue(conn(), now), now, sort)
    regions = {"queues": "queues/_table.html"}
    return render("queues/page.html", regions, active_page="queues", queues=rows, sort=sort, now=now)


@bp.get("/queues/<queue:name>")
@requires("viewer")
@shares_regions
def one(name: str) -> Response:
    """Show one queue: who works it, what waits, what ended."""
    now = utcnow()
    row = queues.get(conn(), name)
    snapshot = statistics.snapshot(conn(), now, yard().settings.heartbeat_seconds)
    history = statistics.minutes(conn(), now - timedelta(minutes=59), now, queue=name)
    shown = queue_rows({"queues": {name: snapshot["queues"][name]}}, {name: history}, now)[0]
    waiting = job_lists.jobs_page(conn(), JobFilter(queue=(name,), status=(Status.PENDING,)), limit=WAITING_SHOWN)
    return render(
        "queues/one.html",
        {"queue": "queues/_one.html"},
        active_page="queues",
        queue=shown,
        row=row,
        waiting=waiting.rows,
        through=charts.line([float(minute.completed + minute.failed) for minute in history]),
        hour=history,
        now=now,
    )


@bp.post("/queues/<queue:name>/pauses")
@requires("operator")
def pause(name: str) -> ResponseReturnValue:
    """Pause a queue."""
    queues.pause(yard(), name, actor())
    return done(
        f"{name} is paused. It accepts jobs, but no job starts until you resume it.",
        _back(name),
        stay=True,
        undo=undo_of("queue", name),
    )


@bp.post("/queues/<queue:name>/resumes")
@requires("operator")
def resume(name: str) -> ResponseReturnValue:
    """Resume a queue."""
    queues.resume(yard(), name, actor())
    return done(f"{name} is resumed.", _back(name), stay=True, undo=undo_of("queue", name))


@bp.route("/queues/<queue:name>/purges", methods=["GET", "POST"])
@requires("operator")
def purge(name: str) -> ResponseReturnValue:
    """Cancel all that waits on a queue, after a page that asks."""
    queues.refuse_reserved(name, "purged")
    queues.get(conn(), name)
    if request.method != "POST":
        waiting, capped = job_lists.count_matching(conn(), JobFilter(queue=(name,), status=(Status.PENDING,)))
        return render_template("queues/purge.html", active_page="queues", name=name, waiting=waiting, capped=capped)
    action = queues.purge(yard(), name, actor())
    return done(f"The purge of {name} has started. This page shows its progress.", f"/bulk-actions/{action['id']}")


def _back(name: str) -> str:
    return came_from(f"/queues/{name}")
