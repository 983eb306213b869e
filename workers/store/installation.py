"""The id of this installation: made once, kept in SQL, part of each name in Redis."""

from __future__ import annotations

import os
import secrets
from datetime import datetime

from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from workers.domain.clock import utcnow
from workers.domain.errors import Unavailable
from workers.store import settings
from workers.store.database import Database

KEY = "installation_id"
_POSTGRES_MARK = "SELECT system_identifier || '/' || (SELECT oid FROM pg_database WHERE datname = current_database()) FROM pg_control_system()"


def read_id(database: Database) -> str:
    """Return the id, ten letters and digits; make it when there is none. Raises Unavailable, also before the first migration."""
    try:
        with database.read() as connection:
            found = _find(connection)
        if found is None:
            with database.write() as connection:
                # Of several processes that find none the first one wins, and all read its id.
                settings.put_if_absent(connection, KEY, secrets.token_hex(5), utcnow())
                found = _find(connection)
    except ProgrammingError as error:
        raise Unavailable("The database has no tables yet. Run: python app.py migrate") from error
    if found is None:
        raise Unavailable("The id of this installation cannot be read from the database.")
    return found


def renew_id(connection: Connection, now: datetime) -> str:
    """Replace the id; running processes keep the one that they have read."""
    made = secrets.token_hex(5)
    settings.put(connection, KEY, made, now)
    return made


def read_mark(database: Database) -> str:
    """Return what tells this database from a copy of it, or "" when that cannot be read. Raises Unavailable.

    It is the file of SQLite, or the number of the server and of the database in it of PostgreSQL.
    """
    if database.is_sqlite:
        path = database.engine.url.database or ""
        return f"{os.stat(path).st_ino}" if os.path.exists(path) else ""
    try:
        with database.read() as connection:
            return str(connection.execute(text(_POSTGRES_MARK)).scalar_one())
    except ProgrammingError:
        return ""  # this role may not ask


def _find(connection: Connection) -> str | None:
    found = settings.get(connection, KEY)
    return None if found is None else str(found)
