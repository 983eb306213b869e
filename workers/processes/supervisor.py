"""Everything on one machine: checks, the embedded server, then the web and the pool, kept alive until Ctrl-C.

It imports little on purpose: it stays up for months and should weigh next to nothing.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import IO

from workers.broker.embedded import EmbeddedValkey
from workers.domain.errors import SettingsError, Unavailable
from workers.parent import Backoff, die_with_parent
from workers.settings import Settings

log = logging.getLogger("taskyard")
STOP_SECONDS = 20.0


@dataclass
class _Part:
    label: str
    arguments: list[str]
    process: subprocess.Popen[bytes] | None = None
    backoff: Backoff = field(default_factory=Backoff)


class Supervisor:
    """Starts the parts, restarts what dies, ends them in order."""

    def __init__(self, settings: Settings, app: Path) -> None:
        self._settings, self._app = settings, app
        self._parts = [_Part("web", ["web"]), _Part("pool", ["pool"])]
        self._valkey = EmbeddedValkey(settings) if settings.embedded_redis else None
        self._valkey_backoff = Backoff()
        self._stop_signals = 0

    def run(self) -> int:
        """Run until a signal; the exit code. Raises SettingsError, Unavailable with a sentence before anything runs."""
        prepare_data_dir(self._settings)
        check_port(self._settings)
        with lock_data_dir(self._settings):
            signal.signal(signal.SIGTERM, self._on_signal)
            signal.signal(signal.SIGINT, self._on_signal)
            try:
                if self._valkey:
                    self._valkey.start()
                self._prepare()
                for part in self._parts:
                    self._start(part)
                self._say_hello()
                while not self._stop_signals:
                    self._look_after()
                    time.sleep(0.1)
            finally:
                self._stop()
        return 0

    def _prepare(self) -> None:
        done = subprocess.run([sys.executable, str(self._app), "prepare"], env=self._environment(), check=False)
        if done.returncode:
            raise Unavailable("The database could not be prepared; the lines above say why.")

    def _start(self, part: _Part) -> None:
        part.backoff.started()
        part.process = subprocess.Popen(
            [sys.executable, str(self._app), *part.arguments],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - no other thread runs here
        )

    def _look_after(self) -> None:
        if self._valkey and not self._valkey.is_alive() and time.monotonic() >= self._valkey_backoff.due_at:
            log.error("valkey ended; starting it again on the same files")
            self._valkey_backoff.died()
            self._valkey_backoff.started()
            self._valkey.start()
        for part in self._parts:
            if part.process is not None and part.process.poll() is not None:
                wait = part.backoff.died()
                log.error("%s ended with %s; it starts again in %.0f s", part.label, part.process.returncode, wait)
                part.process = None
            elif part.process is None and time.monotonic() >= part.backoff.due_at:
                self._start(part)

    def _stop(self) -> None:
        for part in self._parts:
            if part.process is not None and part.process.poll() is None:
                part.process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        asked = self._stop_signals
        for part in self._parts:
            while part.process is not None and part.process.poll() is None:
                if time.monotonic() > deadline or self._stop_signals > asked:
                    part.process.kill()
                time.sleep(0.02)
        if self._valkey:
            self._valkey.stop()

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "SECRET_KEY": secret_key(self._settings), "DATA_DIR": str(self._settings.data_dir)}

    def _say_hello(self) -> None:
        address = f"http://{self._settings.host}:{self._settings.port}"
        sys.stdout.write(f"\nTaskyard runs at {address}  (data in {self._settings.data_dir}; Ctrl-C stops it)\n\n")
        sys.stdout.flush()

    def _on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        self._stop_signals += 1


def prepare_data_dir(settings: Settings) -> None:
    """Make DATA_DIR, open to its owner alone. Raises SettingsError."""
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        settings.data_dir.chmod(0o700)
        for folder in (settings.uploads_dir, settings.files_dir):
            folder.mkdir(exist_ok=True)
    except OSError as error:
        raise SettingsError(f"DATA_DIR {settings.data_dir} cannot be used: {error.strerror}.") from error


def secret_key(settings: Settings) -> str:
    """Tell the secret of the sessions: the given one, or one that is made once and kept in DATA_DIR."""
    if settings.secret_key:
        return settings.secret_key
    path = settings.data_dir / "secret_key"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="ascii").strip()
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(key := secrets.token_urlsafe(48))
    return key


def check_port(settings: Settings) -> None:
    """Refuse an address that cannot be listened on. Raises SettingsError."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise SettingsError(
                f"Port {settings.port} on {settings.host} cannot be used: {error.strerror}. Choose another with PORT=…"
            ) from error


def lock_data_dir(settings: Settings) -> IO[str]:
    """Hold DATA_DIR for this process. Raises SettingsError that names who holds it."""
    file = (settings.data_dir / "lock").open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        holder = _holder(file.read())
        file.close()
        raise SettingsError(
            f"A Taskyard already runs on {settings.data_dir}{holder}. Stop it, or set another DATA_DIR and PORT."
        ) from None
    file.truncate(0)
    json.dump({"pid": os.getpid(), "port": settings.port}, file)
    file.flush()
    return file


def _holder(text: str) -> str:
    try:
        told = json.loads(text)
        return f" (process {told['pid']}, port {told['port']})"
    except (ValueError, KeyError, TypeError):
        return ""


def run_supervisor(settings: Settings, app: Path) -> int:
    """Run everything on this machine; the exit code."""
    return Supervisor(replace(settings), app).run()
