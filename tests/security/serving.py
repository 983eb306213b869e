"""A real web process for attacks from loopback, and what they are made with."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.support import eventually, free_port
from workers.yard import Yard

ROOT = Path(__file__).resolve().parents[2]


class Web:
    """A web process on a yard of the test."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process, self.port, self._log = process, port, log
        self.address = f"http://127.0.0.1:{port}"

    def connect(self, timeout: float = 10) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def send(self, raw: bytes, timeout: float = 10) -> bytes:
        """Send bytes on a new connection and read until the server closes it."""
        with self.connect(timeout) as client:
            with contextlib.suppress(OSError):
                client.sendall(raw)
            return read_to_end(client)

    def memory_bytes(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def health_seconds(self) -> float:
        start = time.monotonic()
        answer = httpx.get(f"{self.address}/healthz", timeout=20)
        assert answer.status_code == 200
        return time.monotonic() - start

    def log(self) -> str:
        return self._log.read_text(errors="replace")


def read_to_end(client: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(OSError):
        while chunk := client.recv(65_536):
            data += chunk
    return data


@contextlib.contextmanager
def serving(yard: Yard, folder: Path, open_files: int | None = None, **environment: str) -> Iterator[Web]:
    """Serve a yard from a process of its own until the block ends."""
    port = free_port()
    values = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "DATA_DIR": str(yard.settings.data_dir),
        "DATABASE_URL": yard.settings.database_url,
        "REDIS_URL": yard.settings.effective_redis_url,
        "PORT": str(port),
        **environment,
    }

    def limit() -> None:
        if open_files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))

    path = folder / "web.log"
    with path.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "app.py", "web"], cwd=ROOT, env=values, stdout=log, stderr=log, preexec_fn=limit
        )
    web = Web(process, port, path)

    def is_ready() -> None:
        assert process.poll() is None, web.log()
        assert "ready: " in web.log()

    try:
        eventually(is_ready, within=30)
        yield web
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def status_of(answer: bytes) -> Any:
    """Return the status of a raw answer; None when there is none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else None
