"""queues of their own for deliveries and bulk actions."""

from __future__ import annotations

from alembic import op

from workers.store import hearing

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    hearing.drop(op.get_bind())
    hearing.create(op.get_bind())
    op.execute(
        "UPDATE queues SET paused_at = NULL, paused_by = NULL WHERE name IN ('system-deliveries', 'system-bulk')"
    )
    # What waits moves to its new queue; an entry that Redis holds for the old one is taken there and runs all the same.
    waiting = "queue = 'system' AND status IN ('scheduled', 'pending', 'retry_scheduled')"
    op.execute(
        f"UPDATE jobs SET queue = 'system-deliveries' WHERE {waiting} AND task IN ('system.deliver', 'system.callback')"
    )
    op.execute(f"UPDATE jobs SET queue = 'system-bulk' WHERE {waiting} AND task = 'system.bulk_action'")


def downgrade() -> None:
    """Go back."""
    op.execute("UPDATE jobs SET queue = 'system' WHERE queue IN ('system-deliveries', 'system-bulk')")
