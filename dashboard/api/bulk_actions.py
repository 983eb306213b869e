"""Bulk actions over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import BeforeValidator, Field

from dashboard.api.answers import accepted_action
from dashboard.api.contract import Strict, operation, read_body, read_query, refuse_crowd
from dashboard.context import actor, conn, declared, yard
from dashboard.presenters.jobs import as_json
from dashboard.security import requires
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput
from workers.services import bulk_action_lists, bulk_actions, job_filters

bp = Blueprint("bulk_actions_api", __name__, url_prefix="/api/v1")


class BulkActionRequest(Strict):
    """One action on all jobs that a filter matches; `preview` only tells what it would touch."""

    action: Literal["retry", "run_now", "cancel", "delete"]
    filter: Annotated[dict[str, str], BeforeValidator(refuse_crowd)] = Field(
        default_factory=dict, examples=[{"status": "failed", "task": "reports.*"}]
    )
    rate_per_second: float | None = Field(None, ge=bulk_actions.LOWEST_RATE, le=bulk_actions.HIGHEST_RATE)
    preview: bool = False


class BulkActionQuery(Strict):
    """Which bulk actions: those before an id."""

    before: str = Field("", max_length=36)
    limit: int = Field(50, ge=1, le=200)


class RefusalQuery(Strict):
    """Which jobs: those after an id."""

    after: str = Field("", max_length=36)
    limit: int = Field(200, ge=1, le=200)


@bp.get("/bulk-actions")
@requires("viewer")
@operation("List bulk actions, newest first", tag="bulk actions", query=BulkActionQuery, answer="BulkActions")
def index() -> ResponseReturnValue:
    """Answer a page of them; `next_cursor` is the `before` of the next page."""
    query = read_query(BulkActionQuery)
    page = bulk_action_lists.list_actions(conn(), query.before, query.limit)
    return jsonify(bulk_actions=[bulk_action_lists.as_json(row) for row in page.rows], next_cursor=page.older)


@bp.post("/bulk-actions")
@requires("operator")
@operation(
    "Create a bulk action for every job that a filter matches",
    tag="bulk actions",
    body=BulkActionRequest,
    answer="BulkAction",
    status=202,
    instead={200: "With `preview`: how many jobs match, and some of them"},
)
def create() -> ResponseReturnValue:
    """Make a bulk action, or preview it."""
    given = read_body(BulkActionRequest)
    try:
        wanted = job_filters.read(conn(), yard().settings, given.filter, utcnow())
    except BadInput as error:
        errors = [{**one, "field": f"filter.{one['field']}"} for one in error.errors]
        raise BadInput(str(error), errors=errors) from error
    if given.preview:
        told = bulk_actions.preview(conn(), given.action, wanted)
        return jsonify(**{**told, "sample": [as_json(row, declared()) for row in told["sample"]]})
    row = bulk_actions.create(yard(), given.action, wanted, given.rate_per_second, actor())
    return accepted_action(row)


@bp.get("/bulk-actions/<id:action_id>")
@requires("viewer")
@operation("Get a bulk action and its progress", tag="bulk actions", answer="BulkAction")
def one(action_id: str) -> ResponseReturnValue:
    """Answer a bulk action with what it refused."""
    shown: dict[str, Any] = bulk_action_lists.as_json(bulk_actions.get(conn(), action_id))
    return jsonify(**shown, refusals=bulk_action_lists.list_refusals(conn(), action_id).rows)


@bp.get("/bulk-actions/<id:action_id>/refusals")
@requires("viewer")
@operation("List the jobs that a bulk action refused, by ID", tag="bulk actions", query=RefusalQuery, answer="Refusals")
def refusals(action_id: str) -> ResponseReturnValue:
    """Answer a page of them; `next_cursor` is the `after` of the next page."""
    query = read_query(RefusalQuery)
    bulk_actions.get(conn(), action_id)
    page = bulk_action_lists.list_refusals(conn(), action_id, query.after, query.limit)
    return jsonify(refusals=page.rows, next_cursor=page.following)


@bp.post("/bulk-actions/<id:action_id>/resumptions")
@requires("operator")
@operation(
    "Resume a failed bulk action from where it stopped",
    tag="bulk actions",
    answer="BulkAction",
    status=202,
)
def resume(action_id: str) -> ResponseReturnValue:
    """Resume."""
    return accepted_action(bulk_actions.resume(yard(), action_id, actor()))


@bp.delete("/bulk-actions/<id:action_id>")
@requires("operator")
@operation("Abort a bulk action; completed changes are kept", tag="bulk actions", answer="BulkAction")
def abort(action_id: str) -> ResponseReturnValue:
    """Abort."""
    return jsonify(**bulk_action_lists.as_json(bulk_actions.abort(yard(), action_id, actor())))
