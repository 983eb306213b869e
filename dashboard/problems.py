"""Errors as answers: RFC 9457 problems to programs, a page to people. The only place that knows both errors and HTTP."""

from __future__ import annotations

import logging
from typing import Any

from flask import Flask, Response, json, make_response, render_template, request
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import DataError, InterfaceError, OperationalError
from werkzeug.exceptions import ClientDisconnected, HTTPException

from dashboard.http_body import BodyFault
from dashboard.refusals import record_refused_request
from dashboard.security import NotSignedIn
from workers.domain import errors

log = logging.getLogger("taskyard.web")

_STATUS: list[tuple[type[errors.TaskyardError], int, str]] = [
    (NotSignedIn, 401, "Not signed in"),
    (errors.TooLarge, 413, "Too large"),
    (errors.Malformed, 400, "Bad request"),
    (errors.BadInput, 422, "Invalid request"),
    (errors.NotFound, 404, "Not found"),
    (errors.Conflict, 409, "Not allowed in the current status"),
    (errors.Forbidden, 403, "Not permitted"),
    (errors.TooManyAtOnce, 429, "Too many requests at once"),
    (errors.Throttled, 429, "Too many attempts"),
    (errors.Unavailable, 503, "Service unavailable"),
]


def init(app: Flask) -> None:
    """Answer every error, expected or not."""
    app.register_error_handler(errors.TaskyardError, _ours)
    app.register_error_handler(CSRFError, _csrf)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(ClientDisconnected, _broken_body)
    app.register_error_handler(BodyFault, _broken_body)
    app.register_error_handler(OperationalError, _database)
    app.register_error_handler(InterfaceError, _database)
    app.register_error_handler(DataError, _refused_by_database)
    app.register_error_handler(Exception, _unexpected)


def problem(status: int, title: str, detail: str, **more: Any) -> Response:
    """Make an answer of an error, in the form that whoever asked can read."""
    if _wants_json():
        body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
        answer = make_response(json.dumps(body, ensure_ascii=False), status)
        answer.content_type = "application/problem+json"
    else:
        page = render_template("errors/error.html", code=status, title=title, detail=detail)
        answer = make_response(page, status)
    if status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    if status == 503:
        answer.headers["Retry-After"] = "5"
    return answer


def answer_for(error: Exception) -> Response:
    """Answer an error that a view shows in its own way, with the status and headers that it has everywhere."""
    return _csrf(error) if isinstance(error, CSRFError) else _ours(error)


def _ours(error: Exception) -> Response:
    if isinstance(error, errors.Forbidden):
        record_refused_request(str(error))
    if isinstance(error, NotSignedIn) and "Authorization" in request.headers:
        record_refused_request("An invalid token was sent.")
    for kind, status, title in _STATUS:
        if isinstance(error, kind):
            more: dict[str, Any] = {}
            if isinstance(error, errors.BadInput) and error.errors:
                more["errors"] = error.errors
            if isinstance(error, errors.Conflict) and error.state:
                more["state"] = error.state
            if isinstance(error, errors.Edited):
                more |= {"revision": error.revision, "differences": error.differences}
            if isinstance(error, errors.KeyConflict):
                more |= {name: value for name in ("job_id", "errors") if (value := getattr(error, name))}
            answer = problem(status, title, str(error), **more)
            if isinstance(error, errors.Throttled):
                answer.headers["Retry-After"] = str(error.wait_seconds)
            return answer
    return problem(500, "Internal error", str(error))


def _csrf(_error: CSRFError) -> Response:
    record_refused_request("The form belongs to another session.")
    return problem(400, "Form expired", "Reload the page and submit the form again.")


def _http(error: HTTPException) -> Response:
    if error.code is not None and error.code < 400:
        return error.get_response()  # type: ignore[return-value]
    words = {
        404: ("Not found", "The page does not exist or has been removed. Check the address."),
        405: ("Method not allowed", f"This path does not support {request.method}. {_methods(error)}"),
        406: ("Not acceptable", error.description or ""),
        413: ("Too large", "The request is larger than the limit of this path."),
        415: ("Unsupported media type", error.description or ""),
        416: ("Range not satisfiable", "The file does not have this range. Send the request without the Range header."),
    }
    title, detail = words.get(error.code or 500, (error.name, error.description or error.name))
    answer = problem(error.code or 500, title, detail)
    for name in ("Allow", "Retry-After", "Content-Range"):
        value = dict(error.get_headers()).get(name)
        if value:
            answer.headers[name] = value
    return answer


def _broken_body(_error: Exception) -> Response:
    # The server answers itself where the client is still there: a page would be made for nobody, of many at once.
    return Response(status=400)


def _database(_error: Exception) -> Response:
    return problem(503, "Service unavailable", "The database is not available. Try again in a moment.")


def _refused_by_database(error: DataError) -> Response:
    # The database says itself that a value is the reason. The check at the entry should have named the field.
    log.exception("%s %s: the database rejected a value", request.method, request.path, exc_info=error)
    return problem(422, "Invalid request", "The database cannot store one of the values.")


def _methods(error: HTTPException) -> str:
    methods = sorted(getattr(error, "valid_methods", None) or ())
    return f"Use {', '.join(methods)}." if methods else ""


def _unexpected(error: Exception) -> Response:
    log.exception("%s %s failed", request.method, request.path, exc_info=error)
    return problem(500, "Internal error", "An unexpected error occurred. The log of the web process has the details.")


def _wants_json() -> bool:
    if request.path.startswith("/api/") or request.path in {"/metrics", "/healthz", "/readyz"}:
        return True
    if "Authorization" in request.headers or request.headers.get("X-Requested-With") == "fetch":
        return True
    return request.accept_mimetypes.best_match(["text/html", "application/json"]) == "application/json"
