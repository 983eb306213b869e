"""The child process of a worker, between and during attempts. Whatever a task does to this process stays in it."""

from __future__ import annotations

import contextvars
import faulthandler
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import IO, Any

from workers import loading
from workers.domain import payloads
from workers.domain.clock import uptime
from workers.domain.errors import Unavailable
from workers.domain.staleness import limit_words
from workers.domain.texts import is_of
from workers.event_loop import has_abandoned, keep_loop
from workers.processes import orders
from workers.processes.capture import Capture
from workers.processes.endings import ending_of_error, ending_of_result
from workers.processes.orders import Order
from workers.processes.output import Output
from workers.processes.shared_page import CANCEL, INTERRUPT, STOPPING, TIME_LIMIT, SharedPage
from workers.processes.surroundings import Surroundings
from workers.registry import find_task
from workers.running import RunningJob, current
from workers.services import clocks, execution
from workers.services.execution import Ending, Refused
from workers.services.telling import word_of
from workers.settings import Settings, forget_secrets
from workers.store.types import Row
from workers.task_errors import Canceled, Interrupted, TimeLimitReached
from workers.yard import Yard

PUSH_SECONDS = 1.0
log = logging.getLogger("taskyard.child")

BEREFT = 71  # the exit status when the task has closed what the child talks by
NOTICE_SIGNAL = signal.SIGUSR1
STACK_SIGNAL = signal.SIGUSR2  # has the stacks of all threads written to `Line.faults`


@dataclass(frozen=True, slots=True)
class Line:
    """What connects a child with its worker."""

    channel: socket.socket
    faults: IO[bytes]  # where a fatal error is written
    page: SharedPage
    output: Output
    ahead: int  # a descriptor from which an order that was sent ahead is read, or taken back by the worker


class Child:
    """What lives in the child's process between attempts."""

    def __init__(self, yard: Yard, worker: str, line: Line | None = None) -> None:
        self._yard, self._worker, self._pid, self._line = yard, worker, os.getpid(), line
        self._page = line.page if line is not None else SharedPage()
        self._job: RunningJob | None = None
        self._is_in_task = self._is_worn = False
        self.is_leaving = False  # whether this process had better be replaced, since the end of its last attempt
        self.next: Order | None = None  # what is to be run after the last order, which was sent ahead
        self._begun: Row | Refused | None = None  # how `next` has begun, when it has
        self.told = b""
        self._wake = threading.Event()
        self._output = line.output if line is not None else Output()
        self._capture = Capture(self, self._output)
        keep_loop(lambda text: self.log(text, "warning"))
        threading.Thread(target=self._flush_forever, name="taskyard-flush", daemon=True).start()
        signal.signal(NOTICE_SIGNAL, self._on_notice)
        self._runs = 0
        self._begun_at = 0.0  # the present attempt, by `uptime`
        self._memory_bytes = _peak_bytes()
        self._catch_stack_signal()
        own = (line.channel.fileno(), line.faults.fileno(), line.ahead) if line is not None else ()
        self._surroundings = Surroundings(1, 2, *own)

    def run(self, order: Order) -> str:
        """Run one attempt from begin to end; the outcome, or why it was refused. `next` is set when another is to follow."""
        self._runs += 1
        self.told = b""
        row = self._begin(order)
        if isinstance(row, Refused):
            return str(row.value)
        self._begun_at = uptime()
        self._page.write_limit(self._begun_at, row["timeout_seconds"])
        job = self._job = RunningJob(self._yard, row, self._wake.set, self._output.journal)
        current.set(job)
        self._catch_stack_signal()
        ending = self._run_task(job)
        current.set(None)
        self._page.clear_limit()  # what is left to do is not the task's
        self._surroundings.restore()
        if self._surroundings.descriptors_are_gone():
            os._exit(BEREFT)
        self._capture.finish()
        if job.has_log:
            job.log.finish()
        self._capture.reset()
        self._job = None
        while job.flush() is not None:
            time.sleep(0.2)
        self.is_leaving = self._is_spent()
        return self._end(job, ending)

    def _catch_stack_signal(self) -> None:
        if self._line is not None:
            faulthandler.register(STACK_SIGNAL, self._line.faults, all_threads=True)

    def _begin(self, order: Order) -> Row | Refused:
        begun, self._begun, self.next = self._begun, None, None
        if begun is not None:
            return begun
        self._insist(lambda: clocks.synchronize(self._yard))
        job_id, attempt, quiet = order.job_id, order.attempt, order.quiet
        row: Row | Refused = self._insist(
            lambda: execution.begin(self._yard, job_id, attempt, self._worker, quiet=quiet)
        )
        return row

    def _take_ahead(self) -> Order | None:
        """Take the order that was sent ahead, if one was and this process may go on."""
        if self.is_leaving or self._line is None:
            return None
        try:
            return Order.parse(os.read(self._line.ahead, orders.LONGEST).decode("ascii"))
        except BlockingIOError:
            return None

    def _is_spent(self) -> bool:
        """Return whether this process had better be replaced: enough jobs, grown, or left untidy by a task."""
        settings = self._yard.settings
        grown = _peak_bytes() - self._memory_bytes > settings.recycle_memory_mb * 1_048_576
        is_due = self._is_worn or has_abandoned() or grown or self._runs >= settings.recycle_jobs
        return is_due or self._surroundings.are_changed()

    def _run_task(self, job: RunningJob) -> Ending:
        """Run the task apart from the jobs before and after it: its context and its warnings are its own."""
        with warnings.catch_warnings():  # also has each warning shown once for each job
            return contextvars.copy_context().run(self._attempt, job)

    def _attempt(self, job: RunningJob) -> Ending:
        row = job.row
        definition = find_task(row["task"])
        if definition is None:
            return Ending("failed", error=_unknown(row["task"]), permanent=True)
        self._surroundings.begin_job()
        try:
            self._is_in_task = True
            self._on_notice()  # what came before there was a task to notify
            result = definition.run(payloads.load(row["payload"]))
            self._is_in_task = False
        except BaseException as error:
            self._is_in_task = False
            self._end_if_forked(error)
            return self._ending_of_error(job, error)
        self._end_if_forked(None)
        if job.was_canceled_in_thread:
            return ending_of_error(Canceled())
        try:
            return ending_of_result(job, result)
        except BaseException as error:  # what was returned may be code of the task too, such as a generator
            return ending_of_error(error)

    def _ending_of_error(self, job: RunningJob, error: BaseException) -> Ending:
        if job.was_canceled_in_thread:
            return ending_of_error(Canceled())
        ending = ending_of_error(error)
        if not is_of(error, TimeLimitReached):
            return ending
        limit = limit_words(job.row["timeout_seconds"])
        return replace(ending, outcome="timed_out", error=f"Task timeout - exceeded {limit} limit")

    def _end_if_forked(self, error: BaseException | None) -> None:
        # A process that the task forked has come out of the task's function too; only the first one goes on.
        if os.getpid() == self._pid:
            return
        code = SystemExit.code.__get__(error) if is_of(error, SystemExit) else error is not None
        sys.stdout.flush()
        os._exit(code if is_of(code, int) else int(code is not None))

    def _end(self, job: RunningJob, ending: Ending) -> str:
        # This process may be ended as soon as the job has: what it enqueued is on its queue before.
        self._yard.pusher.wait(PUSH_SECONDS)
        peak = _peak_bytes()
        full = replace(
            ending,
            progress={**job.progress},
            run_seconds=uptime() - self._begun_at,
            peak_memory_bytes=peak if peak > self._memory_bytes else None,
        )
        after = self._end_and_begin(job, full, self._take_ahead())
        if after is None:
            return Refused.LOST.value
        self.told = word_of(self._yard, after) or b""
        return str(after["status"])

    def _end_and_begin(self, job: RunningJob, ending: Ending, following: Order | None) -> Row | None:
        if following is None:
            return self._insist(
                lambda: execution.end(self._yard, job.job_id, job.attempt, ending, begun=job.row, quiet=True)
            )
        self._insist(lambda: clocks.synchronize(self._yard))
        start = execution.Start(following.job_id, following.attempt, self._worker, following.quiet)
        after, begun = self._insist(lambda: execution.end_and_begin(self._yard, job.row, ending, start))
        self.next, self._begun = following, begun
        return after

    def _insist(self, call: Callable[[], Any]) -> Any:
        # A database that is away must cost no result: the attempt is held until it can be written.
        wait = 0.2
        while True:
            try:
                return call()
            except Unavailable:
                self._yard.database.close()  # a pool that connections never came back to is replaced by a new one
                time.sleep(wait)
                wait = min(wait * 2, 5.0)

    def write(self, source: int, text: str) -> None:
        """Take text of a stream, for the job that runs."""
        job = self._job
        if job is not None:
            job.write(source, text)

    def log(self, text: str, level: str) -> None:
        """Take a record of `logging`."""
        job = self._job
        if job is not None:
            job.add_line(text, level)

    def receive(self, descriptor: int) -> None:
        """Take what waits in the pipe; what comes between jobs belongs to none."""
        job = self._job
        if job is not None:
            job.receive(descriptor)
        else:
            os.read(descriptor, 65_536)

    def _on_notice(self, _signal: int = 0, _frame: Any = None) -> None:
        job, notices = self._job, self._page.notices(self._runs)
        if job is None:
            return
        job.cancel_requested = job.cancel_requested or bool(notices & CANCEL)
        job.is_stopping = job.is_stopping or bool(notices & STOPPING)
        for notice, error in ((INTERRUPT, Interrupted), (TIME_LIMIT, TimeLimitReached)):
            if notices & notice and self._is_in_task and os.getpid() == self._pid:
                self._is_in_task = False  # raised once; what the task does next is its own
                self._is_worn = True
                raise error

    def _flush_forever(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            job, wait = self._job, None
            if job is not None:
                try:
                    wait = job.flush(force=False)
                except Exception:
                    log.exception("a report of the job could not be published")
            if wait is not None:
                time.sleep(wait)
                self._wake.set()


def run_attempt(job_id: str, attempt: int) -> None:
    """Run an attempt in this very process: what a stock RQ worker does with our entries."""
    settings = Settings.from_env()
    forget_secrets()
    loading.load_modules(settings.task_modules)
    yard = Yard.open(settings)
    child = Child(yard, f"rq-{socket.gethostname()}-{os.getpid()}")
    child.run(Order(job_id, attempt))
    yard.live.send(child.told)


def _unknown(task: str) -> str:
    return (
        f"Unknown task type: this worker has no task {task}. The Tasks page shows which modules could not be imported."
    )


def _peak_bytes() -> int:
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
