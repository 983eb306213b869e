"""What a schedule may be: every field that people, programs and code can give, held against its bounds."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from workers.domain import cron, names
from workers.domain.clock import check_instant
from workers.domain.cron import Rhythm
from workers.domain.errors import BadInput
from workers.domain.firing import MISSED, MOST_CAUGHT_UP, OVERLAPS
from workers.domain.numbers import check_flag, check_number, check_whole
from workers.domain.texts import check_text
from workers.domain.untrusted import check_label
from workers.services import catalogue
from workers.services.enqueueing import check_open
from workers.yard import Yard

LONGEST_JITTER_SECONDS = 3600
LONGEST_FINISH_SECONDS = 7 * 86400
DEFAULTS: dict[str, Any] = {
    "payload": {},
    "cron": None,
    "interval_seconds": None,
    "once_at": None,
    "timezone": "UTC",
    "jitter_seconds": 0,
    "starts_at": None,
    "ends_at": None,
    "overlap": "allow",
    "missed": "run_once",
    "catch_up_max": 5,
    "finish_within_seconds": None,
    "queue": None,
    "priority": None,
    "max_retries": None,
    "timeout_seconds": None,
    "tags": [],
    "enabled": True,
}
FIELDS = ("name", "task", *DEFAULTS)
RHYTHM = ("cron", "interval_seconds", "once_at")
# What moves the next run.
TIMING = frozenset({*RHYTHM, "timezone", "starts_at", "ends_at", "jitter_seconds"})


def check_values(yard: Yard, values: Mapping[str, Any], given: Collection[str], now: datetime) -> dict[str, Any]:
    """Return the columns of the fields that are `given`, out of the values of every field of FIELDS.

    What is left as it was is not judged again: a schedule whose task is gone can still be renamed and paused.
    Raises BadInput for the first value that cannot be used.
    """
    columns = {name: check(values[name]) for name, check in _CHECKS.items() if name in given}
    if TIMING & set(given):
        columns |= _check_timing(values, given, now)
    if columns.get("enabled"):
        check_runs(check_rhythm(values, now), now)
    if {"task", "payload"} & set(given) or columns.get("enabled"):
        columns |= _check_task(yard, values)
    if {"task", "queue"} & set(given) or columns.get("enabled"):
        queue = values["queue"] or catalogue.get_task(yard, str(values["task"])).row["queue"]
        check_open(str(values["task"]), names.check_queue(queue))
    return columns


def check_rhythm(values: Mapping[str, Any], anchor: datetime) -> Rhythm:
    """Return the rhythm that was given; BadInput says what is wrong with it."""
    given = [name for name in RHYTHM if values.get(name) is not None]
    if len(given) != 1:
        raise BadInput("Set exactly one of cron, interval_seconds and once_at.", field=given[1] if given else "cron")
    expression = values.get("cron")
    rhythm = Rhythm(
        cron=cron.check_cron(expression) if expression is not None else None,
        interval_seconds=_whole("interval_seconds", values.get("interval_seconds"), 1, cron.LONGEST_INTERVAL_SECONDS),
        once_at=_moment("once_at", values.get("once_at")),
        timezone=cron.check_zone(values.get("timezone") or "UTC"),
        anchor=_moment("starts_at", values.get("starts_at")) or anchor.replace(microsecond=0),
        starts_at=_moment("starts_at", values.get("starts_at")),
        ends_at=_moment("ends_at", values.get("ends_at")),
    )
    _check_bounds(rhythm)
    return rhythm


def check_runs(rhythm: Rhythm, now: datetime) -> None:
    """Raise BadInput for a rhythm that is never due after now, with the reason."""
    if rhythm.next(now) is not None:
        return
    if rhythm.ends_at is not None and rhythm.ends_at <= now:
        raise BadInput(
            "The end is in the past, so the schedule would never run. Set a later end, or none.", field="ends_at"
        )
    if rhythm.once_at is not None:
        raise BadInput("This time is in the past. Set a later time.", field="once_at")
    raise BadInput(
        "No run is due before the end, so the schedule would never run. Set a later end, or none.", field="ends_at"
    )


def _check_bounds(rhythm: Rhythm) -> None:
    if rhythm.starts_at and rhythm.ends_at and rhythm.ends_at <= rhythm.starts_at:
        raise BadInput("The end is before the start. Set an end that is later than the start.", field="ends_at")
    if rhythm.once_at is None:
        return
    if rhythm.ends_at and rhythm.once_at > rhythm.ends_at:
        raise BadInput("This time is after the end, so the schedule would never run.", field="once_at")
    if rhythm.starts_at and rhythm.once_at < rhythm.starts_at:
        raise BadInput("This time is before the start, so the schedule would never run.", field="once_at")


def _check_timing(values: Mapping[str, Any], given: Collection[str], now: datetime) -> dict[str, Any]:
    rhythm = check_rhythm(values, now)
    if {*RHYTHM, "starts_at", "ends_at", "timezone"} & set(given):
        check_runs(rhythm, now)
    jitter = _whole("jitter_seconds", values["jitter_seconds"], 0, LONGEST_JITTER_SECONDS) or 0
    period = rhythm.shortest_period_seconds()
    if period is not None and jitter > period:
        raise BadInput(
            f"The jitter is longer than the shortest time between two runs, which is {period:,} s. "
            "Set a shorter jitter.",
            field="jitter_seconds",
        )
    columns = {name: getattr(rhythm, name) for name in (*RHYTHM, "timezone", "starts_at", "ends_at")}
    return {**columns, "jitter_seconds": jitter}


def _check_task(yard: Yard, values: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(values["payload"], Mapping):
        raise BadInput("The payload must be a JSON object.", field="payload")
    task = catalogue.get_task(yard, str(values.get("task") or ""))
    return {"task": values["task"], "payload": task.write(values["payload"])}


def _moment(field: str, value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        return check_instant(value)
    except (ValueError, AttributeError) as error:
        raise BadInput(f"{field} is invalid: {error}.", field=field) from error


def _whole(field: str, value: Any, least: int, most: int) -> int | None:
    return None if value is None else check_whole(field, value, least, most)


def _seconds(field: str, most: float) -> Callable[[Any], float | None]:
    return lambda value: None if value is None else check_number(field, value, 0, most, is_open=True)


def _one_of(field: str, known: Sequence[str]) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in known:
            raise BadInput(f"{field} must be one of: {', '.join(known)}.", field=field)
        return str(value)

    return check


def _tags(value: Any) -> str:
    if not isinstance(value, list):
        raise BadInput("tags must be a list of strings.", field="tags")
    tags = list(dict.fromkeys(check_text(one, "tags").strip() for one in value))
    if len(tags) > 20 or any(not 1 <= len(one) <= 40 or '"' in one or "\\" in one for one in tags):
        raise BadInput("At most 20 tags, each of 1 to 40 characters without quotes.", field="tags")
    for one in tags:
        check_label(one, 40, "tags", "A tag")
    return json.dumps(tags, ensure_ascii=False)


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "name": lambda value: check_label(str(value or ""), 100),
    "overlap": _one_of("overlap", OVERLAPS),
    "missed": _one_of("missed", MISSED),
    "catch_up_max": lambda value: _whole("catch_up_max", value, 1, MOST_CAUGHT_UP) or 1,
    "finish_within_seconds": _seconds("finish_within_seconds", LONGEST_FINISH_SECONDS),
    "queue": lambda value: names.check_queue(value) if value else None,
    "priority": lambda value: names.check_priority(value) if value else None,
    "max_retries": lambda value: _whole("max_retries", value, 0, names.MAX_RETRIES),
    "timeout_seconds": _seconds("timeout_seconds", names.MAX_TIMEOUT_SECONDS),
    "tags": _tags,
    "enabled": lambda value: check_flag("enabled", value),
}
