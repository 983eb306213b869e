"""Who is asking: a person by the session cookie, a program by its bearer token."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from flask import Flask, Request, current_app, request, session
from flask_login import UserMixin, current_user, login_user

from dashboard.attempts import count_wrong_token
from dashboard.context import yard
from dashboard.extensions import login
from workers.domain.actors import Actor
from workers.domain.errors import Unavailable
from workers.services import sessions, tokens
from workers.services.sessions import Device, SignedIn
from workers.store.types import Row


class Person(UserMixin):  # type: ignore[misc]
    """Somebody who is signed in, by the secret of a session."""

    def __init__(self, signed_in: SignedIn, secret: str) -> None:
        self._secret = secret
        self.id = signed_in.user_id
        self.session_id = signed_in.session_id
        self.name = signed_in.name
        self.role = signed_in.role
        self.must_change_password = signed_in.must_change_password
        self.has_second_factor = signed_in.has_second_factor
        self.needs_second_factor = signed_in.needs_second_factor
        self.actor = Actor("user", signed_in.name, signed_in.role)

    def get_id(self) -> str:
        """Return what the cookie holds."""
        return self._secret


class Program(UserMixin):  # type: ignore[misc]
    """A token that is asking."""

    must_change_password = False
    needs_second_factor = False

    def __init__(self, row: Any) -> None:
        self.id = row["id"]
        self.name: str = row["name"]
        self.role: str = row["role"]
        self.actor = Actor("token", row["name"], row["role"])


def init(app: Flask) -> None:
    """Teach Flask-Login both ways."""
    login.init_app(app)
    login.session_protection = None  # a session is a row, which says where it is used
    login.user_loader(find_person)
    login.request_loader(find_program)


def start_session(row: Row, *, stay: bool) -> bool:
    """Sign in the user whose credentials were checked on this row; False when the user has changed since.

    `stay` keeps the cookie when the browser is closed.
    """
    person = current_user._get_current_object()
    earlier = person.session_id if isinstance(person, Person) else None
    secret = sessions.create(yard(), row, device(), stay=stay, instead_of=earlier)
    signed_in = sessions.find(yard(), secret) if secret is not None else None
    if secret is None or signed_in is None:
        return False
    session.clear()  # a session that somebody else may have fixed must not become a signed-in one
    login_user(Person(signed_in, secret), remember=False)
    session.permanent = stay
    return True


def device() -> Device:
    """Return where this request comes from."""
    return Device(request.remote_addr or "", request.headers.get("User-Agent", ""))


def find_person(secret: str) -> Person | None:
    """Return the user of a session; None when it has ended, or when the request brings a credential itself."""
    if "Authorization" in request.headers:
        return None  # the credential that is sent with a request is the one that is checked, and no other
    if ":" in secret:
        adopted = _adopt(secret)
        if adopted is None:
            return None
        secret = session["_user_id"] = adopted
    signed_in = sessions.find(yard(), secret)
    if signed_in is None:
        return None
    if _is_use():
        with suppress(Unavailable):  # the page that says why the database is away must still be drawn
            sessions.note_use(yard(), signed_in, device())
    return Person(signed_in, secret)


def _adopt(cookie: str) -> str | None:
    """Return the secret of a session of an earlier version; the form token in its cookie tells browsers apart."""
    key = f"{current_app.config['SECRET_KEY']} {session.get('csrf_token', '')}".encode()
    return sessions.adopt(yard(), cookie, key, device(), stay=session.permanent)


def _is_use() -> bool:
    """Return whether somebody asked for this: what pages read again by themselves does not keep a session alive."""
    return request.endpoint is not None and "X-Region" not in request.headers


def find_program(sent: Request) -> Program | None:
    """Return the token of a request."""
    secret = bearer(sent)
    row = tokens.find(yard(), secret) if secret else None
    return Program(row) if row is not None else None


def live_credential(payload: Any) -> tuple[str, str, str] | None:
    """Return the credential of a live connection as kind, token or id of the session, and owner's id; None when it is not valid.

    A token in the payload of `connect` is the credential, else an `Authorization` header, else the session.
    Raises Throttled after too many tokens that are not valid.
    """
    if isinstance(payload, dict) and "token" not in payload:
        payload = None
    secret = bearer(request)
    if payload is not None:
        secret = payload.get("token") if isinstance(payload, dict) else None
    elif "Authorization" not in request.headers:
        person = current_user._get_current_object()
        if not isinstance(person, Person) or person.must_change_password or person.needs_second_factor:
            return None
        return "session", person.session_id, person.id
    row = tokens.find(yard(), secret) if isinstance(secret, str) else None
    if row is None or not isinstance(secret, str):
        count_wrong_token()
        return None
    return "token", secret, row["id"]


def bearer(sent: Request) -> str | None:
    """Return the bearer token that a request carries."""
    scheme, _, secret = sent.headers.get("Authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" and secret else None
