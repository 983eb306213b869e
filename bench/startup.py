"""How soon a whole Taskyard serves and stops, and what memory its idle processes take: `python -m bench.startup`.

PSS divides what processes share among them, so its sum is what the machine lends; RSS counts what is shared each time.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil

from bench._common import ROOT, rounds, tell, wait_for

IDLE_SECONDS = 5.0
MB = 1_048_576


class Whole:
    """One Taskyard on a folder and a port of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        environ = {**os.environ, "DATA_DIR": str(folder), "PORT": str(self.port), "ADMIN_PASSWORD": "for the bench"}
        with (folder.parent / "log").open("ab") as log:
            self._process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environ, stderr=log)

    def serves(self) -> bool:
        """Tell whether it answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=10) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def memory(self) -> dict[str, float]:
        """Tell the memory of all its processes in MB."""
        supervisor = psutil.Process(self._process.pid)
        found = [one.memory_full_info() for one in (supervisor, *supervisor.children(recursive=True))]
        pss = sum(getattr(one, "pss", one.uss) for one in found) / MB
        return {"processes": float(len(found)), "idle_pss_mb": pss, "idle_rss_mb": sum(one.rss for one in found) / MB}

    def stop(self) -> float:
        """Stop it; the seconds that took."""
        began = time.perf_counter()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)
        return time.perf_counter() - began


def main() -> None:
    """Start it on an empty folder and on one that is set up, look at its memory when it idles, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    memory: dict[str, float] = {}
    stops: list[float] = []

    def start(folder: Path) -> float:
        began = time.perf_counter()
        whole = Whole(folder)
        wait_for(whole.serves)
        took = time.perf_counter() - began
        time.sleep(IDLE_SECONDS)
        memory.update(whole.memory())
        stops.append(whole.stop())
        return took

    def first() -> float:
        with tempfile.TemporaryDirectory(prefix="taskyard-bench-") as folder:
            return start(Path(folder) / "new")

    with tempfile.TemporaryDirectory(prefix="taskyard-bench-") as folder:
        figures = rounds(wanted.rounds, first_start_seconds=first, start_seconds=lambda: start(Path(folder) / "set-up"))
    tell("startup", {**figures, "stop_seconds": max(stops), **memory})


if __name__ == "__main__":
    main()
