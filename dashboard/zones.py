"""The viewer's time zone: what the browser says, else UTC."""

from __future__ import annotations

from datetime import datetime

from flask import request

from workers.domain import cron
from workers.domain.clock import parse_local_time, within_range

COOKIE = "zone"


def viewer_zone() -> str:
    """Name the zone that the browser told by its cookie; UTC when it told none that there is."""
    name = request.cookies.get(COOKIE, "UTC")
    return name if name in cron.zone_names() else "UTC"


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
