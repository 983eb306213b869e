"""A tiny process beside each worker: when the worker is gone, however it went, it kills what the worker's child runs.

The child itself gets a signal from the system (on Linux), but the processes that a task has started would stay.
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct

from workers.processes.descendants import forget_own, note_own

_GROUP = struct.Struct("=i")


class Minder:
    """The worker's side of it."""

    def __init__(self) -> None:
        self._pid = 0
        self.pipe = -1

    def start(self) -> None:
        """Fork it; before the worker has opened anything that must not be shared."""
        reading, self.pipe = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                _mind(reading)
            finally:
                os._exit(0)
        os.close(reading)
        note_own(self._pid)

    def mind(self, group: int) -> None:
        """Tell the process group that shall end with the worker; 0 = none."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self.pipe, _GROUP.pack(group))

    def close(self) -> None:
        """Let it end; call it when no child is left."""
        if self._pid:
            os.close(self.pipe)
            os.waitpid(self._pid, 0)
            forget_own(self._pid)
            self._pid = 0


def _mind(reading: int) -> None:
    os.setsid()
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)
    # It must hold nothing else open: a closed pipe or socket is how others see that the worker is gone.
    os.dup2(reading, 0)
    os.closerange(1, min(os.sysconf("SC_OPEN_MAX"), 65_536))
    group = 0
    while told := os.read(0, _GROUP.size):
        group = _GROUP.unpack(told)[0]
    if group:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
