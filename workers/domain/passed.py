"""How many due moments lie in a stretch of time, and the newest of them, without walking through each.

A year of `* * * * *` is half a million moments, which cronsim needs seconds for. On a day without a change of clocks an
expression is due as often as its fields say, so whole days are multiplied; the days around a change are walked through.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import takewhile

from cronsim import CronSim

from workers.domain.cron import Rhythm, zone
from workers.domain.cron_fields import plain

_DAY = timedelta(days=1)
_TICK = timedelta(microseconds=1)
WALKED_DAYS = 3  # a stretch that is not longer is walked through


@dataclass(frozen=True, slots=True)
class _Day:
    """A local day on which an expression is due, as a stretch in UTC."""

    start: datetime
    end: datetime
    count: int | None  # None when it has to be walked through


def passed_moments(rhythm: Rhythm, first: datetime, until: datetime, newest: int) -> tuple[int, list[datetime]]:
    """Count the due moments from `first`, itself due, up to `until`, and list the newest of them, oldest first."""
    count, start = 0, first
    if rhythm.interval_seconds is not None and first <= until:
        step = timedelta(seconds=rhythm.interval_seconds)
        count = max(0, (until - first) // step - newest)
        start = first + count * step
    elif rhythm.cron is not None and until - first > WALKED_DAYS * _DAY:
        count, start = _skip_days(rhythm, first, until, newest)
    kept: deque[datetime] = deque(maxlen=newest)
    for moment in _walk(rhythm, start, until):
        kept.append(moment)
        count += 1
    return count, list(kept)


def _skip_days(rhythm: Rhythm, first: datetime, until: datetime, newest: int) -> tuple[int, datetime]:
    """Count up to a day from which at least the newest moments are left to walk through; the count and that day's start."""
    end = until if rhythm.ends_at is None else min(until, rhythm.ends_at)
    days = list(_due_days(rhythm, first, end))
    if not days:
        return 0, first
    left = 0
    while days and left < newest:
        left += days.pop().count or 0
    if not days:
        return 0, first
    count = sum(1 for _ in _walk(rhythm, first, days[0].start - _TICK))
    for day in days:
        count += day.count if day.count is not None else sum(1 for _ in _walk(rhythm, day.start, day.end - _TICK))
    return count, days[-1].end


def _due_days(rhythm: Rhythm, first: datetime, end: datetime) -> Iterator[_Day]:
    """Go through whole local days between two moments: those on which the expression is due, and those near a change."""
    place = zone(rhythm.timezone)
    minute, hour, *fields = plain(rhythm.cron or "").split()
    fields_of_time = CronSim(f"{minute} {hour} * * *", datetime(2024, 1, 1, tzinfo=UTC))
    per_day = len(set(fields_of_time.minutes)) * len(set(fields_of_time.hours))
    local = datetime.combine(first.astimezone(place).date() + _DAY, datetime.min.time())
    due = CronSim(" ".join(["0", "0", *fields]), local - timedelta(minutes=1))
    next_due = next(due, None)
    while (stop := _instant(local + _DAY, place)) <= end:
        start = _instant(local, place)
        is_due = next_due == local
        if is_due:
            next_due = next(due, None)
        if not _is_even(local, place):
            yield _Day(start, stop, None)
        elif is_due:
            yield _Day(start, stop, per_day)
        local += _DAY


def _is_even(local: datetime, place: tzinfo) -> bool:
    """Return whether the clocks do not change on a local day, nor on the days beside it.

    The moment before it is looked at too: where a whole day is skipped, the day before is the same instant.
    """
    moments = [_instant(local + days * _DAY, place) for days in (-1, 0, 1, 2)]
    moments.append(moments[1] - timedelta(seconds=1))
    return len({moment.astimezone(place).utcoffset() for moment in moments}) == 1


def _instant(local: datetime, place: tzinfo) -> datetime:
    return local.replace(tzinfo=place).astimezone(UTC)


def _walk(rhythm: Rhythm, start: datetime, end: datetime) -> Iterator[datetime]:
    return takewhile(lambda moment: moment <= end, rhythm.after(start - _TICK))
