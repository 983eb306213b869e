"""One action on everything that a filter matches: what it would touch, how far it is, what it refused."""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue
from flask_login import current_user

from dashboard.actions import done
from dashboard.context import actor, conn, declared, yard
from dashboard.job_query import read_query
from dashboard.presenters.jobs import says
from dashboard.rendering import render
from dashboard.security import requires
from dashboard.slices import render_template
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput, Forbidden
from workers.domain.numbers import parse_number
from workers.services import bulk_action_lists, bulk_actions, bulk_selections, job_filters
from workers.store import jobs as job_rows
from workers.store.bulk_actions import UNFINISHED
from workers.store.types import Row

bp = Blueprint("bulk_actions", __name__)
HUES = {"aborted": "canceled"}
VERBS = {"retry": "Retry", "run_now": "Run now", "cancel": "Cancel", "delete": "Delete"}


@bp.get("/bulk-actions")
@requires("viewer")
def index() -> ResponseReturnValue:
    """List the actions; with `action`, show an operator what one would touch, before it does."""
    if "action" in request.args:
        return _preview()
    page = bulk_action_lists.list_actions(conn(), request.args.get("before", ""))
    return render(
        "bulk_actions/page.html",
        {"actions": "bulk_actions/_table.html"},
        active_page="bulk_actions",
        actions=[_shown(row) for row in page.rows],
        older=page.older,
        before=request.args.get("before", ""),
        now=utcnow(),
    )


@bp.get("/bulk-actions/running")
@requires("viewer")
def running() -> Response:
    """Show in the head of every page which actions are at work."""
    return render("bulk_actions/_running.html", {"at_work": "bulk_actions/_running.html"})


def running_actions() -> list[dict[str, Any]]:
    """Return the actions at work as templates show them; none while SQL is away."""
    try:
        return [_shown(row) for row in bulk_action_lists.list_running(conn())]
    except Exception:  # the page that says why the database is away must still be drawn
        return []


def _preview() -> ResponseReturnValue:
    if not current_user.actor.may("operator"):
        raise Forbidden("Your role does not permit this. It requires the role operator.")
    now, action = utcnow(), request.args.get("action", "")
    query = read_query(request.args, now, {"action"})
    wanted = bulk_selections.narrow(action, job_filters.resolve(conn(), yard().settings, query.check(), now), now)
    preview = bulk_actions.preview(conn(), action, wanted)
    rows = [{**row, "says": says(row, declared())} for row in preview["sample"]]
    return render_template(
        "bulk_actions/preview.html",
        active_page="jobs",
        action=action,
        verb=VERBS[action],
        args=query.args,
        fixed=wanted.to_args(),
        preview=preview,
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
    return done("Bulk action started.", f"/bulk-actions/{row['id']}")


@bp.get("/bulk-actions/<id:action_id>")
@requires("viewer")
def one(action_id: str) -> Response:
    """Show how far it is."""
    row, after = _shown(bulk_actions.get(conn(), action_id)), request.args.get("after", "")
    return render(
        "bulk_actions/one.html",
        {"action": "bulk_actions/_one.html"},
        active_page="bulk_actions",
        action=row,
        filter=row["filter"],
        job=job_rows.get(conn(), row["job_id"]) if row["job_id"] else None,
        refusals=bulk_action_lists.list_refusals(conn(), action_id, after),
        after=after,
        now=utcnow(),
    )


@bp.post("/bulk-actions/<id:action_id>/aborts")
@requires("operator")
def abort(action_id: str) -> ResponseReturnValue:
    """Abort it."""
    bulk_actions.abort(yard(), action_id, actor())
    return done("Bulk action aborted. Completed changes are kept.", f"/bulk-actions/{action_id}", stay=True)


@bp.post("/bulk-actions/<id:action_id>/resumptions")
@requires("operator")
def resume(action_id: str) -> ResponseReturnValue:
    """Resume one that failed."""
    bulk_actions.resume(yard(), action_id, actor())
    return done("Bulk action resumed from where it stopped.", f"/bulk-actions/{action_id}", stay=True)


def _shown(row: Row) -> dict[str, Any]:
    """Make what templates need of an action: its verb, how far it is, and the state whose hue it has."""
    at = row["done"] + row["refused"]
    total = max(row["total"], at)
    return {
        **row,
        "verb": VERBS[row["action"]],
        "filter": json.loads(row["selection"]),
        "at": at,
        "of": total,
        "percent": 100 * at / max(total, 1),
        "hue": HUES.get(row["status"], row["status"]),
        "is_unfinished": row["status"] in UNFINISHED,
    }
