"""Telling the address that a job's maker gave that the job has ended: by a job of its own, with retries."""

from __future__ import annotations

import logging

from workers.domain.errors import TaskyardError
from workers.services.enqueueing import NewJob, enqueue
from workers.store.types import Row
from workers.yard import Yard

log = logging.getLogger(__name__)
TASK = "system.callback"


def job_ended(yard: Yard, row: Row) -> None:
    """Enqueue the call to `callback_url`, once for each ended attempt. Never raises: the job has ended all the same."""
    key = f"callback:{row['id']}:{row['attempt']}"
    try:
        enqueue(yard, NewJob(TASK, {"job_id": row["id"]}, idempotency_key=key, parent=row["id"], created_by="system"))
    except TaskyardError as error:
        log.error("callback of job %s could not be enqueued: %s", row["id"], error)
