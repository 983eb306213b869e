"""Commands on users and tokens."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from datetime import timedelta

from workers.commands.opening import ACTOR, opened
from workers.domain.clock import utcnow
from workers.services import tokens, users
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
            locked = "  locked out" if row["disabled_at"] else ""
            sys.stdout.write(f"{row['name']:<24} {row['role']}{locked}\n")
    return 0


def _given(arguments: argparse.Namespace) -> str | None:
    return sys.stdin.readline().rstrip("\n") if arguments.password_stdin else None


def _show(password: str, given: str | None) -> int:
    if given is None:
        sys.stdout.write(f"{password}\n")
    return 0
