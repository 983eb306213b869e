"""Known devices: a signed cookie that says that this browser has signed in with a name before.

It grants nothing but a count of attempts of its own, see `attempts`. It ends with the password that was used.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any

from flask import Response, current_app, request
from itsdangerous import BadSignature, URLSafeTimedSerializer

from dashboard.context import yard
from workers.services import users as user_service
from workers.store import users

_SECONDS = 180 * 24 * 3600
_MAX_NAMES = 5
_MAX_COOKIE = 2_000


def find(name: str) -> str | None:
    """Return the id of this device when it has signed in with this name and its current password, else None."""
    entry = _read().get(name)
    if entry is None or not user_service.is_name(name):
        return None
    with yard().database.read() as connection:
        row = users.by_name(connection, name)
    if row is None or not hmac.compare_digest(entry[1], credential(row)):
        return None
    return entry[0]


def remember(answer: Response, row: Any) -> None:
    """Set the cookie that makes this device known for the user of this row."""
    entries = _read()
    device = entries.pop(row["name"], [secrets.token_urlsafe(12)])[0]
    entries[row["name"]] = [device, credential(row)]
    newest = dict(list(entries.items())[-_MAX_NAMES:])
    answer.set_cookie(
        cookie_name(),
        _serializer().dumps(newest),
        max_age=_SECONDS,
        secure=bool(current_app.config["SESSION_COOKIE_SECURE"]),
        httponly=True,
        samesite="Lax",
    )


def cookie_name() -> str:
    """Return the name of the cookie; it has the prefix of the session's cookie."""
    return f"{current_app.config['SESSION_COOKIE_NAME']}_device"


def _read() -> dict[str, list[str]]:
    text = request.cookies.get(cookie_name(), "")
    if not text or len(text) > _MAX_COOKIE:
        return {}
    try:
        entries = _serializer().loads(text, max_age=_SECONDS)
    except BadSignature:
        return {}
    if not isinstance(entries, dict):
        return {}
    return {name: entry for name, entry in entries.items() if isinstance(entry, list) and len(entry) == 2}


def credential(row: Any) -> str:
    """Return a mark of a user's current password, which tells nothing of it."""
    key = str(current_app.config["SECRET_KEY"]).encode()
    return hmac.new(key, f"device {row['id']} {row['password_hash']}".encode(), hashlib.sha256).hexdigest()[:20]


def _serializer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(current_app.config["SECRET_KEY"], salt="taskyard-known-device")
