"""Schedules: all of them, one with its history, and what may be done with it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from dashboard.actions import done
from dashboard.confirmation import confirm
from dashboard.context import actor, conn, declared, yard
from dashboard.pages.undo import undo_of
from dashboard.presenters import schedules as presenter
from dashboard.rendering import render
from dashboard.revisions import expected_by_form
from dashboard.security import requires
from dashboard.slices import render_template
from dashboard.zones import show_schedule_zone, viewer_zone
from workers.domain import cron
from workers.domain.clock import parse_instant, utcnow
from workers.domain.errors import BadInput, Edited
from workers.domain.plurals import counted
from workers.services import firing, schedule_samples, schedules
from workers.store import schedules as rows

bp = Blueprint("schedules", __name__)
PAGE = 25
KEPT = 500  # fires of a schedule that its page adds up
HISTORY = 20


@bp.get("/schedules")
@requires("viewer")
def page() -> Response:
    """List schedules by name with their last runs."""
    connection, zone = conn(), viewer_zone()
    q, tag = request.args.get("q", "").strip()[:100], request.args.get("tag", "").strip()[:40]
    after = request.args.get("after") or None
    found = rows.page(connection, q, tag, after, PAGE + 1)
    shown = found[:PAGE]
    count, enabled = rows.counts(connection)
    return render(
        "schedules/page.html",
        {"schedules": "schedules/_table.html"},
        active_page="schedules",
        schedules=presenter.rows(shown, rows.recent(connection, [row["id"] for row in shown], presenter.RUNS), zone),
        count=count,
        enabled=enabled,
        following=shown[-1]["name"] if len(found) > PAGE else None,
        coming=rows.coming(connection, 8),
        samples=schedule_samples.missing(connection) if count < 10 else [],
        q=q,
        tag=tag,
        after=after,
        zone=zone,
        local=cron.zone(zone),
        now=utcnow(),
    )


@bp.get("/schedules/<id:schedule_id>")
@requires("viewer")
def one(schedule_id: str) -> Response:
    """Show a schedule: its last runs, its next fires, its policies."""
    connection, now = conn(), utcnow()
    row = schedules.get(connection, schedule_id)
    show_schedule_zone(row["timezone"])
    zone = viewer_zone()
    before = _before(request.args.get("before"))
    fires = rows.fires(connection, schedule_id, None, KEPT)
    shown = fires if before is None else rows.fires(connection, schedule_id, before, HISTORY + 1)
    told = {**schedules.as_json(row, declared()[row["task"]]), "name": row["name"]}
    ahead = schedules.preview({**row}, max(now, row["last_fire_at"] or now), 5) if row["next_fire_at"] else None
    return render(
        "schedules/one.html",
        {"title": "schedules/_title.html", "schedule": "schedules/_one.html"},
        active_page="schedules",
        schedule=row,
        told=told,
        words=cron.describe(schedules.rhythm_of(row)),
        rhythm=presenter.rhythm_text(row),
        runs=presenter.runs(list(reversed(fires[: presenter.RUNS])), step=10),
        last_state=presenter.state_of(fires[0]) if fires else "",
        history=presenter.history(shown[:HISTORY]),
        older=shown[HISTORY - 1]["fire_at"] if len(shown) > HISTORY else None,
        facts=presenter.facts(fires),
        coming=presenter.coming(ahead["fires"], zone) if ahead else [],
        zone=zone,
        local=cron.zone(zone),
        before=before,
        now=now,
    )


@bp.post("/schedules/<id:schedule_id>/runs")
@requires("operator")
def run(schedule_id: str) -> ResponseReturnValue:
    """Run its task once now."""
    row = schedules.get(conn(), schedule_id)
    confirm(
        f"Run {row['name']} now?", f"The task {row['task']} runs once.", "Run schedule", is_danger=False, always=False
    )
    made = firing.run_now(yard(), schedule_id, actor())
    return done("Job enqueued.", f"/jobs/{made.job_id}", stay=True)


@bp.post("/schedules/<id:schedule_id>/pauses")
@requires("operator")
def pause(schedule_id: str) -> ResponseReturnValue:
    """Let it fire no more."""
    schedules.change(yard(), schedule_id, {"enabled": False}, actor())
    return done(
        "Schedule paused.",
        f"/schedules/{schedule_id}",
        stay=True,
        undo=undo_of("schedule", schedule_id),
    )


@bp.post("/schedules/<id:schedule_id>/resumes")
@requires("operator")
def resume(schedule_id: str) -> ResponseReturnValue:
    """Let it fire again."""
    schedules.change(yard(), schedule_id, {"enabled": True}, actor())
    return done(
        "Schedule resumed.",
        f"/schedules/{schedule_id}",
        stay=True,
        undo=undo_of("schedule", schedule_id),
    )


@bp.route("/schedules/<id:schedule_id>/deletions", methods=["GET", "POST"])
@requires("operator")
def remove(schedule_id: str) -> ResponseReturnValue:
    """Ask, then delete the schedule that was shown: one that was edited meanwhile is shown again."""
    if request.method != "POST":
        return _deletion_page(schedule_id)
    try:
        schedules.remove(yard(), schedule_id, actor(), expected_by_form())
    except Edited:
        return _deletion_page(schedule_id, is_changed=True), 409
    return done("Schedule deleted. Its jobs are kept.", "/schedules", undo=undo_of("schedule", schedule_id))


def _deletion_page(schedule_id: str, *, is_changed: bool = False) -> str:
    row: Any = schedules.get(conn(), schedule_id)
    return render_template(
        "schedules/delete.html",
        active_page="schedules",
        schedule=row,
        running=rows.unfinished_job(conn(), schedule_id),
        is_changed=is_changed,
    )


@bp.post("/schedules/samples")
@requires("operator")
def install_samples() -> ResponseReturnValue:
    """Make the sample schedules that are not there yet."""
    made = schedule_samples.install(yard(), actor())
    return done(f"{counted(made, 'sample schedule')} installed.", "/schedules")


def _before(text: str | None) -> datetime | None:
    try:
        return parse_instant(text) if text else None
    except ValueError as error:
        raise BadInput("The cursor is invalid. Open the first page.", field="before") from error
