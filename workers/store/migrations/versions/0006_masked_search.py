"""what a search may look at; secrets in the words of earlier jobs are masked."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

from workers.domain.masking import mask as masked
from workers.domain.masking import mask_text, may_hold_secrets
from workers.domain.untrusted import visible

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

SEARCHED = 20_000  # the newest jobs, which is as far as a search reaches
STEP = 500
_JOBS = sa.table("jobs", *(sa.column(name) for name in "id payload search_text idempotency_key".split()))


def upgrade() -> None:
    """Go forward."""
    # Empty: the payloads of jobs older than the newest 20,000 are found by text no more.
    op.add_column("jobs", sa.Column("search_text", sa.Text(), nullable=True, server_default=""))
    connection = op.get_bind()
    _write_search_texts(connection)
    _mask(connection, "jobs", ("id",), ("error", "traceback", "message", "step", "skipped_reason"))
    _mask(connection, "attempts", ("job_id", "attempt"), ("error", "traceback"))


def downgrade() -> None:
    """Go back."""
    op.drop_column("jobs", "search_text")


def _write_search_texts(connection: sa.Connection) -> None:
    newest = sa.select(_JOBS.c.id).order_by(_JOBS.c.id.desc()).limit(SEARCHED)
    ids = list(connection.execute(newest).scalars())
    for start in range(0, len(ids), STEP):
        chosen = _JOBS.c.id.in_(ids[start : start + STEP])
        rows = connection.execute(sa.select(_JOBS).where(chosen)).mappings().all()
        plain = [row["id"] for row in rows if _search_text(row) is None]
        connection.execute(sa.update(_JOBS).where(_JOBS.c.id.in_(plain)).values(search_text=None))
        for row in rows:
            text = _search_text(row)
            if text is not None:
                connection.execute(sa.update(_JOBS).where(_JOBS.c.id == row["id"]).values(search_text=text))


def _search_text(row: Any) -> str | None:
    key = row["idempotency_key"]
    shown_key = mask_text(key) if key else key
    if shown_key == key and not may_hold_secrets(row["payload"]):
        return None
    value = json.loads(row["payload"])
    shown = masked(value)
    if shown == value and shown_key == key:
        return None
    return f"{json.dumps(shown, ensure_ascii=False, separators=(',', ':'))}\n{shown_key or ''}"


def _mask(connection: sa.Connection, name: str, keys: tuple[str, ...], words: tuple[str, ...]) -> None:
    table = sa.table(name, *(sa.column(one) for one in (*keys, *words)))
    has_words = sa.or_(*(table.c[one].is_not(None) for one in words))
    place: tuple[Any, ...] | None = None
    order = [table.c[one] for one in keys]
    while True:
        chosen = sa.select(table).where(has_words).order_by(*order).limit(STEP)
        if place is not None:
            chosen = chosen.where(sa.tuple_(*order) > sa.tuple_(*place))
        rows = connection.execute(chosen).mappings().all()
        for row in rows:
            shown = {one: visible(mask_text(row[one])) for one in words if row[one]}
            changed = {one: text for one, text in shown.items() if text != row[one]}
            if changed:
                same = [table.c[one] == row[one] for one in keys]
                connection.execute(sa.update(table).where(*same).values(changed))
        if len(rows) < STEP:
            return
        place = tuple(rows[-1][one] for one in keys)
