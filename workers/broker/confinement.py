"""A process that runs code of others on what users give: confined to public addresses, to itself and to Python's own files.

Python's audit events come before every connect and datagram, whatever library makes them, however the name was resolved
and in whatever thread. A hook cannot be taken back and holds for the whole process, so it belongs into a process that does
nothing else: see `channel_process`. Libraries that connect in C, past Python, are the limit; none is used there.
"""

from __future__ import annotations

import mimetypes
import os
import socket
import sys
import sysconfig
from collections.abc import Callable, Iterable
from typing import Any

from workers.domain.addresses import is_public

_INTERNET = {socket.AF_INET, socket.AF_INET6}
_CONNECTS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
_STARTS = (
    "subprocess.Popen os.system os.exec os.fork os.forkpty os.posix_spawn os.spawn pty.spawn ctypes.dlopen socket.bind "
    "sqlite3.connect os.remove os.rename os.rmdir os.mkdir os.link os.symlink os.chmod os.chown os.truncate os.kill "
    "shutil.rmtree shutil.move shutil.copyfile"
).split()
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_DATA = ("/usr/share/zoneinfo", "/etc/localtime", "/etc/ssl", "/usr/lib/ssl", "/usr/share/ca-certificates")


class RefusedByConfinement(PermissionError):
    """This process must not do that."""


def confine(readable: Iterable[str] = ()) -> list[str]:
    """Confine this process from now on, with all its threads; returns the list that what is refused is added to."""
    refused: list[str] = []
    roots = _roots(readable)
    denied = frozenset(_STARTS)

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _CONNECTS:
            _check_connect(event, arguments, refused)
        elif event == "open":
            _check_open(arguments, roots, refused)
        elif event in denied:
            _refuse(refused, f"{event} is not allowed for a channel")

    sys.addaudithook(audit)
    return refused


def _check_connect(event: str, arguments: tuple[Any, ...], refused: list[str]) -> None:
    address = arguments[1] if len(arguments) > 1 else None
    if event == "socket.sendmsg" and address is None:
        return  # the socket is connected already, which was checked
    host = address[0] if isinstance(address, tuple) and address else None
    # A name is refused too: what it stands for would be asked for again, after the check.
    if getattr(arguments[0], "family", None) in _INTERNET and isinstance(host, str) and is_public(host):
        return
    what = str(host if host is not None else address)[:200]
    _refuse(refused, f"{what} is a private or loopback address. ALLOW_PRIVATE_HTTP=1 allows it.")


def _check_open(arguments: tuple[Any, ...], roots: tuple[str, ...], refused: list[str]) -> None:
    path, _mode, flags = arguments
    if isinstance(path, int) or path is None:
        return
    name = os.path.realpath(os.fsdecode(path))
    is_written = isinstance(flags, int) and flags & _WRITING
    if name == os.devnull or (not is_written and name.startswith(roots)):
        return
    _refuse(refused, "A channel cannot use files of this machine.")


def _roots(readable: Iterable[str]) -> tuple[str, ...]:
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders = {os.path.realpath(path) + os.sep for path in (*paths, *readable) if path}
    files = {os.path.realpath(path) for path in (*_DATA, *mimetypes.knownfiles)}
    return tuple(sorted(folders | files))


def _refuse(refused: list[str], sentence: str) -> None:
    refused.append(sentence)
    raise RefusedByConfinement(sentence)


def stay_on_host(refused: list[str], original: Callable[..., str | None], is_same: Callable[[str, str], bool]) -> Any:
    """Wrap how `requests` finds where a redirect leads: none to another host is followed, whatever headers it would take."""

    def target(session: Any, response: Any) -> str | None:
        location = original(session, response)
        if location is None or is_same(response.url, location):
            return location
        refused.append("The channel redirects to another host. Redirects to other hosts are not followed.")
        return None

    return target
