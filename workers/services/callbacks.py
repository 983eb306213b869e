"""Telling the address that a job's maker gave that the job has ended: by a job of its own, with retries, signed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import secrets

from sqlalchemy import Connection

from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.domain.errors import TaskyardError
from workers.services import audit
from workers.services.enqueueing import NewJob, enqueue_system
from workers.store import settings
from workers.store.types import Row
from workers.yard import Yard

log = logging.getLogger(__name__)
TASK = "system.callback"
_KEY = "webhook_secret"
_PREFIX = "whsec_"


def job_ended(yard: Yard, row: Row) -> None:
    """Enqueue the call to `callback_url`, once for each ended attempt. Never raises: the job has ended all the same."""
    key = f"callback:{row['id']}:{row['attempt']}"
    try:
        enqueue_system(
            yard, NewJob(TASK, {"job_id": row["id"]}, idempotency_key=key, parent=row["id"], created_by="system")
        )
    except TaskyardError as error:
        log.error("callback of job %s could not be enqueued: %s", row["id"], error)


def ensure_secret(yard: Yard) -> None:
    """Make the secret that signs callbacks unless there is one."""
    with yard.database.write() as connection:
        settings.put_if_absent(connection, _KEY, _new_secret(), utcnow())


def secret(connection: Connection) -> str:
    """Tell it, in the form that receivers of Standard Webhooks are configured with."""
    told: str = settings.get(connection, _KEY, "")
    return told


def renew_secret(yard: Yard, actor: Actor) -> None:
    """Replace it; what is signed from now on carries the new one."""
    now = utcnow()
    with yard.database.write() as connection:
        settings.put(connection, _KEY, _new_secret(), now)
        audit.record(connection, actor, "webhook_secret.renewed", "setting", _KEY, now)


def signed(key: str, message_id: str, body: bytes) -> dict[str, str]:
    """Make the headers of a signed webhook: https://www.standardwebhooks.com, scheme v1."""
    stamp = str(int(utcnow().timestamp()))
    raw = base64.b64decode(key.removeprefix(_PREFIX))
    digest = hmac.new(raw, f"{message_id}.{stamp}.".encode() + body, hashlib.sha256).digest()
    signature = "v1," + base64.b64encode(digest).decode()
    return {"webhook-id": message_id, "webhook-timestamp": stamp, "webhook-signature": signature}


def _new_secret() -> str:
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
