"""When schedules fire: the rule for the days on which clocks change, held against two other readers of cron."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from dateutil.rrule import DAILY, rrule
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from workers import registry
from workers.domain.cron import Rhythm, check_cron, check_zone, describe, shift_note, zone_names
from workers.domain.errors import BadInput, SettingsError
from workers.domain.passed import passed_moments

Reader = Callable[[datetime], Iterator[datetime]]
Stretch = tuple[datetime, datetime, timedelta]
MINUTE, QUARTER = timedelta(minutes=1), timedelta(minutes=15)
CASES, SHOWN = 500, 25
ZONES = (
    "UTC Europe/Berlin America/New_York America/St_Johns Australia/Lord_Howe America/Havana Africa/Casablanca "
    "Asia/Kolkata Asia/Beirut Pacific/Chatham America/Santiago Europe/Dublin Asia/Tehran Pacific/Apia Antarctica/Troll"
).split()


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def fires(cron: str, timezone: str, after: str, count: int) -> list[str]:
    """Tell the next fires, in local time with the offset."""
    rhythm = Rhythm(cron=check_cron(cron), timezone=check_zone(timezone))
    place = ZoneInfo(timezone)
    return [one.astimezone(place).isoformat(timespec="minutes") for one in islice(rhythm.after(at(after)), count)]


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T00:00Z",
            ["2026-03-28T02:30+01:00", "2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"],
        ),
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T00:00Z",
            ["2026-10-24T02:30+02:00", "2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"],
        ),
        (
            "*/20 2 * * *",
            "America/New_York",
            "2026-03-08T00:00-05:00",
            ["2026-03-08T03:00-04:00", "2026-03-09T02:00-04:00"],
        ),
        (
            "0 1,3 * * *",
            "America/New_York",
            "2026-11-01T00:00-04:00",
            ["2026-11-01T01:00-04:00", "2026-11-01T03:00-05:00", "2026-11-02T01:00-05:00"],
        ),
        (
            "0 * * * *",
            "America/New_York",
            "2026-11-01T00:30-04:00",
            ["2026-11-01T01:00-04:00", "2026-11-01T01:00-05:00", "2026-11-01T02:00-05:00"],
        ),
        (
            "0 */2 * * *",
            "America/New_York",
            "2026-03-08T01:00-05:00",
            ["2026-03-08T03:00-04:00", "2026-03-08T04:00-04:00"],
        ),
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T20:00+10:30", ["2026-10-04T02:30+11:00"]),
        ("0 0 L * *", "Asia/Kolkata", "2026-02-10T00:00Z", ["2026-02-28T00:00+05:30", "2026-03-31T00:00+05:30"]),
        ("0 9 * * MON#2", "UTC", "2026-01-01T00:00Z", ["2026-01-12T09:00+00:00", "2026-02-09T09:00+00:00"]),
        ("@daily", "Asia/Kolkata", "2026-01-01T00:00Z", ["2026-01-02T00:00+05:30"]),
    ],
)
def test_a_day_on_which_clocks_change_fires_as_the_rule_says(
    cron: str, zone: str, after: str, expected: list[str]
) -> None:
    assert fires(cron, zone, after, len(expected)) == expected


@pytest.mark.parametrize(
    ("cron", "moment", "note"),
    [
        (
            "30 2 * * *",
            "2026-03-29T01:00Z",
            "02:30 does not exist on this day (clocks go forward), runs once at 03:00",
        ),
        (
            "30 2 * * *",
            "2026-10-25T00:30Z",
            "02:30 occurs twice on this day (clocks go back), runs the first time only",
        ),
        ("0 * * * *", "2026-10-25T00:00Z", "clocks go back on this day"),
        ("0 12 * * *", "2026-03-29T10:00Z", "clocks go forward on this day"),
        ("0 12 * * *", "2026-03-30T10:00Z", ""),
    ],
)
def test_the_preview_marks_such_days(cron: str, moment: str, note: str) -> None:
    assert shift_note(Rhythm(cron=cron, timezone="Europe/Berlin"), at(moment)) == note


# The oracle: the same rule, by another way. Cron is read on a clock without zone by a library that is not ours, and its
# times are laid onto the stretches of unchanging offset that the zone is made of.


def stretches(place: ZoneInfo, start: datetime, end: datetime) -> list[tuple[datetime, datetime, timedelta]]:
    """Cut a time into stretches of one offset each; clocks change at quarters of an hour."""
    begin = one = start.replace(minute=0)
    found, offset = [], one.astimezone(place).utcoffset() or timedelta()
    while one < end:
        one += QUARTER
        changed = one.astimezone(place).utcoffset() or timedelta()
        if changed != offset:
            found.append((begin, one, offset))
            begin, offset = one, changed
    return [*found, (begin, end, offset)]


def wall(moment: datetime, offset: timedelta) -> datetime:
    return (moment + offset).replace(tzinfo=None)


def on_the_wall(read: Reader, parts: list[Stretch]) -> set[datetime]:
    """Lay the times of day onto the stretches: the first that has it, or the begin of the one that skips it."""
    due: set[datetime] = set()
    for one in read(wall(parts[0][0], parts[0][2]) - MINUTE):
        place = next(((begin, until, offset) for begin, until, offset in parts if one < wall(until, offset)), None)
        if place is None:
            break
        begin, _, offset = place
        due.add(max(begin, one.replace(tzinfo=UTC) - offset))
    return due


def elapsed(read: Reader, parts: list[Stretch]) -> set[datetime]:
    """Read each stretch for itself."""
    due: set[datetime] = set()
    for begin, until, offset in parts:
        for one in read(wall(begin, offset) - MINUTE):
            if one >= wall(until, offset):
                break
            due.add(one.replace(tzinfo=UTC) - offset)
    return due


def laid_out(read: Reader, is_hourly: bool, place: ZoneInfo, start: datetime) -> list[datetime]:
    end = start + timedelta(days=3)
    parts = stretches(place, start - timedelta(hours=4), end)
    due = elapsed(read, parts) if is_hourly else on_the_wall(read, parts)
    return sorted(one for one in due if start < one < end)


def by_croniter(cron: str) -> Reader:
    return lambda begin: iter(croniter(cron, begin, ret_type=datetime))


def allowed(field: str, low: int, high: int) -> list[int]:
    """Read one field of `some_cron`'s making."""
    spread, _, step = field.partition("/")
    if spread == "*":
        return list(range(low, high + 1, int(step or 1)))
    if "-" in spread:
        first, last = map(int, spread.split("-"))
        return list(range(first, last + 1))
    return sorted(map(int, spread.split(",")))


def by_dateutil(cron: str) -> Reader:
    minute, hour, day, month, weekday = cron.split()
    how: dict[str, Any] = {"byminute": allowed(minute, 0, 59), "byhour": allowed(hour, 0, 23), "bysecond": 0}
    how |= {"bymonthday": allowed(day, 1, 31)} if day != "*" else {}
    how |= {"bymonth": allowed(month, 1, 12)} if month != "*" else {}
    how |= {"byweekday": [(one - 1) % 7 for one in allowed(weekday, 0, 6)]} if weekday != "*" else {}

    def read(begin: datetime) -> Iterator[datetime]:
        first = begin.replace(hour=0, minute=0)
        return (one for one in rrule(DAILY, dtstart=first, **how) if one > begin)

    return read


def some_cron(dice: random.Random) -> str:
    """Roll an expression; of day and weekday one is a plain star, since readers of cron differ about both at once."""

    def field(low: int, high: int, star: float) -> str:
        kind = dice.random()
        if kind < star:
            return "*"
        if kind < star + 0.15:
            return f"*/{dice.choice([step for step in (2, 3, 5, 10, 15, 20) if step < high])}"
        first = dice.randint(low, high)
        if kind < star + 0.3:
            # One and the same at both ends is read as a star by croniter.
            return f"{first}-{dice.randint(first + 1, high)}" if first < high else str(first)
        if kind < star + 0.45:
            return ",".join(str(one) for one in sorted({dice.randint(low, high) for _ in range(3)}))
        return str(first)

    day, weekday = ("*", field(0, 6, 0.5)) if dice.random() < 0.7 else (field(1, 31, 0.4), "*")
    month = "*" if dice.random() < 0.9 else field(1, 12, 0.3)
    night = dice.random() < 0.5
    hour = field(0, 3, 0.1) if night else field(0, 23, 0.35)
    return f"{field(0, 59, 0.2)} {hour} {day} {month} {weekday}"


def some_moment(dice: random.Random, place: ZoneInfo) -> datetime:
    """Roll a moment of these years: mostly less than a day before a change of the clocks, if there is one."""
    day = datetime(dice.choice([2024, 2025, 2026, 2027]), 1, 1, tzinfo=UTC) + timedelta(days=dice.randrange(365))
    if dice.random() < 0.8:
        for step in range(366):
            before, after = (day + timedelta(days=step + more) for more in (0, 1))
            if before.astimezone(place).utcoffset() != after.astimezone(place).utcoffset():
                day = before
                break
    return day + timedelta(minutes=dice.randrange(1440) - 720)


@pytest.mark.parametrize("reader", [by_croniter, by_dateutil], ids=["croniter", "dateutil"])
def test_two_other_readers_of_cron_find_the_same_moments(reader: Any) -> None:
    dice = random.Random(20260329)
    differing = []
    for _ in range(CASES):
        cron, name = some_cron(dice), dice.choice(ZONES)
        place = ZoneInfo(name)
        start = some_moment(dice, place)
        is_hourly = len(allowed(cron.split()[1], 0, 23)) == 24
        expected = laid_out(reader(cron), is_hourly, place, start)[:SHOWN]
        ours = Rhythm(cron=cron, timezone=name).between(start, start + timedelta(days=3) - MINUTE / 60, SHOWN)
        if ours != expected:
            differing.append((cron, name, start.isoformat(), ours[:3], expected[:3]))
    assert differing == []


@pytest.mark.parametrize(
    "hostile",
    [
        "0 0 1--100000000 * *",
        "1-99999999999999999999 * * * *",
        "*/99999999999999999999 * * * *",
        ",".join(["1"] * 5000) + " * * * *",
        "0 0 31 2 *",
        "* * * * * *",
        "0 0 0 0 0",
        "@reboot",
        "٣ * * * *",
        "\x00 * * * *",
        "",
    ],
)
def test_hostile_cron_is_refused_in_milliseconds(hostile: str) -> None:
    began = time.process_time()  # what others do on the machine does not count
    with pytest.raises(BadInput):
        check_cron(hostile)
    assert time.process_time() - began < 0.1


def test_a_day_that_never_comes_ends_the_search() -> None:
    rhythm = Rhythm(cron=check_cron("0 0 29 2 *"), ends_at=at("2027-01-01T00:00Z"))
    assert rhythm.next(at("2026-01-01T00:00Z")) is None


def test_intervals_are_elapsed_time_from_their_anchor() -> None:
    rhythm = Rhythm(interval_seconds=5400, timezone="Europe/Berlin", anchor=at("2026-03-29T00:00Z"))
    assert list(islice(rhythm.after(at("2026-03-28T23:00Z")), 3)) == [
        at("2026-03-29T00:00Z"),
        at("2026-03-29T01:30Z"),
        at("2026-03-29T03:00Z"),
    ]
    assert passed_moments(rhythm, at("2026-03-29T01:30Z"), at("2026-03-29T12:00Z"), 2) == (
        8,
        [at("2026-03-29T10:30Z"), at("2026-03-29T12:00Z")],
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"cron": "0 6 * * *"}, "At 06:00"),
        ({"cron": "@weekly"}, "At 00:00, only on Sunday"),
        ({"cron": "0 0 L * *"}, "At 00:00, on the last day of the month"),
        ({"interval_seconds": 30}, "Every 30 seconds"),
        ({"interval_seconds": 3600}, "Every hour"),
        ({"once_at": at("2026-12-24T07:00Z"), "timezone": "Europe/Berlin"}, "Once, at 2026-12-24 08:00"),
    ],
)
def test_a_rhythm_is_said_in_words(values: dict[str, Any], words: str) -> None:
    assert describe(Rhythm(**values)) == words


def test_the_zones_are_those_of_the_pinned_data() -> None:
    import zoneinfo

    assert zoneinfo.TZPATH == ()
    assert {"Europe/Berlin", "America/New_York", "UTC"} <= zone_names()


@pytest.mark.parametrize(
    "options", [{"schedule": "nonsense"}, {"schedule": 0}, {"schedule": "@daily", "timezone": "Mars/Olympus"}]
)
def test_a_schedule_in_code_that_cannot_be_used_stops_the_start(options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="schedule of a task is invalid"):
        registry.define(lambda: None, name="tests.declared", **options)
    assert "tests.declared" not in registry.REGISTRY


def test_a_task_with_a_schedule_needs_a_default_for_each_parameter() -> None:
    def count(words: list[str]) -> int:
        return len(words)

    with pytest.raises(SettingsError, match="needs a default"):
        registry.define(count, name="tests.declared", schedule="@daily")


def walked(rhythm: Rhythm, first: datetime, until: datetime, newest: int) -> tuple[int, list[datetime]]:
    """Count the moments one by one."""
    moments = list(takewhile(lambda moment: moment <= until, rhythm.after(first - timedelta(microseconds=1))))
    return len(moments), moments[-newest:]


FIELDS = (
    ["*", "0", "30", "*/7", "10-50/20", "0,59"],
    ["*", "0", "2", "23", "*/5", "8-17"],
    ["*", "1", "29-31", "*/2", "L"],
    ["*", "3", "2,10"],
    ["*", "1-5", "0", "5L", "1#2"],
)


@given(
    fields=st.tuples(*map(st.sampled_from, FIELDS)),
    place=st.sampled_from([*ZONES, "America/Nuuk", "Africa/Cairo"]),
    start=st.integers(0, 730 * 1440).map(lambda minutes: at("2025-01-01T00:00Z") + minutes * MINUTE),
    days=st.integers(0, 120),
    seconds=st.integers(0, 86_400),
    newest=st.sampled_from([1, 5, 162, 2_000]),
)
@settings(deadline=None)
def test_moments_that_passed_are_counted_as_if_walked_through(
    fields: tuple[str, ...], place: str, start: datetime, days: int, seconds: int, newest: int
) -> None:
    rhythm = Rhythm(cron=" ".join(fields), timezone=place)
    first = rhythm.next(start)
    assume(first is not None and first < start + timedelta(days=400))
    assert first is not None
    until = first + timedelta(days=days, seconds=seconds)
    assert passed_moments(rhythm, first, until, newest) == walked(rhythm, first, until, newest)


@pytest.mark.parametrize("place", ["UTC", "Europe/Berlin"])
def test_a_year_of_minutes_is_counted_without_walking_through_it(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    rhythm, seen = Rhythm(cron="* * * * *", timezone=place), []
    real = Rhythm.after
    monkeypatch.setattr(Rhythm, "after", lambda self, moment: (seen.append(1) or one for one in real(self, moment)))
    count, newest = passed_moments(rhythm, at("2025-01-01T00:00Z"), at("2026-01-01T00:00Z"), 162)
    assert count == 365 * 1440 + 1
    assert newest[-1] == at("2026-01-01T00:00Z")
    assert len(newest) == 162
    assert len(seen) < 20 * 1440
