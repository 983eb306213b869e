"""A guard on connections: while it is on, code of others can reach public addresses only.

An audit hook of Python sees every connect and every datagram, whatever library makes them and however the name was
resolved, also under gevent. It looks at a context variable, so that only the call that is guarded is restricted. Programs
cannot be started meanwhile; threads, which would not inherit it, cannot from Python 3.12 on, where starting one is seen.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from workers.domain.addresses import is_public

_refused: ContextVar[list[str] | None] = ContextVar("taskyard_refused_addresses", default=None)
_CONNECTS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
_STARTS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "_thread.start_new_thread"}
_is_installed = False


class ConnectionRefusedByGuard(OSError):
    """A connection to an address that is not public was not made."""


@contextmanager
def public_only() -> Iterator[list[str]]:
    """Let the code of this block connect to public addresses only; lends the list of what was refused."""
    _install()
    refused: list[str] = []
    token = _refused.set(refused)
    try:
        yield refused
    finally:
        _refused.reset(token)


def _install() -> None:
    global _is_installed
    if not _is_installed:
        # A hook cannot be removed; without a guard it returns at once.
        sys.addaudithook(_audit)
        _is_installed = True


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _CONNECTS and event not in _STARTS:
        return
    refused = _refused.get()
    if refused is None:
        return
    if event in _STARTS:
        _refuse(refused, "a program or thread that was not expected here")
    address = arguments[1] if len(arguments) > 1 else None
    if event == "socket.sendmsg" and address is None:
        return  # a socket that is connected already
    host = address[0] if isinstance(address, tuple) and address else None
    family = getattr(arguments[0], "family", None)
    if family in {socket.AF_INET, socket.AF_INET6} and isinstance(host, str) and is_public(host):
        return
    _refuse(refused, str(host if host is not None else address)[:200])


def _refuse(refused: list[str], what: str) -> None:
    sentence = f"{what} is a private or loopback address. ALLOW_PRIVATE_HTTP=1 allows it."
    refused.append(sentence)
    raise ConnectionRefusedByGuard(sentence)
