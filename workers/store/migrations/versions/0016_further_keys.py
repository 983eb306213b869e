"""idempotency keys that were answered with the unfinished job of a unique task."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "further_keys",
        sa.Column("idempotency_key", sa.String(255), primary_key=True),
        sa.Column("job_id", sa.String(36), nullable=False),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_further_keys_job", "further_keys", ["job_id"])


def downgrade() -> None:
    """Go back."""
    op.drop_table("further_keys")
