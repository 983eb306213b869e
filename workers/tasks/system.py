"""Taskyard's own errands; they run on reserved queues, apart from the monitor."""

from __future__ import annotations

import json

from workers.broker import outgoing
from workers.domain.clock import rfc3339
from workers.domain.names import BULK_QUEUE, DELIVERY_QUEUE
from workers.services import bulk_actions, callbacks, deliveries
from workers.services.jobs import get
from workers.task import Reject, log, progress, task, the_yard


@task(queue=DELIVERY_QUEUE, max_retries=8, retry_delays=(5, 30, 120, 300, 900, 3600), timeout_seconds=60)
def callback(job_id: str) -> dict[str, int]:
    """Send the callback of an ended job to its callback_url, signed as Standard Webhooks."""
    yard = the_yard()
    with yard.database.read() as connection:
        job, key = get(connection, job_id), callbacks.secret(connection)
    if not job["callback_url"]:
        raise Reject("The job has no callback_url.")
    ended = job["completed_at"] or job["failed_at"] or job["canceled_at"]
    told = {"job_id": job_id, "task": job["task"], "status": job["status"], "attempt": job["attempt"]}
    body = json.dumps({"type": "job.ended", "timestamp": rfc3339(ended), "data": told}).encode()
    headers = {**callbacks.signed(key, f"{job_id}-{job['attempt']}", body), "Content-Type": "application/json"}
    private = yard.settings.allow_private_http
    with outgoing.stream(
        "POST", job["callback_url"], allow_private=private, timeout_seconds=15, headers=headers, content=body
    ) as answer:
        outgoing.read_bounded(answer, 10_000)
    log(f"the callback answered {answer.status_code}")
    if answer.status_code >= 400:
        raise RuntimeError(f"The callback answered {answer.status_code}.")
    return {"status": answer.status_code}


@task(
    queue=DELIVERY_QUEUE,
    priority="high",
    max_retries=len(deliveries.DELAYS_SECONDS),
    retry_delays=deliveries.DELAYS_SECONDS,
    timeout_seconds=90,
)
def deliver(delivery_id: str) -> dict[str, str]:
    """Send one message of an alert to its channel."""
    taken, answer = deliveries.send(the_yard(), delivery_id)
    if not taken:
        raise RuntimeError(answer)
    return {"answer": answer}


@task(queue=BULK_QUEUE, max_retries=5, retry_delays=(5, 30, 60), timeout_seconds=6 * 3600)
def bulk_action(bulk_action_id: str) -> dict[str, int]:
    """Apply one action to every job that a filter matches."""
    return bulk_actions.work(the_yard(), bulk_action_id, progress)
