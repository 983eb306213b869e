"""What calls cost over a kept connection to a real web process: `python -m bench.http_calls`. Milliseconds, p50 and p99."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median, quantiles

from bench._common import ROOT, tell, wait_for, yard
from bench._history import fill
from tests.support import free_port
from workers.domain.actors import Actor
from workers.services import tokens
from workers.yard import Yard

SYSTEM = Actor("system", "bench", "admin")
JOB = json.dumps({"task": "samples.noop", "payload": {}}).encode()
ROWS = 50


class Caller:
    """One connection that is kept from call to call."""

    def __init__(self, port: int, secret: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}

    def call(self, method: str, path: str, body: bytes | None = None) -> int:
        """Make a call and read its whole answer; its status."""
        self._connection.request(method, path, body, self._headers)
        answer = self._connection.getresponse()
        answer.read()
        return answer.status


def milliseconds(count: int, call: Callable[[], int], status: int) -> list[float]:
    """Measure calls after some to warm up."""
    times = []
    for n in range(count + 20):
        start = time.perf_counter()
        assert call() == status
        if n >= 20:
            times.append((time.perf_counter() - start) * 1000)
    return times


def answers(port: int) -> bool:
    """Return whether the web process answers."""
    try:
        return Caller(port, "").call("GET", "/healthz") == 200
    except OSError:
        return False


def measure(opened: Yard, count: int) -> dict[str, float]:
    """Measure each call."""
    port = free_port()
    secret = tokens.create(opened, "bench", "admin", None, SYSTEM)
    values = {**os.environ, "DATA_DIR": str(opened.settings.data_dir), "PORT": str(port)}
    values["REDIS_URL"] = opened.settings.effective_redis_url
    with subprocess.Popen([sys.executable, "app.py", "web"], cwd=ROOT, env=values, stderr=subprocess.DEVNULL) as web:
        try:
            wait_for(lambda: answers(port))
            caller = Caller(port, secret)
            sides: dict[str, tuple[Callable[[], int], int]] = {
                "healthz": (lambda: caller.call("GET", "/healthz"), 200),
                "post_jobs": (lambda: caller.call("POST", "/api/v1/jobs", JOB), 202),
                "get_jobs": (lambda: caller.call("GET", f"/api/v1/jobs?limit={ROWS}"), 200),
            }
            times = {name: milliseconds(count, call, status) for name, (call, status) in sides.items()}
        finally:
            web.terminate()
    p50 = {f"{name}_p50_ms": median(values) for name, values in times.items()}
    return p50 | {f"{name}_p99_ms": quantiles(values, n=100)[98] for name, values in times.items()}


def main() -> None:
    """Measure on a history of some size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--history", type=int, default=10_000)
    parser.add_argument("--calls", type=int, default=500)
    wanted = parser.parse_args()
    with yard() as opened:
        fill(opened, wanted.history)
        tell("http_calls", measure(opened, wanted.calls))


if __name__ == "__main__":
    main()
