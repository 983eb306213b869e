"""The scheduler: brings to the queues what is due and what was lost. Any number of them may run."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from workers.broker.live import HEARTBEAT
from workers.broker.timers import INTERVAL_SECONDS, Timers
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput, Unavailable
from workers.processes.backoff import Backoff
from workers.processes.recovery import Recovery
from workers.services import (
    carrying,
    clock_repair,
    clocks,
    delivery,
    firing,
    former_names,
    hearing,
    monitoring,
    own_changes,
    pool,
    private_files,
    removal,
    retention,
)
from workers.services.enqueueing import NewJob, enqueue_system
from workers.settings import Settings
from workers.store import installation, sweeps
from workers.yard import Yard

log = logging.getLogger("taskyard.scheduler")

DELIVER_EVERY_SECONDS = 30.0
SETTLED_SECONDS = 6.0
HEARTBEAT_SECONDS = 2.0  # pages say "Behind" after three of them; see static/js/pill.js
LONGEST_WAIT_SECONDS = 8.0
RETAIN_EVERY_SECONDS = 3600.0
TIDY_EVERY_SECONDS = 1200.0
LEFTOVERS_EVERY_SECONDS = 86_400.0
SWEEP_TIMER = "monitor-sweep"
OVERDUE_SWEEPS = 2.5  # intervals without a sweep, after which one is enqueued whatever the timer says


@dataclass
class Step:
    """One duty: does one thing, tells whether it found work; then again at once, else after the interval."""

    name: str
    call: Callable[[Yard, datetime], int]
    every_seconds: float
    due_at: float = 0.0
    failed_at: float | None = None
    backoff: Backoff = field(default_factory=lambda: Backoff(longest_seconds=LONGEST_WAIT_SECONDS))

    def run(self, yard: Yard, clock: float) -> None:
        """Run it if it is due; a part that is away or a fault in it puts it off and leaves the others alone."""
        if clock < self.due_at:
            return
        try:
            found = self.call(yard, utcnow())
        except Unavailable as error:
            self._put_off(clock, str(error))
        except Exception:
            log.exception("%s failed", self.name)
            self._put_off(clock, "see the error above")
        else:
            if self.failed_at is not None:
                log.info("%s: works again", self.name)
            self.failed_at = None
            self.backoff.reset()
            self.due_at = clock if found else clock + self.every_seconds

    def _put_off(self, clock: float, why: str) -> None:
        wait = self.backoff.after(0)
        level = logging.WARNING if self.failed_at is None else logging.DEBUG  # once for each outage
        log.log(level, "%s: %s; trying again in %.0f s", self.name, why.rstrip("."), wait)
        self.failed_at, self.due_at = clock, clock + wait


class Scheduler:
    """A loop around its steps."""

    def __init__(self, yard: Yard, name: str, tell_size: Callable[[int], None] | None = None) -> None:
        self._yard = yard
        self._tell_size, self._told_size = tell_size, yard.settings.workers
        self._timers = Timers(yard.redis, name)
        self._stopped = threading.Event()
        # At the start, again when what was on its way then has settled, and from then on every so often.
        self._deliver_at, self._is_settling = 0.0, True
        self._has_left_former_names = False
        self._database: str | None = None
        self._sweep_seen: tuple[int, float] | None = None  # the last sweep, and since when it has been the last
        self.steps: Sequence[Step] = (
            Step("timers", self._fire_timers, INTERVAL_SECONDS),
            Step("overdue sweep", self._sweep_overdue, 5.0),
            Step("due jobs", delivery.promote_due, 1.0),
            Step("overdue schedules", firing.fire_overdue, 1.0),
            Step("schedules from the future", clock_repair.bring_back, 15.0),
            Step("held runs", firing.release_held, 1.0),
            Step("events", hearing.hear, 0.5),
            Step("queues that triggers watch", hearing.look_at_queues, 5.0),
            Step("live heartbeat", _publish_heartbeat, HEARTBEAT_SECONDS),
            Step("lost jobs", self._deliver, 1.0),
            Step("retention", _unless_clock_jumped(retention.purge_step), RETAIN_EVERY_SECONDS),
            Step("uploads", _unless_clock_jumped(removal.expire_uploads), RETAIN_EVERY_SECONDS),
            Step("files of deleted jobs", removal.remove_leftovers, LEFTOVERS_EVERY_SECONDS),
            Step("roll-ups", _unless_clock_jumped(retention.tidy_step), TIDY_EVERY_SECONDS),
            *(self._steps_of_pool() if tell_size else []),
        )

    def stop(self) -> None:
        """End the loop after the step that runs now."""
        self._stopped.set()

    def run(self) -> None:
        """Work until stopped."""
        with suppress(Unavailable):
            clocks.synchronize(self._yard)
        while not self._stopped.is_set():
            clock = time.monotonic()
            for step in self.steps:
                step.run(self._yard, clock)
            wait = min(step.due_at for step in self.steps) - time.monotonic()
            self._stopped.wait(min(max(wait, 0.0), 1.0))
        try:
            self._timers.tell_ended()
        except Unavailable:
            log.info("Redis is not available; the entry of this scheduler expires automatically")

    def _fire_timers(self, _yard: Yard, now: datetime) -> int:
        if self._database is None:
            self._database = installation.read_mark(self._yard.database)
        self._timers.tell_alive(self._database)
        if not self._timers.is_carried(SWEEP_TIMER):
            # The first start, or Redis has lost it.
            self._timers.carry(SWEEP_TIMER, self._next_sweep(now))
        return self._timers.fire_due(now, self._fire)

    def _fire(self, name: str, at: datetime) -> None:
        if name.startswith(carrying.PREFIX):
            firing.fire(self._yard, name.removeprefix(carrying.PREFIX))
            return
        if name != SWEEP_TIMER:
            log.error("the timer %s is unknown and was removed", name)
            return
        self._timers.carry(SWEEP_TIMER, self._next_sweep(utcnow()))
        try:
            # All schedulers know the moment by the same name, so it becomes one job.
            key = f"{monitoring.TASK}:{int(at.timestamp())}{clocks.era(self._yard)}"
            enqueue_system(self._yard, NewJob(monitoring.TASK, idempotency_key=key, created_by="system:scheduler"))
        except BadInput as error:
            log.warning("the sweep waits for a worker that has the task: %s", error)

    def _next_sweep(self, now: datetime) -> datetime:
        interval = self._yard.settings.monitor_interval_seconds
        slot = (now.timestamp() // interval + 1) * interval
        return max(datetime.fromtimestamp(int(slot), UTC), now + timedelta(seconds=1))

    def _sweep_overdue(self, yard: Yard, _now: datetime) -> int:
        # The timer and its keys go by the wall clock: after that was set back they would wait for it to catch up.
        clocks.synchronize(yard)
        with yard.database.read() as connection:
            last = sweeps.last(connection)
        number, clock = last["id"] if last is not None else 0, time.monotonic()
        if self._sweep_seen is None or self._sweep_seen[0] != number:
            self._sweep_seen = (number, clock)
        silent = clock - self._sweep_seen[1]
        if silent < OVERDUE_SWEEPS * yard.settings.monitor_interval_seconds:
            return 0
        self._sweep_seen = (number, clock)
        self._timers.carry(SWEEP_TIMER, self._next_sweep(utcnow()))
        log.warning("No sweep has run for %.0f s; one is enqueued.", silent)
        key = f"{monitoring.TASK}:after-{number}"
        try:
            enqueue_system(yard, NewJob(monitoring.TASK, idempotency_key=key, created_by="system:scheduler"))
        except BadInput as error:
            log.warning("the sweep waits for a worker that has the task: %s", error)
        return 0

    def _steps_of_pool(self) -> list[Step]:
        return [
            Step("pool size", self._size_pool, 1.0),
            Step("pool heartbeat", pool.note_running, pool.SEEN_EVERY_SECONDS),
        ]

    def _size_pool(self, yard: Yard, _now: datetime) -> int:
        with yard.database.read() as connection:
            wished = pool.size(connection, yard.settings)
        if wished != self._told_size and self._tell_size is not None:
            log.info("pool size set to %s workers", wished)
            self._tell_size(wished)
            self._told_size = wished
        return 0

    def _deliver(self, yard: Yard, now: datetime) -> int:
        clock = time.monotonic()
        try:
            if self._timers.has_lost_everything():
                self._deliver_at, self._is_settling = clock, True
            if clock < self._deliver_at:
                return 0
            former = 0 if self._has_left_former_names else former_names.leave(yard)
            self._has_left_former_names = not former
            missing = delivery.deliver_missing(yard, now)
        except Unavailable:
            # What is enqueued while Redis is away is pushed by nobody else.
            self._deliver_at, self._is_settling = clock, True
            raise
        self._deliver_at = clock + (SETTLED_SECONDS if self._is_settling else DELIVER_EVERY_SECONDS)
        self._is_settling = False
        if former:
            log.info(
                "%s entries of an earlier version were removed from queues without an installation's prefix", former
            )
        carried = carrying.reconcile(yard)
        if carried:
            log.info("%s runs of schedules differed between Redis and SQL and were corrected", carried)
        if missing:
            log.warning("%s waiting jobs were missing in Redis and were enqueued again", missing)
        return 0


def _publish_heartbeat(yard: Yard, _now: datetime) -> int:
    """Publish the heartbeat of the live channel; a page that misses it shows since when."""
    yard.live.publish({"type": HEARTBEAT})
    return 0


def _unless_clock_jumped(step: Callable[[Yard, datetime], int]) -> Callable[[Yard, datetime], int]:
    """Return a step that deletes nothing within an hour of a jump: a clock set ahead makes everything look old."""

    def guarded(yard: Yard, now: datetime) -> int:
        with yard.database.read() as connection:
            found = clocks.read(connection, now).disturbance
        if found is not None and abs((now - found.at).total_seconds()) < clocks.RECENT_SECONDS:
            return 0
        return step(yard, now)

    return guarded


def run_scheduler(settings: Settings, name: str, tell_size: Callable[[int], None] | None = None) -> int:
    """Run a scheduler in this process until SIGTERM or SIGINT. Returns the exit code.

    With `tell_size` it belongs to a pool, and tells it how many workers are wished for.
    """
    private_files.restrict_umask()
    yard = Yard.open(settings)
    own_changes.watch(yard.database)
    scheduler = Scheduler(yard, f"{socket.gethostname()}-{name}", tell_size)
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda _signal, _frame: scheduler.stop())
    recovery = Recovery(yard)
    recovery.start()
    try:
        scheduler.run()
    finally:
        yard.close()
    return recovery.exit_code
