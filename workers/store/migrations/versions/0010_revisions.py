"""revisions of what people edit, refused schedules, what a schedule declared in code returns to, and jobs by what they were made of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

EDITED = ("schedules", "triggers", "alert_rules")


def upgrade() -> None:
    """Go forward."""
    for table in EDITED:
        op.add_column(table, sa.Column("revision", sa.BigInteger(), nullable=False, server_default="1"))
    op.add_column("schedules", sa.Column("refused_reason", sa.Text(), nullable=True))
    op.add_column("schedules", sa.Column("enabled_when_declared", sa.Boolean(), nullable=True))
    has_origin = sa.text("rerun_of IS NOT NULL")
    op.create_index("ix_jobs_rerun_of", "jobs", ["rerun_of"], sqlite_where=has_origin, postgresql_where=has_origin)


def downgrade() -> None:
    """Go back."""
    op.drop_index("ix_jobs_rerun_of", "jobs")
    op.drop_column("schedules", "enabled_when_declared")
    op.drop_column("schedules", "refused_reason")
    for table in EDITED:
        op.drop_column(table, "revision")
