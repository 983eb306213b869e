"""The supervisor: everything on one machine. It starts the parts, starts again what dies, and stops them in order.

It stays light: neither SQL nor the web framework is imported here.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from workers.broker.embedded import EmbeddedValkey
from workers.domain.errors import Conflict, Unavailable
from workers.processes.home import Lock
from workers.processes.keeper import Keeper, Kept
from workers.processes.kin import die_with_parent, fork
from workers.settings import Settings

log = logging.getLogger("taskyard.supervisor")

_BACKLOG = 512
_OPEN_FILES = 8192


@dataclass
class Line:
    """The pipes to one child: an end of its input, an end of its output."""

    to_child: int
    from_child: int
    rest: bytes = b""


class Supervisor:
    """Runs one Taskyard from this process: `program` is the command line that sub-commands are put behind."""

    def __init__(self, settings: Settings, program: Sequence[str]) -> None:
        self._settings, self._program = settings, list(program)
        self._lock = Lock(settings)
        self._listener: socket.socket | None = None
        self._lines: dict[str, Line] = {}
        self._is_prepared = self._is_announced = False
        self._password: str | None = None
        self._valkey = EmbeddedValkey(settings)

    def run(self) -> int:
        """Run until SIGTERM or Ctrl-C; the exit code. Raises Conflict when it cannot start beside what runs already."""
        self._lock.take()
        self._listener = _listen(self._settings)
        self._lock.tell(self.address)
        _raise_open_files()
        children = [
            Kept("web", partial(self._start, "web", self._web()), 0, 5.0),
            Kept("pool", partial(self._start, "pool", [*self._program, "pool"]), 1, 14.0),
        ]
        if self._settings.embedded_redis:
            self._valkey.prepare()
            valkey = partial(self._spawn, self._valkey.command())
            children.insert(0, Kept("valkey", valkey, 2, 15.0, self._valkey.last_words))
        self._keeper = Keeper(children)
        self._keeper.obey_signals()
        log.info("starting on %s, data in %s", self.address, self._settings.data_dir)
        code = self._keeper.run()
        self._lock.release()
        log.info("stopped")
        return code

    @property
    def address(self) -> str:
        """Where people find it."""
        assert self._listener is not None
        host, port = self._listener.getsockname()[:2]
        shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
        return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"

    def _web(self) -> list[str]:
        assert self._listener is not None
        return [*self._program, "web", "--socket", str(self._listener.fileno())]

    def _start(self, label: str, command: Sequence[str]) -> int:
        self._hang_up(label)
        input_end, to_child = os.pipe()
        from_child, output_end = os.pipe()
        kept = [self._listener.fileno()] if label == "web" and self._listener is not None else []
        pid = self._spawn([*command, "--supervised"], {0: input_end, 1: output_end}, kept)
        os.close(input_end)
        os.close(output_end)
        os.set_blocking(from_child, False)
        self._lines[label] = Line(to_child, from_child)
        self._keeper.listen(from_child, partial(self._hear, label))
        if label == "web" and self._is_prepared:
            self._say_go()
        return pid

    def _spawn(
        self, command: Sequence[str], descriptors: dict[int, int] | None = None, kept: Sequence[int] = ()
    ) -> int:
        def body() -> int:
            # A group of its own: Ctrl-C in the terminal is for the supervisor, which stops the others in order.
            os.setpgid(0, 0)
            die_with_parent()
            for number, descriptor in (descriptors or {}).items():
                os.dup2(descriptor, number)
            for one in kept:
                os.set_inheritable(one, True)
            os.execv(command[0], list(command))

        return fork(body)

    def _hear(self, label: str) -> None:
        line = self._lines[label]
        chunk = os.read(line.from_child, 65536)
        if not chunk:
            self._keeper.deafen(line.from_child)
            return
        *whole, line.rest = (line.rest + chunk).split(b"\n")
        for text in whole:
            self._on_message(label, json.loads(text))

    def _on_message(self, label: str, message: dict[str, Any]) -> None:
        if label == "pool" and message.get("prepared"):
            self._password = message.get("password") or self._password
            if not self._is_prepared:
                self._is_prepared = True
                self._say_go()
        if label == "web" and message.get("ready") and not self._is_announced:
            self._is_announced = True
            self._announce()

    def _say_go(self) -> None:
        if "web" in self._lines:
            try:
                os.write(self._lines["web"].to_child, b"go\n")
            except BrokenPipeError:
                log.debug("web is gone already; the next one is told")

    def _hang_up(self, label: str) -> None:
        line = self._lines.pop(label, None)
        if line is not None:
            self._keeper.deafen(line.from_child)
            os.close(line.to_child)
            os.close(line.from_child)

    def _announce(self) -> None:
        log.info("ready: %s", self.address)
        if self._password:
            log.info("sign in as admin with the one-time password %s (shown only now)", self._password)
        else:
            log.info("sign in with your name and password; `%s users` lists and mends accounts", "python app.py")
        log.info("Ctrl-C stops everything")


def _listen(settings: Settings) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        raise Conflict(
            f"Port {settings.port} on {settings.host} cannot be had ({error.strerror}). "
            f"Stop what uses it, or choose another: PORT={settings.port + 1}."
        ) from error
    return listener


def _raise_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def supervise(settings: Settings, program: Sequence[str] | None = None) -> int:
    """Run everything on this machine; one line on the standard error when it cannot start. Returns the exit code."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        return Supervisor(settings, program or [sys.executable, os.path.abspath(sys.argv[0])]).run()
    except (Conflict, Unavailable) as error:
        log.error("%s", error)
        return 1
