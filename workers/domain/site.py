"""What an installation says of itself in messages: its name, its address and its time zone."""

from __future__ import annotations

from urllib.parse import urlsplit

from workers.domain import cron
from workers.domain.errors import BadInput
from workers.domain.untrusted import check_label

LONGEST_NAME = 60
LONGEST_ADDRESS = 300


def site_fault(name: str, public_url: str, timezone: str) -> tuple[str, str] | None:
    """Return the setting that cannot be used, and what it must be; None when all three can."""
    try:
        if name:
            check_label(name, LONGEST_NAME)
    except BadInput:
        return "SITE_NAME", f"one line of at most {LONGEST_NAME} characters"
    if public_url and not _is_address(public_url):
        return "PUBLIC_URL", "the http(s) address of the dashboard, without a user, a query or a fragment"
    try:
        cron.check_zone(timezone)
    except BadInput:
        return "TIMEZONE", "a time zone such as Europe/Berlin or UTC"
    return None


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    has_odd = any(letter.isspace() or not letter.isprintable() or letter in "<>\"'\\@?#" for letter in text)
    return (
        parts.scheme in {"http", "https"}
        and bool(parts.hostname)
        and port != 0
        and not has_odd
        and (len(text) <= LONGEST_ADDRESS)
    )
