"""What a schedule may be: every field that people, programs and code can give, held against its bounds."""

from __future__ import annotations

import json
from collections.abc import Mapping
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


def checked(yard: Yard, values: Mapping[str, Any], now: datetime, *, may_be_reserved: bool = False) -> dict[str, Any]:
    """Make the columns that people set out of every field of FIELDS. Raises BadInput for the first that cannot be used.

    One from before queues were reserved can still be disabled: then it `may_be_reserved`.
    """
    name = check_label(str(values.get("name") or ""), 100)
    rhythm = checked_rhythm(values, now)
    if rhythm.starts_at and rhythm.ends_at and rhythm.ends_at <= rhythm.starts_at:
        raise BadInput("It ends before it starts.", field="ends_at")
    if rhythm.once_at is not None and rhythm.once_at < now:
        raise BadInput("This moment is over; choose one that comes.", field="once_at")
    if not isinstance(values["payload"], Mapping):
        raise BadInput("The payload must be a JSON object.", field="payload")
    task = catalogue.get_task(yard, str(values.get("task") or ""))
    payload = task.write(values["payload"])
    if not may_be_reserved:
        check_open(task.row["name"], names.check_queue(values["queue"] or task.row["queue"]))
    jitter = _whole("jitter_seconds", values["jitter_seconds"], 0, LONGEST_JITTER_SECONDS) or 0
    if rhythm.interval_seconds is not None and jitter > rhythm.interval_seconds:
        raise BadInput("The jitter is longer than the interval.", field="jitter_seconds")
    for field, known in (("overlap", OVERLAPS), ("missed", MISSED)):
        if values[field] not in known:
            raise BadInput(f"{field} is one of {', '.join(known)}.", field=field)
    rhythm_values = {one: getattr(rhythm, one) for one in (*RHYTHM, "timezone", "starts_at", "ends_at")}
    return {
        **rhythm_values,
        "name": name,
        "task": values["task"],
        "payload": payload,
        "jitter_seconds": jitter,
        "overlap": values["overlap"],
        "missed": values["missed"],
        "catch_up_max": _whole("catch_up_max", values["catch_up_max"], 1, MOST_CAUGHT_UP) or 1,
        "finish_within_seconds": _number("finish_within_seconds", values, LONGEST_FINISH_SECONDS),
        "queue": names.check_queue(values["queue"]) if values["queue"] else None,
        "priority": names.check_priority(values["priority"]) if values["priority"] else None,
        "max_retries": _whole("max_retries", values["max_retries"], 0, names.MAX_RETRIES),
        "timeout_seconds": _number("timeout_seconds", values, names.MAX_TIMEOUT_SECONDS),
        "tags": _tags(values["tags"]),
        "enabled": check_flag("enabled", values["enabled"]),
    }


def checked_rhythm(values: Mapping[str, Any], anchor: datetime) -> Rhythm:
    """Make a rhythm of what was given; BadInput says what is wrong with it."""
    given = [name for name in RHYTHM if values.get(name) is not None]
    if len(given) != 1:
        raise BadInput("Give one of cron, interval_seconds and once_at.", field=given[1] if given else "cron")
    expression = values.get("cron")
    return Rhythm(
        cron=cron.check_cron(expression) if expression is not None else None,
        interval_seconds=_whole("interval_seconds", values.get("interval_seconds"), 1, cron.LONGEST_INTERVAL_SECONDS),
        once_at=_moment("once_at", values.get("once_at")),
        timezone=cron.check_zone(values.get("timezone") or "UTC"),
        anchor=_moment("starts_at", values.get("starts_at")) or anchor.replace(microsecond=0),
        starts_at=_moment("starts_at", values.get("starts_at")),
        ends_at=_moment("ends_at", values.get("ends_at")),
    )


def _moment(field: str, value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        return check_instant(value)
    except (ValueError, AttributeError) as error:
        raise BadInput(f"{field} cannot be used: {error}.", field=field) from error


def _whole(field: str, value: Any, least: int, most: int) -> int | None:
    return None if value is None else check_whole(field, value, least, most)


def _number(field: str, values: Mapping[str, Any], most: float) -> float | None:
    value = values[field]
    return None if value is None else check_number(field, value, 0, most, is_open=True)


def _tags(value: Any) -> str:
    if not isinstance(value, list):
        raise BadInput("tags must be a list of texts.", field="tags")
    tags = list(dict.fromkeys(check_text(one, "tags").strip() for one in value))
    if len(tags) > 20 or any(not 1 <= len(one) <= 40 or '"' in one or "\\" in one for one in tags):
        raise BadInput("At most 20 tags, each of 1 to 40 characters without quotes.", field="tags")
    for one in tags:
        check_label(one, 40, "tags", "A tag")
    return json.dumps(tags, ensure_ascii=False)
