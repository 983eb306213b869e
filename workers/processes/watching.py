"""Seeing one attempt through: beats while it runs, its end at the time limit, when it is canceled, or when it was reset."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from redis.exceptions import RedisError

from workers.domain.clock import uptime
from workers.domain.errors import Unavailable
from workers.domain.staleness import limit_words
from workers.domain.states import Status
from workers.processes import child
from workers.processes.output import Unstored
from workers.processes.shared_page import CANCEL, TIME_LIMIT
from workers.processes.warm import WarmChild
from workers.services import execution, job_logs
from workers.services.execution import Ending, Refused
from workers.services.telling import word_of
from workers.store.types import Row
from workers.yard import Yard

log = logging.getLogger("taskyard.worker")

QUIET_SECONDS = 0.2  # a job that ends sooner is not worth looking at
CANCEL_GRACE_SECONDS = 3.0
TIME_LIMIT_GRACE_SECONDS = 3.0  # what a task gets to clean up when it is told of its time limit
ENDED_GRACE_SECONDS = 5.0  # what an attempt whose end is already written gets to say so
LONGEST_WAIT_SECONDS = 30.0
# Between two ticks; a worker that missed so many stood still, and its child with it.
PAUSE_SECONDS = 5.0


class Watcher:
    """Watches the attempt that the child runs now; all its times are monotonic.

    The worker's main thread calls `tick`, which waits for nothing; its heartbeat calls `beat`, which may wait for SQL.
    """

    def __init__(
        self, yard: Yard, child: WarmChild, job_id: str, attempt: int, tell_viewers: Callable[[bytes | None], None]
    ) -> None:
        self._yard, self._child, self._job_id, self._attempt = yard, child, job_id, attempt
        self._tell_viewers = tell_viewers
        self._started_at = self._ticked_at = uptime()
        self._beaten_at: float | None = None
        self._deadline: float | None = None
        self._begun_at = self._timeout_seconds = 0.0
        self._ended_seen_at: float | None = None
        self._cancel_at: float | None = None
        self._cancel_sent = False
        self._limit_sent_at: float | None = None
        self._verdict = ""
        self._is_fenced = False

    def request_cancel(self) -> None:
        """Have the attempt stopped: asked first, then killed. May be called from another thread."""
        if self._cancel_at is None:
            self._cancel_at = uptime()

    def tick(self) -> None:
        """End the attempt when that is due; called over and over while the child is silent."""
        now = uptime()
        if self._deadline is None:
            self._note_limit(self._child.time_limit())
        self._allow_for_pause(now)
        if self._is_fenced:
            self._kill("fenced")
        elif self._deadline is not None and now >= self._deadline and self._child.time_limit() is not None:
            self._end_at_limit(now)
        elif self._cancel_at is not None:
            self._cancel(now)

    def beat(self) -> bool:
        """Write that the attempt is alive, when that is due. True when it has just been seen to run. Raises Unavailable."""
        now = uptime()
        if self._beaten_at is None:
            return now - self._started_at >= QUIET_SECONDS and self._look(now)
        if now - self._beaten_at >= self._yard.settings.heartbeat_seconds:
            self._beat(now)
        return False

    def after_death(self) -> str:
        """Write how the attempt ended whose child has died; the state that follows, or why there is none."""
        recovered: list[Unstored] = []
        until_done(lambda: recovered.append(self._recover()))
        unstored = recovered[0]
        ending = replace(self._ending(), run_seconds=self._run_seconds())
        written: list[Row | None] = []
        if self._verdict != "fenced":
            until_done(lambda: written.append(self._end(ending, unstored)))
        if written and written[0] is not None:
            return str(written[0]["status"])
        until_done(lambda: execution.keep_lines(self._yard, self._job_id, self._attempt, unstored.lines))
        if self._verdict == "fenced":
            return Refused.LOST.value
        looked: list[Row | None] = []
        until_done(lambda: looked.append(execution.look(self._yard, self._job_id)))
        waits = looked[0] is not None and looked[0]["status"] == Status.PENDING
        return (Refused.DIED if waits and self._is_ours(looked[0]) else Refused.LOST).value

    def give_up(self, error: str) -> None:
        """Write that the attempt was cut off by the worker's own end; if that cannot be, the monitor finds it."""
        try:
            self._child.end()
            ending = Ending("interrupted", error=error, run_seconds=self._run_seconds())
            self._end(ending, self._recover())
        except Unavailable as trouble:
            log.warning("%s The monitor will find job %s", trouble, self._job_id)

    def _recover(self) -> Unstored:
        def is_stored(at_us: int) -> bool:
            return job_logs.is_stored(self._yard, self._job_id, self._attempt, at_us)

        return self._child.recover(self._job_id, self._attempt, is_stored)

    def _end(self, ending: Ending, unstored: Unstored) -> Row | None:
        peak = self._child.peak_memory_bytes
        full = replace(ending, progress=unstored.progress, unstored=unstored.lines, peak_memory_bytes=peak or None)
        try:
            return execution.end(self._yard, self._job_id, self._attempt, full)
        except Unavailable:
            raise
        except Exception:  # whatever the task has left there, its job must end and the worker go on
            log.exception("the output of job %s could not be stored", self._job_id)
            return execution.end(self._yard, self._job_id, self._attempt, ending)

    def _look(self, now: float) -> bool:
        row = execution.look(self._yard, self._job_id)
        if row is None or row["status"] != Status.PROCESSING or not self._is_ours(row):
            return False
        self._beaten_at = now
        self._tell_viewers(word_of(self._yard, row))
        self._obey(row)
        return True

    def _beat(self, now: float) -> None:
        row = execution.beat(self._yard, self._job_id, self._attempt)
        if row is not None:
            self._beaten_at = now
            self._obey(row)
            return
        row = execution.look(self._yard, self._job_id)
        if row is None or not self._is_ours(row) or row["status"] == Status.PENDING:
            self._is_fenced = True
            return
        # Its end is written, by itself a moment ago or by somebody else.
        self._ended_seen_at = self._ended_seen_at or now
        self._is_fenced = now - self._ended_seen_at >= ENDED_GRACE_SECONDS

    def _note_limit(self, limit: tuple[float, float] | None) -> None:
        if limit is not None:
            self._begun_at, self._timeout_seconds = limit
            self._deadline = self._begun_at + self._timeout_seconds

    def _allow_for_pause(self, now: float) -> None:
        # A machine that was paused goes on where it was; so does the time that its jobs have.
        ticked_at, self._ticked_at = self._ticked_at, now
        if self._deadline is None or now - ticked_at <= PAUSE_SECONDS:
            return
        pause = now - max(ticked_at, self._begun_at)
        self._deadline += pause
        if pause > PAUSE_SECONDS:
            log.warning("The worker was suspended for %.0f s; the timeout of job %s is extended.", pause, self._job_id)

    def _obey(self, row: Row) -> None:
        if row["cancel_requested_at"] is not None:
            self.request_cancel()

    def _is_ours(self, row: Row | None) -> bool:
        return row is not None and row["attempt"] == self._attempt

    def _cancel(self, now: float) -> None:
        if not self._cancel_sent:
            self._cancel_sent = True
            self._child.notify(CANCEL)
        elif self._cancel_at is not None and now - self._cancel_at > CANCEL_GRACE_SECONDS:
            self._kill("canceled")

    def _end_at_limit(self, now: float) -> None:
        if self._limit_sent_at is None:
            self._limit_sent_at = now
            self._verdict = self._verdict or "timed_out"
            self._child.signal(child.STACK_SIGNAL)  # where it hangs, should it not answer
            self._child.notify(TIME_LIMIT)
        elif now - self._limit_sent_at >= TIME_LIMIT_GRACE_SECONDS:
            self._kill("timed_out")

    def _kill(self, verdict: str) -> None:
        self._verdict = self._verdict or verdict
        self._child.kill()

    def _run_seconds(self) -> float | None:
        return None if self._deadline is None else uptime() - self._begun_at

    def _ending(self) -> Ending:
        if self._verdict == "canceled":
            return Ending("canceled", error="Canceled while running; the job did not stop when asked and was killed")
        if self._verdict == "timed_out":
            return Ending(
                "timed_out",
                error=f"Task timeout - exceeded {limit_words(self._timeout_seconds)} limit",
                traceback=self._child.fault,
            )
        return Ending("lost", error=f"Worker child {self._child.death}", traceback=self._child.fault)


def until_done(call: Callable[[], Any]) -> None:
    """Call until it succeeds: Redis or SQL may be away for hours, and what must be done waits for them."""
    wait, level = 0.5, logging.WARNING
    while True:
        try:
            call()
            return
        except (Unavailable, RedisError) as error:
            log.log(level, "%s; retrying until it is available", str(error).rstrip("."))
            level = logging.DEBUG
            time.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)
