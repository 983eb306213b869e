"""The worker's side of the warm child: forked, spoken to, killed, forked again."""

from __future__ import annotations

import contextlib
import gc
import mmap
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
from workers.processes.minder import Minder
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
        self._buffer = b""
        self._limit = mmap.mmap(-1, child.LIMIT.size)  # shared with the child, see `time_limit`
        self.pid = 0
        self.death = ""
        self.told = b""
        self.fault: str | None = None

    def run(self, job_id: str, attempt: int, queue: str, tick: Callable[[], object], *, quiet: bool) -> str | None:
        """Have an attempt run; its outcome, or None when the child died. `tick` is called while it is silent.

        `quiet` leaves it to the caller to tell viewers that it runs, should it last.
        """
        order = f"{job_id} {attempt} {queue} {child.QUIET if quiet else child.ALOUD}\n".encode()
        channel = self._ready()
        self._limit[:] = bytes(child.LIMIT.size)
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

    def close(self) -> None:
        """End the child."""
        if self.pid:
            self._reap()

    def time_limit(self) -> tuple[float, float] | None:
        """Return when the present attempt began, by `uptime`, and how many seconds it may run; None before it began.

        The child leaves it in shared memory, so that the limit is known while SQL cannot be asked.
        """
        begun_at, seconds = child.LIMIT.unpack(self._limit[:])
        return (begun_at, seconds) if begun_at else None

    def memory_bytes(self) -> int:
        """Tell the child's resident memory."""
        process = self._process
        with contextlib.suppress(psutil.Error):
            return int(process.memory_info().rss) if process else 0
        return 0

    def cpu_percent(self) -> float:
        """Tell the child's share of a core since the last call."""
        process = self._process
        with contextlib.suppress(psutil.Error):
            return float(process.cpu_percent()) if process else 0.0
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
        worker_pid = os.getpid()
        gc.collect()
        gc.freeze()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(self._minder.pipe)
                ours.close()
                child.serve(self._settings, self._worker, worker_pid, theirs, faults, self._limit)
            except BaseException:
                faults.write(traceback.format_exc().encode(errors="replace"))
                faults.flush()
            finally:
                os._exit(70)
        self._minder.mind(pid)
        theirs.close()
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
                tick()

    def _answer(self) -> str:
        line, self._buffer = self._buffer.split(b"\n", 1)
        word, _, rest = line.partition(b" ")
        stays, _, self.told = rest.partition(b" ")
        if stays != b"stay":
            self._reap()
        return word.decode(errors="replace")

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
        self.kill()
        _, status = os.waitpid(self.pid, 0)
        self._minder.mind(0)
        self.death = _BEREFT if bereft else _words(status)
        if self._faults is not None:
            self._faults.seek(0)
            self.fault = self._faults.read(_LONGEST_FAULT).decode(errors="replace") or None
            self._faults.close()
        if self._channel is not None:
            self._channel.close()
        self._channel, self.pid, self._process = None, 0, None


def _words(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return f"was killed by signal {number} ({_name(number)})"
    code = os.WEXITSTATUS(status)
    return _BEREFT if code == child.BEREFT else f"exited with status {code}"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "real-time"
