"""Tasks that try to reach Taskyard's own queues."""

from __future__ import annotations

from typing import Any

from workers.task import enqueue, task


@task(max_retries=0)
def enqueue_on(wanted: str, queue: str | None = None, payload: dict[str, Any] | None = None) -> str:
    """Enqueue a task from a task."""
    return enqueue(wanted, payload, queue=queue).job_id
