"""One's own second factor: add it, remove it, renew the recovery codes."""

from __future__ import annotations

import time

import segno
from flask import Blueprint, current_app, request, session
from flask.typing import ResponseReturnValue

from dashboard.actions import done
from dashboard.context import actor, yard
from dashboard.pages.settings_page import check_current_password, refuse_settings, render_settings, restart_session
from dashboard.security import requires
from dashboard.slices import render_template
from workers.domain.actors import Actor
from workers.domain.errors import BadInput, Conflict, Throttled, Unavailable
from workers.services import second_factor

bp = Blueprint("second_factor", __name__)
for _error in (BadInput, Conflict, Throttled, Unavailable):
    bp.register_error_handler(_error, refuse_settings)
SETUP_SECONDS = 900
_SETUP = "second_factor_setup"


@bp.post("/settings/second-factor")
@requires("viewer")
def begin() -> ResponseReturnValue:
    """Show the secret to add to an app, after the current password."""
    me = _user()
    check_current_password(me.name, request.form.get("present", ""))
    secret = second_factor.new_secret()
    session[_SETUP] = {"secret": secret, "at": int(time.time())}
    return _setup_form(me, secret)


@bp.post("/settings/second-factor/confirmations")
@requires("viewer")
def turn_on() -> ResponseReturnValue:
    """Turn the second factor on with the first code; the recovery codes are shown once."""
    me = _user()
    secret = _secret()
    try:
        codes = second_factor.turn_on(yard(), me.name, secret, request.form.get("code", ""), me)
    except BadInput as error:
        return _setup_form(me, secret, str(error)), 422
    restart_session(me.name)
    current_app.extensions["live"].recheck_soon()
    return _codes_page(codes)


@bp.post("/settings/second-factor/removals")
@requires("viewer")
def turn_off() -> ResponseReturnValue:
    """Remove the second factor, after the current password."""
    me = _user()
    check_current_password(me.name, request.form.get("present", ""))
    second_factor.turn_off(yard(), me.name, me)
    restart_session(me.name)
    current_app.extensions["live"].recheck_soon()
    return done("Your second factor is removed; you are signed out everywhere else.", "/settings")


@bp.post("/settings/second-factor/recovery-codes")
@requires("viewer")
def renew_recovery_codes() -> ResponseReturnValue:
    """Replace the recovery codes, after the current password; the new ones are shown once."""
    me = _user()
    check_current_password(me.name, request.form.get("present", ""))
    return _codes_page(second_factor.renew_recovery_codes(yard(), me.name, me))


def _user() -> Actor:
    me = actor()
    if me.kind != "user":
        raise Conflict("A token has no second factor. Sign in as the user whose second factor is to change.")
    return me


def _secret() -> str:
    setup = session.get(_SETUP)
    if setup is None or not 0 <= time.time() - setup["at"] <= SETUP_SECONDS:
        session.pop(_SETUP, None)
        raise Conflict("The time to add this second factor has expired. Start again under Settings.")
    return str(setup["secret"])


def _setup_form(me: Actor, secret: str, error: str = "") -> str:
    address = second_factor.provisioning_address(secret, me.name)
    picture = segno.make(address, error="m").svg_data_uri(scale=5, border=4, dark="#000", light="#fff")
    spaced = " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))
    values = {"picture": picture, "secret_text": spaced, "error": error}
    return render_template("settings/second_factor.html", active_page="settings", **values)


def _codes_page(codes: list[str]) -> str:
    return render_settings(recovery_codes=codes)
