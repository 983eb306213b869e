"""The state of a process that the system keeps and Python does not know, such as what C code in a task has changed.

It is read after each job, in a few microseconds each: by descriptors that stay open and calls that need no parsing.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil

_IS_LINUX = sys.platform == "linux"
_POINTER_BYTES = ctypes.sizeof(ctypes.c_void_p)
_NAME_BYTES = 16
# Calls that return at once, so that giving up the lock of the interpreter would cost more than they do.
_libc: Any = ctypes.PyDLL(None)
_environ = ctypes.c_void_p.in_dll(_libc, "environ") if _IS_LINUX else ctypes.c_void_p()
_GET_PDEATHSIG, _GET_DUMPABLE, _SET_NAME, _GET_NAME, _GET_TIMERSLACK, _GET_CHILD_SUBREAPER = 2, 3, 15, 16, 30, 37


class NativeEnvironment:
    """The environment as C code sees it. `os.putenv` changes it and leaves `os.environ` alone."""

    def __init__(self) -> None:
        self._entries = _read_entries()
        self._pointers = _read_pointers(len(self._entries))

    def restore(self) -> None:
        """Put back what differs."""
        # Each change of an entry makes a new string, so the addresses say whether there was one.
        if _read_pointers(len(self._entries)) == self._pointers:
            return
        before, now = _by_name(self._entries), _by_name(_read_entries())
        for name in now.keys() - before.keys():
            os.unsetenv(name)
        for name, value in before.items():
            if now.get(name) != value:
                os.putenv(name, value)
        if before != now:
            time.tzset()
        self._entries = _read_entries()
        self._pointers = _read_pointers(len(self._entries))


class LoadedModules:
    """The modules of `sys.modules`. Those that a job has imported stay."""

    def __init__(self) -> None:
        self._modules = dict(sys.modules)
        self._values = [*self._modules.values()]
        self._marked = {name for name, module in self._modules.items() if module is None}

    def restore(self) -> bool:
        """Remove the marks with which a job keeps a module from being imported; return whether a module was exchanged."""
        if [*sys.modules.values()] == self._values:
            return False
        for name, module in [*sys.modules.items()]:
            if module is not None or name in self._marked:
                continue
            if name in self._modules:
                sys.modules[name] = self._modules[name]
            else:
                del sys.modules[name]
        is_exchanged = any(sys.modules.get(name) is not module for name, module in self._modules.items())
        self._modules = dict(sys.modules)
        self._values = [*self._modules.values()]
        return is_exchanged


class OtherThreads:
    """The processors of the threads beside this one; new threads have those of the one that starts them."""

    def __init__(self) -> None:
        self._affinity = os.sched_getaffinity(0) if _IS_LINUX else set()
        self._priority = os.getpriority(os.PRIO_PROCESS, 0)

    def restore(self) -> bool:
        """Put the processors back; return whether a priority differs, which cannot be put back."""
        if not _IS_LINUX:
            return False
        is_changed = False
        own = threading.get_native_id()
        # Not from `threading`, which does not know the threads of C code, nor the new number of the main thread after a fork.
        for number in map(int, os.listdir("/proc/self/task")):
            if number == own:
                continue
            with suppress(ProcessLookupError):  # it has just ended
                if os.sched_getaffinity(number) != self._affinity:
                    os.sched_setaffinity(number, self._affinity)
                is_changed = is_changed or os.getpriority(os.PRIO_PROCESS, number) != self._priority
        return is_changed


def read_name() -> bytes:
    """Return the name that `ps` and `top` show of this process."""
    buffer = ctypes.create_string_buffer(_NAME_BYTES)
    _libc.prctl(_GET_NAME, buffer, 0, 0, 0)
    return buffer.value


def write_name(name: bytes) -> None:
    """Give this process its name back."""
    _libc.prctl(_SET_NAME, name, 0, 0, 0)


class SystemFlags:
    """What the system keeps of this process and nobody can put back in every case."""

    def __init__(self) -> None:
        self._reads: list[Callable[[], object]] = []
        if _IS_LINUX:
            self._status = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
            self._memory_score = os.open("/proc/self/oom_score_adj", os.O_RDONLY | os.O_CLOEXEC)
            self._process = psutil.Process()
            self._number = ctypes.c_int()
            self._reads = [self._read_status, self._read_memory_score, self._process.ionice, self._read_flags]

    def read(self) -> list[object]:
        """Read the dispositions of signals, capabilities, priorities and flags, for a comparison."""
        return [one() for one in self._reads]

    def _read_status(self) -> bytes:
        status = os.pread(self._status, 4096, 0)
        # Signals that are blocked, ignored and caught; capabilities; no_new_privs; seccomp.
        begin = status.index(b"SigBlk:")
        return status[begin : status.index(b"\nSeccomp:", begin) + 12]

    def _read_memory_score(self) -> bytes:
        return os.pread(self._memory_score, 16, 0)

    def _read_flags(self) -> tuple[int, ...]:
        dumpable = _libc.prctl(_GET_DUMPABLE, 0, 0, 0, 0)
        slack = _libc.prctl(_GET_TIMERSLACK, 0, 0, 0, 0)
        return dumpable, slack, self._read_into(_GET_PDEATHSIG), self._read_into(_GET_CHILD_SUBREAPER)

    def _read_into(self, what: int) -> int:
        _libc.prctl(what, ctypes.byref(self._number), 0, 0, 0)
        return self._number.value


def _by_name(entries: list[bytes]) -> dict[bytes, bytes]:
    return {name: value for name, _, value in (one.partition(b"=") for one in entries)}


def _read_entries() -> list[bytes]:
    if not _IS_LINUX:
        return []
    entries: list[bytes] = []
    first = _environ.value
    pointers = ctypes.cast(first, ctypes.POINTER(ctypes.c_char_p)) if first else None
    while pointers and (entry := pointers[len(entries)]) is not None:
        entries.append(entry)
    return entries


def _read_pointers(count: int) -> tuple[int | None, bytes]:
    """Return where the list of the environment is, and its addresses with the null at its end."""
    if not _IS_LINUX:
        return None, b""
    first = _environ.value
    return first, ctypes.string_at(first, (count + 1) * _POINTER_BYTES) if first else b""
