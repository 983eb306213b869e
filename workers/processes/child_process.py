"""One child process of a worker, as the worker sees it: forked, written to, read from, killed."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from workers.processes import child, child_loop, orders
from workers.processes.deaths import MemoryWatch, death_words, peak_bytes
from workers.processes.descendants import end_adopted, forget_own, kill_all, note_own, unadoptable
from workers.processes.output import Output
from workers.processes.shared_page import SharedPage
from workers.settings import Settings

_LONGEST_FAULT = 64_000
_LAST_SECONDS = 1.0
_BEREFT = "could not continue: the task had closed file descriptors of the worker"


@dataclass(frozen=True, slots=True)
class Death:
    """How a child ended."""

    words: str  # the end of a sentence
    fault: str | None  # what it wrote of a fatal error
    peak_memory_bytes: int


class ChildProcess:
    """A forked process that runs attempts.

    It reports that it is ready when it has imported the task modules; an order that is sent earlier waits for that.
    """

    def __init__(self, settings: Settings, worker: str, unshared: Sequence[int], *, is_first: bool) -> None:
        """Fork. `unshared` are descriptors of the worker that the child must not hold open."""
        self.channel, theirs = socket.socketpair()
        self._faults = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the child
        self.page = SharedPage()
        self.output = Output()
        self._buffer = b""
        self._ahead, self._ahead_writing = _make_pipe()
        self._orders = 0
        self.started_at = time.monotonic()
        self.is_ready = self.has_stop_hooks = False
        worker_pid = os.getpid()
        gc.collect()
        gc.freeze()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                for descriptor in unshared:
                    os.close(descriptor)
                self.channel.close()
                os.close(self._ahead_writing)
                line = child.Line(theirs, self._faults, self.page, self.output, self._ahead)
                child_loop.serve(settings, worker, worker_pid, line, is_first=is_first)
            except BaseException:
                self._faults.write(traceback.format_exc().encode(errors="replace"))
                self._faults.flush()
            finally:
                os._exit(70)
        note_own(self.pid)
        theirs.close()
        self.output.keep_reading_end()
        self.process = psutil.Process(self.pid)

    def begin_order(self) -> None:
        """Have notices mean the next order from now on."""
        self._orders += 1
        self.page.begin_job(self._orders)

    def send(self, order: bytes) -> None:
        """Send a line. Raises OSError when the child is gone."""
        self.channel.sendall(order)

    def send_ahead(self, order: bytes) -> None:
        """Queue one order: the child takes it after its current attempt, unless it is called back first."""
        os.write(self._ahead_writing, order)

    def call_back(self) -> bool:
        """Take back what was sent ahead. False when the child has taken it: a pipe gives a line to one reader alone."""
        try:
            return bool(os.read(self._ahead, orders.LONGEST))
        except BlockingIOError:
            return False

    def read_line(self, wait_seconds: float) -> bytes | None:
        """Return the next line without its end, b"" when the child has closed its side, None when there is none in time."""
        while b"\n" not in self._buffer:
            if not select.select([self.channel], [], [], wait_seconds)[0]:
                return None
            chunk = self.channel.recv(4096)
            if not chunk:
                return b""
            self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line

    def has_answer(self, within_seconds: float) -> bool:
        """Return whether a line, or the end of the channel, can be read within this time."""
        return b"\n" in self._buffer or bool(select.select([self.channel], [], [], within_seconds)[0])

    def note_ready(self, line: bytes) -> bool:
        """Take note when this line says that the child is ready; False when it says something else."""
        if not line.startswith(child_loop.READY):
            return False
        self.is_ready = True
        self.has_stop_hooks = line.endswith(child_loop.HAS_STOP_HOOKS)
        return True

    def notify(self, notice: int) -> None:
        """Send the child a notice, one of those of `shared_page`: its task is asked to stop, or interrupted."""
        self.page.add_notice(notice)
        self.signal(child.NOTICE_SIGNAL)

    def signal(self, sig: signal.Signals) -> None:
        """Send the child a signal; harmless when it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, sig)

    def kill(self) -> None:
        """Kill the child and everything in its process group; harmless when it is gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.signal(signal.SIGKILL)

    def has_ended(self) -> bool:
        """Return whether the process has ended.

        A process that the task left behind may hold the channel open: only the child itself counts.
        """
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def await_end(self) -> None:
        """Wait a moment for a child that has closed its channel: it did so by ending, unless the task closed it."""
        until = time.monotonic() + _LAST_SECONDS
        while not self.has_ended() and time.monotonic() < until:
            time.sleep(0.005)

    def hang_up(self) -> None:
        """Say that no order will follow; the child then ends by itself."""
        with contextlib.suppress(OSError):
            self.channel.shutdown(socket.SHUT_WR)

    def descriptors(self) -> tuple[int, ...]:
        """Return the descriptors of the worker that lead to this child, which no other child must hold open."""
        return self.channel.fileno(), self.output.reading, self._ahead, self._ahead_writing

    def reap(self, memory: MemoryWatch) -> Death:
        """Kill what is left of it and of what it has started, and collect it.

        What it said can still be recovered from `output`, until that is closed.
        """
        is_bereft = not self.has_ended()
        family = unadoptable(self.pid)
        self.kill()
        _, status, used = os.wait4(self.pid, 0)
        kill_all(family)
        forget_own(self.pid)
        end_adopted()
        self._faults.seek(0)
        fault = self._faults.read(_LONGEST_FAULT).decode(errors="replace") or None
        self._faults.close()
        self.page.close()
        self.channel.close()
        os.close(self._ahead)
        os.close(self._ahead_writing)
        peak = peak_bytes(used.ru_maxrss)
        return Death(_BEREFT if is_bereft else _words(status, peak, memory), fault, peak)

    def memory_bytes(self) -> int:
        """Return its resident memory; 0 when it is gone."""
        with contextlib.suppress(psutil.Error):
            return int(self.process.memory_info().rss)
        return 0

    def cpu_percent(self) -> float:
        """Return its share of a core since the last call; 0 when it is gone."""
        with contextlib.suppress(psutil.Error):
            return float(self.process.cpu_percent())
        return 0.0


def _make_pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    return reading, writing


def _words(status: int, peak: int, memory: MemoryWatch) -> str:
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == child.BEREFT:
        return _BEREFT
    is_out_of_memory = os.WIFSIGNALED(status) and memory.has_run_out()
    return death_words(status, peak, is_out_of_memory=is_out_of_memory)
