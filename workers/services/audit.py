"""The one way to write down who did what, in the transaction that does it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Table, delete, insert, select, text

from workers.domain.actors import Actor
from workers.domain.masked_edits import mask_change
from workers.domain.untrusted import visible_json
from workers.store.models import REFUSED, AuditEntry
from workers.store.types import Row

_AUDIT = cast(Table, AuditEntry.__table__)
_INSERT = insert(_AUDIT)
_JSON = frozenset({"payload", "conditions", "tags", "channels", "selection"})


def record(
    connection: Connection,
    actor: Actor,
    action: str,
    target_kind: str,
    target_id: str,
    now: datetime,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    secret: Collection[str] = (),
) -> None:
    """Write one line: who, what, to what, before and after. Secrets are masked, those that changed are marked.

    `secret` are the names that the task in question declares.
    """
    shown = mask_change(_opened(before), _opened(after), secret)
    entry = {
        "at": now,
        "actor_kind": actor.kind,
        "actor": actor.name,
        "action": action,
        "target_kind": target_kind,
        "target_id": target_id,
        "before": _json(shown[0]),
        "after": _json(shown[1]),
    }
    connection.execute(_INSERT, entry)


def edits_since(
    connection: Connection, target_kind: str, target_ids: Collection[str], since: datetime
) -> Sequence[Row]:
    """List what was done to these targets after a moment, the oldest first; `before` and `after` are opened."""
    names = ("at", "action", "actor_kind", "actor", "target_id", "before", "after")
    mine = (_AUDIT.c.target_kind == target_kind, _AUDIT.c.target_id.in_(list(target_ids)), _AUDIT.c.at > since)
    chosen = select(*(_AUDIT.c[name] for name in names)).where(*mine).order_by(_AUDIT.c.id)
    rows = connection.execute(chosen).mappings()
    return [
        {**row, "before": json.loads(row["before"] or "{}"), "after": json.loads(row["after"] or "{}")} for row in rows
    ]


def actor_of(row: Row) -> str:
    """Return who did something, as people read it."""
    return str(Actor(row["actor_kind"], row["actor"]))


def forget_refusals(connection: Connection, before: datetime, limit: int) -> int:
    """Delete old lines on what was refused; what was done stays. Returns how many."""
    chosen = select(_AUDIT.c.id).where(text(REFUSED), _AUDIT.c.at < before).limit(limit)
    return connection.execute(delete(_AUDIT).where(_AUDIT.c.id.in_(chosen))).rowcount


def _opened(values: Mapping[str, Any] | None) -> dict[str, Any]:
    # These columns hold JSON as text.
    return {name: _read(value) if name in _JSON else value for name, value in (values or {}).items()}


def _read(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _json(values: Mapping[str, Any]) -> str | None:
    return visible_json(values) if values else None
