"""The one clock: aware UTC, read once an operation and passed on."""

from __future__ import annotations

from datetime import UTC, datetime


def utcnow() -> datetime:
    """Tell the time now, aware, in UTC."""
    return datetime.now(UTC)


def rfc3339(moment: datetime | None) -> str | None:
    """Write an instant as RFC 3339 in UTC with microseconds and Z; None stays None."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_instant(text: str) -> datetime:
    """Read an RFC 3339 instant; ValueError when it is none or lacks its offset."""
    moment = datetime.fromisoformat(text.strip())
    if moment.tzinfo is None:
        raise ValueError("the time needs its offset, such as Z or +02:00")
    return moment.astimezone(UTC)
