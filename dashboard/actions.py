"""How an action answers: a page with a message to somebody without JavaScript, a few words of JSON to our own script."""

from __future__ import annotations

from flask import flash, jsonify, redirect, request
from flask.typing import ResponseReturnValue
from flask_login import current_user

from dashboard.redirects import path_on_host

UNDO = "undo:"


def done(
    message: str, location: str, *, kind: str = "success", stay: bool = False, undo: str | None = None
) -> ResponseReturnValue:
    """Report that an action is done. `location` is where a browser goes next; `stay` lets our script stay where it is.

    `undo` is the address to which a POST takes the action back.
    """
    is_fetch = request.headers.get("X-Requested-With") == "fetch"
    # A message is kept in the session: the session beside a token is somebody else's.
    if current_user.actor.kind == "user" and not (is_fetch and stay):
        flash(message, UNDO + undo if undo else kind)
    if is_fetch:
        return jsonify(
            ok=True, message=message, location=None if stay else location, undo={"url": undo} if undo else None
        )
    return redirect(location, code=303)


def came_from(default: str) -> str:
    """Return the page of this site from which the form was sent."""
    return path_on_host(request.referrer, request.host, default)
