"""Signing in and out, and the list of one's sessions."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

from flask import Blueprint, Response, current_app, make_response, redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user, logout_user
from flask_wtf.csrf import CSRFError

from dashboard import attempts, devices, refusals
from dashboard.actions import done
from dashboard.auth import Person, start_session
from dashboard.confirmation import confirm
from dashboard.context import actor, hashing, yard
from dashboard.problems import answer_for
from dashboard.redirects import local_path
from dashboard.security import requires
from dashboard.slices import render_template
from workers.domain.errors import Conflict, NotFound, Throttled, Unavailable
from workers.services import second_factor, sessions
from workers.services import users as user_service
from workers.store import users
from workers.store.types import Row

bp = Blueprint("session", __name__)
CODE_SECONDS = 300  # between the password and the code
_PENDING = "second_factor"
_NO_MATCH = "Name and password do not match."


@dataclass(frozen=True, slots=True)
class _Pending:
    """A user whose password was right and whose code is due."""

    row: Row
    stay: bool
    target: str


@bp.route("/sign-in", methods=["GET", "POST"])
@requires("public")
def sign_in() -> ResponseReturnValue:
    """Ask for name and password; sign in the user that they belong to."""
    if request.method != "POST":
        return redirect(_target()) if current_user.is_authenticated else _form()
    name = request.form.get("name", "")
    row = _checked(name, request.form.get("password", ""))
    if row is None:
        refusals.record_failed_sign_in(_known_name(name), "The name and the password do not match.")
        return _form(_NO_MATCH), 403
    stay = request.form.get("stay") is not None
    if row["totp_secret"] is None:
        return _signed_in(row, stay, _target())
    # Whoever has the password and not the code is still a stranger: nothing but this step is in the cookie.
    session[_PENDING] = {
        "user": row["id"],
        "mark": devices.credential(row),
        "at": int(time.time()),
        "stay": stay,
        "next": _target(),
    }
    return redirect(url_for("session.sign_in_code"), code=303)


@bp.route("/sign-in/code", methods=["GET", "POST"])
@requires("public")
def sign_in_code() -> ResponseReturnValue:
    """Ask for the code of the second factor, after the password."""
    pending = _pending()
    if pending is None:
        session.pop(_PENDING, None)
        return redirect(url_for("session.sign_in"), code=303)
    if request.method != "POST":
        return _code_form()
    name = pending.row["name"]
    attempt = attempts.count_code(name)
    if not second_factor.check(yard(), pending.row["id"], request.form.get("code", "")):
        refusals.record_failed_sign_in(name, "The code is wrong.")
        return _code_form("The code is wrong or already used. Wait for the next code."), 403
    attempt.refund()
    return _signed_in(pending.row, pending.stay, pending.target)


@bp.post("/sign-out")
@requires("viewer")
def sign_out() -> ResponseReturnValue:
    """End the session."""
    person = _person("A token is not signed out. An admin revokes it under Settings.")
    with suppress(NotFound):  # it was pressed twice
        sessions.end(yard(), person.id, person.session_id, actor())
    _leave()
    return redirect(url_for("session.sign_in"), code=303)


@bp.post("/settings/sessions/<id:session_id>/ends")
@requires("viewer")
def end(session_id: str) -> ResponseReturnValue:
    """End one of my sessions."""
    person = _person("A token has no sessions. Sign in as the user whose session is to end.")
    if session_id == person.session_id:
        confirm("Sign out of this browser?", "This is the session that you use now.", "Sign out")
    else:
        confirm("End this session?", "The browser that uses it is signed out.", "End session")
    sessions.end(yard(), person.id, session_id, actor())
    if session_id == person.session_id:
        _leave()
        return done("You are signed out.", url_for("session.sign_in"))
    current_app.extensions["live"].recheck_soon()
    return done("The session has ended.", "/settings")


@bp.post("/settings/sessions/ends")
@requires("viewer")
def end_others() -> ResponseReturnValue:
    """Sign me out everywhere else."""
    person = _person("A token has no sessions. Sign in as the user whose sessions are to end.")
    confirm("Sign out everywhere else?", "Every session except this one ends.", "Sign out everywhere else")
    count = sessions.end_all(yard(), person.id, actor(), but=person.session_id)
    current_app.extensions["live"].recheck_soon()
    return done(f"{count} other sessions have ended." if count != 1 else "1 other session has ended.", "/settings")


@bp.errorhandler(CSRFError)
@bp.errorhandler(Throttled)
@bp.errorhandler(Unavailable)
def show_refusal(error: Exception) -> Response:
    """Show the form again with the reason; programs get a problem, as from every call."""
    answer = answer_for(error)
    form = {"session.sign_in": _form, "session.sign_in_code": _code_form}.get(request.endpoint or "")
    if form is None or answer.mimetype != "text/html":
        return answer
    reason = str(error)
    if isinstance(error, CSRFError):
        again = "your password" if request.endpoint == "session.sign_in" else "the code"
        reason = f"This page was out of date. Enter {again} again. Cookies must be allowed for this site."
    answer.set_data(form(reason))
    return answer


def _checked(name: str, password: str) -> Row | None:
    """Return the user whose name and password these are, or None. Raises Throttled and Unavailable."""
    device = devices.find(name)
    attempt = attempts.count_sign_in(name, device)
    run = hashing().run if device is None else hashing().run_for_known_device
    try:
        row = user_service.check_password(yard(), name, password, run)
    except Unavailable:
        attempt.refund()  # nothing was checked
        raise
    if row is not None:
        attempt.refund()  # it was no guess
    return row


def _known_name(name: str) -> str | None:
    if not user_service.is_name(name):
        return None
    with yard().database.read() as connection:
        row = users.by_name(connection, name)
    return name if row is not None else None


def _pending() -> _Pending | None:
    """Return whose code is due; None when nobody's is, the time is over, or the password has changed meanwhile."""
    values = session.get(_PENDING)
    if values is None or not 0 <= time.time() - values["at"] <= CODE_SECONDS:
        return None
    with yard().database.read() as connection:
        row = users.by_id(connection, values["user"])
    if row is None or row["totp_secret"] is None or devices.credential(row) != values["mark"]:
        return None
    return _Pending(row, values["stay"], values["next"])


def _signed_in(row: Row, stay: bool, target: str) -> ResponseReturnValue:
    if not start_session(row, stay=stay):
        return _form(_NO_MATCH), 403
    answer = make_response(redirect(target, code=303))
    devices.remember(answer, row)
    return answer


def _person(refusal: str) -> Person:
    person = current_user._get_current_object()
    if not isinstance(person, Person):
        raise Conflict(refusal)
    return person


def _leave() -> None:
    logout_user()
    session.clear()
    current_app.extensions["live"].recheck_soon()


def _target() -> str:
    return local_path(request.values.get("next"))


def _form(error: str = "") -> str:
    name = request.form.get("name", "")[:64]
    return render_template("auth/sign_in.html", next=_target(), error=error, name=name)


def _code_form(error: str = "") -> str:
    return render_template("auth/code.html", error=error)
