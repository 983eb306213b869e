"""Files that jobs made: downloads, and a view of plain images, text and HTML reports that can run nothing."""

from __future__ import annotations

import os
import unicodedata
from pathlib import PurePosixPath
from urllib.parse import quote

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue
from werkzeug.wsgi import wrap_file

from dashboard.context import conn, yard
from dashboard.security import requires
from workers.domain.errors import NotFound
from workers.services import files, jobs

bp = Blueprint("files", __name__)
# What a job wrote may be looked at with its own styles, but runs no script, sends no form, loads and opens nothing.
_SANDBOX = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TEXT, _DOWNLOAD = "text/plain; charset=utf-8", "application/octet-stream"
# SVG is a document with scripts: it is no plain image.
_IMAGES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp"}
_TYPES = _IMAGES | dict.fromkeys((".txt", ".log", ".csv", ".tsv", ".json", ".ndjson", ".md"), _TEXT)
_CHUNK = 1 << 16


@bp.get("/jobs/<id:job_id>/files/<name:name>")
@requires("viewer")
def file(job_id: str, name: str) -> ResponseReturnValue:
    """Send a file of a job: plain images and text are shown, HTML only with `view=1`, everything else is a download."""
    jobs.get(conn(), job_id)
    try:
        content = files.open_job_file(yard().settings, job_id, name)
    except files.FileRefused as error:
        raise NotFound(f"This job has no file {name[:100]!r}.") from error
    media_type = _media_type(name)
    answer = Response(wrap_file(request.environ, content, _CHUNK), direct_passthrough=True)
    answer.call_on_close(content.close)
    answer.content_length = size = os.fstat(content.fileno()).st_size
    answer.headers["Content-Type"] = media_type
    disposition = "attachment" if media_type == _DOWNLOAD else "inline"
    answer.headers.set("Content-Disposition", disposition, **_file_name(name))
    answer.headers["Content-Security-Policy"] = _SANDBOX
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["Cache-Control"] = "no-store"
    return answer.make_conditional(request.environ, accept_ranges=True, complete_length=size)


def _file_name(name: str) -> dict[str, str]:
    """Return the parameters of a Content-Disposition: the name in ASCII, and as it is for browsers that know RFC 8187."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return {"filename": plain} if plain == name else {"filename": plain, "filename*": f"UTF-8''{quote(name, safe='')}"}


def _media_type(name: str) -> str:
    """Return the one type that a file of this name is sent as; what browsers could run is a download."""
    ending = PurePosixPath(name).suffix.lower()
    if "download" in request.args:
        return _DOWNLOAD
    if ending == ".html" and "view" in request.args:
        return "text/html; charset=utf-8"
    return _TYPES.get(ending, _DOWNLOAD)
