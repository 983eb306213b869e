"""What a worker tells of itself: to the table of workers, and to RQ's own registration."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import psutil

from workers.broker import queues as carriers
from workers.domain.clock import utcnow
from workers.domain.errors import Unavailable
from workers.domain.evenness import Reading
from workers.domain.names import split_rq_id
from workers.processes.warm import WarmChild
from workers.services import clocks
from workers.services.telling import tell_kind
from workers.store import workers as worker_rows
from workers.yard import Yard

LONGEST_SILENCE_SECONDS = 30.0
RETRY_SECONDS = 1.0  # after a heartbeat that could not be written
SETTLED_SECONDS = 0.2  # a state that passes sooner is not told


class _Told:
    """Which state was told last, and when."""

    def __init__(self) -> None:
        self._at, self.state = 0.0, ""

    def is_due(self, state: str, interval_seconds: float) -> bool:
        silence = time.monotonic() - self._at
        return silence >= interval_seconds or (state != self.state and silence >= SETTLED_SECONDS)

    def note(self, state: str) -> None:
        self._at, self.state = time.monotonic(), state

    def repeat_in(self, seconds: float, interval_seconds: float, state: str) -> None:
        self._at, self.state = time.monotonic() - interval_seconds + seconds, state


class Presence:
    """One worker's word of itself; `entry` is what it runs now."""

    def __init__(self, yard: Yard, name: str, queues: Sequence[str] | None, child: WarmChild) -> None:
        self._yard, self._name, self._queues, self._child = yard, name, queues, child
        self.entry: str | None = None
        self.stopping = False
        self._done = self._failed = 0
        self._written = _Told()
        self._reported = _Told()
        self._beaten: Reading | None = None  # at the last heartbeat that was written
        self._process = psutil.Process()
        self._born = utcnow()

    def count(self, *, failed: bool) -> None:
        """Count an attempt that has ended."""
        self._done += 1
        self._failed += failed

    def register(self) -> None:
        """Write the row of a worker that starts. Raises Unavailable."""
        clocks.synchronize(self._yard, force=True)
        self._register("starting")

    def unregister(self) -> None:
        """Write that the worker has stopped, if that can be written now."""
        with contextlib.suppress(Unavailable):
            with self._yard.database.write() as connection:
                worker_rows.mark_stopped(connection, self._name, utcnow())
            tell_kind(self._yard, "worker", self._name, "stopped")

    def write(self, *, force: bool = False) -> str | None:
        """Write the heartbeat to SQL if it is due: every few seconds, soon after a change, or now.

        Returns the state when it has changed. Raises Unavailable.
        """
        state, interval = self._state(), self._interval()
        if not (force or self._written.is_due(state, interval)):
            return None
        before = self._written.state
        self._written.note(state)
        try:
            self._write(state)
        except Unavailable:
            self._written.repeat_in(min(RETRY_SECONDS, interval), interval, before)
            raise
        return state if state != before else None

    def report(self, in_redis: Callable[[dict[str, Any], int], None]) -> None:
        """Report to Redis if it is due; while Redis is away it is not told. Raises RedisError and Unavailable."""
        state, interval = self._state(), self._interval()
        if self._reported.is_due(state, interval):
            self._reported.note(state)
            in_redis(self._for_rq(), int(interval * 3) + 60)

    def _state(self) -> str:
        if self.stopping:
            return "stopping"
        return "busy" if self.entry else "idle"

    def _interval(self) -> float:
        return min(self._yard.settings.heartbeat_seconds, LONGEST_SILENCE_SECONDS)

    def _write(self, state: str) -> None:
        offset = clocks.synchronize(self._yard, force=True)
        reading, before, entry = clocks.take_reading(), self._beaten, self.entry
        values = {
            "state": state,
            "heartbeat_at": reading.at,
            "stopped_at": None,  # the monitor gives up a worker after a day of silence; this one is back
            "jobs_done": self._done,
            "jobs_failed": self._failed,
            "job_id": split_rq_id(entry)[0] if entry else None,
            "cpu_percent": round(self._process.cpu_percent() + self._child.cpu_percent(), 1),
            "memory_bytes": self._process.memory_info().rss + self._child.memory_bytes(),
        }
        if offset is not None:
            values["clock_offset_seconds"] = round(offset, 3)
        limit = clocks.pause_limit(self._yard.settings.heartbeat_seconds)
        if before is not None and reading.uptime - before.uptime > limit:
            values["resumed_at"] = reading.at
        with self._yard.database.write() as connection:
            known = worker_rows.tell(connection, self._name, values)
            if before is not None:
                clocks.report_jump(connection, before, reading)
        self._beaten = reading
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
