"""The supervisor: everything on one machine. It starts the parts, starts again what dies, and stops them in order.

It stays light: neither SQL nor the web framework is imported here.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from workers.broker.embedded import EmbeddedValkey
from workers.processes.home import Lock
from workers.processes.keeper import Keeper, Kept
from workers.processes.kin import die_with_parent, fork
from workers.processes.listening import address_of, listen
from workers.settings import Settings

log = logging.getLogger("taskyard.supervisor")

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
        self._address = ""
        self._lines: dict[str, Line] = {}
        self._is_prepared = self._is_announced = False
        self._password: str | None = None
        self._valkey = EmbeddedValkey(settings)

    def run(self) -> int:
        """Run until SIGTERM or Ctrl-C; the exit code. Raises Conflict when it cannot start beside what runs already."""
        self._lock.take()
        listener = listen(self._settings)
        self._address = address_of(listener)
        self._lock.tell(self._address)
        _raise_open_files()
        web = [*self._program, "web", "--socket", str(listener.fileno())]
        children = [
            Kept("web", partial(self._start, "web", web, [listener.fileno()]), 0, 5.0),
            Kept(
                "pool", partial(self._start, "pool", [*self._program, "pool"]), 1, self._settings.shutdown_seconds + 4
            ),
        ]
        if self._settings.embedded_redis:
            self._valkey.prepare()
            valkey = partial(self._spawn, self._valkey.command())
            children.insert(0, Kept("valkey", valkey, 2, 15.0, self._valkey.last_words))
        self._keeper = Keeper(children)
        self._keeper.obey_signals()
        log.info("starting on %s, data in %s", self._address, self._settings.data_dir)
        code = self._keeper.run()
        listener.close()
        self._lock.release()
        log.info("stopped")
        return code

    def _start(self, label: str, command: Sequence[str], kept: Sequence[int] = ()) -> int:
        self._hang_up(label)
        input_end, to_child = os.pipe()
        from_child, output_end = os.pipe()
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
                log.debug("the web process has already stopped; the next one is notified")

    def _hang_up(self, label: str) -> None:
        line = self._lines.pop(label, None)
        if line is not None:
            self._keeper.deafen(line.from_child)
            os.close(line.to_child)
            os.close(line.from_child)

    def _announce(self) -> None:
        log.info("ready: %s", self._address)
        if self._password:
            log.info("sign in as admin with the one-time password %s (shown only now)", self._password)
        else:
            log.info("sign in with your name and password (`python app.py users list` lists the users)")
        log.info("press Ctrl-C to stop")


def _raise_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _open_standard_descriptors() -> None:
    # Started with one of them closed, a pipe to a child would take its number.
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)


def supervise(settings: Settings, program: Sequence[str] | None = None) -> int:
    """Run everything on this machine. Returns the exit code; raises Conflict and Unavailable when it cannot start."""
    _open_standard_descriptors()
    return Supervisor(settings, program or [sys.executable, os.path.abspath(sys.argv[0])]).run()
