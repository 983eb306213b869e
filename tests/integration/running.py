"""A whole Taskyard in processes of its own, as `python app.py` starts it, for tests that start, kill and stop it."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.support import eventually, free_port

ROOT = Path(__file__).resolve().parents[2]
READY_WITHIN_SECONDS = 120.0
STOPPED_WITHIN_SECONDS = 30.0


class Running:
    """One Taskyard on its own folder and port; whatever it starts is found by that folder in its environment."""

    def __init__(self, data_dir: Path, **environment: str) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.environment = {
            **{name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "PYTHONPATH", "LANG"}},
            "DATA_DIR": str(data_dir),
            "PORT": str(self.port),
            "WORKERS": "1",
            "ADMIN_PASSWORD": "correct horse battery",
            "HEARTBEAT_SECONDS": "1",
            **environment,
        }
        self.log_path = data_dir.parent / f"{data_dir.name}.log"
        self.root = ROOT  # of the code that is run
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *command: str) -> Running:
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "app.py", *command], cwd=self.root, env=self.environment, stdout=log, stderr=log
            )
        return self

    def ready(self) -> Running:
        before = self.log().count("ready: ")

        def is_ready() -> None:
            assert self.process is not None
            assert self.process.poll() is None, self.log()
            assert self.log().count("ready: ") > before, self.log()

        try:
            eventually(is_ready, within=READY_WITHIN_SECONDS)
        except BaseException:
            self.clean_up()  # who asked for it gets nothing that could be stopped
            raise
        return self

    def run(self, *command: str, give: str | None = None, within: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run a command of the command line to its end."""
        return subprocess.run(
            [sys.executable, "app.py", *command],
            cwd=self.root,
            env=self.environment,
            input=give,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )

    def enqueue(self, *words: str) -> str:
        done = self.run("enqueue", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def status(self, job_id: str) -> str:
        """Read the status of a job from the row; the command line would take a second, in which a short job ends."""
        path = self.environment.get("DATABASE_URL", "").removeprefix("sqlite:///") or self.data_dir / "taskyard.db"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as connection:
            found = connection.execute("SELECT status FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return str(found[0])

    def processes(self) -> list[psutil.Process]:
        """Find everything that runs with this folder in its environment, whoever its parent is."""
        mark = str(self.data_dir)
        found = []
        for process in psutil.process_iter():
            try:
                is_ours = process.environ().get("DATA_DIR") == mark and process.status() != psutil.STATUS_ZOMBIE
            except psutil.Error:
                continue
            if is_ours:
                found.append(process)
        return found

    def part(self, word: str) -> psutil.Process:
        """Find the process that the supervisor started with this word, or this program, in its command line."""
        assert self.process is not None
        children = psutil.Process(self.process.pid).children()
        return next(one for one in children if one.name() == word or word in one.cmdline())

    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop and wait for it; the exit code."""
        assert self.process is not None
        self.process.send_signal(sig)
        return self.process.wait(STOPPED_WITHIN_SECONDS)

    def nothing_is_left(self) -> None:
        left = self.processes()
        assert not left, [one.pid for one in left]

    def clean_up(self) -> None:
        """Kill whatever is left; for the end of a test, however it went."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):  # it may end while the others are looked at
                process.kill()
        if self.process is not None:
            self.process.wait(60)
        until = time.monotonic() + 10
        while self.processes() and time.monotonic() < until:
            time.sleep(0.05)
