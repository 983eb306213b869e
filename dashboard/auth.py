"""Who is asking: a person by the session cookie, a program by its bearer token."""

from __future__ import annotations

from typing import Any

from flask import Flask, Request, request
from flask_login import UserMixin, current_user

from dashboard.attempts import count_wrong_token
from dashboard.context import yard
from dashboard.extensions import login
from workers.domain.actors import Actor
from workers.services import tokens
from workers.store import users


class Person(UserMixin):  # type: ignore[misc]
    """Somebody who is signed in; the session names the user and the epoch, so raising the epoch ends it."""

    def __init__(self, row: Any) -> None:
        self.id = row["id"]
        self.name: str = row["name"]
        self.role: str = row["role"]
        self.epoch: int = row["epoch"]
        self.must_change_password: bool = row["must_change_password"]
        self.actor = Actor("user", row["name"], row["role"])

    def get_id(self) -> str:
        """Tell what the session keeps."""
        return f"{self.id}:{self.epoch}"


class Program(UserMixin):  # type: ignore[misc]
    """A token that is asking."""

    must_change_password = False

    def __init__(self, row: Any) -> None:
        self.id = row["id"]
        self.name: str = row["name"]
        self.role: str = row["role"]
        self.actor = Actor("token", row["name"], row["role"])


def init(app: Flask) -> None:
    """Teach Flask-Login both ways."""
    login.init_app(app)
    login.session_protection = "basic"
    login.user_loader(find_person)
    login.request_loader(find_program)


def find_person(kept: str) -> Person | None:
    """Return the user of a session; None when it was ended, the user is locked, or the request brings a credential itself."""
    if "Authorization" in request.headers:
        return None  # the credential that is sent with a request is the one that is checked, and no other
    user_id, _, epoch = kept.partition(":")
    with yard().database.read() as connection:
        row = users.by_id(connection, user_id)
    if row is None or row["disabled_at"] is not None or str(row["epoch"]) != epoch:
        return None
    return Person(row)


def find_program(sent: Request) -> Program | None:
    """Return the token of a request."""
    secret = bearer(sent)
    row = tokens.find(yard(), secret) if secret else None
    return Program(row) if row is not None else None


def live_credential(payload: Any) -> tuple[str, str, str] | None:
    """Return the credential of a live connection as kind, secret or session, and owner's id; None when it is not valid.

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
        if not isinstance(person, Person) or person.must_change_password:
            return None
        return "session", person.get_id(), person.id
    row = tokens.find(yard(), secret) if isinstance(secret, str) else None
    if row is None or not isinstance(secret, str):
        count_wrong_token()
        return None
    return "token", secret, row["id"]


def bearer(sent: Request) -> str | None:
    """Return the bearer token that a request carries."""
    scheme, _, secret = sent.headers.get("Authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" and secret else None
