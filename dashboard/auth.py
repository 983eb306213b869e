"""Who is asking: a person by the session cookie, a program by its bearer token."""

from __future__ import annotations

from typing import Any

from flask import Flask, Request
from flask_login import UserMixin

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
    """Find the person of a session; None when the session was ended or the person locked out."""
    user_id, _, epoch = kept.partition(":")
    with yard().database.read() as connection:
        row = users.by_id(connection, user_id)
    if row is None or row["disabled_at"] is not None or str(row["epoch"]) != epoch:
        return None
    return Person(row)


def find_program(request: Request) -> Program | None:
    """Find the token of a request."""
    secret = bearer(request)
    row = tokens.find(yard(), secret) if secret else None
    return Program(row) if row is not None else None


def bearer(request: Request) -> str | None:
    """Tell the bearer token that a request carries."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" and secret else None
