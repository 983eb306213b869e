"""Taking entries for a worker: the next one, and in a rush of jobs one more while a job runs.

In a rush the child would wait for the trip to Redis between two jobs. So the next entry is taken while a job runs; when the
job lasts, the entry goes back to the front of its queue, for workers that are free.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from workers.broker import queues as carriers
from workers.domain.errors import Unavailable
from workers.domain.ids import is_id
from workers.domain.names import split_rq_id
from workers.processes.served import ServedQueues
from workers.yard import Yard

WAIT_SECONDS = 1  # how long a wait for work may block


@dataclass(frozen=True, slots=True)
class Entry:
    """What was taken: an id, and RQ's name of the queue that it stood on."""

    id: str
    queue: str


class Intake:
    """The entries of one worker. `has_waited` is whether the last look found every queue empty."""

    def __init__(self, yard: Yard, served: ServedQueues, connection: Any, name: str) -> None:
        self._yard, self._served, self._connection, self._name = yard, served, connection, name
        self._ended: list[str] = []
        self._messages: list[bytes] = []
        self._ahead: Entry | None = None
        self._foreign: set[str] = set()
        self._unmarked: str | None = None  # an entry whose taker is not written yet
        self.has_waited = True

    @property
    def is_ahead(self) -> bool:
        """Whether an entry was taken ahead."""
        return self._ahead is not None

    def take(self, *, block: bool) -> Entry | None:
        """Take the next entry; wait a second for one with `block`. None when there is none. Raises RedisError."""
        if self._ahead is not None:
            entry, self._ahead = self._ahead, None
            return entry
        keys = self._served.keys()
        entry = self._take(keys)
        if entry is None and block:
            entry = self._wait_for_one(keys)
        return entry

    def take_ahead(self) -> None:
        """Take one more entry while a job runs, when the last one did not have to be waited for. Never raises RedisError."""
        if self.has_waited or self._served.is_due:  # looking the queues up may take long when SQL is away
            return
        with contextlib.suppress(RedisError):
            self._ahead = self._take(self._served.keys())

    def ref_ahead(self) -> carriers.PushRef | None:
        """Return the attempt of the entry that was taken ahead; None when there is none, or it is a job of plain RQ."""
        return self.ref_of(self._ahead) if self._ahead is not None else None

    def mark(self) -> None:
        """Write who has taken an entry that was waited for: after it was handed on, so that nobody waits for the trip."""
        entry, self._unmarked = self._unmarked, None
        if entry is not None:
            with contextlib.suppress(RedisError):
                carriers.mark_taken(self._connection, entry, self._name)

    def give_back(self) -> None:
        """Put an entry that was taken ahead back to the front of its queue. What is lost here the monitor's sweep pushes again."""
        entry, self._ahead = self._ahead, None
        if entry is None:
            return
        ref = self.ref_of(entry)
        if ref is None:
            self.leave_to_others(entry)
            return
        with contextlib.suppress(Unavailable):
            carriers.put_back(self._yard.redis, ref)

    def ref_of(self, entry: Entry) -> carriers.PushRef | None:
        """Return the attempt that an entry stands for; None when it is a job of plain RQ."""
        job_id, attempt = split_rq_id(entry.id)
        if not is_id(job_id) or not attempt:
            return None
        name, priority = self._yard.redis.names.split_queue(entry.queue)
        return carriers.PushRef(job_id, attempt, name, priority)

    def leave_to_others(self, entry: Entry) -> None:
        """Put a job of plain RQ on a queue of ours at the end of the line, for a worker that knows it."""
        if entry.id in self._foreign:
            time.sleep(WAIT_SECONDS)
            self._foreign.clear()
        self._foreign.add(entry.id)
        with contextlib.suppress(RedisError):
            carriers.leave(self._connection, entry.id, entry.queue)

    def note_ended(self, ref: carriers.PushRef, message: bytes) -> None:
        """Have an entry deleted and a live message published with the next look."""
        self._ended.append(ref.rq_id)
        if message:
            self._messages.append(message)

    def close(self) -> None:
        """Give back and publish what has not been. Raises RedisError."""
        self.give_back()
        for message in self._messages:
            self._yard.live.send(message)
        carriers.forget(self._connection, self._ended)

    def _take(self, keys: Sequence[str]) -> Entry | None:
        ended, self._ended = self._ended, []
        messages, self._messages = self._messages, []
        try:
            taken = carriers.take(self._yard.redis, keys, self._name, ended, messages)
        except BaseException:
            self._ended, self._messages = ended, messages
            raise
        self.has_waited = taken is None
        # RQ only hands these on; building its Job and Queue would cost more than taking them did.
        return Entry(taken[1], taken[0].removeprefix(carriers.QUEUE_PREFIX)) if taken else None

    def _wait_for_one(self, keys: Sequence[str]) -> Entry | None:
        if not keys:
            time.sleep(WAIT_SECONDS)
            return None
        popped = self._connection.blpop(keys, WAIT_SECONDS)
        if popped is None:
            return None
        key, entry = popped[0].decode(), popped[1].decode()
        self._unmarked = entry
        return Entry(entry, key.removeprefix(carriers.QUEUE_PREFIX))
