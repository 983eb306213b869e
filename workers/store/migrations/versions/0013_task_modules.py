"""task modules of each host; the earlier default name of each task; interrupted attempts of each job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from workers.store.types import UtcDateTime

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# Tasks that were published before stay available until a host has said what it imports now.
_KEEP = """
INSERT INTO task_modules (host, name, tasks, seconds, imported_at)
SELECT 'before the upgrade', name, '["' || name || '"]', 0, published_at FROM tasks WHERE module NOT LIKE 'workers.tasks.%'
"""


def upgrade() -> None:
    """Go forward."""
    op.add_column("tasks", sa.Column("previous_name", sa.String(200), nullable=False, server_default=""))
    op.add_column("jobs", sa.Column("interruptions", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "task_modules",
        sa.Column("host", sa.String(255), primary_key=True),
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("tasks", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("file", sa.Text(), nullable=True),
        sa.Column("line", sa.Integer(), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("imported_at", UtcDateTime(), nullable=False),
    )
    op.execute(sa.text(_KEEP))


def downgrade() -> None:
    """Go back."""
    op.drop_table("task_modules")
    op.drop_column("jobs", "interruptions")
    op.drop_column("tasks", "previous_name")
