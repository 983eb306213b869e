"""The state of a process that a task may change: put back after each job, or else the process is not used again.

Module globals are shared by the jobs of a process by design; see docs/tasks.md.
"""

from __future__ import annotations

import builtins
import decimal
import faulthandler
import os
import random
import resource
import sys
import threading
import time
from typing import Any

from workers.processes.log_state import LogState
from workers.processes.native_state import LoadedModules, NativeEnvironment, OtherThreads, SystemFlags
from workers.processes.process_state import PARTS

MOST_LEFT_OPEN = 64  # descriptors; a process with more is renewed
_CLOCK_SECONDS = 1.0  # a clock that differs by more was set
_LIMITS = tuple(getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_"))


class Surroundings:
    """The state of this process before any job; `descriptors` are those that tasks share with Taskyard."""

    def __init__(self, *descriptors: int) -> None:
        self._descriptors = descriptors
        self._standard = tuple(_Standard(number) for number in (0, 1, 2))
        self._free_descriptor = _lowest_free()
        self._builtins = dict(builtins.__dict__)
        self._logs = LogState()
        self._decimal = decimal.getcontext().copy()
        self._before = [(part, part.read()) for part in PARTS]
        self._environment, self._modules, self._threads = NativeEnvironment(), LoadedModules(), OtherThreads()
        self._flags = SystemFlags()
        self._fixed = self._read_fixed()
        self._is_broken = False
        self._epoch = _epoch()

    def begin_job(self) -> None:
        """Give a job what it shall not share with the one before; called in the context of the job."""
        self._epoch = _epoch()
        decimal.setcontext(self._decimal.copy())
        random.seed()
        numpy = sys.modules.get("numpy.random")
        if numpy is not None:
            numpy.seed()

    def restore(self) -> None:
        """Put back what a job has changed, as far as that can be put back."""
        try:
            self._restore()
        except BaseException:  # a task may have replaced whatever is used here
            self._is_broken = True

    def are_changed(self) -> bool:
        """Return whether something differs that could not be put back, or a process or thread was left behind."""
        is_leaking = _lowest_free() > self._free_descriptor + MOST_LEFT_OPEN
        return self._is_broken or is_leaking or self._read_fixed() != self._fixed or _has_children()

    def descriptors_are_gone(self) -> bool:
        """Return whether a shared descriptor was closed or leads elsewhere."""
        return self._read_files() != self._fixed[0]

    def _restore(self) -> None:
        # First, and by methods alone: everything else is looked up there.
        if builtins.__dict__ != self._builtins:
            builtins.__dict__.clear()
            builtins.__dict__.update(self._builtins)
        for one in self._standard:
            self._is_broken = one.restore() or self._is_broken
        for part, before in self._before:
            if part.read() != before:
                part.put_back(before)
                self._is_broken = self._is_broken or part.read() != before
        self._logs.restore()
        self._environment.restore()
        is_exchanged, is_slower = self._modules.restore(), self._threads.restore()
        self._is_broken = self._is_broken or is_exchanged or is_slower
        # Set by the system or, for this process alone, by a library that makes it travel in time.
        self._is_broken = self._is_broken or abs(_epoch() - self._epoch) > _CLOCK_SECONDS
        faulthandler.cancel_dump_traceback_later()

    def _read_fixed(self) -> tuple[Any, ...]:
        return (
            self._read_files(),
            _count_threads(),
            [resource.getrlimit(one) for one in _LIMITS],
            faulthandler.is_enabled(),
            os.getpgid(0),
            os.getresuid() if hasattr(os, "getresuid") else os.getuid(),
            os.getresgid() if hasattr(os, "getresgid") else os.getgid(),
            os.getgroups(),
            os.getpriority(os.PRIO_PROCESS, 0),
            os.sched_getscheduler(0) if hasattr(os, "sched_getscheduler") else None,
            _identity_of_root(),
            self._flags.read(),
        )

    def _read_files(self) -> list[tuple[int, int] | None]:
        return [_identity(one) for one in self._descriptors]


class _Standard:
    """A standard descriptor of the process, with a duplicate from which it is put back."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._identity = _identity(number)
        self._duplicate = os.dup(number)

    def restore(self) -> bool:
        """Put the descriptor back; whether a job had closed or redirected it, or made it non-blocking or not inherited."""
        number = self._number
        if _identity(number) != self._identity:
            # Whatever is opened next would get its number, and be written to by what prints.
            os.dup2(self._duplicate, number)
            return True
        if not os.get_inheritable(number):
            os.set_inheritable(number, True)
        if not os.get_blocking(number):
            os.set_blocking(number, True)
        return False


def _lowest_free() -> int:
    """Return the number of the descriptor that would be opened next."""
    number = os.dup(0)
    os.close(number)
    return number


def _epoch() -> float:
    """Return the wall time at which the steady clock was zero, in seconds."""
    return time.time() - time.monotonic()


def _count_threads() -> tuple[int, int]:
    # Those of the event loop stay, as the loop does: it looks up host names in them. Ours are no job's.
    named = threading.enumerate()
    jobs = sum(not thread.name.startswith(("asyncio_", "taskyard-")) for thread in named)
    return jobs, max(0, len(sys._current_frames()) - len(named))  # those that `threading` does not know


def _identity(descriptor: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _identity_of_root() -> tuple[int, int]:
    status = os.stat("/")
    return status.st_dev, status.st_ino


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
