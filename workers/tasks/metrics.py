"""Numbers for dashboards elsewhere."""

from __future__ import annotations

from typing import Any

from workers.domain.clock import utcnow
from workers.services import statistics
from workers.task import cache_set, current_settings, publish, task, the_yard

KEPT_SECONDS = 3600


@task(max_retries=0, timeout_seconds=60)
def dashboard() -> dict[str, Any]:
    """Take a snapshot of states, queues and workers: published on the channel `dashboard`, cached for an hour as `metrics.dashboard`."""
    with the_yard().database.read() as connection:
        told = statistics.snapshot(connection, utcnow(), current_settings().heartbeat_seconds)
    cache_set("metrics.dashboard", told, KEPT_SECONDS)
    publish("dashboard", "metrics", told)
    return {"at": told["at"], "statuses": told["statuses"], "workers": told["workers"]}
