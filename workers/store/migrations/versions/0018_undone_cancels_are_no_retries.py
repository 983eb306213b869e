"""counters of retries: a canceled retry that is restored has not been retried once more."""

from __future__ import annotations

from alembic import op

from workers.store import counting

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward: the triggers are made anew, as this version has them."""
    counting.drop(op.get_bind())
    counting.create(op.get_bind())


def downgrade() -> None:
    """Go back: those of the version before count the same rows, and a restored retry once more."""
