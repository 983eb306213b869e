"""PRELOAD=1: the task modules are imported once, before the processes are forked that share their memory.

What an import opens is then shared as well. Two processes that use one connection read each other's answers, and a
thread does not survive a fork: both are named in the log.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Sequence

import psutil

from workers.domain.modules import ImportedModule
from workers.loading import load_module
from workers.settings import Settings

log = logging.getLogger("taskyard.tasks")


def preload(settings: Settings) -> list[ImportedModule]:
    """Import the task modules in this process and warn of what each of them leaves open; return what became of them."""
    return [_preload(name) for name in settings.task_modules]


def _preload(name: str) -> ImportedModule:
    sockets, threads = _open_sockets(), set(threading.enumerate())
    module = load_module(name)
    opened = [text for key, text in _open_sockets().items() if key not in sockets]
    started = [f"thread {one.name}" for one in threading.enumerate() if one not in threads]
    if opened or started:
        log.warning("%s", _warning(name, [*opened, *started]))
    return module


def _warning(name: str, left: Sequence[str]) -> str:
    return (
        f"PRELOAD: importing {name} left open: {', '.join(left)}. Workers would share the sockets and miss the threads. "
        "Open them in a function registered with @on_child_start, or unset PRELOAD."
    )


def _open_sockets() -> dict[tuple[object, ...], str]:
    """Return the open sockets of this process, each with words that name it."""
    found = {}
    for one in psutil.Process().net_connections(kind="all"):
        peer = f" to {_address(one.raddr)}" if one.raddr else ""
        kind = "Unix socket" if one.family == socket.AF_UNIX else "socket"
        found[(one.fd, one.family, one.laddr, one.raddr)] = f"{kind}{peer} (descriptor {one.fd})"
    return found


def _address(address: object) -> str:
    if isinstance(address, tuple) and len(address) >= 2:
        return f"{address[0]}:{address[1]}"
    return str(address)
