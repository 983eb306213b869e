"""the last completed run of each schedule, from which its deadline counts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from workers.store.types import UtcDateTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.add_column("schedules", sa.Column("last_completed_fire_at", UtcDateTime(), nullable=True))
    # Which of the earlier runs completed may not be known any more: deadlines count from the next run.
    op.execute(sa.text("UPDATE schedules SET last_completed_fire_at = last_fire_at"))


def downgrade() -> None:
    """Go back."""
    op.drop_column("schedules", "last_completed_fire_at")
