"""Rows of `attempts`: one for each try at a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import (
    Connection,
    Table,
    bindparam,
    insert,
    select,
    update,
)

from workers.store.database import QuickConnection
from workers.store.models import Attempt
from workers.store.prepared import Prepared
from workers.store.types import Row

ATTEMPTS = cast(Table, Attempt.__table__)
_BEGUN = ("job_id", "attempt", "worker", "started_at", "wait_ms")
_INSERT = Prepared(insert(ATTEMPTS).values({name: bindparam(name) for name in _BEGUN}).inline())


def begin(
    connection: Connection | QuickConnection,
    job_id: str,
    attempt: int,
    worker: str,
    now: datetime,
    wait_ms: int | None = None,
) -> None:
    """Write that an attempt started."""
    row = {"job_id": job_id, "attempt": attempt, "worker": worker, "started_at": now, "wait_ms": wait_ms}
    _INSERT.run(connection, row)


def end(
    connection: Connection | QuickConnection,
    job_id: str,
    attempt: int,
    outcome: str,
    now: datetime,
    values: Mapping[str, Any] | None = None,
) -> None:
    """Write how an attempt ended; `values` are error, traceback, run_ms, peak_memory_bytes."""
    changes = {"outcome": outcome, "ended_at": now, **(values or {})}
    _ended(tuple(changes)).run(connection, {**changes, "b_id": job_id, "b_attempt": attempt})


def has_begun(connection: Connection, job_id: str, attempt: int) -> bool:
    """Return whether an attempt at a job has ever started."""
    chosen = select(ATTEMPTS.c.attempt).where(ATTEMPTS.c.job_id == job_id, ATTEMPTS.c.attempt == attempt)
    return connection.execute(chosen).scalar_one_or_none() is not None


def of_job(connection: Connection, job_id: str, limit: int = 200, *, tracebacks: bool = True) -> Sequence[Row]:
    """List the attempts at a job, the newest first."""
    columns = [column for column in ATTEMPTS.columns if tracebacks or column.name != "traceback"]
    chosen = select(*columns).where(ATTEMPTS.c.job_id == job_id).order_by(ATTEMPTS.c.attempt.desc()).limit(limit)
    return connection.execute(chosen).mappings().all()


@lru_cache(maxsize=32)
def _ended(names: tuple[str, ...]) -> Prepared:
    guard = (ATTEMPTS.c.job_id == bindparam("b_id"), ATTEMPTS.c.attempt == bindparam("b_attempt"))
    return Prepared(update(ATTEMPTS).where(*guard).values({name: bindparam(name) for name in names}))
