"""How an action answers: a page with a message to somebody without JavaScript, a few words of JSON to our own script."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import flash, jsonify, redirect, request
from flask.typing import ResponseReturnValue


def done(message: str, location: str, *, kind: str = "success", stay: bool = False) -> ResponseReturnValue:
    """Say that it is done. `location` is where a browser goes next; `stay` lets our script stay where it is."""
    if request.headers.get("X-Requested-With") == "fetch":
        if not stay:
            flash(message, kind)
        return jsonify(ok=True, message=message, location=None if stay else location)
    flash(message, kind)
    return redirect(location, code=303)


def came_from(default: str) -> str:
    """Tell the page of ours from which this form was sent."""
    there = urlsplit(request.referrer or "")
    if there.netloc == request.host and there.path:
        return there.path + (f"?{there.query}" if there.query else "")
    return default
