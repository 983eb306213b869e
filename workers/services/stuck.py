"""Jobs that are stuck: found by evidence, put back or failed, by the monitor or by a person."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, bindparam, select

from workers.broker import queues
from workers.domain.actors import SYSTEM, Actor
from workers.domain.clock import utcnow
from workers.domain.errors import Conflict, NotFound, Unavailable
from workers.domain.evenness import Clocks
from workers.domain.names import rq_id
from workers.domain.numbers import check_number
from workers.domain.retrying import tries_left
from workers.domain.staleness import OVER_LIMIT, Evidence, Verdict, judge
from workers.domain.states import Status
from workers.services import audit
from workers.services import clocks as clock_service
from workers.services import jobs as job_service
from workers.services.callbacks import job_ended
from workers.services.job_evidence import gather_evidence
from workers.services.telling import push, tell
from workers.settings import Settings
from workers.store import attempts, jobs, sweeps
from workers.store import workers as worker_rows
from workers.store.jobs import JOBS
from workers.store.types import Row
from workers.yard import Yard

log = logging.getLogger(__name__)
STEP = 500
LONGEST_LEAVE_SECONDS = 24 * 3600.0
# All but what can be a megabyte each.
_LIGHT = [column for column in JOBS.columns if column.name not in {"payload", "result", "traceback"}]
# Whoever has given a sign since it was looked at is not stuck.
# Compared for a change, since a clock that was set back gives the newer heartbeat the earlier time.
_BEATEN = and_(JOBS.c.heartbeat_at.is_not(None), JOBS.c.heartbeat_at != bindparam("b_beat"))


@dataclass(frozen=True, slots=True)
class Stuck:
    """A stuck job, why, and what will be done."""

    row: Row
    evidence: Evidence
    verdict: Verdict

    @property
    def will(self) -> str:
        """Name what the monitor will do: reset, failed, or canceled when somebody has asked for that."""
        if self.row["cancel_requested_at"] is not None:
            return "canceled"
        left = tries_left(self.row["attempt"], self.row["max_retries"], self.row["interruptions"])
        return "reset" if left else "failed"


def look(connection: Connection, settings: Settings, clocks: Clocks) -> list[Stuck]:
    """Find every job that is stuck at this moment, the longest silent first. It changes nothing."""
    running = _running(connection)
    return list(_judged(running, _workers_of(connection, running), settings, clocks))


def look_now(connection: Connection, settings: Settings, now: datetime) -> list[Stuck]:
    """Find every job that is stuck now, like `look`; one statement while nothing runs."""
    running = _running(connection)
    if not running:
        return []
    clocks = clock_service.read(connection, now)
    return list(_judged(running, _workers_of(connection, running), settings, clocks))


def _running(connection: Connection) -> Sequence[Row]:
    chosen = select(*_LIGHT).where(JOBS.c.status == str(Status.PROCESSING)).order_by(JOBS.c.heartbeat_at)
    return connection.execute(chosen).mappings().all()


def resolve(yard: Yard, clocks: Clocks) -> list[Stuck]:
    """Put back or fail every stuck job, 500 in a transaction; tells those that were. Raises Unavailable."""
    with yard.database.read() as connection:
        found = look(connection, yard.settings, clocks)
    done: list[Stuck] = []
    for start in range(0, len(found), STEP):
        done += _resolve(yard, found[start : start + STEP], clocks.now, SYSTEM)
    return done


def reset(yard: Yard, job_id: str, actor: Actor) -> Row:
    """Put a stuck job back on its queue now. Raises NotFound, and Conflict when it is not stuck or has no tries left."""
    one = _stuck(yard, job_id)
    if one.will == "failed":
        raise Conflict("The job has no attempts left. Fail it, then retry it.", state=one.row["status"])
    return _by_person(yard, one, actor)


def fail(yard: Yard, job_id: str, actor: Actor) -> Row:
    """Fail a stuck job now, tries left or not. Raises NotFound, and Conflict when it is not stuck."""
    one = _stuck(yard, job_id)
    return _by_person(yard, one, actor, force="failed")


def leave(yard: Yard, job_id: str, seconds: float, actor: Actor) -> None:
    """Keep the monitor from a running job for a while. Raises NotFound, BadInput, Conflict when it does not run."""
    check_number("seconds", seconds, 1, LONGEST_LEAVE_SECONDS)
    now = utcnow()
    until = now + timedelta(seconds=seconds)
    with yard.database.write() as connection:
        row = job_service.get(connection, job_id)
        if not jobs.touch(connection, job_id, row["attempt"], {"leave_until": until}):
            raise Conflict(
                f"Only running jobs can be excluded from the monitor; this one is {row['status']}.", state=row["status"]
            )
        audit.record(connection, actor, "job.left_alone", "job", job_id, now, None, {"leave_until": until})
    tell(yard, row)


def undo(yard: Yard, finding_id: int, actor: Actor) -> Row:
    """Undo what a sweep did: cancel a job that was reset, retry one that was failed.

    A later attempt is never touched: the attempt that a reset made is canceled only before it starts. Raises NotFound,
    and Conflict when it is too late or somebody already has.
    """
    with yard.database.read() as connection:
        found = sweeps.finding(connection, finding_id)
    if found is None:
        raise NotFound("The finding does not exist. It may have been deleted by retention.")
    if found["undone_at"] is not None:
        raise Conflict(f"{found['undone_by']} has already undone it.")
    if found["done"] == "reset":
        row = job_service.cancel_waiting(yard, found["job_id"], found["attempt"] + 1, actor)
    else:
        row = job_service.retry(yard, found["job_id"], actor, attempt=found["attempt"])
    with yard.database.write() as connection:
        sweeps.mark_undone(connection, finding_id, str(actor), utcnow())
    return row


def _workers_of(connection: Connection, rows: Sequence[Row]) -> dict[str, Row]:
    return worker_rows.named(connection, {row["worker"] for row in rows if row["worker"]})


def _judged(rows: Sequence[Row], workers: Mapping[str, Row], settings: Settings, clocks: Clocks) -> Iterator[Stuck]:
    for row in rows:
        if row["leave_until"] is not None and row["leave_until"] > clocks.now:
            continue
        try:
            evidence = gather_evidence(row, workers, settings, clocks)
            verdict = judge(evidence, settings.stuck_after_seconds)
        except Exception:
            # One row that cannot be judged must not keep the others from it.
            log.exception("job %s cannot be checked and is skipped", row["id"])
            continue
        if verdict is not None:
            yield Stuck(row, evidence, verdict)


def _stuck(yard: Yard, job_id: str) -> Stuck:
    with yard.database.read() as connection:
        row = job_service.get(connection, job_id)
        workers = _workers_of(connection, [row])
        clocks = clock_service.read(connection)
    if row["status"] != Status.PROCESSING:
        raise Conflict(f"The job is not stuck: it is {row['status'].replace('_', ' ')}.", state=row["status"])
    evidence = gather_evidence(row, workers, yard.settings, clocks)
    verdict = judge(evidence, yard.settings.stuck_after_seconds)
    if verdict is None:
        raise Conflict("The job is not stuck: it has just sent a heartbeat. Cancel it to stop it.", "processing")
    return Stuck(row, evidence, verdict)


def _by_person(yard: Yard, one: Stuck, actor: Actor, force: str = "") -> Row:
    if not _resolve(yard, [one], utcnow(), actor, force):
        raise Conflict("The job has just changed. Reload and try again.")
    with yard.database.read() as connection:
        return job_service.get(connection, one.row["id"])


def _resolve(yard: Yard, found: Sequence[Stuck], now: datetime, actor: Actor, force: str = "") -> list[Stuck]:
    done: list[Stuck] = []
    after: list[Row] = []
    with yard.database.write() as connection:
        notes = []
        for one in found:
            what = force or one.will
            moved = _move(connection, one, what, now, actor)
            if moved is None:
                continue  # it has given a sign, or another monitor was first
            done.append(one)
            after.append(moved)
            notes.append(_finding(one, what, now, actor))
            if actor is not SYSTEM:
                audit.record(connection, actor, f"job.{what}", "job", one.row["id"], now, None, one.evidence.as_json())
        sweeps.add_findings(connection, notes)
    _tell(yard, done, after)
    return done


def _move(connection: Connection, one: Stuck, what: str, now: datetime, actor: Actor) -> Row | None:
    row, verdict = one.row, one.verdict
    detail = {"verdict": verdict.kind, "why": verdict.sentence, "evidence": one.evidence.as_json()}
    error = verdict.error
    status, event = Status.FAILED, "timed_out" if verdict.kind == OVER_LIMIT else "lost"
    values: dict[str, Any] = {"failed_at": now}
    if what == "reset":
        status, event = Status.PENDING, "reset"
        values = {**job_service.FRESH, "progress": 0.0, "attempt": row["attempt"] + 1, "pending_at": now}
    elif what == "canceled":
        status, event, values = Status.CANCELED, "canceled", {"canceled_at": now}
    run_ms = int(one.evidence.running * 1000)
    if status != Status.PENDING:
        values |= {"error": error, "run_ms": run_ms}
    moved = jobs.transition(
        connection,
        row["id"],
        Status.PROCESSING,
        row["attempt"],
        status,
        event,
        now,
        actor=str(actor),
        values=values,
        detail=detail,
        unless=_BEATEN,
        unless_values={"b_beat": row["heartbeat_at"] or now},
    )
    if moved is not None:
        outcome = "reset" if what == "reset" else event
        attempts.end(connection, row["id"], row["attempt"], outcome, now, {"error": error, "run_ms": run_ms})
    return moved


def _finding(one: Stuck, what: str, now: datetime, actor: Actor) -> dict[str, Any]:
    return {
        "at": now,
        "job_id": one.row["id"],
        "task": one.row["task"],
        "attempt": one.row["attempt"],
        "verdict": one.verdict.kind,
        "sentence": one.verdict.sentence,
        "evidence": json.dumps(one.evidence.as_json(), ensure_ascii=False),
        "done": what,
        "actor": str(actor),
    }


def _tell(yard: Yard, done: Sequence[Stuck], after: Sequence[Row]) -> None:
    for one in done:
        if one.evidence.worker_state == "alive":
            with suppress(Unavailable):
                queues.stop(yard.redis, one.row["worker"], rq_id(one.row["id"], one.row["attempt"]))
    with suppress(Unavailable):
        push(yard, [row for row in after if row["status"] == Status.PENDING])
    for row in after:
        if row["status"] != Status.PENDING:
            tell(yard, row)
            if row["callback_url"]:
                job_ended(yard, row)
