"""What people do with a worker: stop it."""

from __future__ import annotations

import json

from workers.broker import queues
from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.domain.errors import Conflict, NotFound
from workers.domain.names import SYSTEM_QUEUES
from workers.services import audit
from workers.store import workers
from workers.store.types import Row
from workers.yard import Yard


def stop(yard: Yard, name: str, actor: Actor) -> Row:
    """Tell a worker to finish its present job and end. Raises NotFound, Conflict, Unavailable.

    The supervisor or pool that started it starts another in its place: this renews a worker, it does not shrink the pool.
    """
    now = utcnow()
    with yard.database.write() as connection:
        row = workers.get(connection, name)
        if row is None:
            raise NotFound(f"There is no worker {name}.")
        if row["stopped_at"] is not None:
            raise Conflict(f"{name} has already stopped.", state="stopped")
        own = [queue for queue in json.loads(row["queues"]) if queue in SYSTEM_QUEUES]
        if own:
            raise Conflict(
                f"{name} serves the system queue {own[0]}. Stop it on its machine with SIGTERM.",
                state=row["state"],
            )
        audit.record(connection, actor, "worker.stopped", "worker", name, now)
    queues.shutdown(yard.redis, name)
    return row
