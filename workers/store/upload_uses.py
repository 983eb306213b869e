"""Rows of `upload_uses`: which jobs name which uploaded files in their payloads."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Connection, Table, delete, func, select

from workers.domain.states import FINAL
from workers.store.dialects import insert_or_ignore
from workers.store.models import Job, UploadUse
from workers.store.schedule_models import Schedule
from workers.store.trigger_models import Trigger

PREFIX = "upload:"
# The names that the form of a task gives to uploads; see `dashboard/uploads.py`.
NAME = r"[0-9a-f]{12}-[A-Za-z0-9._-]{1,80}"
_NAMED = re.compile(PREFIX + f"({NAME})")
_USES = cast(Table, UploadUse.__table__)
_JOBS = cast(Table, Job.__table__)
_LASTING = tuple(cast(Table, model.__table__) for model in (Schedule, Trigger))
_LOCK = 7_281_466  # any number that nobody else locks in this database


def note(connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write which uploads the payloads of these jobs name, in the transaction that writes the jobs."""
    uses = [
        {"upload": name, "job_id": row["id"]}
        for row in rows
        if PREFIX in row["payload"]
        for name in dict.fromkeys(_NAMED.findall(row["payload"]))
    ]
    if uses:
        _lock(connection, is_shared=True)
        connection.execute(insert_or_ignore(connection, _USES), uses)


def lock(connection: Connection) -> None:
    """Wait until every transaction that notes a use has ended, and keep further ones waiting until this one has."""
    _lock(connection, is_shared=False)


def named_by(connection: Connection, job_ids: Sequence[str]) -> set[str]:
    """Return the uploads that these jobs, 1,000 at most, name."""
    return set(connection.execute(select(_USES.c.upload).where(_USES.c.job_id.in_(job_ids))).scalars())


def forget(connection: Connection, job_ids: Sequence[str]) -> None:
    """Delete the uses of jobs that are deleted."""
    connection.execute(delete(_USES).where(_USES.c.job_id.in_(job_ids)))


def named(connection: Connection, uploads: Collection[str], *, by_unfinished: bool = False) -> set[str]:
    """Return those of these uploads, 1,000 at most, that a job, a schedule or a trigger names.

    With `by_unfinished`, jobs that have ended do not count.
    """
    chosen = select(_USES.c.upload).where(_USES.c.upload.in_(list(uploads)))
    if by_unfinished:
        unfinished = _JOBS.c.status.not_in([str(status) for status in FINAL])
        chosen = chosen.join(_JOBS, _JOBS.c.id == _USES.c.job_id).where(unfinished)
    return set(connection.execute(chosen.distinct()).scalars()) | (_named_by_lasting(connection) & set(uploads))


def _named_by_lasting(connection: Connection) -> set[str]:
    found: set[str] = set()
    for table in _LASTING:
        chosen = select(table.c.payload).where(table.c.payload.like(f"%{PREFIX}%"))
        for payload in connection.execute(chosen).scalars():
            found.update(_NAMED.findall(payload))
    return found


def _lock(connection: Connection, *, is_shared: bool) -> None:
    # SQLite has a single writer anyway.
    if connection.dialect.name == "postgresql":
        call = func.pg_advisory_xact_lock_shared if is_shared else func.pg_advisory_xact_lock
        connection.execute(select(call(_LOCK)))
