"""What a list of jobs is narrowed to: the query string as a value, the same for pages, API and bulk actions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

from workers.domain.clock import EARLIEST, parse_instant, rfc3339, utcnow
from workers.domain.errors import BadInput
from workers.domain.ids import is_id
from workers.domain.names import check_priority, check_queue
from workers.domain.states import Status
from workers.domain.texts import check_text

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_AGE = re.compile(r"([0-9]{1,6}) *([smhdw])")
_TASK = re.compile(r"[A-Za-z0-9_.]{1,199}\*?")
_LONGEST_AGE = timedelta(days=36500)


@dataclass(frozen=True, slots=True)
class JobFilter:
    """A choice of jobs; None means any. Several queues or tasks are given as tuples, a task may end with `*`."""

    status: tuple[Status, ...] = ()
    task: tuple[str, ...] = ()
    queue: tuple[str, ...] = ()
    priority: str | None = None
    q: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    schedule: str | None = None
    batch: str | None = None
    parent: str | None = None
    without_tasks: tuple[str, ...] = ()  # set by the code alone, never by a query string

    @classmethod
    def from_args(cls, args: Mapping[str, str], now: datetime | None = None) -> JobFilter:
        """Read a filter from a query string or JSON object; BadInput names the field that cannot be used.

        `since` and `until` are instants or ages such as `2h`; lists are comma-separated; empty values mean any.
        """
        given = {name: str(value).strip() for name, value in args.items() if value not in (None, "")}
        moment = now or utcnow()
        return cls(
            status=tuple(_status(part) for part in _parts(given, "status")),
            task=tuple(_task(part) for part in _parts(given, "task")),
            queue=tuple(check_queue(part) for part in _parts(given, "queue")),
            priority=check_priority(given["priority"]) if "priority" in given else None,
            q=_words(given["q"]) if "q" in given else None,
            since=_instant(given, "since", moment),
            until=_instant(given, "until", moment),
            schedule=_id(given, "schedule"),
            batch=_id(given, "batch"),
            parent=_id(given, "parent"),
        )

    def to_args(self) -> dict[str, str]:
        """Write the filter as it stands in an address; `from_args` reads it back."""
        args: dict[str, str] = {}
        for name in (one.name for one in fields(self) if one.name != "without_tasks"):
            value = getattr(self, name)
            if isinstance(value, tuple):
                value = ",".join(map(str, value))
            elif isinstance(value, datetime):
                value = rfc3339(value)
            if value:
                args[name] = str(value)
        return args

    @property
    def is_empty(self) -> bool:
        """Whether every job fits."""
        return self == JobFilter()


def _parts(given: Mapping[str, str], name: str) -> list[str]:
    parts = [part.strip() for part in given.get(name, "").split(",") if part.strip()]
    if len(parts) > 50:
        raise BadInput(f"At most 50 values of {name} at once.", field=name)
    return parts


def _status(text: str) -> Status:
    try:
        return Status(text)
    except ValueError:
        raise BadInput(f"A status is one of {', '.join(Status)}.", field="status") from None


def _task(text: str) -> str:
    if not _TASK.fullmatch(text):
        raise BadInput("A task looks like reports.daily, or reports.* for all of a family.", field="task")
    return text


def _words(text: str) -> str:
    return check_text(text, "q", 200)


def _id(given: Mapping[str, str], name: str) -> str | None:
    if name in given and not is_id(given[name]):
        raise BadInput(f"{name} is the id of a {name}: a UUID.", field=name)
    return given.get(name)


def _instant(given: Mapping[str, str], name: str, now: datetime) -> datetime | None:
    text = given.get(name)
    if text is None:
        return None
    if age := _AGE.fullmatch(text):
        seconds = int(age[1]) * _UNITS[age[2]]
        if seconds > _LONGEST_AGE.total_seconds():
            raise BadInput(f"{name} reaches back more than a hundred years.", field=name)
        return max(now - timedelta(seconds=seconds), EARLIEST)
    try:
        return parse_instant(text)
    except ValueError as error:
        message = f"{name} must be an age such as 2h or a time such as 2026-01-31T08:00:00Z: {error}."
        raise BadInput(message, field=name) from error
