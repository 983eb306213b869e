"""The monitor's own tasks; they run on the system queue."""

from __future__ import annotations

from workers.domain.names import SYSTEM_QUEUE
from workers.services import monitoring
from workers.task import log, task, the_yard


@task(queue=SYSTEM_QUEUE, priority="high", max_retries=0, timeout_seconds=300)
def sweep() -> dict[str, int]:
    """Look for jobs whose worker is gone and for jobs that Redis lost, and put them right."""
    found = monitoring.sweep(the_yard())
    if found.lost or found.requeued:
        log(f"{found.lost} jobs had lost their worker, {found.requeued} were missing in Redis", "warning")
    return {"lost": found.lost, "requeued": found.requeued}
