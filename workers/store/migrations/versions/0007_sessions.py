"""sessions, second factors and one-time passwords that expire."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from alembic import op

from workers.store.types import UtcDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# Sessions of earlier versions are signed cookies. They last 14 days, and for so long they become rows at their next use.
OLD_SESSION_DAYS = 14
# A one-time password that is waiting at the upgrade.
ONE_TIME_HOURS = 72
REFUSED = "action IN ('sign_in.failed', 'request.refused')"
_USER_COLUMNS = {
    "password_expires_at": UtcDateTime(),
    "totp_secret": sa.String(64),
    "totp_step": sa.BigInteger(),
    "recovery_codes": sa.Text(),
}


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("secret_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("user_id", sa.String(36), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("idle_seconds", sa.Integer(), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("user_agent", sa.String(200), nullable=False),
    )
    op.create_index("ix_sessions_user", "sessions", ["user_id"])
    op.create_index("ix_sessions_expires", "sessions", ["expires_at"])
    for name, kind in _USER_COLUMNS.items():
        op.add_column("users", sa.Column(name, kind, nullable=True))
    refused = sa.text(REFUSED)
    op.create_index("ix_audit_refusals", "audit", ["at"], sqlite_where=refused, postgresql_where=refused)
    _set_deadlines(op.get_bind())


def downgrade() -> None:
    """Go back."""
    op.drop_index("ix_audit_refusals", "audit")
    for name in _USER_COLUMNS:
        op.drop_column("users", name)
    op.drop_table("sessions")
    op.execute(sa.text("DELETE FROM settings WHERE key IN ('old_sessions_until', 'second_factor_from')"))


def _set_deadlines(connection: sa.Connection) -> None:
    now = datetime.now(UTC)
    users = sa.table("users", sa.column("must_change_password"), sa.column("password_expires_at", UtcDateTime()))
    waiting = sa.update(users).where(users.c.must_change_password.is_(sa.true()))
    connection.execute(waiting.values(password_expires_at=now + timedelta(hours=ONE_TIME_HOURS)))
    if not connection.execute(sa.select(sa.func.count()).select_from(users)).scalar_one():
        return  # nobody can have a session yet
    settings = sa.table("settings", sa.column("key"), sa.column("value"), sa.column("updated_at", UtcDateTime()))
    until = (now + timedelta(days=OLD_SESSION_DAYS)).isoformat()
    values = {"key": "old_sessions_until", "value": json.dumps(until), "updated_at": now}
    connection.execute(sa.insert(settings).values(values))
