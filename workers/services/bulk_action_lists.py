"""Bulk actions as they are listed and shown: newest first, those at work, and the jobs that one left as they were."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from workers.domain.clock import rfc3339
from workers.domain.errors import BadInput
from workers.domain.ids import is_id
from workers.store import bulk_actions
from workers.store.types import Row

PAGE = 50
REFUSALS = 200
MAX_RUNNING = 20


class ActionPage(NamedTuple):
    """Actions, newest first; `older` is the `before` of the next page, None at the end."""

    rows: list[Row]
    older: str | None


class RefusalPage(NamedTuple):
    """Jobs that were left as they were, and why; `following` is the `after` of the next page, None at the end."""

    rows: list[dict[str, Any]]
    following: str | None


def list_actions(connection: Connection, before: str = "", limit: int = PAGE) -> ActionPage:
    """List bulk actions, newest first. Raises BadInput."""
    rows = list(bulk_actions.newest(connection, _id_of(before, "before"), limit + 1))
    return ActionPage(rows[:limit], rows[limit - 1]["id"] if len(rows) > limit else None)


def list_running(connection: Connection) -> list[Row]:
    """List the newest of the actions that are not finished."""
    return list(bulk_actions.unfinished(connection, MAX_RUNNING))


def list_refusals(connection: Connection, action_id: str, after: str = "", limit: int = REFUSALS) -> RefusalPage:
    """List the jobs that an action left as they were, by id, with the reason of each. Raises BadInput."""
    rows = list(bulk_actions.refused(connection, action_id, _id_of(after, "after") or "", limit + 1))
    listed = [{"job_id": row["job_id"], "why": row["detail"]} for row in rows[:limit]]
    return RefusalPage(listed, listed[-1]["job_id"] if len(rows) > limit else None)


def as_json(row: Row) -> dict[str, Any]:
    """Return a bulk action with the names of its columns."""
    shown: dict[str, Any] = {
        name: rfc3339(value) if isinstance(value, datetime) else value for name, value in row.items()
    }
    shown["filter"] = json.loads(shown.pop("selection"))
    return {name: value for name, value in shown.items() if name != "cursor"}


def _id_of(text: str, field: str) -> str | None:
    if text and not is_id(text):
        raise BadInput(f"{field} must be an ID from a previous page.", field=field)
    return text or None
