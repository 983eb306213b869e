"""Flask's extensions, made once and bound to an application by the factory."""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import Any

from flask import g
from flask_login import LoginManager
from flask_sqlalchemy import SQLAlchemy
from flask_wtf import CSRFProtect
from flask_wtf.csrf import generate_csrf

from workers.store.models import Base


class SessionLogin(LoginManager):  # type: ignore[misc]
    """Flask-Login without its remember cookie: nobody gets one here, and one that was made up must not be read."""

    def _load_user_from_remember_cookie(self, _cookie: str) -> None:
        return None


class MaskedCsrf(CSRFProtect):  # type: ignore[misc]
    """Flask-WTF's tokens, masked anew in each answer: no part of one is the same in two compressed answers.

    A token without a mask is one of an earlier version, in a page that is still open.
    """

    def init_app(self, app: Any) -> None:
        """Check the tokens of an application, and lend `csrf_token` to its templates."""
        super().init_app(app)
        app.jinja_env.globals["csrf_token"] = masked_csrf_token
        app.context_processor(lambda: {"csrf_token": masked_csrf_token})

    def _get_csrf_token(self) -> str | None:
        return unmasked_csrf_token(super()._get_csrf_token())


def masked_csrf_token() -> str:
    """Return the token for the forms of this answer."""
    if "taskyard_csrf_token" not in g:
        token = generate_csrf().encode()
        mask = secrets.token_bytes(len(token))
        g.taskyard_csrf_token = base64.urlsafe_b64encode(mask + _xor(mask, token)).decode()
    return str(g.taskyard_csrf_token)


def unmasked_csrf_token(token: str | None) -> str | None:
    """Return the token that Flask-WTF checks, of one that a form has sent."""
    if token is None or "." in token:
        return token
    try:
        both = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return token  # which is none
    half = len(both) // 2
    return _xor(both[:half], both[half:]).decode("latin-1")


def _xor(mask: bytes, text: bytes) -> bytes:
    return bytes(one ^ other for one, other in zip(mask, text, strict=False))


db = SQLAlchemy(metadata=Base.metadata)
login = SessionLogin()
csrf = MaskedCsrf()
