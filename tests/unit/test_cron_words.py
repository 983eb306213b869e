"""Cron expressions in words and in errors: the words say when the engine runs, the errors what to write."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from workers.domain import cron
from workers.domain.cron import Rhythm, check_cron, describe, shift_note
from workers.domain.cron_words import MONTHS, ORDINALS, WEEKDAYS
from workers.domain.errors import BadInput
from workers.domain.passed import passed_moments

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


# A reader of the words, which knows nothing of cron.


def items(words: str) -> list[str]:
    return re.split(r", | and ", words)


def numbers(words: str, names: list[str]) -> set[int]:
    """Return the places of names in a list such as `1 to 3, 7 and 9`."""
    found: set[int] = set()
    for item in items(words):
        start, _, end = item.partition(" to ")
        first = names.index(start)
        found |= set(range(first, names.index(end or start) + 1))
    return found


def times(words: str) -> set[tuple[int, int]]:
    if words.startswith("At ") and ":" in words:
        return {(int(one[:2]), int(one[3:])) for one in items(words.removeprefix("At "))}
    if found := re.fullmatch(r"Every (\d+) hours(?: from (\d\d):(\d\d))?", words):
        step, hour, minute = (int(part or 0) for part in found.groups())
        return {(one, minute) for one in range(hour, 24, step)}
    minute_words, _, hour_words = words.partition(" during the ")
    hours = set(range(24))
    if hour_words:
        hours = numbers(hour_words.partition(" ")[2], [f"{one:02}" for one in range(24)])
    return {(hour, minute) for hour in hours for minute in minutes(minute_words.removesuffix(" of every hour"))}


def minutes(words: str) -> set[int]:
    if words in {"Every minute", "Every hour"}:
        return set(range(60)) if words == "Every minute" else {0}
    if found := re.fullmatch(r"Every (\d+) minutes(?: from minute (\d+))?", words):
        return set(range(int(found[2] or 0), 60, int(found[1])))
    return numbers(words.split(" ", 2)[2], [str(one) for one in range(60)])


def is_last(day: date) -> bool:
    return (day + DAY).day == 1


def is_last_weekday(day: date) -> bool:
    rest = [day + n * DAY for n in range(1, 4)]
    return day.weekday() < 5 and not any(one.month == day.month and one.weekday() < 5 for one in rest)


def has_date(words: str, day: date) -> bool:
    words = words.removesuffix(" of the month")
    found = False
    for item in re.split(r"(?:, | and )(?=the last|\d)", words.removeprefix("on ")):
        item = item.removeprefix("days ").removeprefix("day ")
        if item == "the last day":
            found |= is_last(day)
        elif item == "the last weekday":
            found |= is_last_weekday(day)
        else:
            found |= day.day in numbers(item, [str(one) for one in range(32)])
    return found


def has_weekday(words: str, day: date) -> bool:
    week = [*WEEKDAYS[1:], WEEKDAYS[0]]
    today = week[day.weekday()]
    found = False
    for item in items(words.removesuffix(" of the month")):
        if not item.startswith("the "):
            found |= day.weekday() in numbers(item, week)
            continue
        _, place, name = item.split(" ")
        is_place = (day + 7 * DAY).month != day.month if place == "last" else ORDINALS[(day.day - 1) // 7] == place
        found |= name == today and is_place
    return found


def says(words: str, day: date) -> bool:
    """Return whether the words name this day."""
    head, found, months = words.partition(", only in ")
    if found and day.month - 1 not in numbers(months, list(MONTHS)):
        return False
    parts = re.fullmatch(
        r"[^o]*?.*?(?:, (on day.*?|on the last.*?of the month))?(?:, (only if it is|only on|and on) (.*))?", head
    )
    assert parts is not None
    dates, how, weekdays = parts.groups()
    if dates is None and weekdays is None:
        return True
    if dates is None:
        return has_weekday(weekdays, day)
    if weekdays is None:
        return has_date(dates, day)
    both = has_date(dates, day), has_weekday(weekdays, day)
    return all(both) if how == "only if it is" else any(both)


def time_words(words: str) -> str:
    return re.split(r", (?=on |only |and on )", words)[0]


def some_field(least: int, most: int, extra: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    value = st.integers(least, most)
    step = st.integers(1, most + 50)
    term = st.one_of(
        value.map(str),
        st.tuples(value, value).map(lambda pair: f"{pair[0]}-{pair[1]}"),
        step.map(lambda one: f"*/{one}"),
        st.tuples(value, value, step).map(lambda three: f"{three[0]}-{three[1]}/{three[2]}"),
        *([st.sampled_from(extra)] if extra else []),
    )
    return st.one_of(st.just("*"), term, st.lists(term, min_size=2, max_size=3).map(",".join))


EXPRESSIONS = st.tuples(
    some_field(0, 59),
    some_field(0, 23),
    some_field(1, 31, ("L", "LW")),
    some_field(1, 12, ("JAN", "NOV-FEB", "mar-jul")),
    some_field(0, 7, ("mon#2", "wed#3", "5L", "FRI-MON", "mon#1", "SUN")),
).map(" ".join)


@given(expression=EXPRESSIONS, start=st.integers(0, 3000).map(lambda days: at("2024-01-01T00:00Z") + days * DAY))
@settings(deadline=None, max_examples=150)
def test_the_words_name_the_moments_at_which_the_engine_runs(expression: str, start: datetime) -> None:
    try:
        rhythm = Rhythm(cron=check_cron(expression))
    except BadInput:
        assume(False)
    words = describe(rhythm)
    named = times(time_words(words))
    days = 70 if len(named) < 50 else 5
    ran: dict[date, set[tuple[int, int]]] = {}
    for one in rhythm.between(start - MINUTE / 60, start + days * DAY - MINUTE, 100_000):
        ran.setdefault(one.date(), set()).add((one.hour, one.minute))
    for day in ((start + n * DAY).date() for n in range(days)):
        assert ran.get(day, set()) == (named if says(words, day) else set()), (words, day)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 0 8 * 1", "At 00:00, on day 8 of the month, and on Monday"),
        ("0 0 */10 * 1", "At 00:00, on days 1, 11, 21 and 31 of the month, only if it is Monday"),
        ("0 0 1-31 * 1", "At 00:00"),
        ("*/100 * * * *", "Every hour"),
        ("0-10/20 * * * *", "Every hour"),
        ("0 9 * * mon#2,wed#3", "At 09:00, only on the second Monday and the third Wednesday of the month"),
        ("0 0 1 */5 *", "At 00:00, on day 1 of the month, only in January, June and November"),
        ("*/5 * * * *", "Every 5 minutes"),
        ("*/7 * * * *", "At minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56 of every hour"),
        ("0 */2 * * *", "Every 2 hours"),
        ("0 22-2 * * *", "At 00:00, 01:00, 02:00, 22:00 and 23:00"),
        ("0 6 * * FRI-MON", "At 06:00, only on Monday and Friday to Sunday"),
        ("0 9-17 * * 1-5", "Every hour during the hours 09 to 17, only on Monday to Friday"),
        ("0 0 LW * *", "At 00:00, on the last weekday of the month"),
    ],
)
def test_expressions_are_said_as_they_run(expression: str, words: str) -> None:
    assert describe(Rhythm(cron=check_cron(expression))) == words


NAMES = {
    "day": "SUN MON TUE WED THU FRI SAT".split(),
    "month": "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split(),
}


@given(
    place=st.integers(0, 4),
    start=st.integers(0, 59),
    end=st.integers(0, 59),
    step=st.integers(1, 9),
    named=st.booleans(),
)
@settings(deadline=None)
def test_a_range_that_wraps_around_is_the_values_from_its_start_to_its_end(
    place: int, start: int, end: int, step: int, named: bool
) -> None:
    least, size = [(0, 60), (0, 24), (1, 31), (1, 12), (0, 7)][place]
    start, end = (least + value % size for value in (start, end))
    assume(start > end)
    words = [str(start), str(end)]
    if named and place in {3, 4}:
        words = [NAMES["month" if place == 3 else "day"][value - least] for value in (start, end)]
    values = [least + (start - least + n) % size for n in range((end - start) % size + 1)][::step]
    fields, listed = ["0", "0", "*", "*", "*"], ["0", "0", "*", "*", "*"]
    fields[place], listed[place] = f"{'-'.join(words)}/{step}", ",".join(map(str, values))
    begin = at("2026-01-01T00:00Z")
    ours, theirs = (Rhythm(cron=check_cron(" ".join(one))) for one in (fields, listed))
    assert list(islice(ours.after(begin), 40)) == list(islice(theirs.after(begin), 40))


@pytest.mark.parametrize(
    ("expression", "advice"),
    [
        ("0 0 15W * *", "W.*not supported.*LW"),
        ("0 0 L-3 * *", "not supported.*L for the last day"),
        ("0 0 5L * *", "not supported.*L for the last day"),
        ("0 30 6 * * *", "This one has 6.*seconds.*'30 6 \\* \\* \\*'"),
        ("0 30 6 ? * MON 2027", "This one has 7.*'30 6"),
        ("0 0 1 1 * 2030", "This one has 6.*'0 0 1 1 \\*'"),
        ("0 0 1 1 * 2030-2032", "'0 0 1 1 \\*'"),
        ("0 0 12 * * ?", "'0 12 \\* \\* \\*'"),
        ("0 0 12 ? * * 2027", "'0 12 \\* \\* \\*'"),
        ("0 0 12 1W * ? 2027", "leave them out, or use"),
        ("@every 5m", "@every.*interval of 300 seconds"),
        ("@every 1h30m", "interval of 5,400 seconds"),
        ("@every soon", "@every.*interval instead"),
        ("@reboot", "Unknown macro @reboot.*@daily"),
        ("0 0 ? * MON", r"\? is not supported. Write \*"),
        ("60 * * * *", "minute '60'.*0 to 59"),
        ("0 24 * * *", "hour '24'.*0 to 23"),
        ("0 0 0 * *", "day-of-month '0'.*1 to 31"),
        ("0 0 * 13 *", "month '13'.*1 to 12"),
        ("0 0 * * 8", "day-of-week '8'.*SUN to SAT"),
        ("0 0 31 2 *", "does not exist"),
        ("0 0 31 4,6,9,11 *", "does not exist"),
        ("* * *", "five fields.*has 3"),
    ],
)
def test_what_cannot_be_read_is_named_with_what_to_write(expression: str, advice: str) -> None:
    with pytest.raises(BadInput, match=advice) as refused:
        check_cron(expression)
    assert refused.value.field == "cron"


@pytest.mark.parametrize("more", ["0 {}", "{} 2031", "0 {} *", "*/10 {} 2030-2040"])
@pytest.mark.parametrize("five", ["30 6 * * MON", "0 0 1 1 *", "*/15 9-17 ? * FRI-MON", "5 4 L * ?"])
def test_the_example_for_six_or_seven_fields_can_be_used(five: str, more: str) -> None:
    with pytest.raises(BadInput) as refused:
        check_cron(more.format(five))
    example = refused.value.message.partition("such as '")[2].partition("'")[0]
    assert check_cron(example) == five.replace("?", "*")


@given(expression=st.text("0123456789*/,-LW#?@ SUNMOfeb", max_size=40))
@settings(deadline=None)
def test_any_text_is_read_or_refused(expression: str) -> None:
    try:
        kept = check_cron(expression)
    except BadInput:
        return
    rhythm = Rhythm(cron=kept)
    assert describe(rhythm)
    assert rhythm.next(at("2026-01-01T00:00Z")) is not None


# Days on which clocks change.


@pytest.mark.parametrize(
    ("zone", "expression", "moment", "note"),
    [
        (
            "America/Nuuk",
            "30 23 * * *",
            "2026-03-29T01:00Z",
            "23:30 does not exist on 2026-03-28.*00:00 on the next day",
        ),
        ("Europe/Berlin", "30 2 * * *", "2026-03-29T01:00Z", "02:30 does not exist on this day.*once at 03:00"),
        ("Africa/Cairo", "15 0 * * *", "2026-04-23T22:00Z", "00:15 does not exist on this day.*once at 01:00"),
        ("Europe/Berlin", "30 2 * * *", "2026-10-25T00:30Z", "02:30 occurs twice"),
        ("Pacific/Apia", "0 12 * * *", "2011-12-30T10:00Z", "12:00 does not exist on 2011-12-30"),
    ],
)
def test_a_run_that_a_change_of_clocks_moves_is_marked(zone: str, expression: str, moment: str, note: str) -> None:
    rhythm = Rhythm(cron=expression, timezone=zone)
    assert rhythm.next(at(moment) - timedelta(hours=3)) == at(moment)
    assert re.search(note, shift_note(rhythm, at(moment)))


@pytest.mark.parametrize(
    "zone", ["America/Nuuk", "Europe/Berlin", "Africa/Cairo", "Australia/Lord_Howe", "America/New_York"]
)
@given(day=st.integers(0, 364), minute=st.integers(0, 1439))
@settings(deadline=None)
def test_once_and_cron_agree_on_every_local_time(zone: str, day: int, minute: int) -> None:
    local = datetime.fromisoformat("2026-01-01") + day * DAY + minute * MINUTE
    expression = f"{local.minute} {local.hour} {local.day} {local.month} *"
    rhythm = Rhythm(cron=expression, timezone=zone)
    once = cron.local_instant(local, zone)
    assert rhythm.next(once - 3 * DAY) == once


def gaps() -> list[tuple[str, datetime]]:
    found = []
    for zone in ("America/Nuuk", "Europe/Berlin", "Africa/Cairo", "Australia/Lord_Howe", "America/New_York"):
        place = cron.zone(zone)
        for minute in range(0, 365 * 1440, 10):
            local = datetime.fromisoformat("2026-01-01") + minute * MINUTE
            if local.replace(tzinfo=place).astimezone(UTC).astimezone(place).replace(tzinfo=None) != local:
                found.append((zone, local))
    return found


def test_once_and_cron_agree_within_each_gap() -> None:
    for zone, local in gaps():
        rhythm = Rhythm(cron=f"{local.minute} {local.hour} {local.day} {local.month} *", timezone=zone)
        assert rhythm.next(at("2026-01-01T00:00Z") - 2 * DAY) == cron.local_instant(local, zone), (zone, local)


@pytest.mark.parametrize("expression", ["0 12 * * *", "30 6,18 * * *", "*/15 3 * * *", "0 * * * *", "0 0 30,31 * *"])
@pytest.mark.parametrize("zone", ["Pacific/Apia", "Pacific/Fakaofo", "Pacific/Kwajalein"])
def test_moments_around_a_day_that_is_skipped_are_counted_as_if_walked_through(zone: str, expression: str) -> None:
    rhythm = Rhythm(cron=expression, timezone=zone)
    skipped = at("1993-08-20T00:00Z") if zone == "Pacific/Kwajalein" else at("2011-12-30T10:00Z")
    for before in (1, 2, 3, 11):
        first = rhythm.next(skipped - before * DAY)
        assert first is not None
        for after in (-2, -1, 0, 1, 2, 11):
            until = max(first, skipped + after * DAY)
            walked = rhythm.between(first - MINUTE / 60, until, 100_000)
            assert passed_moments(rhythm, first, until, 5) == (len(walked), walked[-5:])


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ({"cron": "* * * * *"}, 60),
        ({"cron": "*/5 * * * *"}, 300),
        ({"cron": "0,10 5 * * *"}, 600),
        ({"cron": "50 23 * * *"}, None),
        ({"cron": "50,5 * * * *"}, 900),
        ({"cron": "0 9,17 * * *"}, 8 * 3600),
        ({"interval_seconds": 7}, 7),
        ({"once_at": at("2027-01-01T00:00Z")}, None),
    ],
)
def test_the_shortest_time_between_two_runs(values: dict[str, Any], seconds: int | None) -> None:
    assert Rhythm(**values).shortest_period_seconds() == seconds


def test_an_anchor_in_the_future_does_not_put_an_interval_off() -> None:
    rhythm = Rhythm(interval_seconds=600, anchor=at("2036-01-01T00:00Z"))
    assert rhythm.next(at("2026-01-01T00:01Z")) == at("2026-01-01T00:10Z")
