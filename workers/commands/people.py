"""Commands on users and tokens."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from datetime import timedelta

from workers.commands.opening import ACTOR, opened
from workers.domain.clock import utcnow
from workers.services import second_factor, sessions, tokens, users
from workers.settings import Settings
from workers.store.users import all_users


def create_token(arguments: argparse.Namespace, settings: Settings) -> int:
    """Make a token; print it and nothing else."""
    expires_at = utcnow() + timedelta(days=arguments.days) if arguments.days else None
    with closing(opened(settings)) as yard:
        secret = tokens.create(yard, arguments.name, arguments.role, expires_at, ACTOR)
    sys.stdout.write(f"{secret}\n")
    return 0


def add_user(arguments: argparse.Namespace, settings: Settings) -> int:
    """Add a user; print the password when it was made up."""
    given = _given(arguments)
    with closing(opened(settings)) as yard:
        password = users.add(yard, arguments.name, arguments.role, given, ACTOR)
    return _show(password, given)


def set_password(arguments: argparse.Namespace, settings: Settings) -> int:
    """Set a password; print it when it was made up."""
    given = _given(arguments)
    with closing(opened(settings)) as yard:
        password = users.set_password(yard, arguments.name, given, ACTOR)
    return _show(password, given)


def list_users(_arguments: argparse.Namespace, settings: Settings) -> int:
    """List who may sign in."""
    with closing(opened(settings)) as yard, yard.database.read() as connection:
        for row in all_users(connection):
            marks = [row["role"]]
            if row["disabled_at"]:
                marks.append("locked")
            if row["totp_secret"]:
                marks.append("second factor")
            sys.stdout.write(f"{row['name']:<24} {'  '.join(marks)}\n")
    return 0


def sign_out(arguments: argparse.Namespace, settings: Settings) -> int:
    """End every session of a user."""
    with closing(opened(settings)) as yard:
        user_id = users.find(yard, arguments.name)["id"]
        count = sessions.end_all(yard, user_id, ACTOR)
    sys.stdout.write(f"sessions ended: {count}\n")
    return 0


def remove_second_factor(arguments: argparse.Namespace, settings: Settings) -> int:
    """Remove the second factor of a user who has lost it."""
    with closing(opened(settings)) as yard:
        second_factor.turn_off(yard, arguments.name, ACTOR)
    return 0


def delete(arguments: argparse.Namespace, settings: Settings) -> int:
    """Delete a user."""
    with closing(opened(settings)) as yard:
        users.remove(yard, arguments.name, ACTOR)
    return 0


def _given(arguments: argparse.Namespace) -> str | None:
    return sys.stdin.readline().rstrip("\n") if arguments.password_stdin else None


def _show(password: str, given: str | None) -> int:
    if given is None:
        sys.stdout.write(f"{password}\n")
    return 0
