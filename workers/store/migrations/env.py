"""Alembic's way in: runs the migrations on the connection that `workers.store.migrate` hands over."""

from __future__ import annotations

from alembic import context

from workers.store import account_models, module_models, monitor_models, schedule_models, trigger_models  # noqa: F401 (of the same metadata)
from workers.store.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
