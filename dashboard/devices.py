"""Known devices: a signed cookie that says that this browser has signed in with a name before.

It grants nothing but a count of attempts of its own, see `pages.session`.
"""

from __future__ import annotations

import secrets

from flask import Response, current_app, request
from itsdangerous import BadSignature, URLSafeTimedSerializer

_SECONDS = 180 * 24 * 3600
_MOST_NAMES = 5
_MAX_COOKIE = 2_000


def known(name: str) -> str | None:
    """Return the id of this device when it has signed in with the name before, else None."""
    names = _read()
    return names.get(name)


def remember(answer: Response, name: str) -> None:
    """Set the cookie that makes this device known for the name."""
    names = _read()
    names.pop(name, None)
    names[name] = secrets.token_urlsafe(12)
    newest = dict(list(names.items())[-_MOST_NAMES:])
    answer.set_cookie(
        _cookie_name(),
        _serializer().dumps(newest),
        max_age=_SECONDS,
        secure=bool(current_app.config["SESSION_COOKIE_SECURE"]),
        httponly=True,
        samesite="Lax",
    )


def _read() -> dict[str, str]:
    text = request.cookies.get(_cookie_name(), "")
    if not text or len(text) > _MAX_COOKIE:
        return {}
    try:
        names = _serializer().loads(text, max_age=_SECONDS)
    except BadSignature:
        return {}
    return names if isinstance(names, dict) else {}


def _serializer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(current_app.config["SECRET_KEY"], salt="taskyard-known-device")


def _cookie_name() -> str:
    return f"{current_app.config['SESSION_COOKIE_NAME']}_device"
