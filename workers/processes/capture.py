"""What a job prints, logs, or writes to its file descriptors, turned into lines of its log."""

from __future__ import annotations

import array
import codecs
import fcntl
import io
import logging
import os
import select
import sys
import termios
import threading
import time
from collections.abc import Callable
from typing import BinaryIO

Sink = Callable[[str, str], None]  # line, level
_LONGEST_PARTIAL = 8_192
_DRAIN_SECONDS = 0.2


class LineWriter(io.TextIOBase):
    """A text stream that hands on whole lines; code that wants the descriptor beneath gets the real one."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, sink: Sink, level: str, descriptor: int) -> None:
        self._sink, self._level, self._partial, self._descriptor = sink, level, "", descriptor
        self._lock = threading.RLock()

    @property
    def buffer(self) -> BinaryIO:
        """The stream for bytes."""
        return open(self._descriptor, "wb", buffering=0, closefd=False)

    def fileno(self) -> int:
        """Tell the descriptor, for processes that shall write to it."""
        return self._descriptor

    def writable(self) -> bool:
        """Say yes."""
        return True

    def write(self, text: str) -> int:
        """Take text; lines that it completes go on."""
        with self._lock:
            *lines, self._partial = (self._partial + str(text)).split("\n")
            for line in lines:
                self._sink(line, self._level)
            if len(self._partial) > _LONGEST_PARTIAL:
                self.finish()
        return len(text)

    def finish(self) -> None:
        """Hand on what stands on an unfinished line."""
        with self._lock:
            partial, self._partial = self._partial, ""
            if partial:
                self._sink(partial, self._level)


class _Handler(logging.Handler):
    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self._sink = sink
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        level = {"CRITICAL": "error"}.get(record.levelname, record.levelname.lower())
        try:
            for line in self.format(record).splitlines():
                self._sink(line, level)
        except Exception:
            self.handleError(record)


class Capture:
    """Takes over stdout, stderr, logging and file descriptors 1 and 2 of this process, for as long as it lives."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._writers = self._make_writers()
        self._read, write = os.pipe()
        os.dup2(write, 1)
        os.dup2(write, 2)
        os.close(write)
        self._pumping = threading.Lock()
        self._handler = _Handler(sink)
        logging.captureWarnings(True)
        # What is chatty about Taskyard's own work does not belong to a job.
        for noisy in ("httpx", "httpcore", "alembic", "rq"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        self.reset()
        os.register_at_fork(after_in_child=self._let_go)
        threading.Thread(target=self._pump, name="taskyard-capture", daemon=True).start()

    def finish(self) -> None:
        """Hand on everything that was written up to now."""
        for writer in self._writers:
            writer.finish()
        deadline = time.monotonic() + _DRAIN_SECONDS
        while self._waiting() and time.monotonic() < deadline:
            time.sleep(0.002)
        with self._pumping:  # what the pump has read it has then also handed on
            pass

    def reset(self) -> None:
        """Undo what a task may have done to the streams and the logging."""
        if any(writer.closed for writer in self._writers):
            self._writers = self._make_writers()
        sys.stdout, sys.stderr = self._writers
        if logging.root.handlers != [self._handler]:
            logging.root.handlers[:] = [self._handler]
        if logging.root.level != logging.INFO:
            logging.root.setLevel(logging.INFO)

    def _make_writers(self) -> tuple[LineWriter, LineWriter]:
        return LineWriter(self._sink, "print", 1), LineWriter(self._sink, "print", 2)

    def _let_go(self) -> None:
        # A process that the task forks has no pump: what it prints goes through the descriptors to ours.
        sys.stdout, sys.stderr = (open(one, "w", buffering=1, closefd=False, errors="replace") for one in (1, 2))  # noqa: SIM115
        logging.root.handlers[:] = [logging.StreamHandler()]

    def _waiting(self) -> int:
        count = array.array("i", [0])
        fcntl.ioctl(self._read, termios.FIONREAD, count)
        return count[0]

    def _pump(self) -> None:
        lines = LineWriter(self._sink, "print", 1)
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        while True:
            select.select([self._read], [], [])
            with self._pumping:
                lines.write(decode(os.read(self._read, 65_536)))
                if not self._waiting():
                    lines.finish()
