"""The parts of a process's state that can be read and put back."""

from __future__ import annotations

import asyncio
import csv
import decimal
import gc
import locale
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from workers.processes.native_state import read_name, write_name
from workers.settings import encoded_environment

_ABSENT = object()
_SYS_NAMES = (
    "argv path meta_path path_hooks warnoptions excepthook unraisablehook displayhook breakpointhook stdin __stdin__ "
    "__stdout__ __stderr__ __excepthook__ dont_write_bytecode pycache_prefix tracebacklimit"
).split()
_SIGNALS = tuple(sorted(map(int, signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})))
# The public function makes an enum of each answer, which takes ten times as long.
_get_handler: Callable[[int], Any] = signal._signal.getsignal  # type: ignore[attr-defined]
_TIMERS = tuple(getattr(signal, name) for name in ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF"))


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the state: how it is read, and how it is put back."""

    read: Callable[[], Any]
    put_back: Callable[[Any], object]


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


def _read_handlers() -> list[Any]:
    return [*map(_get_handler, _SIGNALS)]


def _put_handlers_back(before: list[Any]) -> None:
    for number, handler in zip(_SIGNALS, before, strict=True):
        if _get_handler(number) != handler and handler is not None:
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


def _put_environment_back(before: dict[bytes, bytes]) -> None:
    os.environb.clear()
    os.environb.update(before)
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


def _read_shared_contexts() -> list[str]:
    return [repr(one) for one in _SHARED_CONTEXTS]


def _put_shared_contexts_back(_before: list[str]) -> None:
    for context, kept in zip(_SHARED_CONTEXTS, _KEPT_CONTEXTS, strict=True):
        for name in ("prec", "rounding", "Emin", "Emax", "capitals", "clamp"):
            setattr(context, name, getattr(kept, name))
        context.clear_flags()
        for one, is_trapped in kept.traps.items():
            context.traps[one] = is_trapped


def _read_time_zone() -> tuple[Any, ...]:
    return time.tzname, time.timezone, time.altzone


def _put_time_zone_back(_before: tuple[Any, ...]) -> None:
    time.tzset()


def _read_wakeup() -> int:
    # It can only be read by being replaced; between jobs there is none.
    return signal.set_wakeup_fd(-1)


def _read_start_method() -> str | None:
    module = sys.modules.get("multiprocessing")
    method: str | None = module.get_start_method(allow_none=True) if module is not None else None
    return method


def _put_start_method_back(before: str | None) -> None:
    sys.modules["multiprocessing"].set_start_method(before, force=True)


def _put_asyncgen_hooks_back(before: Any) -> None:
    sys.set_asyncgen_hooks(*before)


def _read_loop_policy() -> object:
    # The public function would make a policy where there is none yet.
    return getattr(asyncio.events, "_event_loop_policy", None)


def _put_loop_policy_back(before: Any) -> None:
    asyncio.set_event_loop_policy(before)


def _read_affinity() -> set[int]:
    return os.sched_getaffinity(0)


def _put_affinity_back(before: set[int]) -> None:
    os.sched_setaffinity(0, before)


_SHARED_CONTEXTS = (decimal.DefaultContext, decimal.BasicContext, decimal.ExtendedContext)
_KEPT_CONTEXTS = tuple(one.copy() for one in _SHARED_CONTEXTS)
PARTS = (
    *(_attribute(sys, name) for name in _SYS_NAMES),
    _attribute(threading, "excepthook"),
    _attribute(threading.main_thread(), "name"),
    _attribute(warnings, "formatwarning"),
    _attribute(tempfile, "tempdir"),
    Part(_read_handlers, _put_handlers_back),
    Part(_read_mask, _put_mask_back),
    Part(_read_timers, _stop_timers),
    Part(_read_umask, os.umask),
    Part(_read_folder, _put_folder_back),
    Part(encoded_environment, _put_environment_back),
    Part(_read_time_zone, _put_time_zone_back),
    Part(_read_wakeup, lambda _before: None),
    Part(_read_start_method, _put_start_method_back),
    Part(sys.get_asyncgen_hooks, _put_asyncgen_hooks_back),
    Part(sys.get_coroutine_origin_tracking_depth, sys.set_coroutine_origin_tracking_depth),
    Part(_read_gc, _put_gc_back),
    Part(_read_tracing, _put_tracing_back),
    Part(_read_locale, _put_locale_back),
    Part(_read_shared_contexts, _put_shared_contexts_back),
    Part(_read_loop_policy, _put_loop_policy_back),
    *([Part(read_name, write_name)] if sys.platform == "linux" else []),
    *([Part(_read_affinity, _put_affinity_back)] if hasattr(os, "sched_getaffinity") else []),
    Part(socket.getdefaulttimeout, socket.setdefaulttimeout),
    Part(sys.getrecursionlimit, sys.setrecursionlimit),
    Part(sys.getswitchinterval, sys.setswitchinterval),
    Part(sys.getdlopenflags, sys.setdlopenflags),
    Part(sys.get_int_max_str_digits, sys.set_int_max_str_digits),
    Part(csv.field_size_limit, csv.field_size_limit),
    Part(threading.stack_size, threading.stack_size),
)
