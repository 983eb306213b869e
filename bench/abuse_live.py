"""What one ill-disposed viewer can do to everybody else, by exports, logs and live connections: `python -m bench.abuse_live`.

During each abuse `/healthz` is asked without a pause: its 99th percentile and the growth of the web process's memory are the
figures. 250 ms and 100 MB are the limits to stay under.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import psutil
from sqlalchemy import Table, insert, text
from websocket import WebSocket, WebSocketException, create_connection

from bench._common import tell, yard
from bench._history import fill
from bench.live import web
from tests.security.large_history import Sizes
from tests.security.large_history import fill as fill_large
from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.services import tokens
from workers.store.models import JobLog
from workers.yard import Yard

MEGABYTE = 1_000_000
BENCH = Actor("system", "bench", "admin")


class Target:
    """A web process on loopback, and the token of a viewer."""

    def __init__(self, yard: Yard, port: int, job_id: str) -> None:
        self.yard, self.port, self.job_id = yard, port, job_id
        self.token = tokens.create(yard, "bench", "viewer", None, BENCH)
        children = psutil.Process().children(recursive=True)
        self.process = next(child for child in children if child.cmdline()[-2:] == ["app.py", "web"])

    def get(self, path: str) -> int:
        """Fetch an address to its end; the size of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
        answer = connection.getresponse()
        size = 0
        while chunk := answer.read(MEGABYTE):
            size += len(chunk)
        return size

    def connect(self, *rooms: str) -> WebSocket:
        """Open a live connection that watches these rooms."""
        line = create_connection(f"ws://127.0.0.1:{self.port}/socket.io/?EIO=4&transport=websocket", timeout=20)
        line.recv()
        line.send("40/live," + json.dumps({"token": self.token}))
        line.recv()
        line.send(f'42/live,["watch",{json.dumps({"rooms": list(rooms)})}]')
        return line

    def upgrade(self) -> socket.socket:
        """Open a bare WebSocket."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        key = base64.b64encode(os.urandom(16)).decode()
        client.sendall(
            f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        client.recv(4096)
        return client


def export_four_times(target: Target) -> None:
    """Export every job, four times at once, by two callers."""
    other = Target(target.yard, target.port, target.job_id)
    _all_at_once([lambda one=one: one.get("/jobs/export") for one in (target, target, other, other)])


def export_as_one_viewer(target: Target) -> None:
    """Export every job as CSV, four times at once, by one viewer, again and again."""
    for _ in range(3):
        _all_at_once([lambda: target.get("/jobs/export?format=csv")] * 4)


def read_long_log(target: Target) -> None:
    """Read a log of 200,000 lines, four times at once."""
    lines = cast(Table, JobLog.__table__)
    with target.yard.database.read() as connection:
        longest = connection.execute(text("SELECT id FROM jobs ORDER BY id LIMIT 1")).scalar_one()
    for _ in range(40):
        row = {"job_id": longest, "attempt": 1, "at": utcnow(), "level": "info", "line": "a line of a log, not long"}
        with target.yard.database.write() as connection:
            connection.execute(insert(lines), [row] * 5_000)
    _all_at_once([lambda: target.get(f"/jobs/{longest}/logs.txt")] * 4)


def read_large_log(target: Target) -> None:
    """Read a log of 5 MB, twenty times."""
    for _ in range(10):
        _all_at_once([lambda: target.get(f"/jobs/{target.job_id}/logs.txt")] * 2)


def look_at_large_job(target: Target) -> None:
    """Open the page of a job with a payload of a megabyte, eight at a time."""
    _all_at_once([lambda: target.get(f"/jobs/{target.job_id}?tab=payload")] * 8)


def search(target: Target) -> None:
    """Search large payloads, eight at a time."""
    _all_at_once([lambda: target.get("/jobs?q=zzzz")] * 8)


def flood_watch(target: Target) -> None:
    """Send 62,785 `watch` messages as fast as they are taken, from ten connections."""
    packet = '42/live,["watch",{"rooms":["jobs"]}]'

    def flood() -> None:
        line = target.connect("jobs")
        with contextlib.suppress(OSError, WebSocketException):
            for _ in range(6_279):
                line.send(packet)

    _all_at_once([flood] * 10)


def send_large_frame(target: Target) -> None:
    """Send one frame of 150 MB."""
    with target.upgrade() as client, contextlib.suppress(OSError):
        client.sendall(struct.pack("!BBQ", 0x81, 0xFF, 150 * MEGABYTE) + b"\x00" * 4)
        for _ in range(150):
            client.sendall(b"a" * MEGABYTE)


def send_fragments(target: Target) -> None:
    """Send 100 MB of fragments."""
    with target.upgrade() as client, contextlib.suppress(OSError):
        for n in range(2_000):
            client.sendall(struct.pack("!BBQ", 0 if n else 1, 0xFF, 50_000) + b"\x00" * 4 + b"a" * 50_000)


def stall_readers(target: Target) -> None:
    """Open forty connections that read nothing, and publish 60 MB to what they watch."""
    lines = [target.connect("channel:flood") for _ in range(40)]
    for _ in range(3_000):
        target.yard.live.publish({"type": "published", "channel": "flood", "event": "e", "data": "x" * 20_000})
        time.sleep(0.001)
    for line in lines:
        line.sock.close()


ABUSES: dict[str, Callable[[Target], None]] = {
    "nothing": lambda _target: time.sleep(3),
    "export_four_times": export_four_times,
    "export_as_one_viewer": export_as_one_viewer,
    "large_log": read_large_log,
    "long_log": read_long_log,
    "large_job": look_at_large_job,
    "search": search,
    "watch_flood": flood_watch,
    "large_frame": send_large_frame,
    "fragments": send_fragments,
    "stalled_readers": stall_readers,
}


def _all_at_once(calls: list[Callable[[], Any]]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def measure(target: Target, abuse: Callable[[Target], None]) -> dict[str, float]:
    """Run an abuse; the waits of others meanwhile in milliseconds, and the memory that stays afterwards."""
    waits: list[float] = []
    is_over = threading.Event()

    def sample() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=120)
        while not is_over.is_set():
            start = time.monotonic()
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            waits.append((time.monotonic() - start) * 1000)
            is_over.wait(0.02)

    sampler = threading.Thread(target=sample)
    before = most = target.process.memory_info().rss
    sampler.start()
    start = time.monotonic()
    runner = threading.Thread(target=abuse, args=(target,))
    runner.start()
    while runner.is_alive():
        runner.join(0.1)
        most = max(most, target.process.memory_info().rss)
    took = time.monotonic() - start
    is_over.set()
    sampler.join()
    waits.sort()
    return {
        "p99_ms": waits[int(len(waits) * 0.99)],
        "max_ms": waits[-1],
        "memory_mb": (most - before) / MEGABYTE,
        "seconds": took,
    }


def main() -> None:
    """Measure every abuse, or those that are named."""
    parser = argparse.ArgumentParser()
    parser.add_argument("abuses", nargs="*", metavar="NAME", help=f"which; all when none is named: {', '.join(ABUSES)}")
    parser.add_argument("--jobs", type=int, default=150_000)
    chosen = parser.parse_args()
    unknown = set(chosen.abuses) - set(ABUSES)
    if unknown:
        parser.error(f"no such abuse: {', '.join(sorted(unknown))}")
    figures: dict[str, Any] = {}
    with yard() as opened:
        large = fill_large(opened, Sizes(jobs=1_000))
        fill(opened, chosen.jobs)
        with web(opened) as port:
            target = Target(opened, port, large.job_id)
            target.get("/jobs")
            time.sleep(3)
            for name in chosen.abuses or ABUSES:
                for key, value in measure(target, ABUSES[name]).items():
                    figures[f"{name}_{key}"] = value
                shown = {key: round(figures[f"{name}_{key}"]) for key in ("p99_ms", "max_ms", "memory_mb", "seconds")}
                sys.stderr.write(f"{name:20} {shown}\n")
    tell("abuse_live", {"jobs": chosen.jobs, **figures})


if __name__ == "__main__":
    main()
