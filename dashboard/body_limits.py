"""How large a request body may be, by address; enforced while the body is read, whatever its headers say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, current_app, request

from dashboard.http_body import DEFAULT_LIMIT, limit_body

F = TypeVar("F", bound=Callable[..., Any])

PAYLOAD_FORM_BYTES = 2_000_000  # a form that carries a payload, URL-encoded


def accepts_body(limit: int) -> Callable[[F], F]:
    """Declare that a view accepts a body of up to `limit` bytes; without it a view accepts 64 kB."""

    def mark(view: F) -> F:
        view.taskyard_body_limit = limit  # type: ignore[attr-defined]
        return view

    return mark


def init(app: Flask) -> None:
    """Set the limit of each request before anything reads its body."""
    app.before_request(_set_limit)


def protect_connection(environ: dict[str, Any]) -> None:
    """Keep the connection of a signed-in user's request open when the server needs room for new ones."""
    connection = environ.get("taskyard.connection")
    if connection is not None:
        connection.is_established = True


def _set_limit() -> None:
    view = current_app.view_functions.get(request.endpoint or "")
    limit = getattr(view, "taskyard_body_limit", DEFAULT_LIMIT)
    request.max_content_length = limit
    limit_body(request.environ, limit)
