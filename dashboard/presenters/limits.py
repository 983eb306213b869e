"""The limits of alert rules as the charts draw them: what is drawn is what raises an alert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from workers.domain.alarms import in_scope
from workers.settings import Settings
from workers.store.types import Row

# Which measurement a kind of rule watches. The depth of one queue is not the number of all waiting jobs.
_METRICS = {
    "cpu": "cpu_percent",
    "memory": "memory_percent",
    "disk": "disk_percent",
    "probe": "probe_ms",
    "queue_age": "oldest_wait_seconds",
}


def machine_limits(rules: Sequence[Row], settings: Settings) -> Mapping[str, list[float]]:
    """Return the limits of the enabled rules for each measurement, in its own unit, the lowest first."""
    found: dict[str, set[float]] = {}
    for rule in rules:
        if not rule["is_enabled"] or rule["scope"]:
            continue
        if rule["kind"] in _METRICS:
            found.setdefault(_METRICS[rule["kind"]], set()).add(float(rule["threshold"]))
        if rule["kind"] == "database" and settings.database_limit_mb:
            limit = rule["threshold"] / 100 * settings.database_limit_mb
            found.setdefault("database_bytes", set()).add(float(limit))
    return {name: sorted(values) for name, values in found.items()}


def success_limits(rules: Sequence[Row], task: str) -> list[float]:
    """Return the shares of completed jobs below which a task raises an alert, in percent; none for all tasks together."""
    if not task:
        return []
    rates = [rule for rule in rules if rule["kind"] == "failure_rate" and rule["is_enabled"]]
    return sorted({100 - float(rule["threshold"]) for rule in rates if in_scope(rule["scope"], task)})
