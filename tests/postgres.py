"""A PostgreSQL server of the tests' own: in a folder and on a port of its own, started, stopped and taken away by them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.support import free_port


class PostgresServer:
    """One server; its data goes with it."""

    def __init__(self, *, durable: bool = False) -> None:
        # Without it what was committed in the last moments may be gone after a crash, in exchange for speed.
        self._commit = "on" if durable else "off"
        self._programs = _programs()
        self._folder = Path(tempfile.mkdtemp(prefix="ty-pg-"))
        self._port = free_port()
        self._as_owner: list[str] = []
        if os.getuid() == 0:
            shutil.chown(self._folder, "postgres")
            self._folder.chmod(0o700)
            self._as_owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        self._run("initdb", "-U", "yard", "-A", "trust", "-E", "UTF8", "--no-sync")

    @property
    def address(self) -> str:
        """Where its databases are, up to their name."""
        return f"postgresql+psycopg://yard@127.0.0.1:{self._port}/"

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-p {self._port} -k {self._folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        options += f" -c synchronous_commit={self._commit}"
        self._run("pg_ctl", "-w", "-l", str(self._folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        """Stop it at once, as a crash would."""
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def remove(self) -> None:
        """Stop it for good."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_owner, str(self._programs / program), "-D", str(self._folder / "data"), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self._folder)


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    if found:
        return found[0].parent
    on_path = shutil.which("initdb")
    if on_path is None:
        pytest.fail("PostgreSQL's server programs are missing; make test says how to install them")
    return Path(on_path).parent
