"""The values of a schedule, read out of its form: every error of the form at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from dashboard.field_errors import FieldErrors
from dashboard.zones import from_form, local
from workers.domain import cron
from workers.domain.cron import LONGEST_INTERVAL_SECONDS
from workers.domain.errors import BadInput
from workers.domain.firing import MOST_CAUGHT_UP
from workers.domain.numbers import check_whole, parse_number, parse_whole
from workers.services import schedules
from workers.services.schedule_checks import DEFAULTS, LONGEST_FINISH_SECONDS, LONGEST_JITTER_SECONDS, RHYTHM
from workers.store.types import Row

UNITS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}
MOMENTS = ("starts_at", "ends_at", "once_at")
# Fields by the names of their labels, for messages.
LABELS = {
    "starts_at": "Start",
    "ends_at": "End",
    "once_at": "At",
    "every": "Every",
    "jitter_seconds": "Jitter",
    "catch_up_max": "Catch-up limit",
    "finish_within_minutes": "Deadline",
    "max_retries": "Retries",
    "timeout_seconds": "Timeout",
    "timezone": "Time zone",
}
_WHOLE = (
    ("jitter_seconds", 0, LONGEST_JITTER_SECONDS),
    ("catch_up_max", 1, MOST_CAUGHT_UP),
    ("max_retries", 0, 100),
)


def read_values(
    given: Mapping[str, str], payload: Mapping[str, Any], stored: Row | None, errors: FieldErrors
) -> dict[str, Any]:
    """Read the whole form. Raises BadInput with every error of it, those of the payload among them."""
    values: dict[str, Any] = {"name": given.get("name", ""), "task": given.get("task", ""), "payload": payload}
    for name in ("name", "task"):
        if not values[name].strip():
            errors.found.setdefault(name, "Is required.")
    _read_rhythm(given, values, stored, errors)
    for name in ("overlap", "missed"):
        values[name] = given.get(name, DEFAULTS[name])
    for name, least, most in _WHOLE:
        number = errors.read(name, _number, given, name, parse_whole)
        values[name] = errors.read(name, check_whole, LABELS[name], number, least, most) if number is not None else None
    values["jitter_seconds"] = values["jitter_seconds"] or 0
    if values["catch_up_max"] is None:
        values["catch_up_max"] = DEFAULTS["catch_up_max"]
    values["timeout_seconds"] = errors.read("timeout_seconds", _number, given, "timeout_seconds", parse_number)
    values["finish_within_seconds"] = errors.read("finish_within_minutes", _finish_within, given, stored)
    values["queue"], values["priority"] = given.get("queue") or None, given.get("priority") or None
    values["tags"] = [one.strip() for one in given.get("tags_text", "").split(",") if one.strip()]
    values["enabled"] = "enabled" in given
    errors.raise_all()
    return values


def _read_rhythm(given: Mapping[str, str], values: dict[str, Any], stored: Row | None, errors: FieldErrors) -> None:
    """Add when it runs to the values; a cron expression is judged here too, so that its error comes with the others."""
    rhythm = errors.read("", read_rhythm, given, stored)
    values |= rhythm or {}
    is_changed = rhythm is not None and (stored is None or rhythm["cron"] != stored["cron"])
    if rhythm is not None and is_changed and given.get("kind", "cron") == "cron":
        errors.read("cron", schedules.preview, rhythm)


def read_rhythm(given: Mapping[str, Any], stored: Row | None = None) -> dict[str, Any]:
    """Read when it runs. Raises BadInput with every field that is wrong."""
    errors = FieldErrors()
    zone = errors.read("timezone", cron.check_zone, given.get("timezone") or "UTC") or "UTC"
    kind = given.get("kind", "cron")
    values: dict[str, Any] = {**dict.fromkeys(RHYTHM), "timezone": zone, "starts_at": None, "ends_at": None}
    if kind == "cron":
        values["cron"] = given.get("cron") or ""
    elif kind == "interval":
        size = UNITS.get(str(given.get("every_unit")), 1)
        every = errors.read("every", _every, given, LONGEST_INTERVAL_SECONDS // size)
        values["interval_seconds"] = every * size if every is not None else None
    for name in MOMENTS:
        if given.get(name) and (name != "once_at" or kind == "once"):
            values[name] = errors.read(name, _moment, str(given[name]), name, zone, stored)
    if kind == "once" and values["once_at"] is None:
        errors.found.setdefault("once_at", "Enter the date and time of the run.")
    errors.raise_all()
    return values


def _every(given: Mapping[str, Any], most: int) -> int:
    every = _number(given, "every", parse_whole) or 0
    if not 1 <= every <= most:
        unit = given.get("every_unit") or "seconds"
        raise BadInput(f"{LABELS['every']} must be a whole number from 1 to {most:,} ({unit}).", field="every")
    return int(every)


def _finish_within(given: Mapping[str, Any], stored: Row | None) -> float | None:
    """Read the minutes within which a run must finish, in seconds. Those that were left alone stay as they are stored."""
    kept: float | None = stored["finish_within_seconds"] if stored is not None else None
    if kept is not None and given.get("finish_within_minutes", "").strip() == minutes_shown(kept):
        return kept
    minutes = _number(given, "finish_within_minutes", parse_number)
    if minutes is None:
        return None
    most = LONGEST_FINISH_SECONDS // 60
    if not 0 < minutes <= most:
        label = LABELS["finish_within_minutes"]
        raise BadInput(f"{label} must be a number above 0, up to {most:,} minutes.", field="finish_within_minutes")
    return float(minutes) * 60


def minutes_shown(seconds: float) -> str:
    """Write the minutes of a field."""
    return f"{seconds / 60:g}"


def _moment(text: str, name: str, zone: str, stored: Row | None) -> datetime:
    """Read a field of date and time. One that was left alone is the stored moment: the field has no seconds."""
    kept: datetime | None = stored[name] if stored is not None and zone == stored["timezone"] else None
    if kept is not None and text == moment_shown(kept, zone):
        return kept
    try:
        return from_form(text, zone)
    except ValueError as error:
        raise BadInput(f"{LABELS[name]} is invalid: {error}.", field=name) from error


def moment_shown(moment: datetime, zone: str) -> str:
    """Write a moment as a field of date and time holds it, on the clocks of a zone."""
    return local(moment, zone).strftime("%Y-%m-%dT%H:%M")


def _number(given: Mapping[str, Any], name: str, parse: Callable[[str], Any]) -> Any:
    text = str(given.get(name) or "").strip()
    try:
        return parse(text) if text else None
    except ValueError as error:
        raise BadInput(f"{LABELS[name]} {error}.", field=name) from error
