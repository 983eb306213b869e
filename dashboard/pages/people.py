"""Users: who may sign in, as admins see and change it."""

from __future__ import annotations

from flask import Blueprint, current_app, request
from flask.typing import ResponseReturnValue

from dashboard.actions import done
from dashboard.confirmation import confirm
from dashboard.context import actor, hashing, yard
from dashboard.pages.settings_page import refuse_settings, render_settings
from dashboard.pages.undo import undo_of
from dashboard.security import requires
from workers.domain.errors import BadInput, Conflict, Throttled, Unavailable
from workers.services import second_factor, sessions
from workers.services import users as user_service

bp = Blueprint("people", __name__)
_ROLES = (
    ("viewer", "can only read"),
    ("operator", "can run and change jobs"),
    ("admin", "can change settings, users and tokens"),
)
for _error in (BadInput, Conflict, Throttled, Unavailable):
    bp.register_error_handler(_error, refuse_settings)


@bp.post("/settings/users")
@requires("admin")
def add_user() -> ResponseReturnValue:
    """Add a user; the one-time password is shown once."""
    name = request.form.get("name", "")
    made = user_service.add(yard(), name, request.form.get("role", "viewer"), None, actor(), hashing().run)
    return render_settings(secret=(_one_time(name), made))


@bp.post("/settings/users/<user:name>")
@requires("admin")
def change_user(name: str) -> ResponseReturnValue:
    """Change a user: role, lock, password, second factor, sessions; or delete it."""
    change = request.form.get("change", "")
    user_service.find(yard(), name)
    _confirm_change(name, change)
    if change == "password":
        made = user_service.set_password(yard(), name, None, actor(), hashing().run)
        _recheck()
        return render_settings(secret=(_one_time(name), made))
    message = _change(name, change)
    _recheck()
    return done(message, "/settings", undo=undo_of("user", name))


@bp.post("/settings/second-factor/policy")
@requires("admin")
def set_policy() -> ResponseReturnValue:
    """Require a second factor of everybody from a role on, or of nobody."""
    least = request.form.get("least", "")
    second_factor.set_policy(yard(), None if least == "nobody" else least, actor())
    if least == "nobody":
        return done("A second factor is optional for everybody.", "/settings")
    return done("Users without a second factor must add one to continue.", "/settings")


def _confirm_change(name: str, change: str) -> None:
    """Ask before what cannot be undone, and before a role, which decides what somebody may do."""
    questions = {
        "password": (f"Create a new password for {name}?", "The current password is replaced.", "Create password"),
        "second_factor": (
            f"Remove the second factor of {name}?",
            f"{name} signs in by password.",
            "Remove second factor",
        ),
        "sign_out": (f"Sign out {name}?", "All sessions of this user end.", "Sign out"),
        "delete": (
            f"Delete the user {name}?",
            "The audit entries of this user are kept. Tokens that the user created stay valid.",
            "Delete user",
        ),
        **{
            role: (
                f"Change the role of {name} to {role}?",
                f"{name} {may} and is signed out everywhere.",
                "Change role",
            )
            for role, may in _ROLES
        },
    }
    if change in questions:
        confirm(*questions[change])


def _change(name: str, change: str) -> str:
    """Make a change and return the message that says so. Raises NotFound, BadInput, Conflict."""
    if change == "delete":
        user_service.remove(yard(), name, actor())
        return f"{name} is deleted. Tokens that {name} created stay valid until they are revoked."
    if change == "second_factor":
        second_factor.turn_off(yard(), name, actor())
        return f"{name} no longer has a second factor and is signed out everywhere."
    if change == "sign_out":
        return f"{name} is signed out. Sessions ended: {_end_sessions(name)}."
    if change in {"lock", "unlock"}:
        user_service.change(yard(), name, actor(), disabled=change == "lock")
    else:
        user_service.change(yard(), name, actor(), role=change)
    return f"{name} is changed and signed out everywhere."


def _end_sessions(name: str) -> int:
    return sessions.end_all(yard(), user_service.find(yard(), name)["id"], actor())


def _recheck() -> None:
    current_app.extensions["live"].recheck_soon()


def _one_time(name: str) -> str:
    hours = int(user_service.ONE_TIME_LIFE.total_seconds() // 3600)
    return f"The one-time password of {name}, valid for {hours} hours"
