"""Values kept by name: the installation's own and those that tasks keep."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Table, delete, select

from workers.domain import payloads
from workers.store.dialects import insert_or_ignore, upsert
from workers.store.models import Setting

SETTINGS = cast(Table, Setting.__table__)


def get(connection: Connection, key: str, default: Any = None) -> Any:
    """Read a value."""
    found = select(SETTINGS.c.value).where(SETTINGS.c.key == key)
    text = connection.execute(found).scalar_one_or_none()
    return default if text is None else json.loads(text)


def get_many(connection: Connection, keys: Collection[str]) -> dict[str, Any]:
    """Read the values of these keys; those that are not there are left out."""
    found = select(SETTINGS.c.key, SETTINGS.c.value).where(SETTINGS.c.key.in_(sorted(keys)))
    return {key: json.loads(text) for key, text in connection.execute(found)}


def put_if_absent(connection: Connection, key: str, value: Any, now: datetime) -> None:
    """Keep a JSON value unless there is one; of many at once the first wins."""
    row = {"key": key, "value": payloads.dump(value, "value"), "updated_at": now}
    connection.execute(insert_or_ignore(connection, SETTINGS), row)


def put(connection: Connection, key: str, value: Any, now: datetime) -> None:
    """Keep a JSON value. Raises BadInput when it is none."""
    row = {"key": key, "value": payloads.dump(value, "value"), "updated_at": now}
    connection.execute(upsert(connection, SETTINGS, ["key"], ["value", "updated_at"]), row)


def take(connection: Connection, key: str) -> Any:
    """Remove a value and return it; None when there is none."""
    removed = delete(SETTINGS).where(SETTINGS.c.key == key).returning(SETTINGS.c.value)
    text = connection.execute(removed).scalar_one_or_none()
    return None if text is None else json.loads(text)


def forget(connection: Connection, prefix: str, before: datetime) -> int:
    """Delete the values whose keys begin so and that were written before a moment; return how many."""
    old = (SETTINGS.c.key.startswith(prefix, autoescape=True), SETTINGS.c.updated_at < before)
    return connection.execute(delete(SETTINGS).where(*old)).rowcount
