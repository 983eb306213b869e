"""The session cookie: under the prefix `__Host-` behind TLS, and under its earlier name as long as that is accepted."""

from __future__ import annotations

from flask import Flask, Request, Response, request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin


def session_cookie_name(port: int, is_secure: bool) -> str:
    """Return the name of the session cookie.

    Browsers accept `__Host-` only over TLS, for this very host and all of its paths: no other host of the domain can set it.
    """
    return f"__Host-{_plain_name(port)}" if is_secure else _plain_name(port)


class SessionCookies(SecureCookieSessionInterface):
    """Flask's signed cookies, which read a session of an earlier version too."""

    def __init__(self, port: int) -> None:
        self._earlier_name = _plain_name(port)

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """Read the session of a request."""
        session = super().open_session(app, request)
        is_renamed = app.config["SESSION_COOKIE_NAME"] != self._earlier_name
        if session is None or session or not is_renamed or self._earlier_name not in request.cookies:
            return session
        return self._earlier_session(app, request) or session

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Write the session cookie where it is due.

        Static files are the same for everybody. Flask-Login looks into each session, and `Vary: Cookie` would have
        browsers ask for every file again when any cookie changes.
        """
        if request.endpoint != "static":
            super().save_session(app, session, response)

    def _earlier_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        serializer = self.get_signing_serializer(app)
        if serializer is None:
            return None
        longest = int(app.permanent_session_lifetime.total_seconds())
        try:
            values = serializer.loads(request.cookies[self._earlier_name], max_age=longest)
        except Exception:  # whatever is wrong with it, it is no session
            return None
        # Other hosts of the domain can set this cookie: nothing but a session of an earlier version is taken from it.
        if not isinstance(values, dict) or ":" not in str(values.get("_user_id", "")):
            return None
        return self.session_class(values)


def _plain_name(port: int) -> str:
    return f"taskyard_{port}"
