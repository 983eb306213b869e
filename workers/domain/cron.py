"""When a schedule fires: cron expressions, intervals and single moments, in any time zone.

The rule for the days on which clocks change follows the clock on the wall: a local time that does not exist fires once, at
the shift; one that happens twice fires once, the first time. An expression that runs in every hour follows elapsed time
instead, since an hour without a run, or a double one, is what nobody wants of `*/5 * * * *`. Intervals are elapsed time.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import islice, pairwise, takewhile

from cronsim import CronSim

from workers.domain.clock import LATEST, within_range
from workers.domain.cron_fields import LONGEST_EXPRESSION as LONGEST_EXPRESSION
from workers.domain.cron_fields import START, plain
from workers.domain.cron_fields import check_cron as check_cron
from workers.domain.cron_words import words_of
from workers.domain.errors import BadInput

LONGEST_INTERVAL_SECONDS = 366 * 86400

# The zones' data comes from the pinned package, not from the machine: two hosts must not differ about a day.
zoneinfo.reset_tzpath(())


@dataclass(frozen=True, slots=True)
class Rhythm:
    """When a schedule is due: one of a cron expression, an interval in seconds from its anchor, or a single moment."""

    cron: str | None = None
    interval_seconds: int | None = None
    once_at: datetime | None = None
    timezone: str = "UTC"
    anchor: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Tell the due moments after this one, in UTC, without an end if there is none. Each lies later than the last."""
        if self.starts_at is not None and self.starts_at > moment:
            moment = self.starts_at - timedelta(microseconds=1)
        if moment > LATEST:
            return
        if self.once_at is not None:
            due: Iterator[datetime] = iter([self.once_at] if self.once_at > moment else [])
        elif self.interval_seconds is not None:
            due = self._intervals(moment)
        else:
            due = self._crons(moment)
        for one in due:
            if one > LATEST or (self.ends_at is not None and one > self.ends_at):
                return
            yield one

    def next(self, moment: datetime) -> datetime | None:
        """Tell the first due moment after this one; None when there is none any more."""
        return next(self.after(moment), None)

    def shortest_period_seconds(self) -> int | None:
        """Return the shortest time between two runs, in seconds, as far as it is below a day; None when it is longer."""
        if self.interval_seconds is not None:
            return self.interval_seconds
        return None if self.cron is None else shortest_gap_seconds(self.cron)

    def between(self, since: datetime, until: datetime, limit: int) -> list[datetime]:
        """List the due moments after `since` and up to `until`, the first `limit` of them."""
        return list(islice(takewhile(lambda one: one <= until, self.after(since)), limit))

    def _intervals(self, moment: datetime) -> Iterator[datetime]:
        step = timedelta(seconds=self.interval_seconds or 1)
        one = self.anchor + ((moment - self.anchor) // step + 1) * step
        while True:
            yield one
            one += step

    def _crons(self, moment: datetime) -> Iterator[datetime]:
        expression, place = wall(self.cron or ""), zone(self.timezone)
        if is_hourly(self.cron or ""):
            yield from _elapsed(expression, place, moment.astimezone(UTC))
            return
        last = moment
        for local in CronSim(expression, moment.astimezone(place)):
            one = local.astimezone(UTC)
            # What the shift pushes onto another fire is that one.
            if one > last:
                last = one
                yield one


def _elapsed(expression: str, place: tzinfo, moment: datetime) -> Iterator[datetime]:
    """Read an expression within each stretch of one offset: cronsim loses a fire where a shift is half an hour."""
    offset = _offset(place, moment)
    while True:
        for local in CronSim(expression, (moment + offset).replace(tzinfo=None)):
            one = local.replace(tzinfo=UTC) - offset
            if _offset(place, one) != offset:
                shift = _shift(place, moment, one)
                moment, offset = shift - timedelta(seconds=1), _offset(place, shift)
                break
            moment = one
            yield one
        else:
            return


def _offset(place: tzinfo, moment: datetime) -> timedelta:
    return moment.astimezone(place).utcoffset() or timedelta()


def _shift(place: tzinfo, before: datetime, after: datetime) -> datetime:
    """Find the second in which the offset changes between two moments."""
    offset = _offset(place, before)
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) / 2
        before, after = (middle, after) if _offset(place, middle) == offset else (before, middle)
    return after.replace(microsecond=0)


def check_zone(name: str) -> str:
    """Return the name of an IANA time zone, or refuse it with BadInput."""
    if not isinstance(name, str) or len(name) > 64 or name not in zone_names():
        shown = str(name)[:64]
        raise BadInput(f"Unknown time zone {shown!r}. Use a name such as Europe/Berlin or UTC.", field="timezone")
    return name


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Name every time zone that the pinned data knows."""
    return frozenset(zoneinfo.available_timezones() - {"Factory", "localtime"})


def zone(name: str) -> tzinfo:
    """Find a time zone; BadInput when the data does not know it."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise BadInput(f"Unknown time zone {name!r}.", field="timezone") from error


@lru_cache(maxsize=4096)
def wall(expression: str) -> str:
    """Write an expression so that cronsim follows the rule above: it takes a leading star for elapsed time."""
    minute, hour, *days = plain(expression).split()
    if is_hourly(expression):
        return " ".join([minute, "*", *days])
    stars = (("0-59" + minute[1:]) if minute[0] == "*" else minute, ("0-23" + hour[1:]) if hour[0] == "*" else hour)
    return " ".join([*stars, *days])


@lru_cache(maxsize=4096)
def is_hourly(expression: str) -> bool:
    """Tell whether the expression runs in every hour of its days, and so follows elapsed time."""
    return len(CronSim(plain(expression), START).hours) == 24


@lru_cache(maxsize=4096)
def shortest_gap_seconds(expression: str) -> int | None:
    """Return the shortest time between two runs on days that are alike; None for one run a day or fewer."""
    fields = CronSim(wall(expression), START)
    hours = sorted(fields.hours)
    times = [60 * hour + minute for hour in hours for minute in sorted(fields.minutes)]
    if len(times) == 1:
        return None
    return 60 * min(after - before for before, after in pairwise([*times, times[0] + 1440]))


def describe(rhythm: Rhythm) -> str:
    """Say the rhythm in words: `At 06:00`, `Every 30 seconds`, `Once, at 2026-12-24 08:00`."""
    if rhythm.once_at is not None:
        return f"Once, at {within_range(rhythm.once_at).astimezone(zone(rhythm.timezone)):%Y-%m-%d %H:%M}"
    if rhythm.interval_seconds is not None:
        return f"Every {_span_in_words(rhythm.interval_seconds)}"
    return words_of(rhythm.cron or "")


def _span_in_words(seconds: int) -> str:
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds % size == 0:
            return unit if seconds == size else f"{seconds // size:,} {unit}s"
    return f"{seconds} seconds"


def shift_note(rhythm: Rhythm, moment: datetime) -> str:
    """Say what is special about the day of a run; empty on ordinary days, else how the clocks change and what that does."""
    place = zone(rhythm.timezone)
    local = moment.astimezone(place)
    is_elapsed = rhythm.cron is None or is_hourly(rhythm.cron)
    moved = "" if is_elapsed else _moved_note(rhythm, moment, local, place)
    if moved:
        return moved
    start = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    before, after = start.utcoffset(), (start + timedelta(days=1)).utcoffset()
    if before is None or after is None or before == after:
        return ""
    if after > before:
        return "clocks go forward on this day"
    if local.fold == 0 and local.utcoffset() != local.replace(fold=1).utcoffset() and not is_elapsed:
        return f"{local:%H:%M} occurs twice on this day (clocks go back), runs the first time only"
    return "clocks go back on this day"


def _moved_note(rhythm: Rhythm, moment: datetime, local: datetime, place: tzinfo) -> str:
    """Say which local time does not exist in place of which a run starts at the end of the gap; empty for others."""
    width = _offset(place, moment) - _offset(place, moment - timedelta(seconds=1))
    if width <= timedelta():
        return ""
    end = local.replace(tzinfo=None)
    begin = end - width
    lost = next(CronSim(wall(rhythm.cron or ""), begin - timedelta(minutes=1)), None)
    if lost is None or not begin <= lost < end:
        return ""
    day = "this day" if lost.date() == end.date() else f"{lost:%Y-%m-%d}"
    there = f"{end:%H:%M}" if lost.date() == end.date() else f"{end:%H:%M} on the next day"
    return f"{lost:%H:%M} does not exist on {day} (clocks go forward), runs once at {there}"


def local_instant(local: datetime, name: str) -> datetime:
    """Return the instant of a local time without a zone; one that does not exist is the shift, as for cron."""
    place = zone(name)
    moment = local.replace(tzinfo=place).astimezone(UTC)
    if moment.astimezone(place).replace(tzinfo=None) == local:
        return moment
    day = timedelta(days=1)
    return _shift(place, moment - day, moment)
