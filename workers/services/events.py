"""Events: things that happen and that triggers may hear. Written in the transaction in which they happen, heard soon after."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from workers.domain import payloads
from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput
from workers.domain.mapping import hears
from workers.store import trigger_rows
from workers.yard import Yard

LONGEST_NAME = 200
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*\Z")
# Names that the engine gives; nobody else may.
ENGINE = ("job.completed", "job.failed", "job.canceled", "worker.lost", "alert.raised")
RESERVED = ("job.", "worker.", "alert.", "data.", "queue.")


_cause: ContextVar[str | None] = ContextVar("taskyard_cause", default=None)


@contextmanager
def caused_by(job_id: str | None) -> Iterator[None]:
    """Have the events of this block belong to a job, so that a chain of triggers can be followed through them."""
    token = _cause.set(job_id)
    try:
        yield
    finally:
        _cause.reset(token)


def emit(yard: Yard, name: str, payload: Mapping[str, Any], actor: Actor | str, job_id: str | None = None) -> int:
    """Tell of an event; how many enabled triggers listen for it. Raises BadInput, TooLarge, Unavailable."""
    name = check_name(name)
    if name.startswith(RESERVED):
        raise BadInput(f"Names that begin with {name.split('.')[0]}. are reserved.", field="name")
    text = payloads.dump(payload)
    with yard.database.write() as connection:
        heard = _listeners(connection, name)
        if heard:
            _write(connection, name, text, str(actor), job_id, utcnow())
    return heard


def note(connection: Connection, name: str, payload: Mapping[str, Any], actor: str, job_id: str | None = None) -> None:
    """Write an event of the engine in the transaction in which it happens, if somebody listens."""
    if _listeners(connection, name):
        _write(connection, name, payloads.dump(payload), actor, job_id, utcnow())


def check_name(name: str) -> str:
    """Return the name of an event: letters, digits and `_ . : -`; BadInput."""
    if not isinstance(name, str) or len(name) > LONGEST_NAME or not _NAME.match(name):
        raise BadInput("An event's name has 1 to 200 characters: letters, digits and _ . : -", field="name")
    return name


def check_pattern(pattern: str) -> str:
    """Return a pattern that triggers listen for: a name, `*` allowed; BadInput."""
    check_name(pattern.replace("*", "x"))
    return pattern


def _listeners(connection: Connection, name: str) -> int:
    return sum(hears(row["listens"], name) for row in trigger_rows.listening(connection, to_queues=False))


def _write(connection: Connection, name: str, payload: str, actor: str, job_id: str | None, now: datetime) -> None:
    row = {"at": now, "name": name, "payload": payload, "actor": actor[:200], "job_id": job_id or _cause.get()}
    trigger_rows.add_event(connection, row)
