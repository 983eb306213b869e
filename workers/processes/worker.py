"""The worker: RQ's, with its attempts run in a warm child and its bookkeeping cut to one trip a job.

RQ's dequeue, heartbeat, state and registries cost eighteen trips a job. Here the next entry is taken, the last one cleared
and the taker written in one script; the rest is told at most once a second, and only of jobs that last long enough to see.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from types import FrameType
from typing import Any

import psutil
from redis.exceptions import RedisError
from rq import Worker
from rq.command import parse_payload
from rq.suspension import is_suspended
from rq.worker import WorkerStatus

from workers.broker import queues as carriers
from workers.broker.connection import ANSWER_SECONDS
from workers.domain.errors import Unavailable
from workers.loading import load_own_tasks
from workers.processes.backoff import Backoff
from workers.processes.descendants import adopt_orphans
from workers.processes.heartbeat import Heartbeat, hold_for_fork, sql_turn
from workers.processes.intake import Entry, Intake
from workers.processes.minder import Minder
from workers.processes.presence import Presence
from workers.processes.recovery import Recovery
from workers.processes.served import ServedQueues
from workers.processes.shared_page import INTERRUPT, STOPPING
from workers.processes.warm import WarmChild
from workers.processes.watching import Watcher, until_done
from workers.services import private_files
from workers.services.execution import Refused
from workers.services.telling import word_of_kind
from workers.settings import Settings, forget_secrets
from workers.yard import Yard

log = logging.getLogger("taskyard.worker")
INTERRUPT_SECONDS = 2.0  # what an interrupted task gets to end; less than the keeper's KILL_AFTER_SECONDS
GOODBYE_SECONDS = 3.0  # for what is said to Redis at the end
SHORT_SECONDS = 0.05  # among jobs that end within it the next one is taken ahead


class TaskyardWorker(Worker):
    """Takes entries from RQ's queues and has them run; one job at a time."""

    def __init__(self, yard: Yard, queues: Sequence[str] | None, name: str) -> None:
        self._yard, self._label = yard, name
        self._served = ServedQueues(yard, queues)
        names = yard.redis.names
        shown = [names.queue(queue) for queue in self._served.wanted or ("default",)]
        super().__init__(shown, name=names.worker(name), connection=yard.redis, serializer="json", worker_ttl=120)
        self._minder = Minder()
        self._child = WarmChild(yard.settings, name, self._minder, self._before_fork)
        self._watcher: Watcher | None = None
        self._trouble = Backoff()
        self._intake = Intake(yard, self._served, self.connection, self.name)
        self._presence = Presence(yard, name, self._served.wanted, self._child)
        self._heartbeat = Heartbeat(self._beat, self._report, yard.live.send)
        self._suspend_looked_at = 0.0
        self._was_short = False  # the last job
        self._kill_at: float | None = None  # monotonic

    # What RQ asks of a worker, answered with fewer trips.

    @property
    def connection_timeout(self) -> int:
        """Limit a command in seconds. RQ's own limit is minutes: a half-open connection would hold up a worker for as long."""
        return ANSWER_SECONDS

    @property
    def should_run_maintenance_tasks(self) -> bool:
        """Never: the monitor looks after jobs, and RQ's clean-up would fail them behind its back."""
        return False

    def check_for_suspension(self, burst: bool) -> None:
        """Obey `rq suspend`, looked up once a second."""
        while time.monotonic() - self._suspend_looked_at >= 1 and not self._stop_requested:
            self._suspend_looked_at = time.monotonic()
            try:
                suspended = is_suspended(self.connection, self)
            except RedisError:
                return
            if not suspended:
                return
            self._give_back()
            time.sleep(1)

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Do nothing: the threads of `Heartbeat` tell SQL and Redis that the worker is alive."""

    def set_state(self, state: str, pipeline: Any = None) -> None:
        """Note the state; it is told with the next heartbeat."""
        self._state = state

    def get_state(self) -> str:
        """Tell the state that was noted last."""
        return self._state

    def procline(self, message: str) -> None:
        """Leave the process its name."""

    def handle_payload(self, message: Any) -> None:
        """Obey a command: stop-job asks the child, the others are RQ's own. Runs in RQ's listening thread."""
        try:
            payload = parse_payload(message)
            command, entry = payload["command"], payload.get("job_id")
        except (ValueError, TypeError, KeyError, AttributeError):
            log.warning("%s was sent a command that cannot be read", self._label)
            return
        if command != "stop-job":
            super().handle_payload(message)
        elif entry == self._presence.entry and (watcher := self._watcher) is not None:
            watcher.request_cancel()

    @property
    def horse_pid(self) -> int:
        """The process id of the child while it runs a job, else 0."""
        return self._child.pid if self._presence.entry else 0

    def kill_horse(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """Kill the child with everything that it started."""
        self._child.kill()

    def wait_for_horse(self) -> tuple[None, None, None]:
        """Nothing to wait for: killing waits."""
        return None, None, None

    def _shutdown(self) -> None:
        # Raising here, as RQ does, could throw away an entry that was just taken.
        self._stop_requested = True
        if self._presence.entry:
            self._child.notify(STOPPING)
        log.info("%s stops%s", self._label, " after its job" if self._presence.entry else "")

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:
        """End at once on a second signal; the job goes back by its retry rule."""
        if (
            self._shutdown_requested_date
            and (datetime.now(self._shutdown_requested_date.tzinfo) - self._shutdown_requested_date).total_seconds() < 1
        ):
            return
        log.warning("%s stops immediately", self._label)
        if not self._presence.entry:
            raise SystemExit(1)
        self._child.notify(INTERRUPT)
        self._kill_at = self._kill_at or time.monotonic() + INTERRUPT_SECONDS

    def _end_when_hurried(self) -> None:
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._child.kill()
            raise SystemExit(1)

    def bootstrap(self, *_args: Any, **_options: Any) -> None:
        """Register with Redis and SQL, and listen for commands; waits while either is away."""
        adopt_orphans()
        self._minder.start()
        until_done(self._register)
        until_done(self.subscribe)
        until_done(self._presence.register)
        self._child.tend()
        self._heartbeat.start()
        self._state = WorkerStatus.STARTED

    def teardown(self) -> None:
        """Say goodbye."""
        self._run_taken_ahead()
        self._heartbeat.stop()
        self._child.close()
        self._minder.close()
        # A Redis that does not answer must not hold up the end: what is left there is found by the next sweep.
        goodbye = threading.Thread(target=self._leave_redis, daemon=True)
        goodbye.start()
        goodbye.join(GOODBYE_SECONDS)
        self._presence.unregister()

    def _run_taken_ahead(self) -> None:
        """See the attempt through that the child has taken ahead."""
        while self._intake.is_ahead and not self._child.call_back():
            entry = self._intake.take(block=False)
            assert entry is not None
            self.execute_job(entry.id, entry.queue)

    def unsubscribe(self) -> None:
        """Leave the channel of commands to the end of the process: the thread that listens would fail without its connection."""
        if self.pubsub_thread is not None:
            self.pubsub_thread.stop()

    def _pubsub_exception_handler(self, exc: Exception, pubsub: Any, pubsub_thread: Any) -> None:
        """Listen again after an error; at the end of the worker its connections are closed under the thread."""
        if self._stop_requested:
            pubsub_thread.stop()
            return
        super()._pubsub_exception_handler(exc, pubsub, pubsub_thread)

    def _leave_redis(self) -> None:
        with contextlib.suppress(RedisError, Unavailable):
            self._intake.close()
            super().teardown()

    # Taking work.

    def dequeue_job_and_maintain_ttl(self, timeout: int | None, max_idle_time: int | None = None) -> Any:
        """Take the next entry; None when the worker shall end."""
        self.set_state(WorkerStatus.IDLE)
        idle_since, away, level = time.monotonic(), Backoff(), logging.WARNING
        while not self._stop_requested:
            self._child.tend()
            try:
                taken = self._intake.take(block=timeout is not None)
            except RedisError as error:
                wait = away.after(0)
                log.log(level, "Redis is not available (%s); retrying until it is available", error)
                level = logging.DEBUG
                self._wait_unless_stopped(wait)
                continue
            away.reset()
            level = logging.WARNING
            if taken is not None:
                return taken.id, taken.queue
            if timeout is None or (max_idle_time is not None and time.monotonic() - idle_since > max_idle_time):
                return None
            self.check_for_suspension(burst=False)
        return None

    def _wait_unless_stopped(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stop_requested and time.monotonic() < until:
            time.sleep(0.1)

    # Having it run.

    def execute_job(self, job: Any, queue: Any) -> None:
        """Have an entry's attempt run by the child, and see it through to its end; both come from our own dequeue."""
        entry = Entry(str(job), str(queue))
        ref = self._intake.ref_of(entry)
        if ref is None:
            self._intake.leave_to_others(entry)
            return
        tell_viewers = self._heartbeat.tell_viewers
        self._watcher = Watcher(self._yard, self._child, ref.job_id, ref.attempt, tell_viewers)
        self._presence.entry = entry.id
        self._state = WorkerStatus.BUSY
        try:
            self._settle(ref, self._run(ref, self._watcher))
        except SystemExit:
            self._watcher.give_up("The worker was stopped while the job was running")
            raise
        except OSError as error:
            # No process can be made now; the entry waits for better times, and so does the worker.
            self._put_back(ref, f"no process could be started for the job: {error}")
        finally:
            self._watcher = self._presence.entry = None

    def _run(self, ref: carriers.PushRef, watcher: Watcher) -> str:
        def tick() -> None:
            self._end_when_hurried()
            watcher.tick()

        began = time.monotonic()
        # In a rush of jobs viewers hear only of those that last.
        self._child.start(ref.job_id, ref.attempt, quiet=not self._intake.has_waited)
        self._intake.mark()
        if self._stop_requested:
            self._child.notify(STOPPING)
        elif self._was_short:
            self._send_ahead()
        word = self._child.listen(tick)
        self._was_short = time.monotonic() - began < SHORT_SECONDS
        return watcher.after_death() if word is None else word

    def _send_ahead(self) -> None:
        """Take one more entry and queue it for the child; take it back when the current job lasts."""
        self._intake.take_ahead()
        ref = self._intake.ref_ahead()
        if ref is not None:
            self._child.send_ahead(ref.job_id, ref.attempt)
        if self._intake.is_ahead and not self._child.answers(SHORT_SECONDS):
            self._give_back()

    def _give_back(self) -> None:
        """Put an entry that was taken ahead back, unless the child runs it already."""
        if self._child.call_back():
            self._intake.give_back()

    def _settle(self, ref: carriers.PushRef, word: str) -> None:
        if word == Refused.PAUSED.value:
            self._served.look_again()
            self._give_back()
            with contextlib.suppress(Unavailable):
                carriers.put_back(self._yard.redis, ref)
            return
        if word == Refused.DIED.value:
            self._put_back(ref, f"the process for it {self._child.death} before it began\n{self._child.fault or ''}")
            return
        self._trouble.reset()
        self._intake.note_ended(ref, self._child.told)
        self._child.told = b""
        self._presence.count(failed=word in {"failed", "retry_scheduled"})

    def _put_back(self, ref: carriers.PushRef, why: str) -> None:
        log.error("job %s goes back to its queue: %s", ref.job_id, why.rstrip())
        self._give_back()
        with contextlib.suppress(Unavailable):
            carriers.put_back(self._yard.redis, ref)
        time.sleep(self._trouble.after(0))

    # Telling of itself.

    def _beat(self) -> None:
        self._presence.stopping = self._stop_requested
        watcher = self._watcher
        seen = False
        with contextlib.suppress(Unavailable):
            seen = watcher is not None and watcher.beat()
        state = self._presence.write(force=seen)
        if state is not None:
            self._heartbeat.tell_viewers(word_of_kind(self._yard, "worker", self.name, state))

    def _report(self) -> None:
        self._presence.report(self._tell_redis)

    def _tell_redis(self, fields: dict[str, Any], ttl_seconds: int) -> None:
        if not self.connection.exists(self.key):
            self.register_birth()
        if self.pubsub_thread is None or not self.pubsub_thread.is_alive():
            self.subscribe()
        carriers.tell_worker(self.connection, self.key, fields, ttl_seconds)

    def _register(self) -> None:
        carriers.forget_worker(self.connection, self.key, self._is_dead)
        try:
            self.register_birth()
        except ValueError as error:
            # Killed on another host it is forgotten by Redis within minutes.
            raise Unavailable(
                f"A worker named {self._label} is already running. Stop it, or set another --name."
            ) from error

    @staticmethod
    def _is_dead(host: str, pid: int) -> bool:
        # A worker of this name that was killed on this machine has left its registration behind.
        return host == socket.gethostname() and (pid == os.getpid() or not psutil.pid_exists(pid))

    def _before_fork(self, may_wait: bool) -> bool:
        # A SQLite connection must not be open across a fork.
        is_held = hold_for_fork(may_wait=may_wait)
        if is_held:
            self._yard.database.close()
        return is_held


def run_worker(settings: Settings, queues: Sequence[str] | None = None, name: str | None = None) -> int:
    """Run a worker in this process until it is told to stop. Returns the exit code."""
    private_files.restrict_umask()
    forget_secrets()
    load_own_tasks()
    # Neither is needed to run a task, so none can read it from there.
    yard = Yard.open(replace(settings, secret_key="", admin_password=""))
    worker: TaskyardWorker | None = None
    recovery = Recovery(yard, may_end=lambda: worker is None or not worker.horse_pid, sql_turn=sql_turn)
    recovery.start()
    until_done(lambda: yard.redis.names.prefix)
    until_done(yard.redis.ping)
    worker = TaskyardWorker(yard, queues, name or f"{socket.gethostname()}-{os.getpid()}")
    try:
        worker.work(logging_level="WARNING")
    finally:
        yard.close()
    return recovery.exit_code
