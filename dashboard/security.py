"""What everybody may do, and what every answer says: roles, denied by default; headers; CSRF."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, Response, current_app, redirect, request, url_for
from flask_login import current_user

from dashboard.attempts import count_wrong_token
from dashboard.auth import Person
from dashboard.body_limits import protect_connection
from dashboard.extensions import csrf
from dashboard.redirects import path_on_host
from workers.domain.errors import Forbidden, TaskyardError

F = TypeVar("F", bound=Callable[..., Any])
PUBLIC = "public"
_SAFE = {"GET", "HEAD", "OPTIONS"}
_OPEN_BEFORE_CHANGE = {"settings.page", "settings.password", "session.sign_out"}
_OPEN_BEFORE_SECOND_FACTOR = {*_OPEN_BEFORE_CHANGE, "second_factor.begin", "second_factor.turn_on"}
_YEAR_SECONDS = 31_536_000
CSP = {
    "default-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "object-src": "'none'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
    "form-action": "'self'",
}


class NotSignedIn(TaskyardError):
    """Sign in first, or send a bearer token."""


def requires(role: str) -> Callable[[F], F]:
    """Declare the role that a view needs: viewer, operator, admin, or public. A view without one is refused to all."""

    def mark(view: F) -> F:
        view.taskyard_role = role  # type: ignore[attr-defined]
        return view

    return mark


def init(app: Flask) -> None:
    """Guard every request, and dress every answer."""
    csrf.init_app(app)
    app.before_request(_guard)
    app.after_request(_dress)


def _guard() -> Any:
    if request.endpoint is None:
        return None  # no such page: the answer is 404 whoever asks
    role = _role_of(request.endpoint)
    if role == PUBLIC:
        if request.method not in _SAFE:
            _refuse_forgery()
        return None
    if not current_user.is_authenticated:
        return _ask_to_sign_in()
    if role is None or not current_user.actor.may(role):
        wanted = f"It requires the role {role}; yours is {current_user.role}." if role else "No role permits it."
        raise Forbidden(f"Your role does not permit this. {wanted}")
    protect_connection(request.environ)
    if isinstance(current_user._get_current_object(), Person) and request.method not in _SAFE:
        _refuse_forgery()
    return _check_account(request.endpoint)


def _check_account(endpoint: str) -> Any:
    """Open nothing but the form that is due to a user who has to change the password or add a second factor."""
    if current_user.must_change_password:
        if endpoint not in _OPEN_BEFORE_CHANGE:
            return _lead_to_settings("You use a one-time password. Set your own password under Settings first.")
    elif current_user.needs_second_factor and endpoint not in _OPEN_BEFORE_SECOND_FACTOR:
        return _lead_to_settings("An admin requires a second factor. Add one under Settings first.")
    return None


def _refuse_forgery() -> None:
    """Refuse what a page of another site has a browser send: by the browser's own word, and by the token of our forms."""
    if is_from_elsewhere():
        raise Forbidden("The request came from a page of another site. Open Taskyard and try again.")
    csrf.protect()


def is_from_elsewhere() -> bool:
    """Return whether a browser says that a page of another origin made this request."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in {"same-origin", "none"}
    origin = request.headers.get("Origin")
    if origin is None:
        return False  # not a browser, or one that says nothing of itself
    return path_on_host(f"{origin}/", request.host, "") != "/"


def _lead_to_settings(reason: str) -> Any:
    if request.method in {"GET", "HEAD"} and request.accept_mimetypes.accept_html and not _is_call():
        return redirect(url_for("settings.page"))
    raise Forbidden(reason)


def _is_call() -> bool:
    return request.path.startswith("/api/v1/") or "X-Region" in request.headers


def _role_of(endpoint: str) -> str | None:
    if endpoint == "static":
        return PUBLIC
    return getattr(current_app.view_functions.get(endpoint), "taskyard_role", None)


def _ask_to_sign_in() -> Any:
    if "Authorization" in request.headers:
        count_wrong_token()
        raise NotSignedIn("This token is not valid. Send a current one as Authorization: Bearer <token>.")
    wants_page = request.method in {"GET", "HEAD"} and not _is_call()
    if wants_page and request.accept_mimetypes.accept_html:
        target = request.full_path.rstrip("?")
        return redirect(url_for("session.sign_in", next=target if target != "/" else None))
    raise NotSignedIn


def _dress(response: Response) -> Response:
    host = request.host
    live = f"'self' ws://{host} wss://{host}"
    parts = {**CSP, "connect-src": live}
    response.headers.setdefault(
        "Content-Security-Policy", "; ".join(f"{name} {value}" for name, value in parts.items())
    )
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    response.headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    response.headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
    response.headers.setdefault("X-Frame-Options", "DENY")
    if request.is_secure:
        response.headers.setdefault("Strict-Transport-Security", f"max-age={_YEAR_SECONDS}")
    if request.endpoint != "static":
        response.headers.setdefault("Cache-Control", "no-store")
    return response
