"""The pool: loads the engine and the task modules once, then forks workers and the scheduler, which share its memory."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType

from workers import registry
from workers.domain.errors import Unavailable
from workers.domain.names import SYSTEM_QUEUE
from workers.parent import Backoff, die_with_parent
from workers.processes.scheduler import run_scheduler
from workers.processes.worker import run_worker
from workers.services.publishing import publish
from workers.settings import Settings
from workers.yard import Yard

log = logging.getLogger("taskyard.pool")
STOP_SECONDS = 15.0


@dataclass
class _Member:
    label: str
    run: Callable[[], int]
    pid: int = 0
    backoff: Backoff = field(default_factory=Backoff)


class Pool:
    """Keeps its members alive until it is told to stop."""

    def __init__(self, settings: Settings, members: list[_Member]) -> None:
        self._settings, self._members = settings, members
        self._stopping_at: float | None = None
        self._hurry = False

    def run(self) -> int:
        """Fork, watch and restart; on SIGTERM or SIGINT end all. Returns the exit code."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        gc.collect()
        gc.freeze()
        while self._stopping_at is None:
            self._start_due()
            self._reap()
            time.sleep(0.1)
        self._stop_all()
        return 0

    def _start_due(self) -> None:
        for member in self._members:
            if member.pid == 0 and time.monotonic() >= member.backoff.due_at:
                self._fork(member)

    def _fork(self, member: _Member) -> None:
        parent = os.getpid()
        member.backoff.started()
        pid = os.fork()
        if pid:
            member.pid = pid
            return
        code = 70
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            die_with_parent(parent)
            code = member.run()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            log.exception("%s failed", member.label)
        finally:
            os._exit(code)

    def _reap(self) -> None:
        for member in self._members:
            if member.pid and os.waitpid(member.pid, os.WNOHANG)[0]:
                member.pid = 0
                if self._stopping_at is None:
                    log.warning("%s ended; it starts again in %.0f s", member.label, member.backoff.died())

    def _stop_all(self) -> None:
        self._signal_all(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while any(member.pid for member in self._members) and time.monotonic() < deadline and not self._hurry:
            self._reap()
            time.sleep(0.05)
        self._signal_all(signal.SIGKILL)
        for member in self._members:
            if member.pid:
                os.waitpid(member.pid, 0)

    def _signal_all(self, sig: signal.Signals) -> None:
        for member in self._members:
            if member.pid:
                os.kill(member.pid, sig)

    def _on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        self._hurry = self._stopping_at is not None and time.monotonic() - self._stopping_at > 1
        self._stopping_at = self._stopping_at or time.monotonic()


def run_pool(settings: Settings, *, queues: tuple[str, ...] = (), count: int | None = None, whole: bool = False) -> int:
    """Run workers in processes of their own; `whole` adds the system worker and the scheduler. Returns the exit code."""
    registry.load_modules(settings.task_modules)
    _publish(settings)
    host = socket.gethostname()

    def worker(label: str, listens: tuple[str, ...], prefix: str = "") -> _Member:
        # The name carries the pid: a worker that was killed must not stand in the way of the one that follows it.
        return _Member(label, lambda: run_worker(settings, listens or None, f"{host}-{prefix}{os.getpid()}"))

    members = [
        worker(f"worker {number}", queues) for number in range(1, (settings.workers if count is None else count) + 1)
    ]
    if whole:
        members.append(worker("system worker", (SYSTEM_QUEUE,), "system-"))
        members.append(_Member("scheduler", lambda: run_scheduler(settings)))
    return Pool(settings, members).run()


def _publish(settings: Settings) -> None:
    yard = Yard.open(settings)
    wait = 0.5
    while True:
        try:
            publish(yard, registry.REGISTRY)
            break
        except Unavailable as error:
            log.warning("%s; trying again in %.0f s", error, wait)
            time.sleep(wait)
            wait = min(wait * 2, 30.0)
    yard.close()
