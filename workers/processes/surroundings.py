"""The state of a process that a task may change: put back after each job, or else the process is not used again.

Module globals are shared by the jobs of a process by design; see docs/tasks.md.
"""

from __future__ import annotations

import asyncio
import builtins
import csv
import decimal
import faulthandler
import gc
import locale
import os
import random
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from workers.processes.log_state import LogState
from workers.settings import environment

_ABSENT = object()
_SYS_NAMES = (
    "argv path meta_path path_hooks warnoptions excepthook unraisablehook displayhook breakpointhook stdin __stdin__ "
    "__stdout__ __stderr__ __excepthook__ dont_write_bytecode pycache_prefix tracebacklimit"
).split()
_SIGNALS = tuple(sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}))
_TIMERS = tuple(getattr(signal, name) for name in ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF"))
_LIMITS = tuple(getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_"))


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the state: how it is read, and how it is put back."""

    read: Callable[[], Any]
    put_back: Callable[[Any], object]


class Surroundings:
    """The state of this process before any job; `descriptors` are those that tasks share with Taskyard."""

    def __init__(self, *descriptors: int) -> None:
        self._descriptors = descriptors
        self._builtins = dict(builtins.__dict__)
        self._logs = LogState()
        self._decimal = decimal.getcontext().copy()
        self._before = [(part, part.read()) for part in _PARTS]
        self._fixed = self._read_fixed()
        self._is_broken = False

    def begin_job(self) -> None:
        """Give a job what it shall not share with the one before; called in the context of the job."""
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
        return self._is_broken or self._read_fixed() != self._fixed or _has_children()

    def descriptors_are_gone(self) -> bool:
        """Return whether a shared descriptor was closed or leads elsewhere."""
        return self._read_files() != self._fixed[0]

    def _restore(self) -> None:
        # First, and by methods alone: everything else is looked up there.
        if builtins.__dict__ != self._builtins:
            builtins.__dict__.clear()
            builtins.__dict__.update(self._builtins)
        for part, before in self._before:
            if part.read() != before:
                part.put_back(before)
                self._is_broken = self._is_broken or part.read() != before
        self._logs.restore()
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
            os.getpriority(os.PRIO_PROCESS, 0),
            os.sched_getscheduler(0) if hasattr(os, "sched_getscheduler") else None,
            _identity_of_root(),
        )

    def _read_files(self) -> list[tuple[int, int] | None]:
        return [_identity(one) for one in self._descriptors]


def _attribute(owner: object, name: str) -> Part:
    def read() -> Any:
        value = getattr(owner, name, _ABSENT)
        # A list is changed in place as often as it is replaced.
        return (value, [*value]) if isinstance(value, list) else value

    def put_back(value: Any) -> None:
        if value is _ABSENT:
            delattr(owner, name)
        elif isinstance(value, tuple) and isinstance(value[0], list):
            value[0][:] = value[1]
            setattr(owner, name, value[0])
        else:
            setattr(owner, name, value)

    return Part(read, put_back)


def _read_handlers() -> dict[int, Any]:
    return {one: signal.getsignal(one) for one in _SIGNALS}


def _put_handlers_back(before: dict[int, Any]) -> None:
    for number, handler in before.items():
        if signal.getsignal(number) != handler and handler is not None:
            signal.signal(number, handler)


def _read_mask() -> set[int]:
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def _put_mask_back(before: Iterable[int]) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _read_timers() -> list[bool]:
    return [signal.getitimer(one) != (0.0, 0.0) for one in _TIMERS]


def _stop_timers(_before: list[bool]) -> None:
    for one in _TIMERS:
        signal.setitimer(one, 0)


def _read_umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _read_folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None


def _put_folder_back(before: str | None) -> None:
    if before is not None:
        os.chdir(before)


def _put_environment_back(before: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(before)
    time.tzset()


def _read_gc() -> tuple[Any, ...]:
    return gc.isenabled(), gc.get_threshold(), gc.get_debug(), [*gc.callbacks]


def _put_gc_back(before: tuple[Any, ...]) -> None:
    is_enabled, threshold, debug, callbacks = before
    gc.enable() if is_enabled else gc.disable()
    gc.set_threshold(*threshold)
    gc.set_debug(debug)
    gc.callbacks[:] = callbacks


def _read_tracing() -> tuple[Any, ...]:
    return sys.gettrace(), sys.getprofile(), threading.gettrace(), threading.getprofile(), tracemalloc.is_tracing()


def _put_tracing_back(before: tuple[Any, ...]) -> None:
    trace, profile, thread_trace, thread_profile, is_tracing = before
    sys.settrace(trace)
    sys.setprofile(profile)
    threading.settrace(thread_trace)
    threading.setprofile(thread_profile)
    if not is_tracing:
        tracemalloc.stop()


def _read_locale() -> str:
    return locale.setlocale(locale.LC_ALL)


def _put_locale_back(before: str) -> None:
    locale.setlocale(locale.LC_ALL, before)


def _read_default_context() -> str:
    return repr(decimal.DefaultContext)


def _put_default_context_back(_before: str) -> None:
    for name in ("prec", "rounding", "Emin", "Emax", "capitals", "clamp"):
        setattr(decimal.DefaultContext, name, getattr(_DEFAULT_CONTEXT, name))
    decimal.DefaultContext.clear_flags()
    for one, is_trapped in _DEFAULT_CONTEXT.traps.items():
        decimal.DefaultContext.traps[one] = is_trapped


def _read_loop_policy() -> object:
    # The public function would make a policy where there is none yet.
    return getattr(asyncio.events, "_event_loop_policy", None)


def _put_loop_policy_back(before: Any) -> None:
    asyncio.set_event_loop_policy(before)


def _read_affinity() -> set[int]:
    return os.sched_getaffinity(0)


def _put_affinity_back(before: set[int]) -> None:
    os.sched_setaffinity(0, before)


_DEFAULT_CONTEXT = decimal.DefaultContext.copy()
_PARTS = (
    *(_attribute(sys, name) for name in _SYS_NAMES),
    _attribute(threading, "excepthook"),
    _attribute(tempfile, "tempdir"),
    Part(_read_handlers, _put_handlers_back),
    Part(_read_mask, _put_mask_back),
    Part(_read_timers, _stop_timers),
    Part(_read_umask, os.umask),
    Part(_read_folder, _put_folder_back),
    Part(environment, _put_environment_back),
    Part(_read_gc, _put_gc_back),
    Part(_read_tracing, _put_tracing_back),
    Part(_read_locale, _put_locale_back),
    Part(_read_default_context, _put_default_context_back),
    Part(_read_loop_policy, _put_loop_policy_back),
    *([Part(_read_affinity, _put_affinity_back)] if hasattr(os, "sched_getaffinity") else []),
    Part(socket.getdefaulttimeout, socket.setdefaulttimeout),
    Part(sys.getrecursionlimit, sys.setrecursionlimit),
    Part(sys.getswitchinterval, sys.setswitchinterval),
    Part(sys.getdlopenflags, sys.setdlopenflags),
    Part(sys.get_int_max_str_digits, sys.set_int_max_str_digits),
    Part(csv.field_size_limit, csv.field_size_limit),
    Part(threading.stack_size, threading.stack_size),
)


def _count_threads() -> int:
    # Those of the event loop stay, as the loop does: it looks up host names in them. Ours are no job's.
    return sum(not thread.name.startswith(("asyncio_", "taskyard-")) for thread in threading.enumerate())


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
