"""The one way to write down who did what, in the transaction that does it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Table, insert

from workers.domain.actors import Actor
from workers.domain.masking import mask
from workers.store.models import AuditEntry

_AUDIT = cast(Table, AuditEntry.__table__)
_INSERT = insert(_AUDIT)


def record(
    connection: Connection,
    actor: Actor,
    action: str,
    target_kind: str,
    target_id: str,
    now: datetime,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Write one line: who, what, to what, before and after. Secrets are masked by the name of their key."""
    entry = {
        "at": now,
        "actor_kind": actor.kind,
        "actor": actor.name,
        "action": action,
        "target_kind": target_kind,
        "target_id": target_id,
        "before": _json(before),
        "after": _json(after),
    }
    connection.execute(_INSERT, entry)


def _json(values: Mapping[str, Any] | None) -> str | None:
    return json.dumps(mask(dict(values)), ensure_ascii=False, default=str) if values else None
