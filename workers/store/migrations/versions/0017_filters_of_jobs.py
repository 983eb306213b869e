"""indexes for filters of jobs by worker and by an unusual priority."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_INDEXES = {
    "ix_jobs_worker": (["worker", "id"], "worker IS NOT NULL"),
    "ix_jobs_priority": (["priority", "id"], "priority <> 'normal'"),
}


def upgrade() -> None:
    """Go forward."""
    for name, (columns, condition) in _INDEXES.items():
        where = sa.text(condition)
        op.create_index(name, "jobs", columns, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Go back."""
    for name in _INDEXES:
        op.drop_index(name, table_name="jobs")
