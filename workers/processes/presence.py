"""What a worker tells of itself: to the table of workers, to RQ's own registration, to whoever watches."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import psutil
from redis.exceptions import RedisError

from workers.broker import queues as carriers
from workers.domain.clock import utcnow
from workers.domain.errors import Unavailable
from workers.domain.names import split_rq_id
from workers.processes.warm import WarmChild
from workers.services.telling import tell_kind
from workers.store import workers as worker_rows
from workers.yard import Yard

LONGEST_SILENCE_SECONDS = 30.0
SETTLED_SECONDS = 0.2  # a state that passes sooner is not told


class Presence:
    """One worker's word of itself; `entry` is what it runs now."""

    def __init__(self, yard: Yard, name: str, queues: Sequence[str] | None, child: WarmChild) -> None:
        self._yard, self._name, self._queues, self._child = yard, name, queues, child
        self.entry: str | None = None
        self.stopping = False
        self._done = self._failed = 0
        self._told_at = 0.0
        self._told_state = ""
        self._process = psutil.Process()
        self._born = utcnow()

    def count(self, *, failed: bool) -> None:
        """Count an attempt that has ended."""
        self._done += 1
        self._failed += failed

    def register(self) -> None:
        """Write the row of a worker that starts. Raises Unavailable."""
        self._register("starting")

    def unregister(self) -> None:
        """Write that the worker has stopped, if that can be written now."""
        with contextlib.suppress(Unavailable):
            with self._yard.database.write() as connection:
                worker_rows.mark_stopped(connection, self._name, utcnow())
            tell_kind(self._yard, "worker", self._name, "stopped")

    def tell(self, in_redis: Callable[[dict[str, Any], int], None], *, force: bool = False) -> None:
        """Tell it if it is due: every few seconds, soon after a change, or now. Whoever is away does not hear it."""
        now = time.monotonic()
        state = "stopping" if self.stopping else ("busy" if self.entry else "idle")
        changed = state != self._told_state
        silence = now - self._told_at
        interval = min(self._yard.settings.heartbeat_seconds, LONGEST_SILENCE_SECONDS)
        if not (force or silence >= interval or (changed and silence >= SETTLED_SECONDS)):
            return
        self._told_at, self._told_state = now, state
        with contextlib.suppress(Unavailable):
            self._tell_sql(state)
        with contextlib.suppress(RedisError):
            in_redis(self._for_rq(), int(interval * 3) + 60)
        if changed:
            tell_kind(self._yard, "worker", self._name, state)

    def _tell_sql(self, state: str) -> None:
        entry = self.entry
        values = {
            "state": state,
            "heartbeat_at": utcnow(),
            "stopped_at": None,  # the monitor gives up a worker after a day of silence; this one is back
            "jobs_done": self._done,
            "jobs_failed": self._failed,
            "job_id": split_rq_id(entry)[0] if entry else None,
            "cpu_percent": round(self._process.cpu_percent() + self._child.cpu_percent(), 1),
            "memory_bytes": self._process.memory_info().rss + self._child.memory_bytes(),
        }
        with self._yard.database.write() as connection:
            known = worker_rows.tell(connection, self._name, values)
        if not known:
            self._register(state)

    def _for_rq(self) -> dict[str, Any]:
        return {
            "last_heartbeat": carriers.stamp(),
            "state": "busy" if self.entry else "idle",
            "current_job": self.entry,
            "successful_job_count": self._done - self._failed,
            "failed_job_count": self._failed,
        }

    def _register(self, state: str) -> None:
        row = {
            "name": self._name,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "queues": json.dumps(list(self._queues) if self._queues else ["*"]),
            "state": state,
            "started_at": self._born,
            "heartbeat_at": utcnow(),
        }
        with self._yard.database.write() as connection:
            worker_rows.register(connection, row)
