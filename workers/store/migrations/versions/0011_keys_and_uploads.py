"""what idempotency keys stand for, canonical keys of unique tasks, which jobs name which uploads."""

from __future__ import annotations

import json
import re
from typing import Any

import sqlalchemy as sa
from alembic import op

from workers.domain.canonical import canonical_payload, fingerprint

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

STEP = 500
_UPLOAD = re.compile(r"upload:([0-9a-f]{12}-[A-Za-z0-9._-]{1,80})")
_JOBS = sa.table("jobs", *(sa.column(name) for name in "id task payload unique_key".split()))
_TASKS = sa.table("tasks", sa.column("name"), sa.column("payload_schema"))
_USES = sa.table("upload_uses", sa.column("upload"), sa.column("job_id"))


def upgrade() -> None:
    """Go forward."""
    op.add_column("jobs", sa.Column("request_hash", sa.String(64), nullable=True))
    op.create_table(
        "upload_uses",
        sa.Column("upload", sa.String(100), primary_key=True),
        sa.Column("job_id", sa.String(36), primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_table("file_removals", sa.Column("job_id", sa.String(36), primary_key=True), sqlite_with_rowid=False)
    op.create_index("ix_upload_uses_job", "upload_uses", ["job_id"])
    op.create_index("ix_bulk_action_items_job", "bulk_action_items", ["job_id"])
    connection = op.get_bind()
    _write_unique_keys(connection)
    _write_upload_uses(connection)


def downgrade() -> None:
    """Go back. Keys of unique tasks stay as they are; they end with their jobs."""
    op.drop_index("ix_bulk_action_items_job", "bulk_action_items")
    op.drop_table("file_removals")
    op.drop_table("upload_uses")
    op.drop_column("jobs", "request_hash")


def _write_unique_keys(connection: sa.Connection) -> None:
    """Give the unfinished jobs of unique tasks canonical keys; of several with the same payload the oldest one has it."""
    schemas: dict[str, str] = {row.name: row.payload_schema for row in connection.execute(sa.select(_TASKS))}
    taken: set[str] = set()
    for row in _in_steps(connection, _JOBS.c.unique_key.is_not(None)):
        canonical = canonical_payload(json.loads(row["payload"]), schemas.get(row["task"], "{}"))
        key = f"{row['task'][:180]}:{fingerprint(row['task'], canonical)}"
        changed = sa.update(_JOBS).where(_JOBS.c.id == row["id"])
        connection.execute(changed.values(unique_key=None if key in taken else key))
        taken.add(key)


def _write_upload_uses(connection: sa.Connection) -> None:
    for row in _in_steps(connection, _JOBS.c.payload.like("%upload:%")):
        for name in dict.fromkeys(_UPLOAD.findall(row["payload"])):
            connection.execute(sa.insert(_USES), {"upload": name, "job_id": row["id"]})


def _in_steps(connection: sa.Connection, wanted: sa.ColumnElement[bool]) -> Any:
    after = ""
    while True:
        chosen = sa.select(_JOBS).where(wanted, _JOBS.c.id > after).order_by(_JOBS.c.id).limit(STEP)
        rows = connection.execute(chosen).mappings().all()
        yield from rows
        if len(rows) < STEP:
            return
        after = rows[-1]["id"]
