"""The columns of the list of jobs that each viewer chooses; a cookie keeps the choice in the browser."""

from __future__ import annotations

from flask import Blueprint, Response, redirect, request

from dashboard.actions import came_from
from dashboard.security import requires

bp = Blueprint("job_columns", __name__)
COOKIE = "job_columns"
COLUMNS = {
    "priority": "Priority",
    "worker": "Worker",
    "duration": "Duration",
    "created": "Created",
    "creator": "Created by",
}
_YEAR_SECONDS = 31_536_000


@bp.post("/jobs/columns")
@requires("viewer")
def choose() -> Response:
    """Keep which columns the viewer wants, and go back to the list."""
    chosen = [name for name in COLUMNS if name in request.form.getlist("column")]
    answer = redirect(came_from("/jobs"), code=303)
    answer.set_cookie(COOKIE, ".".join(chosen), max_age=_YEAR_SECONDS, samesite="Lax", secure=request.is_secure)
    return answer  # type: ignore[return-value]


def chosen_columns() -> list[str]:
    """Return the names of the columns that this browser shows beside those that are always there."""
    wanted = request.cookies.get(COOKIE, "").split(".")
    return [name for name in COLUMNS if name in wanted]
