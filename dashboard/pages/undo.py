"""Undo: the address that takes an action back, and what answers there."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from dashboard.actions import came_from, done
from dashboard.context import actor, yard
from dashboard.security import requires
from workers.services import undo as service

bp = Blueprint("undo", __name__)


def undo_of(target_kind: str, target_id: str) -> str | None:
    """Return the address that takes back what the actor has just done to this target, None when nothing does."""
    with yard().database.read() as connection:
        entry_id = service.latest(connection, actor(), target_kind, target_id)
    return f"/audit/{entry_id}/undo" if entry_id is not None else None


@bp.post("/audit/<number:entry_id>/undo")
@requires("operator")
def undo(entry_id: str) -> ResponseReturnValue:
    """Take back the action of an entry of the audit."""
    message = service.undo(yard(), int(entry_id), actor())
    return done(message, came_from("/"), stay=True)
