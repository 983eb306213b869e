"""Signing in and out."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, make_response, redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user, login_user, logout_user

from dashboard import devices
from dashboard.auth import Person
from dashboard.context import hashing, throttle, yard
from dashboard.redirects import local_path
from dashboard.security import requires
from dashboard.slices import render_template
from workers.domain.clock import utcnow
from workers.services.throttling import Limit, network_of
from workers.services.users import check_password
from workers.store import users

bp = Blueprint("session", __name__)
ATTEMPTS_A_MINUTE = 5  # at one name, or from one known device
ATTEMPTS_OF_ADDRESS_A_MINUTE = 30


@bp.route("/sign-in", methods=["GET", "POST"])
@requires("public")
def sign_in() -> ResponseReturnValue:
    """Ask for name and password; sign in the user that they belong to."""
    target = local_path(request.values.get("next"))
    if request.method == "GET":
        return redirect(target) if current_user.is_authenticated else _form(target)
    name, password = request.form.get("name", ""), request.form.get("password", "")
    limits = _limits(name)
    throttle().count(*limits)
    row = check_password(yard(), name, password, hashing().run)
    if row is None:
        return _form(target, "Name and password do not match."), 403
    throttle().refund(*limits)
    return _signed_in(row, target)


@bp.post("/sign-out")
@requires("viewer")
def sign_out() -> ResponseReturnValue:
    """End the session."""
    logout_user()
    session.clear()
    return redirect(url_for("session.sign_in"), code=303)


def _signed_in(row: Any, target: str) -> Response:
    session.clear()  # a session that somebody else may have fixed must not become a signed-in one
    login_user(Person(row), remember=False)
    session.permanent = request.form.get("stay") is not None
    with yard().database.write() as connection:
        users.change(connection, row["id"], {"last_sign_in_at": utcnow()})
    answer = make_response(redirect(target, code=303))
    devices.remember(answer, row["name"])
    return answer


def _limits(name: str) -> tuple[Limit, ...]:
    """Return the limits of an attempt; a device that signed in with this name before has one of its own.

    So nobody can keep a user out by wrong attempts at their name, and no device is an unlimited way to guess.
    """
    device = devices.known(name)
    if device is not None:
        return (Limit("device", device, ATTEMPTS_A_MINUTE),)
    address = network_of(request.remote_addr)
    by_name = Limit("name", name.strip().lower()[:64], ATTEMPTS_A_MINUTE)
    return by_name, Limit("address", address, ATTEMPTS_OF_ADDRESS_A_MINUTE)


def _form(target: str, error: str = "") -> str:
    return render_template("auth/sign_in.html", next=target, error=error, name=request.form.get("name", "")[:64])
