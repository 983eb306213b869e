"""Signing in and out."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Blueprint, Response, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user, login_user, logout_user

from dashboard.auth import Person
from dashboard.context import yard
from dashboard.extensions import limiter
from dashboard.security import requires
from workers.domain.clock import utcnow
from workers.services.users import check_password
from workers.store import users

bp = Blueprint("session", __name__)


def _failed(response: Response) -> bool:
    # Only tries that failed count: whoever knows the password is never slowed down by signing in.
    return response.status_code == 403


def _by_name() -> str:
    return "name:" + request.form.get("name", "")[:64].lower()


@bp.route("/sign-in", methods=["GET", "POST"])
@requires("public")
@limiter.limit("30 per minute", methods=["POST"], deduct_when=_failed)
@limiter.limit("5 per minute", methods=["POST"], key_func=_by_name, deduct_when=_failed)
def sign_in() -> ResponseReturnValue:
    """Ask for name and password; let in whoever they fit."""
    target = _safe(request.values.get("next"))
    if request.method == "GET":
        return redirect(target) if current_user.is_authenticated else _form(target)
    row = check_password(yard(), request.form.get("name", ""), request.form.get("password", ""))
    if row is None:
        return _form(target, "Name and password do not match."), 403
    session.clear()  # a session that somebody else may have fixed must not become a signed-in one
    login_user(Person(row), remember=False)
    session.permanent = request.form.get("stay") is not None
    with yard().database.write() as connection:
        users.change(connection, row["id"], {"last_sign_in_at": utcnow()})
    return redirect(target, code=303)


@bp.post("/sign-out")
@requires("viewer")
def sign_out() -> ResponseReturnValue:
    """End the session."""
    logout_user()
    session.clear()
    return redirect(url_for("session.sign_in"), code=303)


def _form(target: str, error: str = "") -> str:
    return render_template("auth/sign_in.html", next=target, error=error, name=request.form.get("name", ""))


def _safe(target: str | None) -> str:
    parts = urlsplit(target or "/")
    odd = parts.scheme or parts.netloc or not parts.path.startswith("/") or "\\" in (target or "")
    return "/" if odd or parts.path.startswith("//") else target or "/"
