"""The worker's side of the warm child: forked, spoken to, killed, forked again."""

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
from collections.abc import Callable
from typing import IO

import psutil

from workers.processes import child
from workers.processes.deaths import MemoryWatch, death_words, peak_bytes
from workers.processes.descendants import end_adopted, forget_own, kill_all, note_own, unadoptable
from workers.processes.minder import Minder
from workers.processes.output import Output, Unstored
from workers.settings import Settings

_TICK_SECONDS = 0.25
_LONGEST_FAULT = 64_000
_LAST_SECONDS = 1.0
_BEREFT = "could not go on: the task had closed file descriptors that were not its own"


class WarmChild:
    """One child at a time; `death` and `fault` tell how the last one ended, `told` what viewers are to hear of the job."""

    def __init__(self, settings: Settings, worker: str, minder: Minder, before_fork: Callable[[], None]) -> None:
        self._settings, self._worker, self._minder, self._before_fork = settings, worker, minder, before_fork
        self._channel: socket.socket | None = None
        self._faults: IO[bytes] | None = None
        self._process: psutil.Process | None = None
        self._output: Output | None = None
        self._buffer = b""
        self._memory = MemoryWatch()
        self.pid = self.peak_memory_bytes = 0
        self.death = ""
        self.told = b""
        self.fault: str | None = None

    def run(self, job_id: str, attempt: int, queue: str, tick: Callable[[], object], *, quiet: bool) -> str | None:
        """Have an attempt run; its outcome, or None when the child died. `tick` is called while it is silent.

        `quiet` leaves it to the caller to tell viewers that it runs, should it last.
        """
        order = f"{job_id} {attempt} {queue} {child.QUIET if quiet else child.ALOUD}\n".encode()
        channel = self._ready()
        self._memory.look()
        try:
            channel.sendall(order)
        except OSError:
            # It died while it was idle, before it heard of this job: a new one takes it.
            self._reap()
            channel = self._ready()
            channel.sendall(order)
        return self._listen(channel, tick)

    def signal(self, sig: signal.Signals) -> None:
        """Send the child a signal."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def kill(self) -> None:
        """Kill the child and everything in its process group; harmless when it is gone."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self.signal(signal.SIGKILL)

    def recover(self, job_id: str, attempt: int, is_stored: Callable[[int], bool]) -> Unstored:
        """Return what an attempt had said that is not stored, after the death of the child that ran it."""
        return self._output.recover(job_id, attempt, is_stored) if self._output else Unstored(None, {})

    def end(self) -> None:
        """End the child; what it said can still be recovered."""
        if self.pid:
            self._reap()

    def close(self) -> None:
        """End the child for good."""
        self.end()
        self.close_output()

    def close_output(self) -> None:
        """Give up what the last child said; it is kept after its death until then."""
        if self._output is not None:
            self._output.close()
        self._output = None

    def memory_bytes(self) -> int:
        """Tell the child's resident memory."""
        with contextlib.suppress(psutil.Error):
            return int(self._process.memory_info().rss) if self._process else 0
        return 0

    def cpu_percent(self) -> float:
        """Tell the child's share of a core since the last call."""
        with contextlib.suppress(psutil.Error):
            return float(self._process.cpu_percent()) if self._process else 0.0
        return 0.0

    def _ready(self) -> socket.socket:
        if self._channel is None:
            self._fork()
        assert self._channel is not None
        return self._channel

    def _fork(self) -> None:
        self._before_fork()
        ours, theirs = socket.socketpair()
        faults = self._faults = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the child
        self.close_output()
        output = self._output = Output()
        worker_pid = os.getpid()
        gc.collect()
        gc.freeze()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(self._minder.pipe)
                ours.close()
                child.serve(self._settings, self._worker, worker_pid, theirs, faults, output)
            except BaseException:
                faults.write(traceback.format_exc().encode(errors="replace"))
                faults.flush()
            finally:
                os._exit(70)
        note_own(pid)
        self._minder.mind(pid)
        theirs.close()
        output.keep_reading_end()
        self._channel, self.pid, self._buffer = ours, pid, b""
        self._process = psutil.Process(pid)

    def _listen(self, channel: socket.socket, tick: Callable[[], object]) -> str | None:
        while True:
            if select.select([channel], [], [], _TICK_SECONDS)[0]:
                chunk = channel.recv(4096)
                self._buffer += chunk
                if not chunk:
                    self._await_end()
                    self._reap()
                    return None
                if b"\n" in self._buffer:
                    return self._answer()
            elif self._has_ended():
                self._reap()
                return None
            else:
                self._memory.look()
                tick()

    def _answer(self) -> str:
        line, self._buffer = self._buffer.split(b"\n", 1)
        word, _, rest = line.partition(b" ")
        stays, _, self.told = rest.partition(b" ")
        if stays != b"stay":
            self._reap()
        return word.decode(errors="replace")

    def _words(self, status: int) -> str:
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == child.BEREFT:
            return _BEREFT
        is_out_of_memory = os.WIFSIGNALED(status) and self._memory.has_run_out()
        return death_words(status, self.peak_memory_bytes, is_out_of_memory=is_out_of_memory)

    def _await_end(self) -> None:
        # It closes the socket by ending; one that lives on has had it closed by the task.
        until = time.monotonic() + _LAST_SECONDS
        while not self._has_ended() and time.monotonic() < until:
            time.sleep(0.005)

    def _has_ended(self) -> bool:
        # A process that the task left behind may hold the socket open: look at the child itself.
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _reap(self) -> None:
        bereft = not self._has_ended()
        family = unadoptable(self.pid)
        self.kill()
        _, status, used = os.wait4(self.pid, 0)
        kill_all(family)
        forget_own(self.pid)
        end_adopted()
        self._minder.mind(0)
        self.peak_memory_bytes = peak_bytes(used.ru_maxrss)
        self.death = _BEREFT if bereft else self._words(status)
        if self._faults is not None:
            self._faults.seek(0)
            self.fault = self._faults.read(_LONGEST_FAULT).decode(errors="replace") or None
            self._faults.close()
        if self._channel is not None:
            self._channel.close()
        self._channel, self.pid, self._process = None, 0, None
