"""Taskyard's own errands; they run on the system queue."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets

from workers.broker import outgoing
from workers.domain.clock import rfc3339, utcnow
from workers.domain.names import SYSTEM_QUEUE
from workers.services import bulk_actions
from workers.services.jobs import get
from workers.task import Reject, get_setting, log, progress, set_setting, task, the_yard

SECRET = "webhook_secret"


@task(queue=SYSTEM_QUEUE, max_retries=8, retry_delays=(5, 30, 120, 300, 900, 3600), timeout_seconds=60)
def callback(job_id: str) -> dict[str, int]:
    """Tell the address that a job's maker gave that the job has ended, signed as Standard Webhooks want it."""
    yard = the_yard()
    with yard.database.read() as connection:
        job = get(connection, job_id)
    if not job["callback_url"]:
        raise Reject("The job has no callback_url.")
    ended = job["completed_at"] or job["failed_at"] or job["canceled_at"]
    told = {"job_id": job_id, "task": job["task"], "status": job["status"], "attempt": job["attempt"]}
    body = json.dumps({"type": "job.ended", "timestamp": rfc3339(ended), "data": told}).encode()
    headers = {**signed(f"{job_id}-{job['attempt']}", body), "Content-Type": "application/json"}
    private = yard.settings.allow_private_http
    with outgoing.stream(
        "POST", job["callback_url"], allow_private=private, timeout_seconds=15, headers=headers, content=body
    ) as answer:
        outgoing.read_bounded(answer, 10_000)
    log(f"the callback answered {answer.status_code}")
    if answer.status_code >= 400:
        raise RuntimeError(f"The callback answered {answer.status_code}.")
    return {"status": answer.status_code}


def signed(message_id: str, body: bytes) -> dict[str, str]:
    """Make the headers of a signed webhook: https://www.standardwebhooks.com, scheme v1."""
    secret = get_setting(SECRET)
    if secret is None:
        set_setting(SECRET, "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())
        secret = get_setting(SECRET)
    stamp = str(int(utcnow().timestamp()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{message_id}.{stamp}.".encode() + body, hashlib.sha256).digest()
    signature = "v1," + base64.b64encode(digest).decode()
    return {"webhook-id": message_id, "webhook-timestamp": stamp, "webhook-signature": signature}


@task(queue=SYSTEM_QUEUE, max_retries=5, retry_delays=(5, 30, 60), timeout_seconds=6 * 3600)
def bulk_action(bulk_action_id: str) -> dict[str, int]:
    """Do one thing with every job that a filter matches."""
    return bulk_actions.work(the_yard(), bulk_action_id, progress)
