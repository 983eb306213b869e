"""Bulk actions over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import BeforeValidator, Field

from dashboard.api.answers import accepted_action
from dashboard.api.contract import Strict, operation, read_body, refuse_crowd
from dashboard.context import actor, conn, declared, yard
from dashboard.presenters.jobs import as_json
from dashboard.security import requires
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput
from workers.services import bulk_actions, job_filters

bp = Blueprint("bulk_actions_api", __name__, url_prefix="/api/v1")


class BulkActionRequest(Strict):
    """One action on all jobs that a filter matches; `preview` only tells what it would touch."""

    action: Literal["retry", "run_now", "cancel", "delete"]
    filter: Annotated[dict[str, str], BeforeValidator(refuse_crowd)] = Field(
        default_factory=dict, examples=[{"status": "failed", "task": "reports.*"}]
    )
    rate_per_second: float | None = Field(None, ge=bulk_actions.LOWEST_RATE, le=bulk_actions.HIGHEST_RATE)
    preview: bool = False


@bp.post("/bulk-actions")
@requires("operator")
@operation(
    "Do one thing with every job that a filter matches",
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
@operation("One bulk action and how far it is", tag="bulk actions", answer="BulkAction")
def one(action_id: str) -> ResponseReturnValue:
    """Answer a bulk action with what it refused."""
    told: dict[str, Any] = bulk_actions.as_json(bulk_actions.get(conn(), action_id))
    return jsonify(**told, refusals=bulk_actions.refusals(conn(), action_id))


@bp.delete("/bulk-actions/<id:action_id>")
@requires("operator")
@operation("Abort a bulk action; what it has done stays done", tag="bulk actions", answer="BulkAction")
def abort(action_id: str) -> ResponseReturnValue:
    """Abort."""
    return jsonify(**bulk_actions.as_json(bulk_actions.abort(yard(), action_id, actor())))
