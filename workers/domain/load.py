"""How the starts of all schedules lie in a week: the busiest minute of each hour, collisions, and how to spread them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache

from cronsim import CronSim

from workers.domain.cron import Rhythm, wall, zone

MINUTES = 7 * 24 * 60
CROWD = 3  # as many starts in one minute are a collision
# A schedule that starts more often than hourly is part of every minute's load and no collision's cause.
OFTEN = 7 * 24


@dataclass(frozen=True, slots=True)
class Load:
    """The starts of a week, minute by minute from its first midnight, and whose they are."""

    starts: Sequence[int]  # one number a minute
    rare: Mapping[str, Sequence[int]]  # schedules that start hourly or less often → their minutes

    def hours(self) -> list[int]:
        """Tell the most starts in one minute, for each hour of the week."""
        return [max(self.starts[hour * 60 : hour * 60 + 60]) for hour in range(7 * 24)]


@dataclass(frozen=True, slots=True)
class Crowd:
    """Schedules that start in the same minute, again and again."""

    members: tuple[str, ...]
    minutes: tuple[int, ...]  # of the week

    @property
    def size(self) -> int:
        """How many start at once."""
        return len(self.members)


@dataclass(frozen=True, slots=True)
class Move:
    """A schedule to be put off by so many minutes of the hour."""

    schedule_id: str
    cron: str
    by_minutes: int


def week(rhythms: Mapping[str, Rhythm], first: datetime) -> Load:
    """Lay out the starts of these schedules in the seven days from a midnight, given with its zone."""
    starts, rare = [0] * MINUTES, {}
    begin = first.astimezone(UTC)
    alike: dict[Rhythm, list[str]] = {}
    for schedule_id, one in rhythms.items():
        alike.setdefault(_without_what_is_its_own(one), []).append(schedule_id)
    for rhythm, members in alike.items():
        # Thousands of schedules have few rhythms: each is laid out once.
        minutes = _within(rhythm, _minutes(rhythm, begin), begin)
        for at in minutes:
            starts[at] += len(members)
        if len(minutes) <= OFTEN:
            rare.update(dict.fromkeys(members, minutes))
    return Load(starts, rare)


def crowds(load: Load, most: int = 10) -> list[Crowd]:
    """Find who starts together, the largest crowds first; part of another is none of its own."""
    at: dict[int, list[str]] = {}
    for schedule_id, minutes in load.rare.items():
        for minute in minutes:
            at.setdefault(minute, []).append(schedule_id)
    found: dict[tuple[str, ...], list[int]] = {}
    for minute, members in at.items():
        if len(members) >= CROWD:
            found.setdefault(tuple(sorted(members)), []).append(minute)
    listed = [Crowd(members, tuple(sorted(minutes))) for members, minutes in found.items()]
    kept: list[Crowd] = []
    for crowd in sorted(listed, key=lambda crowd: (-crowd.size, -len(crowd.minutes), crowd.minutes[0])):
        # A part of a crowd that is told of already needs no word of its own: the same moves spread it.
        if len(kept) < most and not any(set(crowd.members) <= set(one.members) for one in kept):
            kept.append(crowd)
    return kept


def stagger(crowd: Crowd, load: Load, rhythms: Mapping[str, Rhythm]) -> list[Move]:
    """Say how to spread a crowd: all but the first are put off, each to the quietest minute of the next twenty.

    Only schedules whose cron names one plain minute are moved; the hour stays as it is.
    """
    starts, moves = list(load.starts), []
    for schedule_id in crowd.members[1:]:
        minute, _, rest = (rhythms[schedule_id].cron or "").partition(" ")
        if not minute.isdigit():
            continue
        own = load.rare[schedule_id]
        offers = [step for step in range(1, 21) if int(minute) + step < 60]
        if not offers:
            continue
        by = min(offers, key=lambda step: (max((starts[(at + step) % MINUTES] for at in own), default=0), step))
        for at in own:
            starts[at] -= 1
            starts[(at + by) % MINUTES] += 1
        moves.append(Move(schedule_id, f"{int(minute) + by} {rest}", by))
    return moves


def _without_what_is_its_own(rhythm: Rhythm) -> Rhythm:
    return rhythm if rhythm.interval_seconds is not None else replace(rhythm, anchor=datetime(2000, 1, 1, tzinfo=UTC))


def _within(rhythm: Rhythm, minutes: list[int], begin: datetime) -> list[int]:
    if rhythm.starts_at is None and rhythm.ends_at is None:
        return minutes
    first = (rhythm.starts_at - begin).total_seconds() / 60 if rhythm.starts_at else 0
    last = (rhythm.ends_at - begin).total_seconds() / 60 if rhythm.ends_at else MINUTES
    return [at for at in minutes if first <= at <= last]


def _minutes(rhythm: Rhythm, begin: datetime) -> list[int]:
    """List the minutes of the week in which a rhythm starts, whatever its own start and end."""
    if rhythm.once_at is not None:
        at = (rhythm.once_at - begin) // timedelta(minutes=1)
        return [at] if 0 <= at < MINUTES else []
    if rhythm.interval_seconds is not None:
        if rhythm.interval_seconds <= 60:
            return list(range(MINUTES))
        first = (begin - rhythm.anchor).total_seconds()
        step = rhythm.interval_seconds
        offset = -first % step if first > 0 else -first
        return [int((offset + n * step) // 60) for n in range(int((MINUTES * 60 - offset) // step) + 1)][:MINUTES]
    return _cron_minutes(rhythm, begin)


def _cron_minutes(rhythm: Rhythm, begin: datetime) -> list[int]:
    """Read the fields once and lay them onto days: cronsim's own walk would take seconds for thousands of schedules."""
    minute, hour, *days = wall(rhythm.cron or "").split()
    minutes, hours = _fields(minute, hour)
    place = zone(rhythm.timezone)
    found: list[int] = []
    today = begin.astimezone(place).date() - timedelta(days=1)
    for day in (today + timedelta(days=n) for n in range(10)):
        if not _is_day(" ".join(days), day):
            continue
        if _clocks_change(place, day):
            found += _walked(rhythm, place, day, begin)
        else:
            found += [_minute_of(place, day, one, begin) + minute for one in hours for minute in minutes]
    return [at for at in found if 0 <= at < MINUTES]


def _walked(rhythm: Rhythm, place: tzinfo, day: date, begin: datetime) -> list[int]:
    start, end = (datetime(one.year, one.month, one.day, tzinfo=place) for one in (day, day + timedelta(days=1)))
    since, until = (one.astimezone(UTC) - timedelta(seconds=1) for one in (start, end))
    free = replace(rhythm, starts_at=None, ends_at=None)
    return [(one - begin) // timedelta(minutes=1) for one in free.between(since, until, 2000)]


@lru_cache(maxsize=1024)
def _clocks_change(place: tzinfo, day: date) -> bool:
    start, end = (datetime(one.year, one.month, one.day, tzinfo=place) for one in (day, day + timedelta(days=1)))
    return start.utcoffset() != end.utcoffset()


@lru_cache(maxsize=8192)
def _fields(minute: str, hour: str) -> tuple[list[int], list[int]]:
    read = CronSim(f"{minute} {hour} * * *", datetime(2024, 1, 1, tzinfo=UTC))
    return sorted(read.minutes), sorted(read.hours)


@lru_cache(maxsize=8192)
def _is_day(fields: str, day: date) -> bool:
    return CronSim(f"0 0 {fields}", datetime(2024, 1, 1, tzinfo=UTC)).match_day(day) and day.month in _months(fields)


@lru_cache(maxsize=1024)
def _months(fields: str) -> set[int]:
    return CronSim(f"0 0 {fields}", datetime(2024, 1, 1, tzinfo=UTC)).months


@lru_cache(maxsize=8192)
def _minute_of(place: tzinfo, day: date, hour: int, begin: datetime) -> int:
    local = datetime(day.year, day.month, day.day, hour, tzinfo=place)
    return (local.astimezone(UTC) - begin) // timedelta(minutes=1)
