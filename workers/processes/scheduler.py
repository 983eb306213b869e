"""The scheduler: brings what is due to its queue, every second."""

from __future__ import annotations

import logging
import signal
import threading
import time
from datetime import UTC, datetime, timedelta
from types import FrameType

from redis.exceptions import RedisError

from workers.broker.timers import Timers
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput, Unavailable
from workers.services import delivery
from workers.services.enqueueing import NewJob, enqueue
from workers.settings import Settings
from workers.yard import Yard

log = logging.getLogger("taskyard.scheduler")
TICK_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 30.0
SWEEP = "monitor.sweep"


class SchedulerLoop:
    """The steps of one tick; each does one thing and tells how much it found."""

    def __init__(self, yard: Yard) -> None:
        self._yard = yard
        self._timers = Timers(yard.redis, self._fire)
        self._interval = yard.settings.monitor_interval_seconds

    def tick(self) -> int:
        """Do every step once. Raises Unavailable."""
        return delivery.promote_due(self._yard) + self._timers.fire_due() + self.keep_sweeping()

    def keep_sweeping(self) -> int:
        """See to it that the monitor's next sweep is carried: after a loss of Redis it is not."""
        if SWEEP in self._timers.carried():
            return 0
        self._timers.carry(SWEEP, self._next_sweep())
        return 1

    def _fire(self, name: str, at: datetime) -> None:
        if name != SWEEP:
            log.error("nobody knows the timer %s", name)
            return
        self._timers.carry(SWEEP, self._next_sweep())
        try:
            key = f"sweep:{int(at.timestamp())}"
            enqueue(self._yard, NewJob(SWEEP, idempotency_key=key, created_by="system:scheduler"))
        except BadInput as error:
            log.warning("the sweep waits until a worker has published it: %s", error)

    def _next_sweep(self) -> datetime:
        # On the grid of the interval: all schedulers carry the same moment, so the key makes one sweep of it.
        slot = int(utcnow().timestamp() // self._interval + 1) * self._interval
        return max(datetime.fromtimestamp(slot, UTC), utcnow() + timedelta(seconds=1))


def run_scheduler(settings: Settings) -> int:
    """Run the scheduler in this process until it is told to stop. Returns the exit code."""
    stop = threading.Event()

    def on_signal(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    loop, wait = SchedulerLoop(Yard.open(settings)), TICK_SECONDS
    while not stop.is_set():
        start = time.monotonic()
        try:
            loop.tick()
            wait = TICK_SECONDS
        except (Unavailable, RedisError) as error:
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)
            log.warning("%s; trying again in %.0f s", error, wait)
        except Exception:
            log.exception("a tick failed")
        stop.wait(max(0.05, wait - (time.monotonic() - start)))
    return 0
