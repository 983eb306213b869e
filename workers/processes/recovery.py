"""Ending a process that cannot recover, so that it is started again.

The connections of a process may stop working for good while Redis and the database are healthy: for example, when its pool
is used up by connections that were never returned. The process probes its own connections every few seconds and, when a
probe fails, a new connection outside of all pools. It ends only when new connections work and its own keep failing. While
the server itself is down, both fail and the process waits.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from redis.exceptions import ResponseError

from workers.yard import Yard

log = logging.getLogger("taskyard.recovery")

CANNOT_RECOVER = 75  # the exit status; `EX_TEMPFAIL` of sysexits.h
LEAST_FAILURES = 3  # in a row: one may be a server that came back between two calls
LONGEST_INTERVAL_SECONDS = 10.0
END_SECONDS = 20.0  # what an ordered end gets


def _terminate() -> None:
    """Send this process the signal that it ends on; without a handler it ends at once, with the status that says why."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        os._exit(CANNOT_RECOVER)
    os.kill(os.getpid(), signal.SIGTERM)


@dataclass
class Probe:
    """Compares the connections of this process with a new one: `call_own` uses theirs, `call_new` opens one. Both raise errors."""

    server: str
    call_own: Callable[[], object]
    call_new: Callable[[], object]
    failures: int = 0  # in a row, each while the server was well
    failed_at: float = 0.0  # the first of them, monotonic

    def find_own_failure(self) -> BaseException | None:
        """Return the error of the own connections when a new one works; None otherwise."""
        error = _error_of(self.call_own)
        if error is None or _error_of(self.call_new) is not None:
            self.failures = 0
            return None
        if not self.failures:
            self.failed_at = time.monotonic()
        self.failures += 1
        return error


class Recovery:
    """Probes the connections of one process. `exit_code` is what the process shall end with after an ordered end.

    `request_end` asks the process to end in order. `may_end` returns whether it may be ended by force, should it not: no job
    may run then. `sql_turn` makes a context in which SQL may be used.
    """

    def __init__(
        self,
        yard: Yard,
        request_end: Callable[[], object] = _terminate,
        may_end: Callable[[], bool] = lambda: True,
        sql_turn: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._seconds = yard.settings.recovery_seconds
        self._request_end, self._may_end, self._sql_turn = request_end, may_end, sql_turn
        redis, database = yard.redis, yard.database
        self._redis_probes = (
            Probe("Redis", redis.ping, redis.ping_new_connection),
            Probe("Redis", lambda: redis.bare("PING"), redis.ping_new_connection),
        )
        self._sql_probe = Probe("The database", database.ping, database.ping_new_connection)
        self.exit_code = 0

    def start(self) -> None:
        """Watch from now on, in a thread."""
        threading.Thread(target=self._run, name="taskyard-recovery", daemon=True).start()

    def look(self) -> bool:
        """Look once; return whether this process cannot recover, which is logged."""
        for probe in self._redis_probes:
            if self._is_lost(probe):
                return True
        with self._sql_turn():
            return self._is_lost(self._sql_probe)

    def _is_lost(self, probe: Probe) -> bool:
        error = probe.find_own_failure()
        if error is None:
            return False
        seconds = time.monotonic() - probe.failed_at
        if probe.failures < LEAST_FAILURES or seconds < self._seconds:
            return False
        log.error(
            "%s answers new connections, but the calls of this process have failed for %.0f s (%s). "
            "The process cannot recover: it ends with status %d, to be started again.",
            probe.server,
            seconds,
            str(error).strip().rstrip("."),
            CANNOT_RECOVER,
        )
        return True

    def _run(self) -> None:
        interval = min(LONGEST_INTERVAL_SECONDS, self._seconds / LEAST_FAILURES)
        while not self.look():
            time.sleep(interval)
        self.exit_code = CANNOT_RECOVER
        self._end()

    def _end(self) -> None:
        self._request_end()
        time.sleep(END_SECONDS)
        # What is still here waits for the server that this process cannot reach.
        while not self._may_end():
            time.sleep(1)
        os._exit(CANNOT_RECOVER)


def _error_of(call: Callable[[], object]) -> Exception | None:
    try:
        call()
    except ResponseError:
        return None  # a refusal is an answer
    except Exception as error:
        return error
    return None
