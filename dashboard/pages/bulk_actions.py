"""One action on everything that a filter matches: what it would touch, how far it is, what it refused."""

from __future__ import annotations

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from dashboard.actions import done
from dashboard.context import actor, conn, declared, yard
from dashboard.job_query import read_query
from dashboard.presenters.jobs import says
from dashboard.rendering import render
from dashboard.security import requires
from dashboard.slices import render_template
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput
from workers.domain.numbers import parse_number
from workers.services import bulk_actions, bulk_selections, job_filters

bp = Blueprint("bulk_actions", __name__)
VERBS = {"retry": "Retry", "run_now": "Run now", "cancel": "Cancel", "delete": "Delete"}


@bp.get("/bulk-actions")
@requires("operator")
def preview() -> ResponseReturnValue:
    """Show what an action would touch, before it does."""
    now, action = utcnow(), request.args.get("action", "")
    query = read_query(request.args, now, {"action"})
    wanted = bulk_selections.narrow(action, job_filters.resolve(conn(), yard().settings, query.check(), now), now)
    told = bulk_actions.preview(conn(), action, wanted)
    rows = [{**row, "says": says(row, declared())} for row in told["sample"]]
    return render_template(
        "bulk_actions/preview.html",
        active_page="jobs",
        action=action,
        verb=VERBS[action],
        args=query.args,
        fixed=wanted.to_args(),
        told=told,
        rows=rows,
        now=now,
    )


@bp.post("/bulk-actions")
@requires("operator")
def create() -> ResponseReturnValue:
    """Make it."""
    rate = request.form.get("rate_per_second", "")
    try:
        per_second = parse_number(rate) if rate else None
    except ValueError as error:
        raise BadInput(f"rate_per_second {error}.", field="rate_per_second") from error
    now = utcnow()
    query = read_query(request.form, now, {"action", "rate_per_second", "csrf_token"})
    wanted = job_filters.resolve(conn(), yard().settings, query.check(), now)
    row = bulk_actions.create(yard(), request.form.get("action", ""), wanted, per_second, actor())
    return done("It is under way.", f"/bulk-actions/{row['id']}")


@bp.get("/bulk-actions/<id:action_id>")
@requires("viewer")
def one(action_id: str) -> Response:
    """Show how far it is."""
    row = bulk_actions.get(conn(), action_id)
    return render(
        "bulk_actions/one.html",
        {"action": "bulk_actions/_one.html"},
        active_page="jobs",
        action=row,
        verb=VERBS[row["action"]],
        filter=bulk_actions.as_json(row)["filter"],
        refusals=bulk_actions.refusals(conn(), action_id),
        now=utcnow(),
    )


@bp.post("/bulk-actions/<id:action_id>/aborts")
@requires("operator")
def abort(action_id: str) -> ResponseReturnValue:
    """Abort it."""
    bulk_actions.abort(yard(), action_id, actor())
    return done("Aborted. What it has done stays done.", f"/bulk-actions/{action_id}", stay=True)
