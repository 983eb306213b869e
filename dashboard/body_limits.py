"""How large a request body may be, by address; enforced while the body is read, whatever its headers say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, current_app, request

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_BYTES = 64_000
PAYLOAD_FORM_BYTES = 4_000_000  # a form that carries a payload of 1 MB, URL-encoded


def accepts_body(limit: int) -> Callable[[F], F]:
    """Declare that a view accepts a body of up to `limit` bytes; without it a view accepts 64 kB."""

    def mark(view: F) -> F:
        view.taskyard_body_limit = limit  # type: ignore[attr-defined]
        return view

    return mark


def init(app: Flask) -> None:
    """Set the limit of each request before anything reads its body."""
    app.before_request(_set_limit)


def _set_limit() -> None:
    view = current_app.view_functions.get(request.endpoint or "")
    request.max_content_length = getattr(view, "taskyard_body_limit", DEFAULT_BYTES)
