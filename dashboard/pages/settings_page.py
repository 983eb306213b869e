"""The page of settings, which several views show, and the check that precedes a change of one's own access."""

from __future__ import annotations

from typing import Any

from flask import Response, request, session
from flask_login import current_user

from dashboard import attempts
from dashboard.auth import Person, start_session
from dashboard.context import actor, conn, hashing, yard
from dashboard.problems import answer_for
from dashboard.slices import render_template
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput, Conflict, TaskyardError, Unavailable
from workers.services import callbacks, second_factor, sessions
from workers.services import users as user_service
from workers.store import tokens, users
from workers.store.types import Row

# The forms of the page, by the views that they call.
FORMS = {
    "settings.password": "password",
    "settings.add_token": "token",
    "people.add_user": "user",
    "people.set_policy": "policy",
    "second_factor.begin": "second-factor",
    "second_factor.turn_off": "second-factor",
    "second_factor.renew_recovery_codes": "second-factor",
}


def refuse_settings(error: TaskyardError) -> Response:
    """Show the page again with the reason in the form that was sent and what was typed there, passwords excepted."""
    answer = answer_for(error)
    form = FORMS.get(request.endpoint or "")
    is_page = answer.mimetype == "text/html" or "text/html" in request.headers.get("Accept", "")
    if form is None or not is_page or "Authorization" in request.headers:
        return answer
    try:
        sent = request.form
    except TaskyardError:
        return answer  # what was sent is no form
    given = {name: value[:1_000] for name, value in sent.items() if name in {"name", "role", "days", "least"}}
    named = {str(one.get("field", "")): str(one["message"]) for one in getattr(error, "errors", ())}
    page = render_settings(sent_form=form, given=given, errors=named or {"": str(error)})
    answer.set_data(page)
    answer.mimetype = "text/html"
    return answer


def render_settings(secret: tuple[str, str] | None = None, **more: Any) -> str:
    """Return the page; `secret` is shown on it, once."""
    values: dict[str, Any] = {"users": [], "tokens": [], "sessions": [], "secret": secret, "now": utcnow()}
    values |= {"sent_form": "", "given": {}, "errors": {}, **more}
    connection = conn()
    person = current_user._get_current_object()
    if person.must_change_password or person.needs_second_factor:
        # Whoever has still to show who they are sees the form that is due, and nothing else.
        return render_template("settings/page.html", active_page="settings", **values)
    if isinstance(person, Person):
        row = users.by_id(connection, person.id)
        values["sessions"] = sessions.of_user(connection, person.id, values["now"])
        values["codes_left"] = second_factor.count_of_recovery_codes(row) if row is not None else 0
    if actor().may("admin"):
        values |= {
            "users": users.all_users(connection),
            "tokens": tokens.all_tokens(connection),
            "is_admin": True,
            "webhook_secret": callbacks.secret(connection),
            "policy": second_factor.policy(connection) or "nobody",
        }
    return render_template("settings/page.html", active_page="settings", **values)


def check_current_password(name: str, password: str) -> None:
    """Check the password of the user who is signed in. Raises BadInput, Throttled, Unavailable."""
    attempt = attempts.count_current_password(name)
    try:
        is_right = user_service.check_password(yard(), name, password, hashing().run_for_known_device) is not None
    except Unavailable:
        attempt.refund()  # nothing was checked
        raise
    if not is_right:
        raise BadInput("The current password is wrong.", field="present")
    attempt.refund()


def restart_session(name: str) -> Row:
    """Sign the user in anew after a change that ended all sessions; the user's row. Raises Conflict."""
    with yard().database.read() as connection:
        row = users.by_name(connection, name)
    stay = bool(session.permanent)
    if row is None or row["disabled_at"] is not None or not start_session(row, stay=stay):
        raise Conflict("Your access has changed. Sign in again.")
    return row
