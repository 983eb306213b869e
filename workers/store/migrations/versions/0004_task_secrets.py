"""secret fields of tasks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.add_column("tasks", sa.Column("secret_fields", sa.Text(), nullable=True))


def downgrade() -> None:
    """Go back."""
    op.drop_column("tasks", "secret_fields")
