"""how an alert was closed, since when it is open this time, and the schedules that one alert is about."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from workers.store.types import UtcDateTime

revision = "0015"
down_revision = "0013"
branch_labels = None
depends_on = None

_COLUMNS = (
    sa.Column("opened_at", UtcDateTime(), nullable=True),
    sa.Column("closed_as", sa.String(16), nullable=True),
    sa.Column("closed_why", sa.Text(), nullable=True),
    sa.Column("subjects", sa.Text(), nullable=True),
)
# Each schedule and each module has an alert of its own, whose value is 1: a higher limit would never be passed.
_LIMITS = "UPDATE alert_rules SET threshold = 0 WHERE kind IN ('schedule_refused', 'task_module') AND threshold >= 1"


def upgrade() -> None:
    """Go forward."""
    for column in _COLUMNS:
        op.add_column("alerts", column)
    op.execute(sa.text("UPDATE alerts SET opened_at = first_at"))
    op.execute(sa.text("UPDATE alerts SET closed_as = 'resolved' WHERE resolved_at IS NOT NULL"))
    op.execute(sa.text(_LIMITS))


def downgrade() -> None:
    """Go back."""
    for column in reversed(_COLUMNS):
        op.drop_column("alerts", column.name)
