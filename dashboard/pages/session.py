"""Signing in and out."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, make_response, redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user, login_user, logout_user
from flask_wtf.csrf import CSRFError

from dashboard import attempts, devices
from dashboard.auth import Person
from dashboard.context import hashing, yard
from dashboard.problems import answer_for
from dashboard.redirects import local_path
from dashboard.security import requires
from dashboard.slices import render_template
from workers.domain.clock import utcnow
from workers.domain.errors import Conflict, Throttled, Unavailable
from workers.services.users import check_password
from workers.store import users

bp = Blueprint("session", __name__)


@bp.route("/sign-in", methods=["GET", "POST"])
@requires("public")
def sign_in() -> ResponseReturnValue:
    """Ask for name and password; sign in the user that they belong to."""
    if request.method != "POST":
        return redirect(_target()) if current_user.is_authenticated else _form()
    row = _checked(request.form.get("name", ""), request.form.get("password", ""))
    if row is None:
        return _form("Name and password do not match."), 403
    return _signed_in(row, _target())


@bp.post("/sign-out")
@requires("viewer")
def sign_out() -> ResponseReturnValue:
    """End the session."""
    if not isinstance(current_user._get_current_object(), Person):
        raise Conflict("A token is not signed out. An admin revokes it under Settings.")
    logout_user()
    session.clear()
    return redirect(url_for("session.sign_in"), code=303)


@bp.errorhandler(CSRFError)
@bp.errorhandler(Throttled)
@bp.errorhandler(Unavailable)
def show_refusal(error: Exception) -> Response:
    """Show the sign-in form again with the reason; programs get a problem, as from every call."""
    answer = answer_for(error)
    if request.endpoint != "session.sign_in" or answer.mimetype != "text/html":
        return answer
    reason = str(error)
    if isinstance(error, CSRFError):
        reason = "This page was out of date. Enter your password again. Cookies must be allowed for this site."
    answer.set_data(_form(reason))
    return answer


def _checked(name: str, password: str) -> Any:
    """Return the user whose name and password these are, or None. Raises Throttled and Unavailable."""
    device = devices.find(name)
    attempt = attempts.count_sign_in(name, device)
    run = hashing().run if device is None else hashing().run_for_known_device
    try:
        row = check_password(yard(), name, password, run)
    except Unavailable:
        attempt.refund()  # nothing was checked
        raise
    if row is not None:
        attempt.refund()  # it was no guess
    return row


def _signed_in(row: Any, target: str) -> Response:
    session.clear()  # a session that somebody else may have fixed must not become a signed-in one
    login_user(Person(row), remember=False)
    session.permanent = request.form.get("stay") is not None
    with yard().database.write() as connection:
        users.change(connection, row["id"], {"last_sign_in_at": utcnow()})
    answer = make_response(redirect(target, code=303))
    devices.remember(answer, row)
    return answer


def _target() -> str:
    return local_path(request.values.get("next"))


def _form(error: str = "") -> str:
    name = request.form.get("name", "")[:64]
    return render_template("auth/sign_in.html", next=_target(), error=error, name=name)
