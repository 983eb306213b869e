"""Commands on jobs."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from typing import Any

from workers.commands.opening import ACTOR, opened
from workers.domain.clock import parse_instant, utcnow
from workers.domain.errors import BadInput
from workers.domain.masking import mask, mask_text
from workers.domain.plurals import counted
from workers.domain.strict_json import parse_object
from workers.domain.untrusted import visible_json, visible_line
from workers.services import bulk_actions, job_filters, jobs, monitoring, queues, removal, retention, statistics
from workers.services.enqueueing import NewJob
from workers.services.enqueueing import enqueue as enqueue_job
from workers.settings import Settings
from workers.store.job_lists import jobs_page
from workers.store.types import Row

_PAGE = 200
_SHOWN = ("id", "status", "task", "queue", "priority", "attempt", "progress", "created_at", "error")


def enqueue(arguments: argparse.Namespace, settings: Settings) -> int:
    """Make a job; print its id."""
    new = NewJob(
        task=arguments.task,
        payload=parse_object(arguments.payload, "payload"),
        queue=arguments.queue,
        priority=arguments.priority,
        delay_seconds=arguments.delay,
        scheduled_for=_instant(arguments.at),
        idempotency_key=arguments.key,
        max_retries=arguments.max_retries,
        timeout_seconds=arguments.timeout,
        created_by=str(ACTOR),
    )
    with closing(opened(settings)) as yard:
        made = enqueue_job(yard, new)
    _print(made.job_id)
    return 0


def show(arguments: argparse.Namespace, settings: Settings) -> int:
    """List the newest jobs."""
    args = {name: getattr(arguments, name) for name in ("status", "task", "queue")}
    args = {name: value for name, value in args.items() if value is not None}
    left, cursor, first = arguments.limit, None, True
    with closing(opened(settings)) as yard, yard.database.read() as connection:
        wanted = job_filters.read(connection, settings, args, utcnow())
        while left > 0 and (first or cursor):
            page = jobs_page(connection, wanted, cursor=cursor, limit=min(left, _PAGE))
            for row in page.rows:
                _print(_as_json(row) if arguments.json else _as_line(row))
            left, cursor, first = left - len(page.rows), page.next_cursor, False
    return 0


def retry(arguments: argparse.Namespace, settings: Settings) -> int:
    """Try a job again."""
    with closing(opened(settings)) as yard:
        row = jobs.retry(yard, arguments.job_id, ACTOR)
    _print(f"{row['id']} is {row['status']}, attempt {row['attempt']}")
    return 0


def sweep(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run one pass of the monitor, or tell what it would do to stuck jobs."""
    with closing(opened(settings)) as yard:
        if arguments.dry_run:
            for one in monitoring.would_do(yard):
                word = {"reset": "would be reset", "failed": "would fail", "canceled": "would be canceled"}[one.will]
                _print(f"{one.row['id']}  {one.row['task']}  {word}: {_one_line(one.verdict.sentence)}")
            return 0
        done = monitoring.sweep(yard)
    _print(
        f"{counted(done.reset, 'stuck job')} reset, {done.failed} failed, {done.requeued} requeued (missing in Redis)"
    )
    if done.error:
        _print(f"some steps failed: {done.error}")
    return 1 if done.error else 0


def purge(arguments: argparse.Namespace, settings: Settings) -> int:
    """Delete what ended long ago, or cancel what waits on a queue."""
    with closing(opened(settings)) as yard:
        if arguments.queue:
            queues.refuse_reserved(arguments.queue, "purged")
            if arguments.dry_run:
                with yard.database.read() as connection:
                    waiting = statistics.snapshot(connection, utcnow())["queues"]
                _print(f"{waiting.get(arguments.queue, {}).get('pending', 0)} waiting jobs would be canceled")
                return 0
            action = queues.purge(yard, arguments.queue, ACTOR)
            # Worked here and now as well: a worker that takes the same action takes turns with this process.
            purged = bulk_actions.work(yard, action["id"], lambda _done, _total: None)
            _print(f"{purged['done']} waiting jobs canceled")
            return 0
        now, gone = utcnow(), 0
        if arguments.dry_run:
            _print(f"{counted(retention.would_purge(yard, now), 'job')} would be deleted")
            return 0
        while step := retention.purge_step(yard, now):
            gone += step
        while removal.remove_leftovers(yard, now):
            pass
        removal.expire_uploads(yard, now)
    _print(f"{counted(gone, 'job')} deleted that ended more than {counted(settings.retention_days, 'day')} ago")
    return 0


def _instant(text: str | None) -> Any:
    try:
        return parse_instant(text) if text else None
    except ValueError as error:
        raise BadInput(f"--at is invalid: {error}.", field="at") from error


def _as_json(row: Row) -> str:
    return visible_json({name: mask(row[name]) for name in _SHOWN})


def _as_line(row: Row) -> str:
    at = row["created_at"].strftime("%Y-%m-%d %H:%M:%S")
    error = f"  {_one_line(row['error'])}" if row["error"] else ""
    return f"{row['id']}  {at}  {row['status']:<15} {row['task']}  {row['queue']}/{row['priority']}{error}"


def _one_line(text: str) -> str:
    # What a job wrote must not steer the terminal.
    return visible_line(mask_text(text))[:120]


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
