"""Deleting jobs with everything that is theirs: rows, the files that they made, and uploads that no other job names.

Rows go in one transaction, files after it: a job whose rows are there has its files. The transaction notes whose files are
to go; what a crash leaves, `remove_leftovers` deletes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection

from workers.domain.computing import compute
from workers.services import files
from workers.store import deadlines, file_removals, jobs, upload_uses
from workers.yard import Yard

STEP = 500
_UPLOAD = re.compile(upload_uses.NAME)


@dataclass(frozen=True, slots=True)
class Removed:
    """Jobs whose rows are deleted, those of them that have files, and the uploads that they named."""

    job_ids: Sequence[str] = ()
    with_files: Sequence[str] = ()
    uploads: Collection[str] = ()


def remove_rows(yard: Yard, connection: Connection, job_ids: Sequence[str]) -> Removed:
    """Delete jobs, 1,000 at most, with all their rows; those that are processing stay. `remove_files` follows the commit."""
    if not job_ids:
        return Removed()
    deadlines.record_completed(connection, job_ids)
    uploads = upload_uses.named_by(connection, job_ids)
    gone = jobs.remove(connection, job_ids)
    with_files = [job_id for job_id in gone if files.has_job_folder(yard.settings, job_id)]
    file_removals.add(connection, with_files)
    return Removed(gone, with_files, uploads)


def remove_files(yard: Yard, removed: Removed) -> None:
    """Delete the files of jobs whose rows are gone, and the uploads that only they named. Raises Unavailable."""
    if removed.with_files:
        _remove_folders(yard, removed.with_files)
    if removed.uploads:
        remove_unnamed_uploads(yard, removed.uploads)


def remove_leftovers(yard: Yard, _now: datetime) -> int:
    """Delete files that a process left behind when it died between deleting jobs and their files; of how many jobs.

    500 jobs at most. Raises Unavailable.
    """
    with yard.database.read() as connection:
        found = file_removals.first(connection, STEP)
    return _remove_folders(yard, found) if found else 0


def remove_unnamed_uploads(yard: Yard, names: Collection[str], *, by_unfinished: bool = False) -> int:
    """Delete those of these uploads, 1,000 at most, that no job, schedule or trigger names; how many. Raises Unavailable.

    With `by_unfinished`, jobs that have ended do not count.
    """
    # In a transaction that keeps others from naming them meanwhile.
    with yard.database.write() as connection:
        upload_uses.lock(connection)
        unnamed = set(names) - upload_uses.named(connection, names, by_unfinished=by_unfinished)
        discarded = [path for name in unnamed if (path := files.discard_upload(yard.settings, name)) is not None]
    compute(_unlink, discarded)
    return len(discarded)


def expire_uploads(yard: Yard, now: datetime) -> int:
    """Delete uploads that are older than UPLOAD_DAYS, unless an unfinished job, a schedule or a trigger names them.

    Returns how many. Raises Unavailable.
    """
    before = (now - timedelta(days=yard.settings.upload_days)).timestamp()
    expired = _uploads_before(yard, before)
    steps = (expired[start : start + STEP] for start in range(0, len(expired), STEP))
    return sum(remove_unnamed_uploads(yard, names, by_unfinished=True) for names in steps)


def _remove_folders(yard: Yard, job_ids: Sequence[str]) -> int:
    # A job may have left very many files.
    gone = compute(_removed_folders, yard, job_ids)
    with yard.database.write() as connection:
        file_removals.forget(connection, gone)
    return len(gone)


def _removed_folders(yard: Yard, job_ids: Sequence[str]) -> list[str]:
    return [job_id for job_id in job_ids if files.remove_job_folder(yard.settings, job_id)]


def _unlink(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _uploads_before(yard: Yard, before: float) -> list[str]:
    """List the uploads that were written before a time, in seconds since 1970."""
    found: list[str] = []
    with suppress(FileNotFoundError), os.scandir(yard.settings.uploads_dir) as entries:
        for entry in entries:
            if _UPLOAD.fullmatch(entry.name) is None:
                continue
            with suppress(OSError):  # gone meanwhile
                if entry.stat(follow_symlinks=False).st_mtime < before:
                    found.append(entry.name)
    return found
