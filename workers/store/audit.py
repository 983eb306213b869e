"""Reading rows of `audit`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import cast

from sqlalchemy import Connection, Table, func, select, tuple_

from workers.store.models import AuditEntry
from workers.store.types import Row

AUDIT = cast(Table, AuditEntry.__table__)


def get(connection: Connection, entry_id: int) -> Row | None:
    """Fetch an entry."""
    return connection.execute(select(AUDIT).where(AUDIT.c.id == entry_id)).mappings().one_or_none()


def last_of(connection: Connection, target_kind: str, target_id: str, passed_over: Collection[str]) -> int | None:
    """Return the id of the newest entry of a target, of those whose action is not passed over."""
    found = last_of_many(connection, [(target_kind, target_id)], passed_over)
    return next(iter(found), None)


def last_of_many(
    connection: Connection, targets: Sequence[tuple[str, str]], passed_over: Collection[str]
) -> frozenset[int]:
    """Return the ids of the newest entries of these targets (kind and id), as `last_of` does, in one statement."""
    if not targets:
        return frozenset()
    chosen = (tuple_(AUDIT.c.target_kind, AUDIT.c.target_id).in_(set(targets)), AUDIT.c.action.not_in(passed_over))
    newest = select(func.max(AUDIT.c.id)).where(*chosen).group_by(AUDIT.c.target_kind, AUDIT.c.target_id)
    return frozenset(connection.execute(newest).scalars())
