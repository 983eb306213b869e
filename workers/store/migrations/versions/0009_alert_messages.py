"""repetitions of open alerts, the host of an alert, the time zone of a channel."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from workers.store.types import UtcDateTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_COLUMNS = (
    ("alert_rules", sa.Column("repeat_seconds", sa.Float(), nullable=False, server_default="0")),
    ("alerts", sa.Column("host", sa.String(255), nullable=False, server_default="")),
    ("alerts", sa.Column("notified_at", UtcDateTime(), nullable=True)),
    ("alerts", sa.Column("notified_value", sa.Float(), nullable=True)),
    ("alert_channels", sa.Column("timezone", sa.String(64), nullable=False, server_default="")),
)


def upgrade() -> None:
    """Go forward."""
    for table, column in _COLUMNS:
        op.add_column(table, column)
    op.execute(sa.text("UPDATE alert_rules SET repeat_seconds = 14400 WHERE severity = 'critical'"))
    # An open alert is repeated an interval after the upgrade, not with it.
    op.execute(sa.text("UPDATE alerts SET notified_at = last_at, notified_value = value WHERE resolved_at IS NULL"))


def downgrade() -> None:
    """Go back."""
    for table, column in reversed(_COLUMNS):
        op.drop_column(table, column.name)
