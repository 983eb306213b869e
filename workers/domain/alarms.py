"""The kinds of alert rules: what each watches, its first threshold, and how its value is said."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from workers.domain.staleness import spoken

SEVERITIES = ("critical", "warning", "info")
FIRING, ACKNOWLEDGED, SILENCED, RESOLVED = "firing", "acknowledged", "silenced", "resolved"


@dataclass(frozen=True, slots=True)
class Kind:
    """One thing that can be watched; a value above the threshold raises an alert."""

    name: str
    title: str
    unit: str  # jobs, fires, percent, seconds, ms, times, sweeps
    threshold: float
    window_seconds: float
    severity: str
    scoped_by: str = ""  # queue, task or schedule, when a rule can be kept to some of them
    windowed: str = ""  # what the window means: counted within it, or held all through it


KINDS = {
    one.name: one
    for one in (
        Kind("stuck_reset", "Stuck jobs reset", "jobs", 0, 0, "warning"),
        Kind("failed", "Failed in the last hour", "jobs", 5, 3600, "critical", "", "within"),
        Kind("failure_rate", "Failure rate of a task", "percent", 50, 3600, "warning", "task", "within"),
        Kind("queue_depth", "Depth of a queue", "jobs", 1000, 0, "warning", "queue"),
        Kind("queue_age", "Oldest wait in a queue", "seconds", 600, 0, "warning", "queue"),
        Kind("no_worker", "No worker on a queue that has work", "jobs", 0, 120, "critical", "queue", "held"),
        Kind("long_running", "Job runs longer than usual", "times", 3, 0, "warning", "task"),
        Kind("stalled", "Progress stalled", "seconds", 300, 0, "warning", "task"),
        Kind("probe", "Health probe slow or failing", "ms", 2000, 0, "critical"),
        Kind("database", "Database size", "percent", 80, 0, "warning"),
        Kind("disk", "Disk of the data folder", "percent", 90, 0, "warning"),
        Kind("cpu", "CPU", "percent", 95, 300, "warning", "", "held"),
        Kind("memory", "Memory", "percent", 90, 300, "warning", "", "held"),
        Kind("schedule_missed", "A schedule missed fires", "fires", 0, 3600, "critical", "schedule", "within"),
        Kind("schedule_late", "A schedule fires late", "seconds", 60, 0, "warning", "schedule"),
        Kind("schedule_unfinished", "A schedule has not finished in time", "seconds", 0, 0, "critical", "schedule"),
        Kind("schedule_refused", "Runs of a schedule are refused", "schedules", 0, 0, "critical", "schedule"),
        Kind("monitor_silent", "The monitor does not run", "sweeps", 3, 0, "critical"),
    )
}


def in_scope(scope: str, name: str) -> bool:
    """Tell whether a rule with this scope watches this queue or task."""
    return not scope or fnmatchcase(name, scope)


def said(value: float, unit: str) -> str:
    """Say a value with its unit."""
    if unit == "percent":
        return f"{value:,.4g} %"
    if unit == "seconds":
        return spoken(value)
    if unit == "ms":
        return f"{value:,.0f} ms"
    if unit == "times":
        return f"{value:,.3g} ×"
    return f"{value:,.0f} missed sweeps" if unit == "sweeps" else f"{value:,.0f}"
