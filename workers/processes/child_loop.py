"""The loop of a worker's child process: it imports the task modules and runs one attempt after another.

It talks with the worker over a socket, a line each way: `<job> <attempt> <quiet|aloud>` in, `<word> <stay|leave>
<live message>` out; the first line out says that it is ready. A line in may also come by a pipe while an attempt runs: the
child takes it at the end of that, and begins the next attempt in the transaction that ends this one. The worker kills the child or lets it go, and forks another.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import signal
import sys
from typing import IO

from workers import hooks, loading
from workers.domain.errors import Unavailable
from workers.processes.child import Child, Line
from workers.processes.descendants import adopt_orphans
from workers.processes.orders import Order
from workers.registry import REGISTRY
from workers.services import publishing
from workers.settings import Settings
from workers.yard import Yard

READY, HAS_STOP_HOOKS = b"ready ", b"with-stop-hooks"
_PR_SET_PDEATHSIG = 1


def serve(settings: Settings, worker: str, worker_pid: int, line: Line, *, is_first: bool) -> None:
    """Run attempts until the worker hangs up or the child is due for renewal. Never returns: the process ends."""
    _settle(line.faults, worker_pid)
    yard = Yard.open(settings)
    if not settings.preload:
        _load_tasks(yard)
    if is_first:
        hooks.on_worker_start.run()
    hooks.on_child_start.run()
    child = Child(yard, worker, line)
    with line.channel as channel, channel.makefile("r", encoding="ascii") as orders:
        channel.sendall(READY + (HAS_STOP_HOOKS if hooks.on_child_stop else b"") + b"\n")
        for text in orders:
            order: Order | None = Order.parse(text)
            while order is not None:
                word = child.run(order)
                channel.sendall(f"{word} {'leave' if child.is_leaving else 'stay'} ".encode() + child.told + b"\n")
                order = child.next
            if child.is_leaving:
                break
        hooks.on_child_stop.run_each()
    os._exit(0)


def _load_tasks(yard: Yard) -> None:
    """Import the task modules; publish what differs from what was published when the worker started."""
    modules = loading.load_modules(yard.settings.task_modules)
    if modules:
        with contextlib.suppress(Unavailable):
            publishing.publish(yard, REGISTRY, modules, unless_known=True)


def _settle(faults: IO[bytes], worker_pid: int) -> None:
    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != worker_pid:
            os._exit(0)
    adopt_orphans()
    for one in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(one, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    faulthandler.enable(file=faults)
