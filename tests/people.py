"""The people of a test: vera looks, olga acts, ada decides."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from flask.testing import FlaskClient

from workers.domain.actors import Actor
from workers.services import sessions, users
from workers.services.passwords import hash_password
from workers.store import users as user_rows
from workers.yard import Yard

PASSWORD = "correct horse battery"
PEOPLE = {"vera": "viewer", "olga": "operator", "ada": "admin"}
TESTS = Actor("system", "tests", "admin")


def add_person(yard: Yard, name: str, role: str) -> None:
    """Add a user with `PASSWORD`, whose hash is computed once for all tests of a session."""
    users.add(yard, name, role, PASSWORD, TESTS, _hash_once)


def add_people(yard: Yard) -> None:
    """Add vera (viewer), olga (operator) and ada (admin)."""
    for name, role in PEOPLE.items():
        add_person(yard, name, role)


def sign_in_at_once(yard: Yard, client: FlaskClient, name: str) -> None:
    """Give a client a session of this user as signing in does, without the password."""
    with yard.database.read() as connection:
        row = user_rows.by_name(connection, name)
    assert row is not None
    secret = sessions.create(yard, row, sessions.Device("127.0.0.1", "tests"))
    with client.session_transaction() as session:
        session.update(_user_id=secret, _fresh=True)


def _hash_once(_hash: Callable[..., Any], password: str, _name: str) -> Any:
    return _hash_of(password)


@cache
def _hash_of(password: str) -> str:
    return hash_password(password)
