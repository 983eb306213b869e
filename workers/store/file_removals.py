"""Rows of `file_removals`: deleted jobs whose files are still to be deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from sqlalchemy import Connection, Table, delete, insert, select

from workers.store.models import FileRemoval

_REMOVALS = cast(Table, FileRemoval.__table__)


def add(connection: Connection, job_ids: Sequence[str]) -> None:
    """Note that the files of these jobs are to be deleted, in the transaction that deletes the jobs."""
    if job_ids:
        connection.execute(insert(_REMOVALS), [{"job_id": job_id} for job_id in job_ids])


def first(connection: Connection, limit: int) -> Sequence[str]:
    """Return jobs whose files are still to be deleted."""
    return connection.execute(select(_REMOVALS.c.job_id).order_by(_REMOVALS.c.job_id).limit(limit)).scalars().all()


def forget(connection: Connection, job_ids: Sequence[str]) -> None:
    """Delete the notes of jobs whose files are gone."""
    connection.execute(delete(_REMOVALS).where(_REMOVALS.c.job_id.in_(job_ids)))
