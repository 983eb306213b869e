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
from workers.domain.actors import Actor
from workers.services import tokens
from workers.yard import Yard

ROOT = Path(__file__).resolve().parents[2]


class Web:
    """A web process on a yard of the test."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path, yard: Yard) -> None:
        self.process, self.port, self._log, self.yard = process, port, log, yard
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
        answer = httpx.get(f"{self.address}/healthz", timeout=20, verify=False)
        assert answer.status_code == 200
        return time.monotonic() - start

    def token(self, role: str) -> bytes:
        """Make a token and return the header line that sends it."""
        secret = tokens.create(self.yard, f"a {role} of the test", role, None, Actor("system", "tests", "admin"))
        return f"Authorization: Bearer {secret}".encode()

    def log(self) -> str:
        return self._log.read_text(errors="replace")


def read_to_end(client: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(OSError):
        while chunk := client.recv(65_536):
            data += chunk
    return data


# Starts `python app.py web` with other limits of time and size, so that a test need not wait for half a minute.
_WITH_LIMITS = """
import runpy, sys
from gevent import monkey
monkey.patch_all()
from importlib import import_module
for assignment in sys.argv.pop(1).split():
    name, value = assignment.split("=")
    module, attribute = name.rsplit(".", 1)
    setattr(import_module("dashboard." + module), attribute, float(value))
sys.argv[0] = "app.py"
runpy.run_path("app.py", run_name="__main__")
"""


@contextlib.contextmanager
def serving(
    yard: Yard, folder: Path, open_files: int | None = None, limits: str = "", **environment: str
) -> Iterator[Web]:
    """Serve a yard from a process of its own until the block ends; `limits` are assignments such as `http_body.IO_SECONDS=1`."""
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

    start = ["-c", _WITH_LIMITS, limits] if limits else ["app.py"]
    path = folder / "web.log"
    with path.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *start, "web"], cwd=ROOT, env=values, stdout=log, stderr=log, preexec_fn=limit
        )
    web = Web(process, port, path, yard)

    def is_ready() -> None:
        assert process.poll() is None, web.log()
        assert "ready: " in web.log()

    try:
        eventually(is_ready, within=90)
        yield web
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def read_answer(client: socket.socket) -> bytes:
    """Read one answer of a stated length, and nothing after it."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += (piece := client.recv(1))
        if not piece:
            return data
    lines = data.lower().split(b"\r\n")
    length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), 0)
    while length > 0 and (piece := client.recv(length)):
        data += piece
        length -= len(piece)
    return data


def status_of(answer: bytes) -> Any:
    """Return the status of a raw answer; None when there is none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else None
