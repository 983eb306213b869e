"""Making jobs: check, one committed row with its first event, then the push."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Connection

from workers.domain import names, numbers, payloads
from workers.domain.addresses import check_url
from workers.domain.clock import check_instant, utcnow
from workers.domain.computing import compute
from workers.domain.errors import BadInput, TooLarge
from workers.domain.ids import new_id
from workers.domain.masked_edits import refuse_masks
from workers.domain.masking import MASK
from workers.domain.states import Status
from workers.domain.texts import check_text
from workers.services import catalogue, keys, secret_fields
from workers.services.catalogue import CataloguedTask
from workers.services.telling import push_soon, tell
from workers.store import jobs
from workers.store import queues as queue_rows
from workers.yard import Yard

MAX_BULK = 10_000
MAX_DELAY = timedelta(days=3660)
MAX_DELAY_SECONDS = 3660 * 86400
PAST_TOLERANCE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class NewJob:
    """A request to run a task; what is None comes from the task, then from the priority."""

    task: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    queue: str | None = None
    priority: str | None = None
    delay_seconds: float | None = None
    scheduled_for: datetime | None = None
    idempotency_key: str | None = None
    max_retries: int | None = None
    timeout_seconds: float | None = None
    callback_url: str | None = None
    parent: str | None = None
    batch: str | None = None
    schedule: str | None = None
    rerun_of: str | None = None
    created_by: str = ""


@dataclass(frozen=True, slots=True)
class Enqueued:
    """The job that stands for a request; `deduplicated` when an earlier request had made it."""

    job_id: str
    status: str
    deduplicated: bool = False


def enqueue(yard: Yard, new: NewJob) -> Enqueued:
    """Make a job and put it on its queue; the row is committed before anything else happens.

    With Redis away the row waits and is delivered later. Raises BadInput (unknown task, payload, times), TooLarge,
    Unavailable (database).
    """
    now = utcnow()
    task = catalogue.get_task(yard, new.task)
    return _enqueue(yard, compute(_row, task, new, now, yard.settings.allow_private_http), now)


def enqueue_system(yard: Yard, new: NewJob) -> Enqueued:
    """Make a job of Taskyard's own, on its reserved queue; its key is put apart from those of people. Raises Unavailable.

    BadInput when no worker has published the task yet.
    """
    now = utcnow()
    key = names.SYSTEM_KEY + new.idempotency_key if new.idempotency_key is not None else None
    return _enqueue(yard, row_of(yard, replace(new, idempotency_key=key), now, is_system=True), now)


def _enqueue(yard: Yard, row: dict[str, Any], now: datetime) -> Enqueued:
    if jobs.can_be_quick(row) and queue_rows.is_known(yard.database, row["queue"]):
        with yard.database.quick_write() as quick:
            jobs.add_quickly(quick, row)
        deliver(yard, [row])
        return Enqueued(row["id"], row["status"])
    with yard.database.write() as connection:
        know_queues(yard, connection, [row], now)
        holder = insert(connection, row)
        if holder is not None:
            return known(connection, holder)
    deliver(yard, [row])
    return Enqueued(row["id"], row["status"])


def enqueue_many(yard: Yard, batch: Sequence[NewJob]) -> list[Enqueued]:
    """Make many jobs, all or none; 10,000 at most.

    BadInput lists every bad one by its index, KeyConflict every one whose idempotency key another request has used.
    """
    if len(batch) > MAX_BULK:
        raise TooLarge(f"At most {MAX_BULK:,} jobs can be enqueued at once; there are {len(batch):,}.", "jobs")
    now = utcnow()
    rows = compute(_rows, _tasks(yard, batch), batch, now, yard.settings.allow_private_http)
    # At one go, so that the order of ids is that of the requests whatever other ids are made meanwhile.
    for row in rows:
        row["id"] = new_id(now)
    plain = [row for row in rows if row["idempotency_key"] is None and row["unique_key"] is None]
    with yard.database.write() as connection:
        know_queues(yard, connection, rows, now)
        if plain:
            jobs.add(connection, plain)
        results = {job_id: known(connection, holder) for job_id, holder in keys.insert_many(connection, rows).items()}
    deliver(yard, [row for row in rows if row["id"] not in results])
    return [results.get(row["id"]) or Enqueued(row["id"], row["status"]) for row in rows]


def _tasks(yard: Yard, batch: Sequence[NewJob]) -> dict[str, CataloguedTask | BadInput]:
    """Return the tasks of a batch by name, and why there is none; the catalogue is read once at most."""
    began = time.monotonic()
    found: dict[str, CataloguedTask | BadInput] = {}
    for name in dict.fromkeys(new.task for new in batch):
        try:
            found[name] = catalogue.get_task(yard, name, newer_than=began)
        except BadInput as error:
            found[name] = error
    return found


def _rows(
    tasks: Mapping[str, CataloguedTask | BadInput], batch: Sequence[NewJob], now: datetime, allows_private: bool
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    for index, new in enumerate(batch):
        try:
            rows.append(_row(tasks[new.task], new, now, allows_private))
        except BadInput as error:
            named = error.errors or [{"message": error.message}]
            errors.extend({"index": index, **one} for one in named)
            if len(errors) >= 1000:
                break
    if errors:
        raise BadInput(
            f"{len({e['index'] for e in errors}):,} of the jobs are invalid. No job was enqueued.", errors=errors
        )
    return rows


def row_of(yard: Yard, new: NewJob, now: datetime, *, is_system: bool = False) -> dict[str, Any]:
    """Check a request and make its row, to be put in by `insert` within a transaction. Raises as `enqueue` does."""
    return _row(catalogue.get_task(yard, new.task), new, now, yard.settings.allow_private_http, is_system=is_system)


def _row(
    task: CataloguedTask | BadInput, new: NewJob, now: datetime, allows_private: bool, *, is_system: bool = False
) -> dict[str, Any]:
    """Make a row without the database: that of a large payload takes long."""
    if isinstance(task, BadInput):
        raise task.with_traceback(None)
    queue = names.check_queue(new.queue or task.row["queue"])
    key = _key(new.idempotency_key)
    if not is_system:
        check_open(new.task, queue, key)
    secret = secret_fields.fields_of(task.row["secret_fields"])
    payload = _payload(task, new.payload, secret)
    defaults = task.row
    priority = names.check_priority(new.priority or defaults["priority"])
    scheduled_for = _moment(new, now)
    row = jobs.blank()
    row.update(
        id=new_id(now),
        task=new.task,
        queue=queue,
        priority=priority,
        payload=payload,
        search_text=secret_fields.search_text(payload, new.payload, new.idempotency_key, secret),
        status=str(Status.SCHEDULED if scheduled_for and scheduled_for > now else Status.PENDING),
        scheduled_for=scheduled_for,
        max_retries=_retries(new.max_retries, defaults["max_retries"], priority),
        timeout_seconds=_timeout(new.timeout_seconds, defaults["timeout_seconds"]),
        retry_delays=defaults["retry_delays"],
        **keys.keys_of(task, new.payload, key),
        parent=new.parent,
        batch=new.batch,
        schedule=new.schedule,
        rerun_of=new.rerun_of,
        created_at=now,
        updated_at=now,
        callback_url=_url(new.callback_url, allows_private),
        created_by=new.created_by,
    )
    row["due_at" if row["status"] == Status.SCHEDULED else "pending_at"] = scheduled_for or now
    if row["pending_at"] is not None:
        row["pending_at"] = now
    return row


def _payload(task: CataloguedTask, payload: Any, secret: Collection[str]) -> str:
    """Return a payload as JSON, once it is checked. Raises BadInput."""
    if not isinstance(payload, Mapping):
        raise BadInput("The payload must be a JSON object.", field="payload")
    text = payloads.dump(payload)
    if MASK in text or "u2022" in text:
        refuse_masks(payload, secret)
    task.check(cast(dict[str, Any], payload))
    return text


def check_open(task: str, queue: str, key: str | None = None) -> None:
    """Raise BadInput for a task, queue or idempotency key that only Taskyard itself uses."""
    names.check_open_task(task)
    names.check_open_queue(queue)
    if key is not None and key.startswith(names.SYSTEM_KEY):
        raise BadInput(f"Keys that begin with {names.SYSTEM_KEY} are reserved.", field="idempotency_key")


def _moment(new: NewJob, now: datetime) -> datetime | None:
    if new.delay_seconds is not None and new.scheduled_for is not None:
        raise BadInput("Set delay_seconds or scheduled_for, not both.", field="delay_seconds")
    if new.delay_seconds is not None:
        delay = numbers.check_number("delay_seconds", new.delay_seconds, 0, MAX_DELAY_SECONDS)
        return now + timedelta(seconds=delay) if delay else None
    if new.scheduled_for is None:
        return None
    try:
        check_instant(new.scheduled_for)
    except (ValueError, AttributeError) as error:
        raise BadInput(f"scheduled_for is invalid: {error}.", field="scheduled_for") from error
    if not now - PAST_TOLERANCE <= new.scheduled_for <= now + MAX_DELAY:
        raise BadInput("scheduled_for must be in the future, at most ten years ahead.", field="scheduled_for")
    return new.scheduled_for


def _retries(given: int | None, of_task: int | None, priority: str) -> int:
    if given is None:
        return of_task if of_task is not None else names.DEFAULT_MAX_RETRIES[priority]
    return numbers.check_whole("max_retries", given, 0, names.MAX_RETRIES)


def _timeout(given: float | None, of_task: float | None) -> float:
    if given is None:
        return of_task if of_task is not None else names.DEFAULT_TIMEOUT_SECONDS
    return numbers.check_number("timeout_seconds", given, 0, names.MAX_TIMEOUT_SECONDS, is_open=True)


def _key(key: str | None) -> str | None:
    if key == "":
        raise BadInput("An idempotency key has 1 to 255 characters.", field="idempotency_key")
    return None if key is None else check_text(key, "idempotency_key", 255)


def _url(url: str | None, allows_private: bool) -> str | None:
    if url is None:
        return None
    check_text(url, "callback_url")
    return check_url(url, allow_private=allows_private, field="callback_url")


def insert(connection: Connection, row: dict[str, Any]) -> str | None:
    """Put a row in; the id of the job that already holds its key, else None. `deliver` it after the commit.

    Raises KeyConflict when its idempotency key was used for another task or payload.
    """
    if row["idempotency_key"] is None and row["unique_key"] is None:
        jobs.add(connection, [row])
        return None
    return keys.insert(connection, row)


def known(connection: Connection, job_id: str) -> Enqueued:
    """Tell of the job that an earlier request had made."""
    row = jobs.get(connection, job_id)
    return Enqueued(job_id, row["status"] if row else str(Status.PENDING), deduplicated=True)


def know_queues(yard: Yard, connection: Connection, rows: Sequence[Mapping[str, Any]], now: datetime) -> None:
    """Make the queues of these rows known, in the transaction that puts them in."""
    queue_rows.know(connection, yard.database, {row["queue"] for row in rows}, now)


def deliver(yard: Yard, rows: Sequence[dict[str, Any]]) -> None:
    """Push new rows that are committed and tell of them; with Redis away they are delivered later."""
    push_soon(yard, [row for row in rows if row["status"] == Status.PENDING])
    later = [row for row in rows if row["status"] != Status.PENDING]
    if later:
        tell(yard, later[0] if len(later) == 1 else {**later[-1], "id": "*"})
