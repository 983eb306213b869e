"""Refuses alert rules that could never raise an alert, or never resolve one, with the reason.

What a rule may ask for follows from what is measured, how often, and for how long it is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workers.domain.alarms import KINDS, NOUNS, ONE_EACH, Kind, said
from workers.domain.errors import BadInput
from workers.domain.names import MAX_TIMEOUT_SECONDS
from workers.domain.staleness import spoken
from workers.services import scope_checks
from workers.services.conditions import SHORTEST_P95_SECONDS
from workers.services.measuring import PROBE_TIMEOUT_SECONDS
from workers.settings import Settings

LONGEST_HELD_SECONDS = 86400.0  # every measurement of it is read at each sweep
LONGEST_COUNTED_SECONDS = 7 * 86400.0
SHORTEST_WINDOW_SECONDS = 60.0  # what ends is counted by the minute
SHORTEST_REPEAT_SECONDS = 60.0
LONGEST_THRESHOLD_SECONDS = 365 * 86400.0
MOST_COUNTED = 1e9
MOST_JOBS_IN_A_SECOND = 100_000.0
# No schedule runs more often than once a second; what an outage has missed is recorded when it ends.
LONGEST_OUTAGE_SECONDS = 7 * 86400.0
_NEVER_ABOVE_100 = {"failure_rate", "disk", "cpu", "memory"}
_NEEDS = {"probe": ("probe_url", "PROBE_URL"), "database": ("database_limit_mb", "DATABASE_LIMIT_MB")}


def check(settings: Settings, rule: Mapping[str, Any], changed: Mapping[str, Any]) -> None:
    """Refuse a rule, as it would be, whose changed values make it useless. Raises BadInput with the field."""
    kind = KINDS[rule["kind"]]
    if "threshold" in changed:
        _check_threshold(settings, kind, rule["threshold"])
    if "window_seconds" in changed:
        _check_window(settings, kind, rule["window_seconds"])
    if {"threshold", "window_seconds"} & set(changed):
        _check_count(kind, rule["threshold"], rule["window_seconds"])
    if "repeat_seconds" in changed:
        _check_repeat(settings, rule["repeat_seconds"])
    if "scope" in changed:
        _check_scope(kind, rule["scope"])
    if changed.get("is_enabled") and (reason := missing_setting(settings, kind.name)):
        raise BadInput(reason, field="is_enabled")


def missing_setting(settings: Settings, kind: str) -> str | None:
    """Return why nothing is measured for a kind of rule; None when it is."""
    attribute, name = _NEEDS.get(kind, ("", ""))
    if not attribute or getattr(settings, attribute):
        return None
    return f"This rule can never raise an alert: {name} is not set, so nothing is measured. Set {name} first."


def _check_threshold(settings: Settings, kind: Kind, value: float) -> None:
    if kind.name in ONE_EACH and value >= 1:
        noun = NOUNS[kind.unit]
        _refuse("threshold", f"each {noun} has its own alert with the value 1 {noun}. Set the limit to 0")
    if kind.name in _NEVER_ABOVE_100 and value >= 100:
        _refuse("threshold", f"the value is never above 100 %, and this rule needs more than {value:g} %")
    if kind.name == "probe" and value >= 1000 * PROBE_TIMEOUT_SECONDS:
        _refuse("threshold", f"a probe times out after {1000 * PROBE_TIMEOUT_SECONDS:,.0f} ms")
    if kind.name == "stalled" and value >= MAX_TIMEOUT_SECONDS:
        _refuse("threshold", f"no job runs for longer than {spoken(MAX_TIMEOUT_SECONDS)}")
    if kind.unit == "seconds" and value > LONGEST_THRESHOLD_SECONDS:
        _refuse("threshold", "nothing waits for longer than a year")
    if kind.unit == "times" and value >= MAX_TIMEOUT_SECONDS / SHORTEST_P95_SECONDS:
        _refuse("threshold", f"no job runs for longer than {spoken(MAX_TIMEOUT_SECONDS)}")
    if kind.unit in {"jobs", "fires", "sweeps"} and value > MOST_COUNTED:
        _refuse("threshold", f"nothing is counted above {MOST_COUNTED:,.0f}")
    if kind.unit == "sweeps" and value * settings.monitor_interval_seconds > LONGEST_THRESHOLD_SECONDS:
        _refuse("threshold", f"{said(value, kind.unit)} take longer than a year")
    if kind.unit == "sweeps" and value < 1:
        raise BadInput("At least 1 sweep must be missed: the monitor never runs between two sweeps.", "threshold")


def _check_window(settings: Settings, kind: Kind, seconds: float) -> None:
    if not kind.windowed:
        if seconds:
            raise BadInput(f"A rule of the kind {kind.name} has no window. Remove it.", field="window_seconds")
        return
    if kind.windowed == "held":
        if seconds > LONGEST_HELD_SECONDS:
            _refuse("window_seconds", f"measurements are compared over {spoken(LONGEST_HELD_SECONDS)} at most")
        return
    kept = min(LONGEST_COUNTED_SECONDS, settings.retention_days * 86400.0)
    if seconds > kept:
        _refuse("window_seconds", f"the history that is counted is kept for {spoken(kept)}")
    interval = settings.monitor_interval_seconds
    if seconds < interval:
        _refuse(
            "window_seconds",
            f"the monitor sweeps every {spoken(interval)} (MONITOR_INTERVAL_SECONDS), so a window of {spoken(seconds)} "
            "misses what happens between two sweeps",
        )
    if seconds < SHORTEST_WINDOW_SECONDS:
        _refuse(
            "window_seconds",
            f"jobs are counted by the minute, so a window has at least {SHORTEST_WINDOW_SECONDS:.0f} s",
        )


def _check_count(kind: Kind, threshold: float, window_seconds: float) -> None:
    """Refuse to count more within a window than can happen in it."""
    if kind.windowed != "within":
        return
    if kind.unit == "jobs" and threshold >= MOST_JOBS_IN_A_SECOND * window_seconds:
        _refuse("threshold", f"{said(threshold, kind.unit)} do not end within {spoken(window_seconds)}")
    if kind.unit == "fires" and threshold >= LONGEST_OUTAGE_SECONDS + window_seconds:
        outage = spoken(LONGEST_OUTAGE_SECONDS)
        most = f"{LONGEST_OUTAGE_SECONDS + window_seconds:,.0f}"
        _refuse(
            "threshold",
            f"a schedule runs at most once a second, so within {spoken(window_seconds)}, after an outage of {outage}, "
            f"it has missed at most {most}",
        )


def _check_repeat(settings: Settings, seconds: float) -> None:
    least = max(SHORTEST_REPEAT_SECONDS, settings.monitor_interval_seconds)
    if 0 < seconds < least:
        raise BadInput(
            f"Alerts are repeated at sweeps of the monitor, at most every {spoken(least)}. 0 means never.",
            field="repeat_seconds",
        )


def _check_scope(kind: Kind, scope: str) -> None:
    if not scope:
        return
    if not kind.scoped_by:
        raise BadInput(f"A rule of the kind {kind.name} watches the whole installation. Remove scope.", field="scope")
    if reason := scope_checks.why_never(kind.scoped_by, scope):
        _refuse("scope", reason)


def _refuse(field: str, reason: str) -> None:
    raise BadInput(f"This rule could never raise an alert: {reason}.", field=field)
