"""The id of this installation: made once, kept in SQL, part of each name in Redis."""

from __future__ import annotations

import secrets

from sqlalchemy import Connection
from sqlalchemy.exc import ProgrammingError

from workers.domain.clock import utcnow
from workers.domain.errors import Unavailable
from workers.store import settings
from workers.store.database import Database

KEY = "installation_id"


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


def _find(connection: Connection) -> str | None:
    found = settings.get(connection, KEY)
    return None if found is None else str(found)
