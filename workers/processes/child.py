"""The warm child: a process of its own that runs one attempt after another for its worker.

It talks with the worker over a socket, a line each way: `<job> <attempt> <queue> <quiet|aloud>` in, `<word> <stay|leave>
<what viewers are to hear of it>` out. Whatever a task does to this process stays here: the worker kills it or lets it go, and forks another.
"""

from __future__ import annotations

import ctypes
import faulthandler
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
from dataclasses import replace
from typing import IO, Any

from workers.domain import payloads
from workers.domain.errors import Unavailable
from workers.processes.capture import Capture
from workers.processes.endings import ending_of_error, ending_of_result
from workers.processes.surroundings import Surroundings
from workers.registry import REGISTRY
from workers.running import RunningJob, current
from workers.services import execution
from workers.services.execution import Ending, Refused
from workers.services.telling import word_of
from workers.settings import Settings, forget_secrets
from workers.yard import Yard

PUSH_SECONDS = 1.0
log = logging.getLogger("taskyard.child")

QUIET, ALOUD = "quiet", "aloud"
BEREFT = 71  # the exit status when the task has closed what the child talks by
_PR_SET_PDEATHSIG = 1


def serve(settings: Settings, worker: str, worker_pid: int, channel: socket.socket, faults: IO[bytes]) -> None:
    """Run attempts until the worker hangs up or the child is due for renewal. Never returns: the process ends."""
    _settle(faults, worker_pid)
    child = Child(Yard.open(settings), worker, channel.fileno())
    with channel, channel.makefile("r", encoding="ascii") as orders:
        for order in orders:
            job_id, attempt, queue, quiet = order.split()
            word = child.run(job_id, int(attempt), queue, quiet=quiet == QUIET)
            stays = not child.is_worn()
            channel.sendall(f"{word} {'stay' if stays else 'leave'} ".encode() + child.told + b"\n")
            if not stays:
                break
    os._exit(0)


class Child:
    """What lives in the child's process between attempts."""

    def __init__(self, yard: Yard, worker: str, *descriptors: int) -> None:
        self._yard, self._worker, self._pid = yard, worker, os.getpid()
        self._job: RunningJob | None = None
        self.told = b""
        self._wake = threading.Event()
        self._capture = Capture(self._take_line)
        threading.Thread(target=self._flush_forever, name="taskyard-flush", daemon=True).start()
        signal.signal(signal.SIGUSR1, self._on_cancel)
        self._runs = 0
        self._memory_bytes = _peak_bytes()
        self._surroundings = Surroundings(1, 2, *descriptors)

    def run(self, job_id: str, attempt: int, queue: str, *, quiet: bool = False) -> str:
        """Run one attempt from begin to end; the outcome, or why it was refused."""
        self._runs += 1
        self.told = b""
        row = _insist(lambda: execution.begin(self._yard, job_id, attempt, self._worker, queue, quiet=quiet))
        if isinstance(row, Refused):
            return str(row.value)
        job = self._job = RunningJob(self._yard, row, self._wake.set)
        current.set(job)
        ending = self._attempt(job)
        current.set(None)
        if self._surroundings.descriptors_are_gone():
            os._exit(BEREFT)
        self._capture.finish()
        self._capture.reset()
        self._job = None
        while job.flush() is not None:
            time.sleep(0.2)
        return self._end(job, ending)

    def is_worn(self) -> bool:
        """Tell whether this process had better be replaced: enough jobs, grown, or left untidy by a task."""
        settings = self._yard.settings
        grown = _peak_bytes() - self._memory_bytes > settings.recycle_memory_mb * 1_048_576
        return self._runs >= settings.recycle_jobs or grown or self._surroundings.are_changed()

    def _attempt(self, job: RunningJob) -> Ending:
        row = job.row
        definition = REGISTRY.get(row["task"])
        if definition is None:
            return Ending("failed", error="Unknown task type", permanent=True)
        try:
            result = definition.run(payloads.load(row["payload"]))
        except BaseException as error:
            self._end_if_forked(error)
            return ending_of_error(error)
        self._end_if_forked(None)
        try:
            return ending_of_result(job, result)
        except BaseException as error:  # what was returned may be code of the task too, such as a generator
            return ending_of_error(error)

    def _end_if_forked(self, error: BaseException | None) -> None:
        # A process that the task forked has come out of the task's function too; only the first one goes on.
        if os.getpid() == self._pid:
            return
        code = error.code if isinstance(error, SystemExit) else error is not None
        sys.stdout.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))

    def _end(self, job: RunningJob, ending: Ending) -> str:
        # This process may be ended as soon as the job has: what it enqueued is on its queue before.
        self._yard.pusher.wait(PUSH_SECONDS)
        peak = _peak_bytes()
        full = replace(
            ending,
            progress={**job.progress},
            peak_memory_bytes=peak if peak > self._memory_bytes else None,
        )
        after = _insist(lambda: execution.end(self._yard, job.job_id, job.attempt, full, begun=job.row, quiet=True))
        if after is None:
            return Refused.LOST.value
        self.told = word_of(self._yard, after) or b""
        return str(after["status"])

    def _take_line(self, line: str, level: str) -> None:
        job = self._job
        if job is not None:
            job.add_line(line, level)

    def _on_cancel(self, _signal: int, _frame: Any) -> None:
        if self._job is not None:
            self._job.cancel_requested = True

    def _flush_forever(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            job, wait = self._job, None
            if job is not None:
                try:
                    wait = job.flush(force=False)
                except Exception:
                    log.exception("what the job told could not be passed on")
            if wait is not None:
                time.sleep(wait)
                self._wake.set()


def run_attempt(job_id: str, attempt: int) -> None:
    """Run an attempt in this very process: what a stock RQ worker does with our entries."""
    from workers.registry import load_modules

    settings = Settings.from_env()
    forget_secrets()
    load_modules(settings.task_modules)
    yard = Yard.open(settings)
    with yard.database.read() as connection:
        from workers.services.jobs import get

        queue = get(connection, job_id)["queue"]
    child = Child(yard, f"rq-{socket.gethostname()}-{os.getpid()}")
    child.run(job_id, attempt, queue)
    yard.live.send(child.told)


def _settle(faults: IO[bytes], worker_pid: int) -> None:
    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != worker_pid:
            os._exit(0)
    for one in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(one, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    faulthandler.enable(file=faults)


def _insist(call: Any) -> Any:
    # A database that is away must cost no result: the attempt is held until it can be written.
    wait = 0.2
    while True:
        try:
            return call()
        except Unavailable:
            time.sleep(wait)
            wait = min(wait * 2, 5.0)


def _peak_bytes() -> int:
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
