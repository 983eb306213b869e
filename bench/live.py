"""From a job's word to a browser: 50 viewers, first 2,000 events a second, then a burst of 20,000: `python -m bench.live`.

The web process, the Valkey server, the jobs' words and the viewers are processes of their own on this one machine.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench._common import ROOT, tell, wait_for, yard
from tests.support import free_port
from workers.domain.actors import Actor
from workers.domain.ids import new_id
from workers.services import tokens
from workers.yard import Yard

JOBS = 50
SLICE_SECONDS = 0.005


@contextmanager
def web(yard: Yard) -> Iterator[int]:
    """Run a web process on this yard; its port."""
    port = free_port()
    environ = {
        **os.environ,
        "DATA_DIR": str(yard.settings.data_dir),
        "REDIS_URL": yard.settings.effective_redis_url,
        "PORT": str(port),
        "LOG_LEVEL": "warning",
    }
    command = [sys.executable, "app.py", "web"]

    def serves() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL) as process:
        wait_for(serves, within=30)
        yield port
        process.send_signal(signal.SIGTERM)


def publish(yard: Yard, rate: int, seconds: float) -> dict[str, int]:
    """Tell progress of 50 jobs at this rate, in slices of 5 ms, as many workers would; the last version of each."""
    ids = [new_id() for _ in range(JOBS)]
    versions = dict.fromkeys(ids, 0)
    start, sent = time.monotonic(), 0
    while (passed := time.monotonic() - start) < seconds:
        with yard.redis.pipeline(transaction=False) as pipe:
            while sent < passed * rate:
                job_id = ids[sent % JOBS]
                versions[job_id] += 1
                pipe.publish(yard.redis.names.live, _word(job_id, versions[job_id]))
                sent += 1
            pipe.execute()
        time.sleep(SLICE_SECONDS)
    return versions


def _word(job_id: str, version: int) -> str:
    told = {"type": "progress", "job_id": job_id, "version": version, "progress": version % 100, "done": version}
    return json.dumps(
        {**told, "total": 10**6, "message": str(time.time()), "step": None, "rate": 40.0, "eta_seconds": 9.0}
    )


def measure(yard: Yard, port: int, token: str, rate: int, seconds: float, viewers: int) -> dict[str, Any]:
    """Publish at a rate while viewers listen; what the careful one saw."""
    command = [sys.executable, "-m", "bench._viewers", str(port), token, str(viewers), str(seconds + 3)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as listening:
        assert listening.stdout is not None
        assert listening.stdout.readline() == "ready\n"
        time.sleep(0.3)
        versions = publish(yard, rate, seconds)
        seen = json.loads(listening.stdout.read())
    last = seen.pop("versions")
    assert last == versions, "a job's last word did not arrive"
    return {**seen, "sent": sum(versions.values())}


def main() -> None:
    """Measure the steady rate and the burst."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--viewers", type=int, default=50)
    wanted = parser.parse_args()
    with yard() as opened:
        token = tokens.create(opened, "bench", "viewer", None, Actor("system", "bench", "admin"))
        with web(opened) as port:
            figures: dict[str, float] = {}
            for name, rate in (("quiet", 20), ("steady", 2_000), ("burst", 20_000)):
                told = measure(opened, port, token, rate, wanted.seconds, wanted.viewers)
                figures |= {f"{name}_{key}": float(value) for key, value in told.items()}
    tell("live", figures)


if __name__ == "__main__":
    main()
