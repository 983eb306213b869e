"""Cron expressions as people write them, checked and brought to the five fields that cronsim reads."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

from cronsim import CronSim, CronSimError

from workers.domain.errors import BadInput

LONGEST_EXPRESSION = 200
MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
START = datetime(2024, 1, 1, tzinfo=UTC)
_DAYS = "SUN MON TUE WED THU FRI SAT".split()
_MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split()
# Of each field its least and its greatest value, and its names from a first number on.
_FIELDS = (
    ("minute", 0, 59, (), 0, "0 to 59"),
    ("hour", 0, 23, (), 0, "0 to 23"),
    ("day-of-month", 1, 31, (), 0, "1 to 31, L for the last day or LW for the last weekday"),
    ("month", 1, 12, _MONTHS, 1, "1 to 12 or JAN to DEC"),
    ("day-of-week", 0, 7, _DAYS, 0, "0 to 7 or SUN to SAT, 1#2 for the second Monday or 5L for the last Friday"),
)
_RANGE = re.compile(r"([0-9]{1,2}|[A-Z]{3})-([0-9]{1,2}|[A-Z]{3})(?:/([0-9]{1,4}))?")
_YEAR = re.compile(r"(?<![0-9])(19|20)[0-9]{2}(?![0-9])")
_EVERY = re.compile(r"@every\s+(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})s)?")


def check_cron(expression: str) -> str:
    """Return the expression as it is kept: five fields, or a macro; BadInput says what is wrong, in milliseconds."""
    if not isinstance(expression, str) or len(expression) > LONGEST_EXPRESSION or not expression.isascii():
        raise BadInput(f"A cron expression has at most {LONGEST_EXPRESSION} plain characters.", field="cron")
    kept = " ".join(expression.split())
    _check_macro(kept)
    fields = MACROS.get(kept.lower(), kept).split()
    _check_count(fields)
    for (name, *_, allowed), part, place in zip(_FIELDS, fields, range(5), strict=True):
        _check_field(name, allowed, part, place)
    try:
        next(CronSim(plain(kept), START))
    except (CronSimError, StopIteration):
        raise BadInput(f"{kept!r} names a date that does not exist, so it would never run.", field="cron") from None
    return kept.lower() if kept.startswith("@") else kept


@lru_cache(maxsize=4096)
def plain(expression: str) -> str:
    """Return the five fields of an expression, with ranges that wrap around (`FRI-MON`, `22-2`) written out as lists."""
    fields = MACROS.get(expression.lower(), expression).split()
    return " ".join(_unwrapped(part, place) for place, part in enumerate(fields))


def _check_macro(kept: str) -> None:
    lower = kept.lower()
    if not kept.startswith("@") or lower in MACROS:
        return
    every = _EVERY.fullmatch(lower)
    if lower.startswith("@every"):
        hours, minutes, seconds = (int(part or 0) for part in every.groups()) if every else (0, 0, 0)
        span = 3600 * hours + 60 * minutes + seconds
        example = f" of {span:,} seconds" if span else ""
        raise BadInput(f"@every is not a cron expression. Use an interval{example} instead.", field="cron")
    raise BadInput(f"Unknown macro {kept[:40]}. Use one of {', '.join(MACROS)}.", field="cron")


def _check_count(fields: list[str]) -> None:
    if any(re.search(r"\d{5}", part) for part in fields):
        raise BadInput("Numbers in a cron expression have at most four digits.", field="cron")
    if len(fields) == 5:
        return
    advice = ""
    if len(fields) in {6, 7}:
        advice = (
            f" Fields for seconds or years are not supported: leave them out{_example_without(fields)}, "
            "or use an interval for runs every few seconds."
        )
    raise BadInput(
        f"A cron expression has five fields: minute hour day month weekday. This one has {len(fields)}.{advice}",
        field="cron",
    )


def _example_without(fields: list[str]) -> str:
    """Return the five fields among six or seven as an example, or "" when they are none that can be used."""
    has_year_alone = len(fields) == 6 and _YEAR.search(fields[5]) is not None
    kept = fields[:5] if has_year_alone else fields[1:6]
    example = " ".join(kept).replace("?", "*")
    try:
        check_cron(example)
    except BadInput:
        return ""
    return f", such as {example!r}"


def _check_field(name: str, allowed: str, part: str, place: int) -> None:
    upper = part.upper()
    if "?" in upper:
        raise BadInput(f"Invalid {name} {part!r}: ? is not supported. Write * instead.", field="cron")
    if place == 2 and re.search(r"\dW|W\d", upper):
        why = "the weekday nearest to a day (W) is not supported. Write LW for the last weekday, or the days themselves"
        raise BadInput(f"Invalid {name} {part!r}: {why}, such as 14-16.", field="cron")
    if place == 2 and re.search(r"L-|L\d|\dL", upper):
        why = "days before the last one are not supported. Write L for the last day, or a day such as 28"
        raise BadInput(f"Invalid {name} {part!r}: {why}.", field="cron")
    alone = ["0", "0", "*", "*", "*"]
    alone[place] = _unwrapped(part, place)
    try:
        CronSim(" ".join(alone), START)
    except (CronSimError, ValueError, AssertionError) as error:
        raise BadInput(
            f"Invalid {name} {part!r}. Use {allowed}; lists (1,3), ranges and steps.", field="cron"
        ) from error


def _unwrapped(part: str, place: int) -> str:
    return ",".join(_unwrapped_term(term, place) for term in part.upper().split(","))


def _unwrapped_term(term: str, place: int) -> str:
    """Write a range that wraps around as a list; everything else is returned as it is."""
    found = _RANGE.fullmatch(term)
    if found is None:
        return term
    _, least, most, names, first, _ = _FIELDS[place]
    try:
        start, end = (_number(text, names, first) for text in found.groups()[:2])
    except ValueError:
        return term
    is_week = place == 4
    if is_week and start == 7 and end < 7:
        start = 0
    if start <= end or end < least or start > most:
        return f"{start}-{end}" + (f"/{found.group(3)}" if found.group(3) else "")
    last = 6 if is_week else most
    values = [*range(start, last + 1), *range(least, end + 1)]
    step = int(found.group(3) or 1)
    return ",".join(map(str, values[::step])) if step else term


def _number(text: str, names: tuple[str, ...] | list[str], first: int) -> int:
    return int(text) if text.isdigit() else list(names).index(text) + first
