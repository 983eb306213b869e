"""Cron expressions in words, made of the values that the engine runs at, so that the words say what happens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from cronsim import CronSim

from workers.domain.cron_fields import START, plain

MOST_TIMES = 6  # more times of day than these are said by minutes and hours
WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
ORDINALS = ("first", "second", "third", "fourth", "fifth")


@lru_cache(maxsize=4096)
def words_of(expression: str) -> str:
    """Say a valid cron expression in words: `At 06:00, only on Monday`."""
    read = CronSim(plain(expression), START)
    parts = [_times(sorted(read.minutes), sorted(read.hours)), _days(read), _months(sorted(read.months))]
    return ", ".join(part for part in parts if part)


def _times(minutes: list[int], hours: list[int]) -> str:
    is_hourly = len(hours) == 24
    if not is_hourly and len(minutes) * len(hours) <= MOST_TIMES:
        times = [f"{hour:02}:{minute:02}" for hour in hours for minute in minutes]
        return f"At {_joined(times)}"
    step = _step(hours, 24)
    if len(minutes) == 1 and step is not None and step > 1:
        start = "" if hours[0] == minutes[0] == 0 else f" from {hours[0]:02}:{minutes[0]:02}"
        return f"Every {step} hours{start}"
    if is_hourly:
        return _minutes(minutes)
    if minutes == [0]:
        return f"Every hour during {_hours(hours)}"
    return f"{_minutes_within(minutes)} during {_hours(hours)}"


def _minutes(minutes: list[int]) -> str:
    if minutes == [0]:
        return "Every hour"
    words = _minutes_within(minutes)
    return words if words.startswith("Every") else f"{words} of every hour"


def _minutes_within(minutes: list[int]) -> str:
    step = _step(minutes, 60)
    if step == 1:
        return "Every minute"
    if step is not None:
        return f"Every {step} minutes" + (f" from minute {minutes[0]}" if minutes[0] else "")
    noun = "minute" if len(minutes) == 1 else "minutes"
    return f"At {noun} {_ranges([str(one) for one in minutes], minutes)}"


def _hours(hours: list[int]) -> str:
    noun = "hour" if len(hours) == 1 else "hours"
    return f"the {noun} {_ranges([f'{one:02}' for one in hours], hours)}"


def _days(read: CronSim) -> str:
    """Say the days: those of the month, those of the week, or how the two go together."""
    has_every_date = set(range(1, 32)) <= read.days
    plain_weekdays = {one % 7 for one in read.weekdays if isinstance(one, int)}
    has_every_weekday = len(plain_weekdays) == 7
    if not read.day_and and (has_every_date or has_every_weekday):
        return ""  # either is enough, and one of them always holds
    dates = "" if has_every_date else _dates(read)
    weekdays = "" if has_every_weekday else _weekdays(read, plain_weekdays)
    if not dates or not weekdays:
        return dates or (f"only on {weekdays}" if weekdays else "")
    return f"{dates}, only if it is {weekdays}" if read.day_and else f"{dates}, and on {weekdays}"


def _dates(read: CronSim) -> str:
    numbers = sorted(one for one in read.days if one > 0)
    words = []
    if numbers:
        noun = "day" if len(numbers) == 1 else "days"
        words.append(f"{noun} {_ranges([str(one) for one in numbers], numbers)}")
    if CronSim.LAST in read.days:
        words.append("the last day")
    if CronSim.LAST_WEEKDAY in read.days:
        words.append("the last weekday")
    return f"on {_joined(words)} of the month"


def _weekdays(read: CronSim, numbers: set[int]) -> str:
    # A week begins on Monday in what people read.
    ordered = sorted(numbers, key=lambda one: (one - 1) % 7)
    words = []
    if ordered:
        words.append(_ranges([WEEKDAYS[one] for one in ordered], [(one - 1) % 7 for one in ordered]))
    pairs = {(one[0] % 7, one[1]) for one in read.weekdays if isinstance(one, tuple)}
    special = sorted(pairs, key=lambda one: (one[1] == CronSim.LAST, one[1], (one[0] - 1) % 7))
    named = [
        f"the {'last' if place == CronSim.LAST else ORDINALS[place - 1]} {WEEKDAYS[day]}" for day, place in special
    ]
    suffix = " of the month" if named else ""
    return _joined([*words, *named]) + suffix


def _months(months: list[int]) -> str:
    return "" if len(months) == 12 else f"only in {_ranges([MONTHS[one - 1] for one in months], months)}"


def _step(values: Sequence[int], size: int) -> int | None:
    """Return the step of values that go on at equal distances from one cycle to the next; None for others."""
    if len(values) < 2 or size % len(values):
        return None
    step = size // len(values)
    return step if values == list(range(values[0], size, step)) and values[0] < step else None


def _ranges(words: Sequence[str], values: Sequence[int]) -> str:
    """Join words, three or more of values that follow each other as a range."""
    parts: list[str] = []
    start = 0
    for index in range(1, len(values) + 1):
        if index < len(values) and values[index] == values[index - 1] + 1:
            continue
        if index - start >= 3:
            parts.append(f"{words[start]} to {words[index - 1]}")
        else:
            parts += words[start:index]
        start = index
    return _joined(parts)


def _joined(parts: Iterable[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
