"""Files that jobs made, for download or a safe look."""

from __future__ import annotations

from flask import Blueprint, make_response, request, send_from_directory
from flask.typing import ResponseReturnValue

from dashboard.context import conn, yard
from dashboard.security import requires
from workers.services import jobs

bp = Blueprint("files", __name__)
# What a job wrote is not ours: it may be looked at, with its own styles, but runs nothing and reaches nothing.
_SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@bp.get("/jobs/<job_id>/files/<name>")
@requires("viewer")
def one(job_id: str, name: str) -> ResponseReturnValue:
    """Send a file of a job."""
    jobs.get(conn(), job_id)
    shown = name.endswith(".html") and "download" not in request.args
    folder = yard().settings.files_dir / job_id
    answer = make_response(send_from_directory(folder, name, as_attachment=not shown, max_age=0))
    answer.headers["Content-Security-Policy"] = _SANDBOX
    return answer
