"""What a list of jobs is narrowed to: one grammar and one value for pages, API, commands and bulk actions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from typing import Any

from workers.domain import filter_times, filter_values
from workers.domain.clock import rfc3339, utcnow
from workers.domain.errors import BadInput
from workers.domain.filter_values import STUCK, SYSTEM, Choice, read_choice, write_choice
from workers.domain.ids import is_id
from workers.domain.names import is_reserved_queue
from workers.domain.states import Status
from workers.domain.texts import check_text

_CHECKS: dict[str, Callable[[str], str]] = {
    "status": filter_values.check_status,
    "task": filter_values.check_task,
    "queue": filter_values.check_queue_family,
    "priority": filter_values.check_priority,
    "worker": filter_values.check_worker,
    "include": filter_values.check_include,
}
_IDS = ("schedule", "batch", "parent")
_TIMES = ("created", "since", "until")
LISTS = tuple(name for name in _CHECKS if name != "include")  # names that take several values and exclusions
NAMES = (*LISTS, *_TIMES, *_IDS, "q", "include")
MAX_SEARCH_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class JobFilter:
    """A choice of jobs; None and empty mean any. Names of tasks and queues may end with `*`."""

    status: tuple[Status, ...] = ()
    task: tuple[str, ...] = ()
    queue: tuple[str, ...] = ()
    priority: tuple[str, ...] = ()
    worker: tuple[str, ...] = ()
    q: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    schedule: str | None = None
    batch: str | None = None
    parent: str | None = None
    without: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by name: values that do not fit
    is_stuck: bool = False  # jobs that are stuck fit too, beside those of `status`
    hides_system: bool = False  # jobs on Taskyard's own queues do not fit
    stuck_ids: tuple[str, ...] | None = None  # the jobs that are stuck now, see services.job_filters
    without_tasks: tuple[str, ...] = ()  # set by the code alone, never by a query string

    @classmethod
    def from_args(cls, args: Mapping[str, str], now: datetime | None = None, zone: tzinfo = UTC) -> JobFilter:
        """Read a filter from a query string or JSON object.

        `since`, `until` and `created` are times such as `2h`, `yesterday` or an instant, with days of `zone`; lists are
        comma-separated, a value after `-` is excluded. Raises BadInput that names each part that cannot be used.
        """
        wanted, problems = read_filter(args, now or utcnow(), zone)
        if problems:
            found = [{"field": name, "message": message} for name, message in problems.items()]
            raise BadInput(" ".join(problems.values()), field=found[0]["field"], errors=found)
        return wanted

    def to_args(self) -> dict[str, str]:
        """Write the filter as it stands in an address, with times as instants; `from_args` reads it back."""
        args = {name: write_choice(self._only(name), self.without.get(name, ())) for name in LISTS}
        args |= {name: getattr(self, name) or "" for name in (*_IDS, "q")}
        args |= {"since": rfc3339(self.since) or "", "until": rfc3339(self.until) or ""}
        args["include"] = "" if self.hides_system or self.asks_for_system else SYSTEM
        return {name: value for name, value in args.items() if value}

    def _only(self, name: str) -> Sequence[str]:
        values: Sequence[str] = getattr(self, name)
        return (*values, STUCK) if name == "status" and self.is_stuck else values

    @property
    def asks_for_system(self) -> bool:
        """Whether the filter names something that can be Taskyard's own work, which is then shown."""
        named = any(is_reserved_queue(queue.removesuffix("*")) for queue in self.queue)
        named = named or any(task.startswith(("system.", "monitor.")) for task in self.task)
        by_id = bool(self.q) and is_id(self.q or "")
        return named or by_id or bool(self.worker or self.schedule or self.batch or self.parent)

    @property
    def is_empty(self) -> bool:
        """Whether every job fits."""
        return self in (JobFilter(), JobFilter(hides_system=True))


def read_filter(args: Mapping[str, str], now: datetime, zone: tzinfo = UTC) -> tuple[JobFilter, dict[str, str]]:
    """Read the parts of a filter that can be read; the second value says for each other name why it cannot."""
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, text in args.items():
        try:
            values[name] = _read(name, str(text).strip(), now, zone)
        except (ValueError, BadInput) as error:
            problems[name] = _problem(name, error)
    return _made(values), problems


def _read(name: str, text: str, now: datetime, zone: tzinfo) -> Any:
    if name not in NAMES:
        raise ValueError(f"Unknown filter '{name[:60]}'. Use one of: {', '.join(NAMES)}.")
    if not text:
        raise ValueError("it has no value")
    if name in _CHECKS:
        return read_choice(text, _CHECKS[name])
    if name in _IDS:
        return filter_values.check_id(text)
    if name == "q":
        return check_text(text, "q", MAX_SEARCH_CHARACTERS)
    if name == "created":
        return filter_times.read_range(text, now, zone)
    period = filter_times.read_period(text, now, zone)
    return period.start if name == "since" else filter_times.until_of(period, now)


def _problem(name: str, error: Exception) -> str:
    if isinstance(error, BadInput) or str(error).endswith("."):
        return str(error)
    examples = f". Write a time such as {filter_times.EXAMPLES}" if name in _TIMES else ""
    return f"{name} cannot be used: {error}{examples}."


def _made(values: dict[str, Any]) -> JobFilter:
    choices: dict[str, Choice] = {name: values.get(name, Choice()) for name in LISTS}
    since, until = values.get("created", (None, None))
    status = choices["status"].only
    wanted = JobFilter(
        status=tuple(Status(value) for value in status if value != STUCK),
        is_stuck=STUCK in status,
        task=choices["task"].only,
        queue=choices["queue"].only,
        priority=choices["priority"].only,
        worker=choices["worker"].only,
        q=values.get("q"),
        since=max(filter(None, (since, values.get("since"))), default=None),
        until=min(filter(None, (until, values.get("until"))), default=None),
        without={name: choice.without for name, choice in choices.items() if choice.without},
        schedule=values.get("schedule"),
        batch=values.get("batch"),
        parent=values.get("parent"),
    )
    return wanted if "include" in values or wanted.asks_for_system else replace(wanted, hides_system=True)
