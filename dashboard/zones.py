"""The time zone of a page: the viewer's, which the browser names, UTC, or on pages of a schedule that schedule's."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from flask import Flask, g, has_request_context, request

from dashboard.presenters import words
from workers.domain import cron
from workers.domain.clock import parse_local_time, utcnow, within_range

COOKIE, CHOICE_COOKIE = "zone", "times"
MINE, UTC_ONLY, SCHEDULES = CHOICES = ("mine", "utc", "schedule")
CHOICE_SECONDS = 365 * 86400
_INSTANT = re.compile(r"\b((?:19|20)\d\d-(?:0[1-9]|1[0-2])-[0-3]\d (?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d) UTC\b", re.ASCII)


def browser_zone() -> str:
    """Return the zone that the browser names by its cookie; UTC when it names none that exists."""
    name = request.cookies.get(COOKIE, "UTC")
    return name if name in cron.zone_names() else "UTC"


def zone_choice() -> str:
    """Return in which zone the viewer wants times: mine, utc or schedule."""
    choice = request.cookies.get(CHOICE_COOKIE, MINE)
    return choice if choice in CHOICES else MINE


def show_schedule_zone(name: str) -> None:
    """Name the zone of the schedule that this page is about, for viewers who want times in it."""
    g.schedule_zone = name


def viewer_zone() -> str:
    """Return the zone in which this page shows times and reads those that are typed."""
    if not has_request_context():
        return "UTC"
    choice = zone_choice()
    if choice == UTC_ONLY:
        return "UTC"
    if choice == SCHEDULES and g.get("schedule_zone") in cron.zone_names():
        return str(g.schedule_zone)
    return browser_zone()


def local(moment: datetime, name: str) -> datetime:
    """Write an instant on the clocks of a zone."""
    return within_range(moment).astimezone(cron.zone(name))


def from_form(text: str, name: str) -> datetime:
    """Read what a field of date and time holds, on the clocks of a zone; ValueError when it is none or out of range.

    A local time that does not exist is the moment at which clocks go forward, as it is for cron.
    """
    moment = parse_local_time(text, cron.zone(name))
    try:
        local_time = datetime.fromisoformat(text.strip())
    except ValueError:
        return moment
    return moment if local_time.tzinfo is not None else cron.local_instant(local_time, name)


def offset_words(name: str) -> str:
    """Write how far the clocks of a zone are from UTC now: `UTC+05:30`; empty for UTC itself."""
    return "" if name == "UTC" else words.offset(local(utcnow(), name))


def _here(moment: datetime) -> datetime:
    return local(moment, viewer_zone())


def _exact(moment: datetime | None) -> str:
    return words.exact(moment if moment is None else _here(moment), viewer_zone())


def _clock(moment: datetime | None) -> str:
    return words.clock(moment if moment is None else _here(moment), _here(utcnow()))


def _clock_alone(moment: datetime | None) -> str:
    return "–" if moment is None else f"{_clock(moment)} {words.zone_short(_here(moment))}"


def _local_text(moment: datetime | None, form: str) -> str:
    return "–" if moment is None else _here(moment).strftime(form)


def _local_instants(text: str) -> str:
    """Rewrite the instants of a sentence of the engine, which writes them in UTC, in the zone of the page."""
    return _INSTANT.sub(_rewrite, text)


def _rewrite(found: re.Match[str]) -> str:
    try:
        return _exact(datetime.fromisoformat(found[1]).replace(tzinfo=UTC))
    except ValueError:  # the 30th of February of somebody's own text
        return found[0]


def init(app: Flask) -> None:
    """Have the templates of an application show times in the zone of the page."""
    filters = {"exact": _exact, "clock": _clock, "clock_alone": _clock_alone, "local_text": _local_text}
    filters["local_instants"] = _local_instants
    app.jinja_env.filters.update(filters)
    functions = {"page_zone": viewer_zone, "zone_choice": zone_choice, "offset_words": offset_words}
    app.jinja_env.globals.update(functions)
