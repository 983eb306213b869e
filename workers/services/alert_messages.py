"""What a message of an alert says: the value against its limit, since when, where, what to do first, and links."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from workers.domain import cron
from workers.domain.alarms import FIRING, KINDS, SEVERITIES, has_worsened, said
from workers.domain.masking import mask_text
from workers.domain.staleness import spoken
from workers.domain.untrusted import visible_line
from workers.settings import Settings
from workers.store.types import Row

FIRED, REPEATED, WORSENED, ENDED, NOT_WATCHED = "fired", "repeated", "worsened", "resolved", "unwatched"
CLOSING = (ENDED, NOT_WATCHED)  # what says that an alert is closed
AGAIN = (REPEATED, WORSENED)
OPENING = (FIRED, *AGAIN)  # what says that an alert is open
_MARK = "⚠️ "
# What a link leads to, by the beginning of its path.
_PLACES = (
    ("/jobs?", "Jobs"),
    ("/jobs/", "Job"),
    ("/schedules/", "Schedule"),
    ("/schedules", "Schedules"),
    ("/queues/", "Queue"),
    ("/stuck", "Stuck jobs"),
    ("/health", "Health"),
)


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it is sent; plain text, one fact a line."""

    title: str
    body: str


def compose(settings: Settings, alert: Row, about: str, zone: str, now: datetime) -> Message:
    """Write the message of an alert; `about` is one of OPENING or CLOSING, times are in the zone."""
    opened_at = alert.get("opened_at") or alert["first_at"]
    seconds = (now - opened_at).total_seconds()
    title = f"{_site(settings)}{_beginning(about, seconds)}{_bare(alert['title'], about)}"
    kind = KINDS.get(alert["kind"])
    lines = [
        mask_text(alert.get("closed_why") or "") if about == NOT_WATCHED else "",
        mask_text(alert["detail"]),
        f"Value: {_value(alert, kind.unit if kind else '')}",
        f"Severity: {alert['severity']}",
        f"Since: {local_time(opened_at, zone)} ({spoken(seconds)})",
    ]
    if about in CLOSING:
        lines.append(f"{'Resolved' if about == ENDED else 'Closed'}: {local_time(now, zone)}")
    lines.append(f"Host: {alert['host'] or 'unknown'}")
    if alert["link"]:
        lines.append(f"{_place(alert['link'])}: {address(settings, alert['link'])}")
    if about in OPENING:
        if kind is not None:
            lines.append(f"First step: {_remedy(alert, kind.remedy)}")
        lines.append(f"Acknowledge or silence: {address(settings, acknowledge_path(alert['id']))}")
    lines.append(f"Installation: {installation(settings)}")
    return Message(title, "\n".join(line for line in lines if line))


def next_message(before: Row, after: Row, rule: Row, now: datetime) -> str:
    """Return which message an open alert needs now; nothing while it was sent lately, or somebody looks after it."""
    if after["status"] != FIRING:
        return ""
    if before["notified_at"] is None:
        return FIRED
    seconds = (now - before["notified_at"]).total_seconds()
    has_risen = SEVERITIES.index(after["severity"]) < SEVERITIES.index(before["severity"])
    if has_risen or has_worsened(after["kind"], after["value"], before["notified_value"], seconds):
        return WORSENED
    is_due = rule["repeat_seconds"] and seconds >= rule["repeat_seconds"]
    return REPEATED if is_due else ""


def compose_test(settings: Settings, sender: str, zone: str, now: datetime) -> Message:
    """Write the message that tests a channel."""
    lines = [
        f"{visible_line(sender)} sent this test at {local_time(now, zone)}. No action is needed.",
        f"Alerts: {address(settings, '/alerts')}",
        f"Installation: {installation(settings)}",
    ]
    return Message(f"{_site(settings)}Taskyard: test message", "\n".join(lines))


def acknowledge_path(alert_id: str) -> str:
    """Return the page where an alert is acknowledged by a form; opening it asks for a sign-in and changes nothing."""
    return f"/alerts/{alert_id}#acknowledge"


def address(settings: Settings, path: str) -> str:
    """Return the address of a page; the path alone while PUBLIC_URL is not set."""
    return settings.public_url.rstrip("/") + quote(path, safe="/?&=#:.,~-_%*")


def installation(settings: Settings) -> str:
    """Name the installation and its address."""
    name = settings.site_name or "Taskyard"
    return f"{name}, {settings.public_url}" if settings.public_url else name


def local_time(moment: datetime, zone: str) -> str:
    """Write an instant on the clocks of a zone, with the zone: `2026-01-31 08:00:00 CET`."""
    return moment.astimezone(cron.zone(zone)).strftime("%Y-%m-%d %H:%M:%S %Z")


def _site(settings: Settings) -> str:
    return f"[{settings.site_name}] " if settings.site_name else ""


def _beginning(about: str, seconds: float) -> str:
    if about == REPEATED:
        return f"Still open after {spoken(seconds)}: "
    return {WORSENED: "Worse: ", ENDED: "Resolved: ", NOT_WATCHED: "No longer watched: "}.get(about, "")


def _bare(title: str, about: str) -> str:
    return title if about == FIRED else title.removeprefix(_MARK)


def _value(alert: Row, unit: str) -> str:
    limit = f"limit: more than {said(alert['threshold'], unit)}"
    # A probe that fails has no time that would be above the limit.
    shown = said(alert["value"], unit) if alert["value"] > alert["threshold"] else "no measurement"
    return f"{shown} ({limit})"


def _place(link: str) -> str:
    return next((place for start, place in _PLACES if link.startswith(start)), "Page")


def _remedy(alert: Row, remedy: str) -> str:
    queue = alert["link"].removeprefix("/queues/")
    return remedy.replace("NAME", queue) if queue != alert["link"] else remedy
