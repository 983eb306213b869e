"""The kinds of alert rules: what each watches, its first threshold, and how its value is said."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from workers.domain.plurals import counted
from workers.domain.staleness import spoken

SEVERITIES = ("critical", "warning", "info")
FIRING, ACKNOWLEDGED, SILENCED, RESOLVED = "firing", "acknowledged", "silenced", "resolved"
# How an alert is closed: its cause is gone, it is part of another alert now, or nobody looks at its cause any more.
GROUPED, UNWATCHED = "grouped", "unwatched"
# Of these kinds each cause has an alert of its own, whose value is 1: a limit of 1 or more is never passed.
ONE_EACH = frozenset({"schedule_refused", "task_module"})
WORSE_TIMES = 2.0  # what has grown by so much since the last message is sent again
# What is counted, by the unit of a kind.
NOUNS = {"jobs": "job", "fires": "run", "sweeps": "missed sweep", "schedules": "schedule", "modules": "task module"}
# A value that is an age doubles while nothing changes: it is sent again no sooner than this.
AGE_WORSENS_AFTER_SECONDS = 600.0
REPEAT_SECONDS = {"critical": 4 * 3600.0}  # of a new rule; others are sent once


@dataclass(frozen=True, slots=True)
class Kind:
    """One thing that can be watched; a value above the threshold raises an alert."""

    name: str
    title: str
    unit: str  # jobs, fires, schedules, modules, percent, seconds, ms, times, sweeps
    threshold: float
    window_seconds: float
    severity: str
    remedy: str  # what to do first
    scoped_by: str = ""  # queue, task or schedule, when a rule can be kept to some of them
    windowed: str = ""  # what the window means: counted within it, or held all through it
    is_age: bool = False  # whether the value grows by the mere passing of time


KINDS = {
    one.name: one
    for one in (
        Kind("stuck_reset", "Stuck jobs reset", "jobs", 0, 0, "warning",
             "Open the stuck jobs and read what the monitor found; look for workers that were killed or overloaded."),
        Kind("failed", "Failed jobs in the last hour", "jobs", 5, 3600, "critical",
             "Open the failed jobs, read the newest error, fix its cause, then retry them.", "", "within"),
        Kind("failure_rate", "Failure rate of a task", "percent", 50, 3600, "warning",
             "Read the newest error of this task, and compare it with the last deployment.", "task", "within"),
        Kind("queue_depth", "Queue depth", "jobs", 1000, 0, "warning",
             "Check that the workers of this queue are running, then add workers.", "queue"),
        Kind("queue_age", "Oldest wait in a queue", "seconds", 600, 0, "warning",
             "Open the oldest job and read why it is not running; add workers if all of them are busy.", "queue", "", True),
        Kind("no_worker", "Queue without a worker", "jobs", 0, 120, "critical",
             "Start a worker for this queue: python app.py worker --queues NAME.", "queue", "held"),
        Kind("long_running", "Long-running job", "times", 3, 0, "warning",
             "Open the job, read its progress and log, and cancel it if it hangs.", "task", "", True),
        Kind("stalled", "Stalled progress", "seconds", 300, 0, "warning",
             "Open the job, read its last message and log, and cancel it if it hangs.", "task", "", True),
        Kind("probe", "Slow or failing health probe", "ms", 2000, 0, "critical",
             "Call PROBE_URL from this host; check the service behind it and the network."),
        Kind("database", "Database size", "percent", 80, 0, "warning",
             "Lower RETENTION_DAYS, or raise DATABASE_LIMIT_MB if the disk has free space."),
        Kind("disk", "Disk of the data folder", "percent", 90, 0, "warning",
             "Free space on the disk of DATA_DIR, or lower RETENTION_DAYS."),
        Kind("cpu", "CPU", "percent", 95, 300, "warning",
             "Find the process that uses the CPU; run fewer workers on this host.", "", "held"),
        Kind("memory", "Memory", "percent", 90, 300, "warning",
             "Find the process that uses the memory; lower RECYCLE_MEMORY_MB or run fewer workers on this host.", "", "held"),
        Kind("schedule_missed", "Missed runs of a schedule", "fires", 0, 3600, "critical",
             "Check that a scheduler is running: python app.py doctor; then run the schedule now if its work is needed.",
             "schedule", "within"),
        Kind("schedule_late", "Late runs of a schedule", "seconds", 60, 0, "warning",
             "Check that a scheduler is running and that the database can be written: python app.py doctor.", "schedule", "", True),
        Kind("schedule_unfinished", "Schedule past its deadline", "seconds", 0, 0, "critical",
             "Open the schedule and its last run: cancel it if it hangs, fix its error if it failed, then run it again.",
             "schedule", "", True),
        Kind("schedule_refused", "Refused runs of a schedule", "schedules", 0, 0, "critical",
             "Open the schedule, read the reason, and correct its task or payload.", "schedule"),
        Kind("task_module", "Failed import of a task module", "modules", 0, 0, "critical",
             "Correct the module, or remove it from TASK_MODULES, and restart the workers of this host."),
        Kind("monitor_silent", "Monitor not running", "sweeps", 3, 0, "critical",
             "Start a scheduler and a worker for the queue system: python app.py doctor lists what is missing.", "", "", True),
    )
}  # fmt: skip


def repeat_seconds(severity: str) -> float:
    """Return after how many seconds a new rule of this severity repeats an open alert; 0 is never."""
    return REPEAT_SECONDS.get(severity, 0.0)


def has_worsened(kind: str, value: float, notified_value: float | None, seconds: float) -> bool:
    """Return whether a value is clearly worse than the one of the last message, which was written so many seconds ago."""
    if not notified_value or notified_value <= 0 or value < WORSE_TIMES * notified_value:
        return False
    about = KINDS.get(kind)
    return about is None or not about.is_age or seconds >= AGE_WORSENS_AFTER_SECONDS


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
    noun = NOUNS.get(unit)
    return counted(value, noun) if noun else f"{value:,.4g}"
