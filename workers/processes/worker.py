"""The worker: RQ's, with its attempts run in a warm child and its bookkeeping cut to one trip a job.

RQ's dequeue, heartbeat, state and registries cost eighteen trips a job. Here the next entry is taken, the last one cleared
and the taker written in one script; the rest is told at most once a second, and only of jobs that last long enough to see.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from types import FrameType
from typing import Any

import psutil
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq import Worker
from rq.command import parse_payload
from rq.job import Job
from rq.queue import Queue
from rq.worker import WorkerStatus

from workers.broker import queues as carriers
from workers.domain.clock import utcnow
from workers.domain.errors import Unavailable
from workers.domain.names import SYSTEM_QUEUE, split_rq_id
from workers.processes.warm import WarmChild
from workers.services import execution
from workers.services.execution import Ending, Refused
from workers.services.telling import tell_kind
from workers.settings import Settings
from workers.store import queues as queue_rows
from workers.store import workers as worker_rows
from workers.yard import Yard

log = logging.getLogger("taskyard.worker")

WAIT_SECONDS = 1  # how long a wait for work may block; new and paused queues are noticed after it
QUIET_SECONDS = 0.2  # a job that ends sooner is not worth telling of
CANCEL_GRACE_SECONDS = 3.0
LONGEST_WAIT_SECONDS = 30.0


class TaskyardWorker(Worker):  # type: ignore[misc]
    """Takes entries from RQ's queues and has them run; one job at a time."""

    def __init__(self, yard: Yard, queues: Sequence[str] | None, name: str) -> None:
        self._yard = yard
        self._fixed = tuple(queues) if queues else None
        self._listening: tuple[str, ...] = self._fixed or ("default",)
        names = [carriers.rq_name(queue, "normal") for queue in self._listening]
        super().__init__(names, name=name, connection=yard.redis, serializer="json", worker_ttl=120)
        self._child = WarmChild(yard.settings, name, self._before_fork)
        self._ended: list[str] = []
        self._entry: str | None = None
        self._cancel_at: float | None = None
        self._cancel_sent = False
        self._told_at = self._looked_at = self._suspend_looked_at = 0.0
        self._done = self._failed = 0
        self._told_state = ""
        self._process = psutil.Process()
        self._born = utcnow()

    # What RQ asks of a worker, answered with fewer trips.

    @property
    def should_run_maintenance_tasks(self) -> bool:
        """Never: the monitor looks after jobs, and RQ's clean-up would fail them behind its back."""
        return False

    def check_for_suspension(self, burst: bool) -> None:
        """Obey `rq suspend`, looked up once a second."""
        if time.monotonic() - self._suspend_looked_at >= 1:
            self._suspend_looked_at = time.monotonic()
            with contextlib.suppress(RedisConnectionError, RedisTimeoutError):
                super().check_for_suspension(burst)

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Tell SQL and Redis that the worker is alive, at most every few seconds."""
        self._tell(force=False)

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
        payload = parse_payload(message)
        if payload.get("command") == "stop-job":
            if payload.get("job_id") == self._entry and self._cancel_at is None:
                self._cancel_at = time.monotonic()
        else:
            super().handle_payload(message)

    @property
    def horse_pid(self) -> int:
        """The process id of the child while it runs a job, else 0."""
        return self._child.pid if self._entry else 0

    def kill_horse(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """Kill the child with everything that it started."""
        self._child.kill()

    def wait_for_horse(self) -> tuple[None, None, None]:
        """Nothing to wait for: killing waits."""
        return None, None, None

    def _shutdown(self) -> None:
        # Raising here, as RQ does, could throw away an entry that was just taken.
        self._stop_requested = True
        log.info("%s stops%s", self.name, " after its job" if self._entry else "")

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:
        """End at once on a second signal; the job goes back by its retry rule."""
        if (
            self._shutdown_requested_date
            and (datetime.now(self._shutdown_requested_date.tzinfo) - self._shutdown_requested_date).total_seconds() < 1
        ):
            return
        log.warning("%s stops at once", self.name)
        self._child.kill()
        raise SystemExit(1)

    def bootstrap(self, *_args: Any, **_options: Any) -> None:
        """Register with Redis and SQL, and listen for commands; waits while either is away."""
        _until(self.register_birth)
        _until(self.subscribe)
        _until(lambda: self._register_row("starting"))
        self._state = WorkerStatus.STARTED

    def teardown(self) -> None:
        """Say goodbye."""
        self._child.close()
        with contextlib.suppress(RedisConnectionError, RedisTimeoutError):
            super().teardown()
        with contextlib.suppress(Unavailable):
            with self._yard.database.write() as connection:
                worker_rows.mark_stopped(connection, self.name, utcnow())
            tell_kind(self._yard, "worker", self.name, "stopped")

    # Taking work.

    def dequeue_job_and_maintain_ttl(self, timeout: int | None, max_idle_time: int | None = None) -> Any:
        """Take the next entry; None when the worker shall end."""
        self.set_state(WorkerStatus.IDLE)
        idle_since, wait = time.monotonic(), 1.0
        while not self._stop_requested:
            try:
                taken = self._take(block=timeout is not None)
                wait = 1.0
            except (RedisConnectionError, RedisTimeoutError) as error:
                log.warning("Redis cannot be reached (%s); trying again in %.0f s", error, wait)
                time.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT_SECONDS)
                continue
            if taken is not None:
                return taken
            if timeout is None or (max_idle_time is not None and time.monotonic() - idle_since > max_idle_time):
                return None
            self._tell(force=False)
        return None

    def _take(self, *, block: bool) -> tuple[Job, Queue] | None:
        self._look_at_queues()
        keys = carriers.ordered_keys(self._listening)
        ended, self._ended = self._ended, []
        try:
            taken = carriers.take(self.connection, keys, self.name, ended) if keys else None
        except BaseException:
            self._ended = ended
            raise
        if taken is None and block:
            taken = self._wait_for_one(keys)
        if taken is None:
            return None
        queue = Queue(taken[0].removeprefix(carriers.QUEUE_PREFIX), connection=self.connection, serializer="json")
        return Job(taken[1], connection=self.connection, serializer="json"), queue

    def _wait_for_one(self, keys: Sequence[str]) -> tuple[str, str] | None:
        if not keys:
            time.sleep(WAIT_SECONDS)
            return None
        popped = self.connection.blpop(keys, WAIT_SECONDS)
        if popped is None:
            return None
        key, entry = popped[0].decode(), popped[1].decode()
        carriers.mark_taken(self.connection, entry, self.name)
        return key, entry

    def _look_at_queues(self) -> None:
        if time.monotonic() - self._looked_at < WAIT_SECONDS:
            return
        self._looked_at = time.monotonic()
        wanted = self._fixed or tuple(sorted(carriers.known(self.connection) - {SYSTEM_QUEUE}) or ["default"])
        with contextlib.suppress(Unavailable), self._yard.database.read() as connection:
            paused = queue_rows.paused(connection)
            self._listening = tuple(name for name in wanted if name not in paused)

    # Having it run.

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Have an entry's attempt run by the child, and see it through to its end."""
        try:
            job_id, attempt = split_rq_id(job.id)
        except ValueError:
            log.error("%s on %s is not an entry of Taskyard; left alone", job.id, queue.name)
            return
        name, priority = carriers.split_rq_name(queue.name)
        self._entry, self._cancel_at, self._cancel_sent = job.id, None, False
        self._state = WorkerStatus.BUSY
        try:
            word = self._child.run(job_id, attempt, name, lambda: self._watch(job_id, attempt))
            if word is None:
                word = self._after_death(job_id, attempt)
        except SystemExit:
            self._write_end(job_id, attempt, Ending("lost", error="The worker was stopped while the job ran"))
            raise
        finally:
            self._entry = None
        self._settle(job.id, word, carriers.PushRef(job_id, attempt, name, priority, 1800))

    def _settle(self, entry: str, word: str, ref: carriers.PushRef) -> None:
        if word == Refused.PAUSED.value:
            self._looked_at = 0.0
            with contextlib.suppress(Unavailable):
                carriers.put_back(self.connection, ref)
            return
        self._ended.append(entry)
        self._done += 1
        self._failed += word in {"failed", "retry_scheduled"}

    def _watch(self, job_id: str, attempt: int) -> None:
        # Called over and over while the child is silent; whatever is due is done.
        now = time.monotonic()
        watch = self._child.watch
        if watch.looked_at is None and now - watch.started_at >= QUIET_SECONDS:
            self._first_look(job_id, attempt, watch, now)
        if watch.looked_at is not None and now - watch.looked_at >= self._yard.settings.heartbeat_seconds:
            self._beat(job_id, attempt, watch, now)
        if watch.deadline is not None and now >= watch.deadline:
            watch.verdict = "timed_out"
            self._child.kill()
        if self._cancel_at is not None:
            self._cancel(now)
        self._tell(force=False)

    def _first_look(self, job_id: str, attempt: int, watch: Any, now: float) -> None:
        if self._beat(job_id, attempt, watch, now):
            self._tell(force=True)

    def _beat(self, job_id: str, attempt: int, watch: Any, now: float) -> bool:
        try:
            row = execution.beat(self._yard, job_id, attempt)
        except Unavailable:
            watch.looked_at = now
            return False
        if row is None:
            # Not begun yet, ended this very moment, or fenced: only the last is a reason to kill.
            if watch.looked_at is not None and self._child.is_silent():
                watch.verdict = "fenced"
                self._child.kill()
            return False
        if watch.looked_at is None:
            watch.deadline = watch.started_at + row["timeout_seconds"]
            watch.timeout_seconds = row["timeout_seconds"]
        watch.looked_at = now
        if row["cancel_requested_at"] is not None and self._cancel_at is None:
            self._cancel_at = now
        return True

    def _cancel(self, now: float) -> None:
        if not self._cancel_sent:
            self._cancel_sent = True
            self._child.signal(signal.SIGUSR1)
        elif self._cancel_at is not None and now - self._cancel_at > CANCEL_GRACE_SECONDS:
            self._child.watch.verdict = "canceled"
            self._child.kill()

    def _after_death(self, job_id: str, attempt: int) -> str:
        watch, fault = self._child.watch, self._child.fault
        if watch.verdict == "fenced":
            return Refused.LOST.value
        if watch.verdict == "canceled":
            ending = Ending("canceled", error="Canceled while it ran; it did not stop by itself and was killed")
        elif watch.verdict == "timed_out":
            ending = Ending("timed_out", error=f"Task timeout - exceeded {_limit(watch.timeout_seconds)} limit")
        else:
            ending = Ending("lost", error=f"The process that ran the job {self._child.death}", traceback=fault)
        return self._write_end(job_id, attempt, ending)

    def _write_end(self, job_id: str, attempt: int, ending: Ending) -> str:
        written: list[Any] = []
        _until(lambda: written.append(execution.end(self._yard, job_id, attempt, ending)))
        if written[0] is None:
            # The child died before it had begun, or the row has moved on: the entry must not be forgotten.
            return Refused.LOST.value
        return str(written[0]["status"])

    # Telling of itself.

    def _tell(self, *, force: bool) -> None:
        now = time.monotonic()
        state = "stopping" if self._stop_requested else ("busy" if self._entry else "idle")
        changed = state != self._told_state
        if not (force or (changed and now - self._told_at >= QUIET_SECONDS) or now - self._told_at >= self._interval()):
            return
        self._told_at = now
        with contextlib.suppress(Unavailable):
            self._tell_sql(state)
        with contextlib.suppress(RedisConnectionError, RedisTimeoutError):
            self._tell_redis(state)
        if changed:
            self._told_state = state
            tell_kind(self._yard, "worker", self.name, state)

    def _interval(self) -> float:
        return min(self._yard.settings.heartbeat_seconds, 30.0)

    def _tell_sql(self, state: str) -> None:
        with contextlib.suppress(psutil.Error):
            memory = self._process.memory_info().rss + self._child.memory_bytes()
            cpu = self._process.cpu_percent() + self._child.cpu_percent()
            values: dict[str, Any] = {"cpu_percent": round(cpu, 1), "memory_bytes": memory}
            values |= {"state": state, "heartbeat_at": utcnow(), "jobs_done": self._done, "jobs_failed": self._failed}
            values |= {"job_id": split_rq_id(self._entry)[0] if self._entry else None}
            with self._yard.database.write() as connection:
                known = worker_rows.tell(connection, self.name, values)
            if not known:
                self._register_row(state)

    def _tell_redis(self, state: str) -> None:
        if not self.connection.exists(self.key):
            self.register_birth()
        with self.connection.pipeline() as pipe:
            super().heartbeat(int(self._interval() * 3) + 60, pipeline=pipe)
            pipe.hset(self.key, "state", "busy" if self._entry else "idle")
            if self._entry:
                pipe.hset(self.key, "current_job", self._entry)
            else:
                pipe.hdel(self.key, "current_job")
            pipe.hset(
                self.key, mapping={"successful_job_count": self._done - self._failed, "failed_job_count": self._failed}
            )
            pipe.execute()

    def _register_row(self, state: str) -> None:
        now = utcnow()
        row = {
            "name": self.name,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "queues": json.dumps(list(self._fixed) if self._fixed else ["*"]),
            "state": state,
            "started_at": self._born,
            "heartbeat_at": now,
        }
        with self._yard.database.write() as connection:
            worker_rows.register(connection, row)

    def _before_fork(self) -> None:
        # A SQLite connection must not be open across a fork.
        self._yard.database.close()


def run_worker(settings: Settings, queues: Sequence[str] | None = None, name: str | None = None) -> int:
    """Run a worker in this process until it is told to stop; task modules are already loaded. Returns the exit code."""
    yard = Yard.open(settings)
    _until(yard.redis.ping)
    worker = TaskyardWorker(yard, queues, name or f"{socket.gethostname()}-{os.getpid()}")
    try:
        worker.work(logging_level="WARNING")
    finally:
        yard.close()
    return 0


def _limit(seconds: float) -> str:
    if seconds >= 60 and seconds % 60 == 0:
        return f"{int(seconds // 60)} minute"
    return f"{seconds:g} second"


def _until(call: Callable[[], Any]) -> None:
    # Redis or SQL may be away for hours: whatever must be done waits for them.
    wait = 0.5
    while True:
        try:
            call()
            return
        except (Unavailable, RedisConnectionError, RedisTimeoutError) as error:
            log.warning("%s; trying again in %.0f s", error, wait)
            time.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)
