"""What a job prints, logs, or writes to its file descriptors, turned into lines of its log."""

from __future__ import annotations

import array
import contextlib
import ctypes
import fcntl
import logging
import os
import select
import sys
import termios
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, cast

from workers.domain.texts import format_error
from workers.journal import STDERR, STDOUT
from workers.processes.output import Output
from workers.processes.streams import JobStream

_DRAIN_SECONDS = 0.2
_LINE_BUFFERED = 1  # _IOLBF of C


class Listener(Protocol):
    """Who takes what is captured."""

    def write(self, source: int, text: str) -> None:
        """Take text of a stream."""

    def log(self, text: str, level: str) -> None:
        """Take a record of `logging`."""

    def receive(self, descriptor: int) -> None:
        """Read what waits in a pipe."""


class _Formatter(logging.Formatter):
    def formatException(self, ei: Any) -> str:
        return format_error(ei[1], ei[2]).rstrip() if ei[1] is not None else super().formatException(ei)


class _Handler(logging.Handler):
    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self._listener, self.is_forked = listener, False
        self.setFormatter(_Formatter("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        level = _level_of(record.levelno)
        try:
            if self.is_forked:
                sys.stderr.write(f"{self.format(record)}\n")
                return
            self._listener.log("\n".join(self.format(record).splitlines()), level)
        except Exception:
            with contextlib.suppress(Exception):  # it prints the error, whose own code may raise
                self.handleError(record)


class Capture:
    """Takes over stdout, stderr, logging and file descriptors 1 and 2 of this process, for as long as it lives."""

    def __init__(self, listener: Listener, output: Output) -> None:
        self._listener = listener
        self._streams = (
            JobStream(listener.write, STDOUT, 1, "<stdout>"),
            JobStream(listener.write, STDERR, 2, "<stderr>"),
        )
        self._read = output.reading
        os.dup2(output.writing, 1)
        os.dup2(output.writing, 2)
        os.close(output.writing)
        _buffer_lines_of_c()
        self._pumping = threading.Lock()
        self._handler = _Handler(listener)
        logging.captureWarnings(True)
        # What is chatty about Taskyard's own work does not belong to a job.
        for noisy in ("httpx", "httpcore", "alembic", "rq"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        self.reset()
        os.register_at_fork(after_in_child=self._let_go)
        threading.Thread(target=self._pump, name="taskyard-capture", daemon=True).start()

    def finish(self) -> None:
        """Hand on everything that was written up to now."""
        for stream in (sys.stdout, sys.stderr):
            if stream not in self._streams:  # a task has put another one in its place
                with contextlib.suppress(Exception):
                    stream.flush()
        _flush_c()
        deadline = time.monotonic() + _DRAIN_SECONDS
        while self._waiting() and time.monotonic() < deadline:
            time.sleep(0.002)
        with self._pumping:  # what the pump has read it has then also handed on
            pass

    def reset(self) -> None:
        """Undo what a task may have done to the streams and the logging."""
        for stream in self._streams:
            stream.restore()
        sys.stdout, sys.stderr = self._streams
        sys.__stdout__, sys.__stderr__ = self._streams  # type: ignore[misc]
        if logging.root.handlers != [self._handler]:
            logging.root.handlers[:] = [self._handler]
        if logging.root.level != logging.INFO:
            logging.root.setLevel(logging.INFO)

    def _let_go(self) -> None:
        # A process that the task forks has no pump and must not write to our journal: all of it goes through the descriptors.
        for stream in self._streams:
            stream.let_go()
        self._handler.is_forked = True
        sys.stdout, sys.stderr = (open(one, "w", buffering=1, closefd=False, errors="replace") for one in (1, 2))  # noqa: SIM115
        sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr  # type: ignore[misc]
        logging.root.handlers[:] = [logging.StreamHandler()]

    def _waiting(self) -> int:
        count = array.array("i", [0])
        fcntl.ioctl(self._read, termios.FIONREAD, count)
        return count[0]

    def _pump(self) -> None:
        # Ends when the task has closed the pipe; the worker reads what is left in it.
        with contextlib.suppress(OSError, ValueError):
            while True:
                select.select([self._read], [], [])
                with self._pumping:
                    if self._waiting():
                        self._listener.receive(self._read)


def _level_of(number: int) -> str:
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warning"
    return "info" if number >= logging.INFO else "debug"


def _buffer_lines_of_c() -> None:
    # What C code prints would wait in the process for 4 kB, and be lost with it.
    with contextlib.suppress(Exception):
        libc = ctypes.CDLL(None)
        libc.setvbuf(ctypes.c_void_p.in_dll(libc, "stdout"), None, _LINE_BUFFERED, 0)


def _flush_c() -> None:
    if _FLUSH is not None:
        _FLUSH(None)


def _found_flush() -> Callable[[None], int] | None:
    with contextlib.suppress(Exception):
        return cast(Callable[[None], int], ctypes.CDLL(None).fflush)
    return None


_FLUSH = _found_flush()
