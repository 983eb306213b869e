"""Tasks that change their process in every way that comes to mind, for the tests of what the next job finds."""

from __future__ import annotations

import _thread
import asyncio
import builtins
import contextvars
import csv
import ctypes
import decimal
import faulthandler
import gc
import locale
import logging
import logging.config
import multiprocessing
import os
import random
import resource
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from workers.task import task

LIBC: Any = ctypes.CDLL(None)
LIBC.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
LIBC.signal.restype = ctypes.c_void_p
PR_GET_DUMPABLE, PR_SET_DUMPABLE, PR_SET_NAME, PR_SET_TIMERSLACK, PR_GET_TIMERSLACK = 3, 4, 15, 29, 30
PR_SET_NO_NEW_PRIVS = 38

CONTEXT: contextvars.ContextVar[str] = contextvars.ContextVar("leaking_jobs", default="untouched")
logging.getLogger("leaking.configured").setLevel(logging.ERROR)


def _describe_loggers() -> dict[str, Any]:
    loggers = [
        logging.root,
        *(one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)),
    ]
    return {
        one.name: [one.level, one.disabled, one.propagate, len(one.handlers), len(one.filters)]
        for one in loggers
        if one.name.startswith(("leaking", "root", "urllib3"))
        and (one.level or one.disabled or not one.propagate or one.handlers or one.filters)
    }


def _describe() -> dict[str, Any]:
    """Return what a job can see of its process, as JSON types."""
    return {
        "context": CONTEXT.get(),
        "filters": [str(one) for one in warnings.filters],
        "showwarning": str(warnings.showwarning),
        "loggers": _describe_loggers(),
        "disabled": logging.root.manager.disable,
        "level names": sorted(logging.getLevelNamesMapping()),
        "logger class": str(logging.getLoggerClass()),
        "record factory": str(logging.getLogRecordFactory()),
        "raise": logging.raiseExceptions,
        "stdout": [type(sys.stdout).__name__, sys.stdout.closed],
        "stderr": [type(sys.stderr).__name__, sys.stderr.closed],
        "stdin": str(type(sys.stdin)),
        "locale": locale.setlocale(locale.LC_ALL),
        "decimal": str(decimal.getcontext()),
        "decimal default": str(decimal.DefaultContext),
        "socket timeout": socket.getdefaulttimeout(),
        "path": list(sys.path),
        "argv": list(sys.argv),
        "finders": len(sys.meta_path),
        "gc": [gc.isenabled(), gc.get_threshold(), gc.get_debug(), len(gc.callbacks)],
        "trace": [str(sys.gettrace()), str(sys.getprofile()), str(threading.gettrace()), str(threading.getprofile())],
        "tracemalloc": tracemalloc.is_tracing(),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "affinity": sorted(os.sched_getaffinity(0)),
        "mask": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ()))),
        "handlers": [_name(signal.getsignal(one)) for one in sorted(signal.valid_signals())],
        "timer": [signal.getitimer(one) for one in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)],
        "umask": _umask(),
        "folder": os.getcwd(),
        "environment": {name: os.environ.get(name) for name in ("LEAKED", "TZ", "PATH")},
        "time zone": list(time.tzname),
        "limits": [resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")],
        "recursion": sys.getrecursionlimit(),
        "switch": sys.getswitchinterval(),
        "digits": sys.get_int_max_str_digits(),
        "dlopen": sys.getdlopenflags(),
        "hooks": [str(one) for one in (sys.excepthook, sys.unraisablehook, sys.displayhook, threading.excepthook)],
        "tracebacks": getattr(sys, "tracebacklimit", None),
        "builtins": [str(builtins.print), str(builtins.open), hasattr(builtins, "leaked")],
        "csv": csv.field_size_limit(),
        "temporary": tempfile.tempdir,
        "threads": threading.active_count(),
        "stack": threading.stack_size(),
        "faults": faulthandler.is_enabled(),
        "policy": str(type(asyncio.get_event_loop_policy())),
        "bytecode": sys.dont_write_bytecode,
        "children": _children(),
        "descriptors": [_flags(number) for number in (0, 1, 2)],
        "output": sorted(set(vars(sys.stdout)) & {"write", "flush"}),
        "encoding": [sys.stdout.encoding, sys.stderr.encoding, sys.stdout.errors],
        "contexts": [str(decimal.BasicContext), str(decimal.ExtendedContext)],
        "raw threads": len(sys._current_frames()) - threading.active_count(),
        "main thread": threading.main_thread().name,
        "start method": multiprocessing.get_start_method(allow_none=True),
        "generator hooks": str(sys.get_asyncgen_hooks()),
        "origin depth": sys.get_coroutine_origin_tracking_depth(),
        "format of warnings": str(warnings.formatwarning),
        "many open files": _lowest_free() > 120,
        "groups": os.getgroups(),
        "environment of C": sorted(_read_native_environment()),
        "status": _read_status(),
        "name": Path("/proc/self/comm").read_text(),
        "memory score": Path("/proc/self/oom_score_adj").read_text(),
        "input and output": str(psutil.Process().ionice()),
        "flags": [LIBC.prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), LIBC.prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0)],
        "other threads": [[sorted(os.sched_getaffinity(one)), os.getpriority(0, one)] for one in _other_threads()],
        "modules": sorted(name for name, one in sys.modules.items() if one is None or isinstance(one, str)),
    }


def _read_native_environment() -> list[str]:
    # A program that is started with no environment of its own gets the one that C has.
    return subprocess.run(["env"], capture_output=True, text=True, check=True).stdout.splitlines()


def _read_status() -> list[str]:
    names = ("Umask", "Uid", "Gid", "SigBlk", "SigIgn", "SigCgt", "Cap", "NoNewPrivs", "Seccomp")
    return [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(names)]


def _other_threads() -> list[int]:
    # Not from `threading`: after a fork its main thread still has the number that it has in the parent.
    own = threading.get_native_id()
    return sorted(number for number in map(int, os.listdir("/proc/self/task")) if number != own)


def _lowest_free() -> int:
    number = os.open(os.devnull, os.O_RDONLY)
    os.close(number)
    return number


def _flags(number: int) -> list[Any]:
    try:
        return [os.get_inheritable(number), os.get_blocking(number), stat.S_IFMT(os.fstat(number).st_mode)]
    except OSError as error:
        return [error.errno]


def _name(handler: Any) -> str:
    return str(getattr(handler, "__qualname__", handler))


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _children() -> int:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return 0
    return 1


def _configure_logging() -> None:
    logging.config.dictConfig(
        {"version": 1, "root": {"level": "ERROR", "handlers": []}, "disable_existing_loggers": True}
    )


def _filter_logs() -> None:
    logging.getLogger("leaking.configured").addFilter(lambda _record: False)


def _add_handler() -> None:
    logging.getLogger("leaking.new").addHandler(logging.StreamHandler())
    logging.getLogger("leaking.new").propagate = False


def _silence_handler() -> None:
    for handler in logging.root.handlers:
        handler.setLevel(logging.CRITICAL + 1)


def _limit(name: str) -> Callable[[], object]:
    def lower() -> None:
        number = getattr(resource, name)
        hard = resource.getrlimit(number)[1]
        resource.setrlimit(number, (900, hard))

    return lower


def _set(owner: object, name: str, value: object) -> Callable[[], object]:
    return lambda: setattr(owner, name, value)


def _start_raw_thread() -> None:
    begun = threading.Event()

    def run() -> None:
        begun.set()
        time.sleep(600)

    _thread.start_new_thread(run, ())
    begun.wait()


def _set_zone_and_forget() -> None:
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
    del os.environ["TZ"]


def _set_wakeup() -> None:
    writing = os.pipe()[1]
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)


def _use_fork_policy() -> None:
    class Policy(asyncio.DefaultEventLoopPolicy):
        """Another policy."""

    asyncio.set_event_loop_policy(Policy())


LEAKS: dict[str, Callable[[], object]] = {
    "context variable": lambda: CONTEXT.set("changed"),
    "warning filter": lambda: warnings.simplefilter("error"),
    "warnings reset": warnings.resetwarnings,
    "warning display": _set(warnings, "showwarning", print),
    "captured warnings": lambda: logging.captureWarnings(False),
    "logging config": _configure_logging,
    "logging basic config": lambda: logging.basicConfig(level=logging.DEBUG, force=True),
    "logging disabled": lambda: logging.disable(logging.CRITICAL),
    "root level": lambda: logging.getLogger().setLevel(logging.CRITICAL),
    "logger level": lambda: logging.getLogger("leaking.configured").setLevel(logging.DEBUG),
    "logger disabled": _set(logging.getLogger("leaking.configured"), "disabled", True),
    "logger propagation": _set(logging.getLogger("leaking.configured"), "propagate", False),
    "logger filter": _filter_logs,
    "new logger": _add_handler,
    "handler level": _silence_handler,
    "root handlers": lambda: logging.root.handlers.clear(),
    "level name": lambda: logging.addLevelName(33, "LEAKED"),
    "record factory": lambda: logging.setLogRecordFactory(lambda *a, **k: logging.LogRecord(*a, **k)),
    "logger class": lambda: logging.setLoggerClass(type("Mine", (logging.Logger,), {})),
    "logging errors": _set(logging, "raiseExceptions", False),
    "stdout closed": lambda: sys.stdout.close(),
    "stderr closed": lambda: sys.stderr.close(),
    "stdout replaced": lambda: setattr(sys, "stdout", open(os.devnull, "w")),  # noqa: SIM115
    "stdout gone": lambda: setattr(sys, "stdout", None),
    "stdin replaced": lambda: setattr(sys, "stdin", None),
    "locale": lambda: locale.setlocale(locale.LC_ALL, "C"),
    "numeric locale": lambda: locale.setlocale(locale.LC_NUMERIC, "C.UTF-8"),
    "decimal precision": lambda: setattr(decimal.getcontext(), "prec", 3),
    "decimal trap": lambda: decimal.getcontext().traps.update({decimal.Inexact: True}),
    "decimal default": lambda: setattr(decimal.DefaultContext, "prec", 4),
    "socket timeout": lambda: socket.setdefaulttimeout(0.001),
    "path entry": lambda: sys.path.insert(0, "/nowhere"),
    "path replaced": lambda: setattr(sys, "path", ["/nowhere"]),
    "argv": lambda: sys.argv.append("--leaked"),
    "finder": lambda: sys.meta_path.insert(0, type("Finder", (), {"find_spec": staticmethod(lambda *_a: None)})),
    "gc disabled": gc.disable,
    "gc threshold": lambda: gc.set_threshold(1, 1, 1),
    "gc callback": lambda: gc.callbacks.append(lambda *_a: None),
    "trace": lambda: sys.settrace(lambda *_a: None),
    "profile": lambda: sys.setprofile(lambda *_a: None),
    "thread trace": lambda: threading.settrace(lambda *_a: None),
    "tracemalloc": tracemalloc.start,
    "nice": lambda: os.nice(3),
    "affinity": lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
    "signal mask": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM}),
    "signal handler": lambda: signal.signal(signal.SIGALRM, lambda *_a: None),
    "ignored signal": lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    "own signal": lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
    "alarm": lambda: signal.alarm(600),
    "profile timer": lambda: signal.setitimer(signal.ITIMER_PROF, 600),
    "umask": lambda: os.umask(0o007),
    "folder": lambda: os.chdir("/"),
    "environment": lambda: os.environ.update(LEAKED="1"),
    "environment emptied": lambda: os.environ.clear(),
    "time zone": lambda: (os.environ.update(TZ="Asia/Tokyo"), time.tzset()),
    "open files": _limit("RLIMIT_NOFILE"),
    "core files": lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    "recursion": lambda: sys.setrecursionlimit(77_777),
    "switch interval": lambda: sys.setswitchinterval(0.5),
    "integer digits": lambda: sys.set_int_max_str_digits(0),
    "dlopen flags": lambda: sys.setdlopenflags(os.RTLD_GLOBAL | os.RTLD_NOW),
    "except hook": lambda: setattr(sys, "excepthook", print),
    "thread except hook": lambda: setattr(threading, "excepthook", print),
    "traceback limit": lambda: setattr(sys, "tracebacklimit", 0),
    "variable of C": lambda: os.putenv("LEAKED_TO_C", "1"),
    "variable of C unset": lambda: os.unsetenv("PATH"),
    "variable of C changed": lambda: os.putenv("PATH", "/usr/bin:/bin:/nowhere"),
    "environment of C emptied": lambda: LIBC.clearenv(),
    "zone of C": lambda: os.putenv("TZ", "Asia/Tokyo"),
    "signal ignored in C": lambda: LIBC.signal(signal.SIGWINCH, 1),
    "own signal reset in C": lambda: LIBC.signal(signal.SIGUSR1, 0),
    "stack signal reset in C": lambda: LIBC.signal(signal.SIGUSR2, 0),
    "signal caught in C": lambda: LIBC.signal(signal.SIGURG, ctypes.cast(LIBC.abs, ctypes.c_void_p)),
    "memory score": lambda: Path("/proc/self/oom_score_adj").write_text("500"),
    "input and output": lambda: psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE),
    "dumpable": lambda: LIBC.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0),
    "timer slack": lambda: LIBC.prctl(PR_SET_TIMERSLACK, 1_000_000, 0, 0, 0),
    "no new privileges": lambda: LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
    "name of the process": lambda: LIBC.prctl(PR_SET_NAME, b"leaked", 0, 0, 0),
    "affinity of threads": lambda: [os.sched_setaffinity(one, {0}) for one in _other_threads()],
    "nice of threads": lambda: [os.setpriority(os.PRIO_PROCESS, one, 5) for one in _other_threads()],
    "module blocked": lambda: sys.modules.update({"pandas": None}),  # type: ignore[dict-item]
    "known module blocked": lambda: sys.modules.update(csv=None),  # type: ignore[arg-type]
    "module exchanged": lambda: sys.modules.update(csv="a fake"),  # type: ignore[arg-type]
    "print": lambda: setattr(builtins, "print", lambda *_a, **_k: None),
    "new builtin": lambda: setattr(builtins, "leaked", 1),
    "open": lambda: setattr(builtins, "open", None),
    "csv limit": lambda: csv.field_size_limit(10),
    "temporary folder": lambda: setattr(tempfile, "tempdir", "/nowhere"),
    "thread": lambda: threading.Thread(target=time.sleep, args=(600,), daemon=True).start(),
    "stack size": lambda: threading.stack_size(1_048_576),
    "faults": faulthandler.disable,
    "loop policy": _use_fork_policy,
    "bytecode": lambda: setattr(sys, "dont_write_bytecode", not sys.dont_write_bytecode),
    "process": lambda: subprocess.Popen(["sleep", "600"]),
    "process group": lambda: os.setpgid(0, 0) if os.getpgid(0) != os.getpid() else None,
    "own write": lambda: setattr(sys.__stdout__, "write", lambda _text: 0),
    "own flush": lambda: setattr(sys.__stderr__, "flush", None),
    "encoding": lambda: sys.__stdout__.reconfigure(encoding="latin-1"),  # type: ignore[union-attr]
    "errors and newline": lambda: sys.__stderr__.reconfigure(errors="strict", newline=""),  # type: ignore[union-attr]
    "stdout not inherited": lambda: os.set_inheritable(1, False),
    "stdout that does not block": lambda: os.set_blocking(1, False),
    "descriptor 0 closed": lambda: os.close(0),
    "descriptor 1 closed": lambda: os.close(1),
    "descriptor 2 redirected": lambda: os.dup2(os.open(os.devnull, os.O_WRONLY), 2),
    "raw thread": _start_raw_thread,
    "time zone without variable": _set_zone_and_forget,
    "wakeup descriptor": _set_wakeup,
    "decimal contexts": lambda: (setattr(decimal.BasicContext, "prec", 2), setattr(decimal.ExtendedContext, "prec", 2)),
    "main thread's name": lambda: setattr(threading.main_thread(), "name", "leaked"),
    "start method": lambda: multiprocessing.set_start_method("spawn", force=True),
    "generator hooks": lambda: sys.set_asyncgen_hooks(print, print),
    "origin depth": lambda: sys.set_coroutine_origin_tracking_depth(7),
    "format of warnings": lambda: setattr(warnings, "formatwarning", lambda *_a, **_k: ""),
    "open files left": lambda: [os.open(os.devnull, os.O_RDONLY) for _ in range(200)],
    "groups": lambda: os.setgroups([12345]) if os.getuid() == 0 else None,
    "everything": lambda: [change() for name, change in LEAKS.items() if name != "everything"],
}


@task(max_retries=0)
def describe() -> dict[str, Any]:
    """Return what a job finds."""
    return _describe()


@task(max_retries=0)
def leak(what: str) -> int:
    """Change the process and leave it so; the pid."""
    LEAKS[what]()
    return os.getpid()


@task(max_retries=0)
def random_number() -> float:
    """Seed the generator, after taking a number."""
    number = random.random()
    random.seed(1)
    return number


@task(max_retries=0)
def warn() -> None:
    """Warn twice from one place, once after having asked for it."""
    for _ in range(2):
        warnings.warn("this is old", UserWarning, stacklevel=1)
