"""The task API: everything that a task's own code needs.

    from workers.task import task, progress

    @task(queue="reports", max_retries=2)
    def count(words: list[str]) -> int:
        for done, word in enumerate(words, 1):
            progress(done, len(words), word)
        return len(words)

Type hints are the payload's schema. A task stays a plain function: called in a test it runs at once, and `progress`,
`step` and `log` do nothing. An exception fails the attempt; `Reject` fails the job without another try, `Retry(after=…)`
chooses when the next try comes, `Skipped(reason)`, raised or returned, ends it as skipped.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast, overload

from sqlalchemy import Table, delete

from workers import registry, task_inputs
from workers.domain import payloads
from workers.domain.clock import utcnow
from workers.domain.masking import mask
from workers.hooks import on_child_start, on_child_stop, on_worker_start
from workers.running import RunningJob, current
from workers.services import catalogue, events
from workers.services.enqueueing import Enqueued, NewJob
from workers.services.enqueueing import enqueue as _enqueue
from workers.settings import Settings
from workers.store import settings as kept_settings
from workers.store.dialects import insert_or_ignore
from workers.store.models import OnceMark
from workers.task_errors import Canceled, Interrupted, Reject, Retry, Skipped, TimeLimitReached
from workers.yard import Yard

__all__ = [
    "Canceled",
    "Interrupted",
    "Reject",
    "Retry",
    "Skipped",
    "TimeLimitReached",
    "cache_get",
    "cache_set",
    "check_canceled",
    "current_attempt",
    "current_job_id",
    "current_settings",
    "emit",
    "enqueue",
    "get_setting",
    "job_files",
    "log",
    "on_child_start",
    "on_child_stop",
    "on_worker_start",
    "once",
    "progress",
    "publish",
    "set_setting",
    "step",
    "stopping",
    "task",
    "the_yard",
]

P = ParamSpec("P")
R = TypeVar("R")
_MARKS = cast(Table, OnceMark.__table__)


@overload
def task(function: Callable[P, R]) -> Callable[P, R]: ...
@overload
def task(
    *,
    name: str | None = None,
    queue: str = "default",
    priority: str = "normal",
    max_retries: int | None = None,
    timeout_seconds: float | None = None,
    retry_delays: Sequence[float] = (),
    unique: bool = False,
    secret: Sequence[str] = (),
    schedule: str | int | None = None,
    timezone: str = "UTC",
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def task(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Register a function as a task; it is returned unchanged.

    Its name is its dotted path, such as `orders.tasks.send`, unless given. `retry_delays` lists seconds for the first, second … retry;
    `unique` keeps at most one unfinished job for each payload; `secret` names fields whose values are never shown;
    `schedule` is a cron expression, or seconds between runs, in `timezone`: the schedule is made when the task is
    published. Raises SettingsError for what cannot be used.
    """
    if function is not None:
        registry.define(function)
        return function

    def register(wanted: Callable[P, R]) -> Callable[P, R]:
        registry.define(wanted, **options)
        return wanted

    return register


def progress(done: float | None, total: float | None = None, message: object | None = None) -> None:
    """Publish how far the job is; None or what is no number shows an indeterminate bar. Raises Canceled when it was canceled.

    Costs little: what viewers see is throttled here.
    """
    if job := current.get():
        job.tell_progress(done, total, message)


def step(name: str) -> None:
    """Tell which part of the work begins. Raises Canceled when the job was canceled."""
    if job := current.get():
        job.tell_step(name)


def log(text: object, level: str = "info") -> None:
    """Keep a line in the job's log: debug, info, warning or error. Raises BadInput for a level that is no text."""
    level = task_inputs.check_level(level)
    if job := current.get():
        job.add_text(text, level)
    else:
        logging.getLogger("taskyard.task").log(logging.getLevelNamesMapping()[level.upper()], "%s", text)


def check_canceled() -> None:
    """Raise Canceled when somebody has canceled the job; call it in long loops that tell no progress."""
    if job := current.get():
        job.check_canceled()


def stopping() -> bool:
    """Return whether the worker has been asked to end: save what is done, then raise Interrupted to be run again.

    SHUTDOWN_SECONDS later Interrupted is raised in the task.
    """
    job = current.get()
    return job.is_stopping if job else False


def publish(channel: str, event: str, data: Any = None) -> None:
    """Publish to browsers and others that watch `channel:<name>`; data is JSON."""
    channel, event = task_inputs.check_name(channel, "channel"), task_inputs.check_name(event, "event")
    payloads.dump(data, "data")
    job = current.get()
    shown = job.masker.value(data) if job else mask(data)
    the_yard().live.publish({"type": "published", "channel": channel, "event": event, "data": shown})


def enqueue(
    task: str | Callable[..., Any],
    payload: Mapping[str, Any] | None = None,
    *,
    queue: str | None = None,
    priority: str | None = None,
    delay_seconds: float | None = None,
    scheduled_for: datetime | None = None,
    idempotency_key: str | None = None,
    max_retries: int | None = None,
    timeout_seconds: float | None = None,
    callback_url: str | None = None,
) -> Enqueued:
    """Enqueue a job; inside a task it becomes a child of the running one. Raises BadInput, Unavailable."""
    job = current.get()
    name = task if isinstance(task, str) else _name_of(task)
    new = NewJob(
        name,
        catalogue.json_payload(the_yard(), name, payload or {}),
        queue=queue,
        priority=priority,
        delay_seconds=delay_seconds,
        scheduled_for=scheduled_for,
        idempotency_key=idempotency_key,
        max_retries=max_retries,
        timeout_seconds=timeout_seconds,
        callback_url=callback_url,
        parent=job.job_id if job else None,
        created_by=f"task:{job.row['task']}" if job else "python",
    )
    return _enqueue(the_yard(), new)


def emit(name: str, payload: Mapping[str, Any] | None = None) -> int:
    """Tell of an event that triggers may hear; how many listen for it. Raises BadInput, Unavailable."""
    job = current.get()
    actor = f"task:{job.row['task']}" if job else "python"
    return events.emit(the_yard(), name, payload or {}, actor, job.job_id if job else None)


def get_setting(key: str, default: Any = None) -> Any:
    """Read a value that was kept by `set_setting`. Raises BadInput, Unavailable."""
    name = task_inputs.check_name(key)
    with the_yard().database.read() as connection:
        return kept_settings.get(connection, name, default)


def set_setting(key: str, value: Any) -> None:
    """Keep a JSON value by name, such as last_sync_time. Raises BadInput, Unavailable."""
    name = task_inputs.check_name(key)
    payloads.dump(value, "value")
    with the_yard().database.write() as connection:
        kept_settings.put(connection, name, value, utcnow())


def cache_get(key: str, default: Any = None) -> Any:
    """Read a cached value; the default when it has run out."""
    name, redis = task_inputs.check_cache_key(key), the_yard().redis
    text = redis.get(redis.names.key("cache", name))
    return default if text is None else json.loads(cast(bytes, text))


def cache_set(key: str, value: Any, ttl: float) -> None:
    """Cache a JSON value for `ttl` seconds, at most ten years. Raises BadInput."""
    name, milliseconds = task_inputs.check_cache_key(key), task_inputs.check_ttl(ttl)
    text, redis = payloads.dump(value, "value"), the_yard().redis
    redis.set(redis.names.key("cache", name), text, px=milliseconds)


def once(key: object, scope: str | None = None) -> bool:
    """Tell True the first time this key is asked for, by any process; False ever after.

    The scope is the running task's name unless given. A failed attempt gives its marks back. Raises BadInput, Unavailable.
    """
    job = current.get()
    text, named = task_inputs.check_mark(key, scope)
    row = {
        "scope": named or (job.row["task"] if job else "python"),
        "key": text,
        "job_id": job.job_id if job else None,
        "attempt": job.attempt if job else None,
        "created_at": utcnow(),
    }
    with the_yard().database.write() as connection:
        if job is not None:
            stale = (_MARKS.c.job_id == job.job_id, _MARKS.c.attempt < job.attempt)
            connection.execute(delete(_MARKS).where(_MARKS.c.scope == row["scope"], _MARKS.c.key == row["key"], *stale))
        # PostgreSQL counts no rows for this statement; the row that it returns says whether it was inserted.
        inserted = insert_or_ignore(connection, _MARKS).returning(_MARKS.c.id)
        return connection.execute(inserted, row).first() is not None


def job_files() -> Path:
    """Tell the folder where the job leaves files for download; a fresh temporary one outside a job."""
    job = current.get()
    return job.files if job else Path(tempfile.mkdtemp(prefix="taskyard-"))


def current_job_id() -> str | None:
    """Tell the id of the running job."""
    job = current.get()
    return job.job_id if job else None


def current_attempt() -> int:
    """Tell the number of the running attempt; 1 outside a job."""
    job = current.get()
    return job.attempt if job else 1


def current_settings() -> Settings:
    """Tell the settings of this process."""
    job = current.get()
    return job.yard.settings if job else Settings.from_env()


def current_job() -> RunningJob | None:
    """Tell the running job itself."""
    return current.get()


def _name_of(function: Callable[..., Any]) -> str:
    for definition in registry.REGISTRY.values():
        if definition.function is function:
            return definition.name
    raise ValueError(f"{function.__qualname__} is not a task; decorate it with @task")


def the_yard() -> Yard:
    """Tell the way into Taskyard of the running job, or of this process."""
    job = current.get()
    return job.yard if job else _own_yard()


@lru_cache(maxsize=1)
def _own_yard() -> Yard:
    return Yard.open(Settings.from_env())
