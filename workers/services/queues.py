"""What people do with a queue: pause, resume, purge."""

from __future__ import annotations

from sqlalchemy import Connection

from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.domain.errors import Conflict, NotFound
from workers.domain.filters import JobFilter
from workers.domain.names import check_queue, is_reserved_queue
from workers.domain.states import Status
from workers.services import audit, bulk_actions
from workers.services.telling import tell_kind
from workers.store import queues
from workers.store.types import Row
from workers.yard import Yard


def get(connection: Connection, name: str) -> Row:
    """Fetch a queue; NotFound when nothing has ever used it."""
    row = queues.get(connection, check_queue(name))
    if row is None:
        raise NotFound(f"There is no queue {name}. A queue is created with its first job.")
    return row


def pause(yard: Yard, name: str, actor: Actor) -> Row:
    """Stop workers from taking jobs of a queue; it keeps accepting them. Twice is the same as once. NotFound, Conflict."""
    refuse_reserved(name, "paused")
    return _set_paused(yard, name, actor, paused=True)


def resume(yard: Yard, name: str, actor: Actor) -> Row:
    """Let workers take jobs of a queue again. NotFound."""
    return _set_paused(yard, name, actor, paused=False)


def purge(yard: Yard, name: str, actor: Actor) -> Row:
    """Make the bulk action that cancels every job that waits on a queue; what runs goes on. NotFound, Conflict."""
    refuse_reserved(name, "purged")
    with yard.database.read() as connection:
        get(connection, name)
    action = bulk_actions.create(yard, "cancel", JobFilter(queue=(name,), status=(Status.PENDING,)), None, actor)
    purged = {"bulk_action_id": action["id"], "waiting": action["total"]}
    with yard.database.write() as connection:
        audit.record(connection, actor, "queue.purged", "queue", name, utcnow(), None, purged)
    return action


def refuse_reserved(name: str, act: str) -> None:
    """Raise Conflict for a queue of Taskyard's own."""
    if is_reserved_queue(name):
        raise Conflict(
            f"The queue {name} cannot be {act}: it is reserved for system jobs such as the monitor, alert "
            "deliveries and bulk actions."
        )


def _set_paused(yard: Yard, name: str, actor: Actor, *, paused: bool) -> Row:
    now = utcnow()
    with yard.database.write() as connection:
        before = get(connection, name)
        if queues.set_paused(connection, name, now if paused else None, str(actor) if paused else None):
            action = "queue.paused" if paused else "queue.resumed"
            audit.record(connection, actor, action, "queue", name, now, {"paused": not paused}, {"paused": paused})
        after = get(connection, name)
    if before["paused_at"] != after["paused_at"]:
        tell_kind(yard, "queue", name, "paused" if paused else "running")
    return after
