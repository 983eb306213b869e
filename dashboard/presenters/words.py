"""Numbers, times and names as people read them. Pure functions; Jinja knows them as filters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jinja2 import Environment

from dashboard.presenters.browsers import browser
from workers.domain.clock import rfc3339, utcnow
from workers.domain.durations import write_duration
from workers.domain.plurals import counted, plural
from workers.domain.untrusted import visible

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))
ICONS = {
    "scheduled": "clock",
    "pending": "hourglass",
    "processing": "spinner",
    "retry_scheduled": "retry",
    "completed": "check",
    "failed": "cross",
    "canceled": "stop",
    "stuck": "warning",
    "paused": "pause",
    "skipped": "pause",
}


def duration(seconds: float | None) -> str:
    """Write a time span: `240 ms`, `1.2 s`, `2 min 10 s`, `30 min`, `3 h 5 min`, `2 d 4 h`."""
    return "–" if seconds is None else write_duration(seconds)


def span(seconds: float | None) -> str:
    """Write a time span that is a round one: `5 min`, `1 h`, `20 s`."""
    return duration(seconds)


def relative(moment: datetime | None, now: datetime | None = None) -> str:
    """Write an instant as seen from now: `3 min ago`, `in 28 min`, `just now`."""
    if moment is None:
        return "–"
    seconds = ((now or utcnow()) - moment).total_seconds()
    away = abs(seconds)
    if away < 1:
        return "just now"
    words = f"{int(away)} s"
    for size, unit in _UNITS:
        if away >= size:
            words = f"{int(away // size)} {unit}"
            break
    return f"{words} ago" if seconds > 0 else f"in {words}"


def exact(moment: datetime | None, zone: str = "UTC") -> str:
    """Write an instant of a zone in full: `2026-01-31 08:00:00 UTC`, `2026-01-31 09:00:00 +01:00 Europe/Berlin`."""
    if moment is None:
        return "–"
    shown = f"{moment:%Y-%m-%d %H:%M:%S}"
    return f"{shown} UTC" if zone == "UTC" else f"{shown} {offset(moment).removeprefix('UTC')} {zone}"


def clock(moment: datetime | None, now: datetime) -> str:
    """Write the time of day of an instant: `08:00:00`, on another day than now `31 Jan 08:00:00`. Both are of one zone."""
    if moment is None:
        return "–"
    if moment.date() == now.date():
        return f"{moment:%H:%M:%S}"
    year = "" if moment.year == now.year else f" {moment.year}"
    return f"{moment.day} {moment:%b}{year} {moment:%H:%M:%S}"


def offset(moment: datetime) -> str:
    """Write how far an instant's clocks are from UTC: `UTC+05:30`."""
    shift = f"{moment:%z}"
    return f"UTC{shift[:3]}:{shift[3:5]}"


def zone_short(moment: datetime) -> str:
    """Write the zone of an instant in little room: `UTC`, `CET`, `UTC+03:00` where it has no abbreviation."""
    name = moment.tzname() or "UTC"
    return name if name.isalpha() else offset(moment)


def number(value: float | None) -> str:
    """Write a number with its thousands: `12,431`."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def compact(value: float | None) -> str:
    """Write a number in little room: `9,999`, `24.9K`, `500K+` (from half a million on)."""
    if value is None:
        return "–"
    if value < 10_000:
        return f"{value:,.0f}"
    if value >= 500_000:
        return "500K+"
    return f"{value / 1000:.1f}K".replace(".0K", "K")


def size(value: float | None) -> str:
    """Write a number of bytes: `118 MB`."""
    if value is None:
        return "–"
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return "–"


def percent(value: float | None) -> str:
    """Write a share in percent: `7.5 %`. Never all while something is missing, never nothing while something is there."""
    if value is None:
        return "–"
    shown = f"{value:.1f}"
    if shown == "100.0" and value < 100:
        return "99.9 %"
    if shown == "0.0" and value > 0:
        return "< 0.1 %"
    return f"{shown.removesuffix('.0')} %"


def state(name: str) -> str:
    """Write the name of a state: `Retry scheduled`."""
    return str(name).replace("_", " ").capitalize()


def attempts_begun(row: Mapping[str, Any]) -> int:
    """Return how many attempts at a job have started: a job is created, retried and reset with the number of its next one."""
    attempt = int(row["attempt"])
    return attempt if row["started_at"] is not None else attempt - 1


def pretty(value: Any) -> str:
    """Write a JSON value over several lines."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def instant(moment: datetime | None) -> str:
    """Write an instant for machines."""
    return rfc3339(moment) or ""


def finalize(value: Any) -> Any:
    """Return what a template writes, with nothing in it that would reverse or hide what is read.

    This is the one way of every value to every page, whoever it comes from.
    """
    return visible(value) if type(value) is str else value


def init(environment: Environment) -> None:
    """Make them known to the templates."""
    for one in (
        duration,
        span,
        relative,
        number,
        compact,
        size,
        percent,
        state,
        pretty,
        instant,
        browser,
    ):
        environment.filters[one.__name__] = one
    environment.filters["attempts_begun"] = attempts_begun
    environment.filters["counted"] = counted
    environment.filters["plural"] = plural
    environment.globals["state_icons"] = ICONS
    environment.globals["utcnow"] = utcnow
