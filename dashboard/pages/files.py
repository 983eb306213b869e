"""Files that jobs made: downloads, and a view of plain images, text and HTML reports that can run nothing."""

from __future__ import annotations

import os
from pathlib import PurePosixPath

from flask import Blueprint, Response, request, send_file
from flask.typing import ResponseReturnValue

from dashboard.context import conn, yard
from dashboard.security import requires
from workers.domain.errors import NotFound
from workers.services import files, jobs

bp = Blueprint("files", __name__)
# A file of a job is not ours: it runs no script, sends no form, reaches nothing, and has an origin of its own.
_SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
_IMAGES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp"}
_TEXTS = {".txt", ".log", ".csv", ".tsv", ".json", ".ndjson", ".md"}
_DOWNLOAD = "application/octet-stream"


@bp.get("/jobs/<job_id>/files/<name>")
@requires("viewer")
def file(job_id: str, name: str) -> ResponseReturnValue:
    """Send a file of a job: plain images and text are shown, HTML only with `view=1`, everything else is a download."""
    jobs.get(conn(), job_id)
    media_type = _DOWNLOAD if "download" in request.args else _media_type(name)
    try:
        content = files.open_below(yard().settings.files_dir, f"{job_id}/{name}")
    except files.FileRefused as error:
        raise NotFound(f"This job has no file {name[:100]!r}.") from error
    answer = send_file(
        content,
        mimetype=media_type,
        as_attachment=media_type == _DOWNLOAD,
        download_name=name,
        max_age=0,
        etag=False,
    )
    answer.content_length = os.fstat(content.fileno()).st_size
    return _sandboxed(answer)


def _media_type(name: str) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in _IMAGES:
        return _IMAGES[suffix]
    if suffix in _TEXTS:
        return "text/plain"
    if suffix == ".html" and "view" in request.args:
        return "text/html"
    return _DOWNLOAD


def _sandboxed(answer: Response) -> Response:
    answer.headers["Content-Security-Policy"] = _SANDBOX
    answer.headers["Cache-Control"] = "no-store"
    return answer
