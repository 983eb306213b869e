"""the offset of each worker's clock, and its first heartbeat after a pause."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from workers.store.types import UtcDateTime

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.add_column("workers", sa.Column("clock_offset_seconds", sa.Float(), nullable=True))
    op.add_column("workers", sa.Column("resumed_at", UtcDateTime(), nullable=True))


def downgrade() -> None:
    """Go back."""
    op.drop_column("workers", "resumed_at")
    op.drop_column("workers", "clock_offset_seconds")
