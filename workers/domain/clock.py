"""The one clock: aware UTC, read once an operation and passed on; and the one range of instants that Taskyard accepts."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

# Wide enough for any job, and far enough from the ends of the calendar that no zone or sum overflows.
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RANGE = "from 2000-01-01 to 2200-01-01 UTC"

_DATE_AND_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?"
_OFFSET = r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_INSTANT = re.compile(_DATE_AND_TIME + _OFFSET)
_LOCAL_TIME = re.compile(_DATE_AND_TIME)


# A difference up to this many seconds is delay and adjustment; a larger one is a clock that is off or was set.
TOLERANCE_SECONDS = 1.0
# Counts the time that the machine sleeps, so that a sleep is not taken for a clock that was set.
_CLOCK_WITH_SLEEP = getattr(time, "CLOCK_BOOTTIME", None)


@dataclass(frozen=True, slots=True)
class Correction:
    """By how many seconds the database's clock is ahead of this host's, and the host's clock when that was measured."""

    offset_seconds: float
    host_epoch: float  # what `_host_epoch` was then

    def seconds_now(self) -> float:
        """Return what to add to the host's clock; a host's clock that was set since the measurement is undone."""
        set_by = _host_epoch() - self.host_epoch
        return self.offset_seconds - (set_by if abs(set_by) > TOLERANCE_SECONDS else 0.0)


_correction: Correction | None = None


def utcnow() -> datetime:
    """Return the time now, aware, in UTC: the database's where a host's clock differs from it, see `follow`."""
    now = datetime.now(UTC)
    return now if _correction is None else now + timedelta(seconds=_correction.seconds_now())


def follow(offset_seconds: float) -> None:
    """Have `utcnow` of this process follow a clock that is this many seconds ahead of the host's.

    Up to a second nothing is added: that is within the accuracy of a measurement and of NTP.
    """
    global _correction
    added = offset_seconds if abs(offset_seconds) > TOLERANCE_SECONDS else 0.0
    _correction = Correction(added, _host_epoch())


def unfollow() -> None:
    """Have `utcnow` of this process be the host's clock again."""
    global _correction
    _correction = None


def followed_offset() -> float:
    """Return by how many seconds `utcnow` of this process is ahead of the host's clock."""
    return 0.0 if _correction is None else _correction.seconds_now()


def uptime() -> float:
    """Return the machine's steady clock in seconds, the same for all its processes.

    Nobody can set it, and it stands still while the machine sleeps.
    """
    return time.monotonic()


def _host_epoch() -> float:
    steady = time.monotonic() if _CLOCK_WITH_SLEEP is None else time.clock_gettime(_CLOCK_WITH_SLEEP)
    return time.time() - steady


def moment_of(microseconds: int) -> datetime:
    """Return the instant that lies this many microseconds after 1970."""
    return _EPOCH + timedelta(microseconds=microseconds)


def rfc3339(moment: datetime | None) -> str | None:
    """Write an instant as RFC 3339 in UTC with microseconds and Z; None stays None."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_instant(text: str) -> datetime:
    """Read an RFC 3339 instant, in UTC. Raises ValueError for anything else, and outside the permitted range."""
    text = text.strip()
    if not _INSTANT.fullmatch(text):
        if _LOCAL_TIME.fullmatch(text):
            raise ValueError("the time needs an offset, such as Z or +02:00")
        raise ValueError("the time must look like 2026-01-31T08:00:00Z, with seconds from 00 to 59")
    return check_instant(datetime.fromisoformat(text.upper()))


def parse_local_time(text: str, zone: tzinfo) -> datetime:
    """Read a date and time on the clocks of a zone, or with an offset of its own, in UTC. Raises ValueError."""
    text = text.strip()
    if not _LOCAL_TIME.fullmatch(text):
        return parse_instant(text)
    return check_instant(datetime.fromisoformat(text.upper()).replace(tzinfo=zone))


def within_range(moment: datetime) -> datetime:
    """Return an instant, moved to the nearest end of the permitted range when it lies outside."""
    return min(max(moment, EARLIEST), LATEST)


def check_instant(moment: datetime) -> datetime:
    """Return an aware instant in UTC. Raises ValueError when it has no offset or lies outside the permitted range."""
    if moment.tzinfo is None:
        raise ValueError("the time needs an offset, such as Z or +02:00")
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"the time must be {RANGE}") from None
    if not EARLIEST <= moment <= LATEST:
        raise ValueError(f"the time must be {RANGE}")
    return moment
