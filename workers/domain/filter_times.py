"""Times as people write them in a filter: ages, days, weeks, dates and instants, on the clocks of one zone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo

from workers.domain.clock import EARLIEST, check_instant, parse_local_time

EXAMPLES = "2h, 30 min ago, today, yesterday, monday, last week, 2026-01-31, 2026-01-31T08:00:00Z"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_NAMES = "s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?"
_AGE = re.compile(rf"(?:last )?([0-9]{{1,6}}) ?({_NAMES})(?: ago)?")
_DAY_AND_TIME = re.compile(r"(?:(.*\S) )?([0-9]{1,2}):([0-9]{2})")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LIKE_AN_INSTANT = re.compile(r"[0-9]{4}-")
_MONTH = re.compile(r"([0-9]{4})-([0-9]{2})")
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_LONGEST_AGE = timedelta(days=36500)


@dataclass(frozen=True, slots=True)
class Period:
    """A stretch of time from `start` to just before `end`; a single moment has both the same."""

    start: datetime
    end: datetime


def read_period(text: str, now: datetime, zone: tzinfo) -> Period:
    """Return the stretch of time that a text names. An age begins that long ago and ends now.

    Raises ValueError, whose text says what can be written instead.
    """
    words = re.sub(r"(?<=[a-z])[-_]|[-_](?=[a-z])", " ", " ".join(text.lower().split()))
    if age := _AGE.fullmatch(words):
        return Period(_ago(int(age[1]) * _UNITS[age[2][0]], now), now)
    if words == "now":
        return Period(now, now)
    try:
        return _calendar(words, now.astimezone(zone), zone) or _moment(text, zone)
    except OverflowError:
        raise ValueError("the time is out of range") from None


def read_range(text: str, now: datetime, zone: tzinfo) -> tuple[datetime | None, datetime | None]:
    """Return the bounds of `A..B`, `A..`, `..B` or one period; the second is exclusive. Raises ValueError."""
    first, dots, last = text.partition("..")
    if not dots:
        period = read_period(text, now, zone)
        return period.start, period.end if period.end > period.start else period.start + timedelta(seconds=1)
    if not first.strip() and not last.strip():
        raise ValueError("a range needs at least one end, such as 2026-01-01..2026-01-31")
    start = read_period(first, now, zone).start if first.strip() else None
    end = until_of(read_period(last, now, zone), now) if last.strip() else None
    if start and end and start > end:
        raise ValueError("the range ends before it begins")
    return start, end


def until_of(period: Period, now: datetime) -> datetime:
    """Return the exclusive end that a period means as `until`: an age means that long ago, a day its whole."""
    return period.start if period.end == now else period.end


def _ago(seconds: int, now: datetime) -> datetime:
    if seconds > _LONGEST_AGE.total_seconds():
        raise ValueError("it is more than 100 years ago")
    return max(now - timedelta(seconds=seconds), EARLIEST)


def _calendar(words: str, here: datetime, zone: tzinfo) -> Period | None:
    today = here.date()
    if timed := _DAY_AND_TIME.fullmatch(words):
        return _at_time(timed, here, zone)
    if (day := _day(words, today)) is not None:
        return _days(day, day + timedelta(days=1), zone)
    week = today - timedelta(days=today.weekday())
    month = today.replace(day=1)
    earlier = (month - timedelta(days=1)).replace(day=1)
    spans = {
        "this week": (week, week + timedelta(days=7)),
        "last week": (week - timedelta(days=7), week),
        "this month": (month, _next_month(month)),
        "last month": (earlier, month),
    }
    if words in spans:
        return _days(*spans[words], zone)
    if written := _MONTH.fullmatch(words):
        first = _date(f"{written[1]}-{written[2]}-01")
        return _days(first, _next_month(first), zone)
    return None


def _at_time(timed: re.Match[str], here: datetime, zone: tzinfo) -> Period | None:
    day = _day(timed[1] or "today", here.date())
    hour, minute = int(timed[2]), int(timed[3])
    if day is None:
        return None
    if hour > 23 or minute > 59:
        raise ValueError("the time of day must be from 00:00 to 23:59")
    moment = check_instant(datetime.combine(day, time(hour, minute), zone))
    return Period(moment, moment)


def _day(words: str, today: date) -> date | None:
    if words in ("today", "yesterday"):
        return today - timedelta(days=words == "yesterday")
    is_last = words.startswith("last ")
    name = words.removeprefix("last ")
    if name in _DAYS or name in {day[:3] for day in _DAYS}:
        index = next(number for number, day in enumerate(_DAYS) if day.startswith(name))
        back = (today.weekday() - index) % 7
        return today - timedelta(days=7 if is_last and back == 0 else back)
    return _date(words) if _DATE.fullmatch(words) else None


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text} is not a valid date") from None


def _next_month(first: date) -> date:
    return (first + timedelta(days=32)).replace(day=1)


def _days(first: date, after: date, zone: tzinfo) -> Period:
    return Period(*(check_instant(datetime.combine(day, time(), zone)) for day in (first, after)))


def _moment(text: str, zone: tzinfo) -> Period:
    if not _LIKE_AN_INSTANT.match(text.strip()):
        raise ValueError(f"Unknown time '{text[:60]}'. Use a time such as {EXAMPLES}.")
    moment = parse_local_time(text, zone)
    return Period(moment, moment)
