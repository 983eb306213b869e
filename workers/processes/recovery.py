"""Ending a process that cannot recover, so that it is started again.

A process may lose its way to Redis or SQL for good while the server is well: its pool is used up by connections that never
came back, for example. The process tries its own ways every few seconds, and where one fails also a new connection outside
of all pools. Only when that is answered and the process's own way still fails, again and again, does the process end:
while the server itself is away, neither is answered and the process waits.
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
class Way:
    """A way of this process to a server: `use` is its own, `use_anew` a new connection outside of it. Both raise when they fail."""

    server: str
    use: Callable[[], object]
    use_anew: Callable[[], object]
    failures: int = 0  # in a row, each while the server was well
    failed_at: float = 0.0  # the first of them, monotonic

    def fails_alone(self) -> BaseException | None:
        """Return why the own way fails while a new connection is answered; None otherwise."""
        error = _error_of(self.use)
        if error is None or _error_of(self.use_anew) is not None:
            self.failures = 0
            return None
        if not self.failures:
            self.failed_at = time.monotonic()
        self.failures += 1
        return error


class Recovery:
    """Watches the ways of one process. `exit_code` is what the process shall end with after an ordered end.

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
        self._redis_ways = (
            Way("Redis", redis.ping, redis.ping_anew),
            Way("Redis", lambda: redis.bare("PING"), redis.ping_anew),
        )
        self._sql_way = Way("The database", database.ping, database.ping_anew)
        self.exit_code = 0

    def start(self) -> None:
        """Watch from now on, in a thread."""
        threading.Thread(target=self._run, name="taskyard-recovery", daemon=True).start()

    def look(self) -> bool:
        """Look once; return whether this process cannot recover, which is logged."""
        for way in self._redis_ways:
            if self._is_lost(way):
                return True
        with self._sql_turn():
            return self._is_lost(self._sql_way)

    def _is_lost(self, way: Way) -> bool:
        error = way.fails_alone()
        if error is None:
            return False
        seconds = time.monotonic() - way.failed_at
        if way.failures < LEAST_FAILURES or seconds < self._seconds:
            return False
        log.error(
            "%s answers new connections, but the calls of this process have failed for %.0f s (%s). "
            "The process cannot recover: it ends with status %d, to be started again.",
            way.server,
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
