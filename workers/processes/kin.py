"""What a parent and its child processes owe each other: no child outlives its parent, no message gets lost.

A child that was started by the supervisor reads its standard input: a line `go` allows it to serve, the end of it means
that the supervisor is gone. What it writes to the standard output are JSON lines for the supervisor; people read the
standard error.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

_PR_SET_PDEATHSIG = 1
_LOOK_SECONDS = 1.0
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Supervised:
    """The child's side of the line to the supervisor."""

    def __init__(self) -> None:
        self.input = os.dup(0)
        self._output = os.dup(1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)

    def wait_for_go(self) -> None:
        """Wait until the supervisor says go; ends the process when it is gone."""
        if not os.read(self.input, 16):
            raise SystemExit(0)

    def tell(self, **message: Any) -> None:
        """Tell the supervisor something."""
        os.write(self._output, json.dumps(message).encode() + b"\n")

    def close(self) -> None:
        """Give the line up, as a forked child does."""
        os.close(self.input)
        os.close(self._output)


def die_with_parent() -> None:
    """Ask the system (Linux) for a SIGTERM when the parent dies."""
    _on_death_of_parent(signal.SIGTERM)


def outlive_parent() -> None:
    """Take `die_with_parent` back, for a process that has its own way to notice: two signs would count as two."""
    _on_death_of_parent(0)


def _on_death_of_parent(sig: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(sig), 0, 0, 0)


def end_with_parent(parent: int, grace_seconds: float) -> None:
    """Watch the parent in a thread: when it is gone, stop warmly, after the grace at once."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace_seconds)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(3)
        os._exit(1)

    threading.Thread(target=watch, name="taskyard-parent", daemon=True).start()


def fork(body: Callable[[], int]) -> int:
    """Fork a child that runs this body and ends with its result; tells the child's pid."""
    sys.stdout.flush()
    sys.stderr.flush()
    # A signal that comes before the child is itself must wait, not be swallowed by what it inherited.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
        return pid
    code = 70
    try:
        signal.set_wakeup_fd(-1)
        for one in (*_STOP_SIGNALS, signal.SIGCHLD):
            signal.signal(one, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
        code = body()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)
