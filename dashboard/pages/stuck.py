"""Stuck jobs: the verdict with its evidence, what the monitor will do and when, and what it did before."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from dashboard.actions import done
from dashboard.context import actor, conn, yard
from dashboard.presenters import stuck as presenter
from dashboard.rendering import render
from dashboard.security import requires
from dashboard.shared_regions import shares_regions
from dashboard.slices import render_template
from workers.domain.clock import utcnow
from workers.services import clocks, jobs, monitoring, statistics, stuck
from workers.store import sweeps

bp = Blueprint("stuck", __name__)
SHOWN = 20
BEFORE = timedelta(days=7)
LEAVE_SECONDS = 1800.0


@bp.get("/stuck")
@requires("viewer")
@shares_regions
def page() -> Response:
    """Show what is stuck, what is watched, and the monitor."""
    now, connection, settings = utcnow(), conn(), yard().settings
    found = stuck.look(connection, settings, clocks.read(connection, now))
    last = sweeps.last(connection)
    running = presenter.running(connection, {one.row["id"] for one in found})
    return render(
        "stuck/page.html",
        {"stuck": "stuck/_stuck.html"},
        active_page="stuck",
        cards=[presenter.card(one, settings, now) for one in found[:SHOWN]],
        count=len(found),
        watched=presenter.watched(running, statistics.usual_of(connection, [row["task"] for row in running]), now),
        last=last,
        next_at=_next(last["at"] if last else None, settings.monitor_interval_seconds, now),
        clock_notes=clocks.notes(connection, now),
        interval=settings.monitor_interval_seconds,
        sweeps=presenter.sweep_bars(sweeps.recent(connection, now - timedelta(hours=1))),
        before=presenter.before(connection, sweeps.findings(connection, now - BEFORE)),
        now=now,
    )


@bp.post("/stuck/sweeps")
@requires("operator")
def sweep() -> ResponseReturnValue:
    """Sweep now."""
    monitoring.sweep_soon(yard(), actor())
    return done("Sweep completed.", "/stuck", stay=True)


@bp.post("/jobs/<id:job_id>/resets")
@requires("operator")
def reset(job_id: str) -> ResponseReturnValue:
    """Put a stuck job back."""
    stuck.reset(yard(), job_id, actor())
    return done("Job reset.", "/stuck", stay=True)


@bp.route("/jobs/<id:job_id>/failures", methods=["GET", "POST"])
@requires("operator")
def fail(job_id: str) -> ResponseReturnValue:
    """Ask, then fail a stuck job."""
    if request.method != "POST":
        return render_template("stuck/fail.html", active_page="stuck", job=jobs.get(conn(), job_id))
    stuck.fail(yard(), job_id, actor())
    return done("Job failed. You can retry it.", f"/jobs/{job_id}")


@bp.post("/jobs/<id:job_id>/leave")
@requires("operator")
def leave(job_id: str) -> ResponseReturnValue:
    """Leave a running job alone for half an hour."""
    stuck.leave(yard(), job_id, LEAVE_SECONDS, actor())
    return done("The monitor ignores this job for 30 min.", "/stuck", stay=True)


@bp.post("/stuck/findings/<number:finding_id>/undo")
@requires("operator")
def undo(finding_id: str) -> ResponseReturnValue:
    """Undo what a sweep did."""
    row: Any = stuck.undo(yard(), int(finding_id), actor())
    words = "Job canceled." if row["status"] == "canceled" else "Job retried."
    return done(words, "/stuck", stay=True)


def _next(last: datetime | None, interval: float, now: datetime) -> datetime:
    following = (last or now) + timedelta(seconds=interval)
    return following if following > now else now
