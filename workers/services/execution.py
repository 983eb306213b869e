"""The life of an attempt: begun, beaten, ended. Each write is guarded by the attempt, so one that was reset is mute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from sqlalchemy import Connection, select

from workers.domain import payloads
from workers.domain.clock import utcnow
from workers.domain.log_bounds import Waiting, plan_waiting
from workers.domain.retrying import delay_seconds, tries_left
from workers.domain.states import Status
from workers.domain.texts import storable
from workers.domain.untrusted import visible
from workers.services import job_logs, secret_fields
from workers.services.callbacks import job_ended
from workers.services.telling import tell
from workers.store import attempts, jobs, logs
from workers.store.database import QuickConnection
from workers.store.queues import QUEUES
from workers.store.types import Row
from workers.yard import Yard

_PAUSED = select(QUEUES.c.name).where(QUEUES.c.name == jobs.JOBS.c.queue, QUEUES.c.paused_at.is_not(None)).exists()
_CLEARED = dict.fromkeys(
    ("done", "total", "step", "message", "error", "traceback", "result", "skipped_reason", "progress_at")
)
LONGEST_ERROR = 4_000
LONGEST_TRACEBACK = 64_000
_LONGEST = {"traceback": LONGEST_TRACEBACK}
_Consequence = tuple[Status, str, dict[str, Any]]  # the state after an attempt, the event, further columns


class Refused(Enum):
    """Why an attempt was not begun."""

    LOST = "lost"  # the row has moved on: ended, retried or deleted
    PAUSED = "paused"  # its queue is paused; the entry goes back
    DIED = "died"  # the process that was to run it died before it began; the entry goes back


@dataclass(frozen=True, slots=True)
class Start:
    """An attempt that a worker takes; the arguments of `begin`."""

    job_id: str
    attempt: int
    worker: str
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended, and what is kept of it."""

    outcome: str  # completed, skipped, failed, timed_out, lost, interrupted, canceled
    result: str | None = None  # JSON
    error: str | None = None
    traceback: str | None = None
    permanent: bool = False
    retry_after_seconds: float | None = None
    progress: Mapping[str, Any] = field(default_factory=dict)  # the last progress told
    peak_memory_bytes: int | None = None
    unstored: Waiting | None = None  # lines of its log that its process could not store
    run_seconds: float | None = None  # by the steady clock; without it the wall clock is asked


def begin(yard: Yard, job_id: str, attempt: int, worker: str, *, quiet: bool = False) -> Row | Refused:
    """Take a pending job for a worker; the row as it is now, or why not. Raises Unavailable.

    `quiet` notifies no viewers: the caller does so if the job lasts.
    """
    start = Start(job_id, attempt, worker, quiet)
    with yard.database.quick_write() as connection:
        row = _write_begin(connection, start, utcnow())
    return _after_begin(yard, start, row)


def end_and_begin(yard: Yard, begun: Row, ending: Ending, start: Start) -> tuple[Row | None, Row | Refused]:
    """End an attempt as `end` does, quietly, and begin the next one, in one transaction where that can be.

    Returns what `end` and what `begin` return. Raises Unavailable.
    """
    if not _is_plain(ending):
        after = end(yard, begun["id"], begun["attempt"], ending, begun, quiet=True)
        return after, begin(yard, start.job_id, start.attempt, start.worker, quiet=start.quiet)
    now = utcnow()
    with yard.database.quick_write() as connection:
        after = _write_end(connection, begun, ending, _consequence(begun, ending, now), now)
        row = _write_begin(connection, start, now)
    if after is not None:
        _call_back(yard, after)
    return after, _after_begin(yard, start, row)


def _write_begin(connection: QuickConnection, start: Start, now: datetime) -> Row | None:
    row = jobs.transition(
        connection,
        start.job_id,
        Status.PENDING,
        start.attempt,
        Status.PROCESSING,
        "started",
        now,
        actor=f"worker:{start.worker}",
        values={**_CLEARED, "worker": start.worker, "started_at": now, "heartbeat_at": now, "progress": 0.0},
        unless=_PAUSED,
    )
    if row is not None:
        wait_ms = _milliseconds(row["pending_at"] or row["created_at"], now)
        attempts.begin(connection, start.job_id, start.attempt, start.worker, now, wait_ms)
    return row


def _after_begin(yard: Yard, start: Start, row: Row | None) -> Row | Refused:
    if row is None:
        return _refused(yard, start.job_id, start.attempt)
    if not start.quiet:
        tell(yard, row)
    return row


def end(
    yard: Yard, job_id: str, attempt: int, ending: Ending, begun: Row | None = None, *, quiet: bool = False
) -> Row | None:
    """Write how an attempt ended and what follows: a final state, or the wait for the next try.

    None when the attempt had already ended or was reset: then nothing is written. `begun` is the row that `begin` gave,
    for those who still have it; `quiet` leaves the telling to the caller. Raises Unavailable.
    """
    now = utcnow()
    lines: list[logs.Line] = []
    if begun is not None and _is_plain(ending):
        with yard.database.quick_write() as quick:
            after = _write_end(quick, begun, ending, _consequence(begun, ending, now), now)
    else:
        with yard.database.write() as connection:
            row = begun if begun is not None else jobs.get(connection, job_id)
            if row is None or row["status"] != Status.PROCESSING or row["attempt"] != attempt:
                return None
            after = _end(connection, row, ending, now)
            lines = _keep_lines(connection, row, ending.unstored) if after is not None else []
    if after is not None:
        job_logs.tell(yard, job_id, attempt, lines)
        if not quiet:
            tell(yard, after)
        _call_back(yard, after)
    return after


def _call_back(yard: Yard, after: Row) -> None:
    if after["callback_url"] and after["status"] != Status.RETRY_SCHEDULED:
        job_ended(yard, after)


def keep_lines(yard: Yard, job_id: str, attempt: int, unstored: Waiting | None) -> None:
    """Keep what an attempt had said whose end was written by others: it belongs to that attempt alone. Raises Unavailable."""
    if unstored is None:
        return
    with yard.database.write() as connection:
        row = jobs.get(connection, job_id)
        lines = _keep_lines(connection, {**row, "attempt": attempt}, unstored) if row is not None else []
    job_logs.tell(yard, job_id, attempt, lines)


def _keep_lines(connection: Connection, row: Row, unstored: Waiting | None) -> list[logs.Line]:
    if unstored is None:
        return []
    show = job_logs.shown_by(secret_fields.masker_of(connection, row))
    return logs.keep(connection, row["id"], row["attempt"], plan_waiting(unstored, show))[1]


def _refused(yard: Yard, job_id: str, attempt: int) -> Refused:
    # A job that still waits for this attempt met a pause, which may have ended meanwhile.
    row = look(yard, job_id)
    waits = row is not None and row["status"] == Status.PENDING and row["attempt"] == attempt
    return Refused.PAUSED if waits else Refused.LOST


def look(yard: Yard, job_id: str) -> Row | None:
    """Read a job's row. Raises Unavailable."""
    with yard.database.read() as connection:
        return jobs.get(connection, job_id)


def beat(yard: Yard, job_id: str, attempt: int) -> Row | None:
    """Write that an attempt is alive; the row, or None when it is no longer this attempt's. Raises Unavailable."""
    with yard.database.write() as connection:
        if not jobs.touch(connection, job_id, attempt, {"heartbeat_at": utcnow()}):
            return None
        return jobs.get(connection, job_id)


def save_progress(yard: Yard, job_id: str, attempt: int, values: Mapping[str, Any]) -> bool:
    """Keep the last progress in the row; False when it is no longer this attempt's. Raises Unavailable."""
    with yard.database.write() as connection:
        now = utcnow()
        kept = {**_progress_columns(values), "heartbeat_at": now, "progress_at": now}
        return jobs.touch(connection, job_id, attempt, kept)


def _progress_columns(progress: Mapping[str, Any]) -> dict[str, Any]:
    """Return progress as columns of a job: the percentage of what has no known end is 0, `total` tells it apart."""
    columns = dict(progress)
    if "progress" in columns and columns["progress"] is None:
        columns["progress"] = 0.0
    return columns


def _is_plain(ending: Ending) -> bool:
    """Return whether an attempt left nothing but a result, so that there is nothing to mask."""
    return ending.outcome == "completed" and ending.unstored is None


def _end(connection: Connection, row: Row, ending: Ending, now: datetime) -> Row | None:
    status, event, values = _consequence(row, ending, now)
    values |= _shown(connection, row, {**ending.progress, **values})
    return _write_end(connection, row, ending, (status, event, values), now)


def _write_end(
    connection: Connection | QuickConnection, row: Row, ending: Ending, consequence: _Consequence, now: datetime
) -> Row | None:
    status, event, values = consequence
    run_ms = _milliseconds(row["started_at"], now)
    if ending.run_seconds is not None:
        run_ms = max(0, int(ending.run_seconds * 1000))
    wait_ms = _milliseconds(row["pending_at"] or row["created_at"], row["started_at"])
    values = {**_progress_columns(ending.progress), **values, "run_ms": run_ms, "wait_ms": wait_ms, "heartbeat_at": now}
    after = jobs.transition(
        connection,
        row["id"],
        Status.PROCESSING,
        row["attempt"],
        status,
        event,
        now,
        actor=f"worker:{row['worker']}",
        values=values,
        detail={"error": values["error"]} if values.get("error") else None,
    )
    if after is not None:
        kept = {"run_ms": run_ms, "peak_memory_bytes": ending.peak_memory_bytes}
        kept |= {"error": values.get("error"), "traceback": values.get("traceback")}
        attempts.end(connection, row["id"], row["attempt"], ending.outcome, now, kept)
    return after


def _shown(connection: Connection, row: Row, values: Mapping[str, Any]) -> dict[str, str]:
    """Return the words of an ending as they are kept: masked, nothing unseen, then cut."""
    words = {name: values[name] for name in ("error", "traceback", "skipped_reason") if values.get(name)}
    if not words:
        return {}
    masker = secret_fields.masker_of(connection, row)
    return {name: _cut(visible(masker.text(text)), _LONGEST.get(name, LONGEST_ERROR)) for name, text in words.items()}


def _consequence(row: Row, ending: Ending, now: datetime) -> _Consequence:
    if ending.outcome in {"completed", "skipped"}:
        values = {"completed_at": now, "result": ending.result, "progress": 100.0}
        return Status.COMPLETED, ending.outcome, values | _skipped(ending)
    if ending.outcome == "canceled":
        return Status.CANCELED, "canceled", {"canceled_at": now, "error": _text(ending.error)}
    if ending.outcome == "interrupted":
        again = {"interruptions": row["interruptions"] + 1, "next_retry_at": now, "due_at": now}
        return Status.RETRY_SCHEDULED, "interrupted", {**again, "error": _text(ending.error)}
    failure = {"error": _text(ending.error), "traceback": _text(ending.traceback)}
    if ending.permanent or not tries_left(row["attempt"], row["max_retries"], row["interruptions"]):
        return Status.FAILED, ending.outcome, {**failure, "failed_at": now, "next_retry_at": None}
    wait = ending.retry_after_seconds
    if wait is None:
        wait = delay_seconds(row["attempt"] - row["interruptions"], payloads.load(row["retry_delays"]))
    due_at = now + timedelta(seconds=wait)
    return Status.RETRY_SCHEDULED, ending.outcome, {**failure, "next_retry_at": due_at, "due_at": due_at}


def _skipped(ending: Ending) -> dict[str, Any]:
    return {"skipped_reason": _text(ending.error or "skipped")} if ending.outcome == "skipped" else {}


def _text(text: str | None) -> str | None:
    return None if text is None else storable(text)


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    return f"{text[: longest // 2]}\n… {len(text) - longest:,} characters left out …\n{text[-longest // 2 :]}"


def _milliseconds(since: datetime | None, until: datetime | None) -> int:
    return max(0, int((until - since).total_seconds() * 1000)) if since and until else 0
