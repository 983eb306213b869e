"""People, tokens, and who did what."""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, current_app, make_response, redirect, request
from flask.typing import ResponseReturnValue
from sqlalchemy import select
from werkzeug.exceptions import HTTPException

from dashboard import devices, zones
from dashboard.actions import came_from, done
from dashboard.confirmation import confirm
from dashboard.context import actor, conn, hashing, yard
from dashboard.pages.settings_page import check_current_password, refuse_settings, render_settings, restart_session
from dashboard.presenters.audit import change
from dashboard.security import requires
from dashboard.slices import render_template
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput, Conflict, Throttled, Unavailable
from workers.domain.numbers import check_whole, parse_whole
from workers.services import callbacks, undo
from workers.services import tokens as token_service
from workers.services import users as user_service
from workers.store import tokens
from workers.store.models import AuditEntry

bp = Blueprint("settings", __name__)
for _error in (BadInput, Conflict, Throttled, Unavailable):
    bp.register_error_handler(_error, refuse_settings)
_AUDIT = AuditEntry.__table__
AUDIT_ROWS = 50


@bp.get("/settings")
@requires("viewer")
def page() -> ResponseReturnValue:
    """Show my password, second factor and sessions, and to admins users and tokens."""
    return render_settings()


@bp.post("/settings/times")
@requires("viewer")
def times() -> ResponseReturnValue:
    """Choose the time zone in which pages show times; this browser keeps it."""
    choice = request.form.get("times", "")
    if choice not in zones.CHOICES:
        raise BadInput(f"Unknown time zone choice. Use one of: {', '.join(zones.CHOICES)}.", field="times")
    answer = make_response(redirect(_page_before(), code=303))
    secure = current_app.config["SESSION_COOKIE_SECURE"]
    answer.set_cookie(
        zones.CHOICE_COOKIE, choice, max_age=zones.CHOICE_SECONDS, samesite="Lax", httponly=True, secure=secure
    )
    return answer


def _page_before() -> str:
    """Return the page from which the form was sent, if it can be read again; else the first one."""
    address = came_from("/")
    try:
        current_app.url_map.bind("").match(address.partition("?")[0], "GET")
    except HTTPException:
        return "/"
    return address


@bp.post("/settings/password")
@requires("viewer")
def password() -> ResponseReturnValue:
    """Choose a new password; it ends every other session of mine."""
    me = actor()
    if me.kind != "user":
        raise Conflict("A token has no password. Sign in as the user whose password is to change.")
    if not request.form.get("password"):
        raise BadInput("Enter the new password.", field="password")
    check_current_password(me.name, request.form.get("present", ""))
    user_service.set_password(yard(), me.name, request.form["password"], me, hashing().run_for_known_device)
    row = restart_session(me.name)
    answer = make_response(done("Your password is changed; you are signed out everywhere else.", "/settings"))
    devices.remember(answer, row)
    return answer


@bp.post("/settings/tokens")
@requires("admin")
def add_token() -> ResponseReturnValue:
    """Make a token; it is shown once."""
    days = request.form.get("days", "")
    expires_at = utcnow() + timedelta(days=_days(days)) if days else None
    name = request.form.get("name", "")
    made = token_service.create(yard(), name, request.form.get("role", "viewer"), expires_at, actor())
    return render_settings(secret=(f"The token {name}", made))


@bp.post("/settings/tokens/<id:token_id>/revocations")
@requires("admin")
def revoke_token(token_id: str) -> ResponseReturnValue:
    """Revoke a token, after a question."""
    with yard().database.read() as connection:
        row = tokens.by_id(connection, token_id)
    if row is not None:
        detail = "Programs that use it are refused immediately. This cannot be undone."
        confirm(f"Revoke the token {row['name']}?", detail, "Revoke token")
    token_service.revoke(yard(), token_id, actor())
    current_app.extensions["live"].recheck_soon()
    return done("Token revoked.", "/settings")


@bp.post("/settings/webhook-secret")
@requires("admin")
def renew_webhook_secret() -> ResponseReturnValue:
    """Sign callbacks with a new secret from now on, after a question."""
    detail = (
        "Receivers refuse callbacks until they have the new secret. The current secret is deleted. "
        "This cannot be undone."
    )
    confirm("Create a new callback secret?", detail, "Create secret")
    callbacks.renew_secret(yard(), actor())
    return done("Callbacks carry the new signature from now on.", "/settings")


@bp.get("/audit")
@requires("admin")
def audit() -> ResponseReturnValue:
    """List who did what, newest first."""
    before = request.args.get("before", "")
    chosen = select(_AUDIT).order_by(_AUDIT.c.id.desc()).limit(AUDIT_ROWS + 1)
    if before:
        chosen = chosen.where(_AUDIT.c.id < _place(before))
    rows = conn().execute(chosen).mappings().all()
    older = rows[AUDIT_ROWS - 1]["id"] if len(rows) > AUDIT_ROWS else None
    return render_template(
        "settings/audit.html",
        active_page="audit",
        rows=[{**row, "changed": change(row)} for row in rows[:AUDIT_ROWS]],
        undoable=undo.undoable(conn(), rows[:AUDIT_ROWS], actor()),
        older=older,
        now=utcnow(),
    )


def _days(text: str) -> int:
    try:
        return check_whole("days", parse_whole(text), 1, 3650)
    except ValueError as error:
        raise BadInput(f"days {error}.", field="days") from error


def _place(text: str) -> int:
    try:
        return parse_whole(text)
    except ValueError as error:
        raise BadInput("before must be the number of an audit entry.", field="before") from error
