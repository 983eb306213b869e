"""A process that is patched as the web process is, and hashes there; prints what the tests look at, as JSON.

Its own process: what is patched once stays patched.
"""

from __future__ import annotations

import json
import sys
import time

import gevent
import gevent.monkey
from argon2 import PasswordHasher

from dashboard.hashing import HashingPool
from workers.domain.errors import Unavailable

gevent.monkey.patch_all()  # the pool is made later, and looks then


def measure_waits() -> dict[str, float]:
    """Hash for a long time, and measure how long others wait for the event loop meanwhile."""
    pool, hasher = HashingPool(), PasswordHasher(time_cost=40)
    gaps: list[float] = []
    is_over = False

    def tick() -> None:
        while not is_over:
            start = time.monotonic()
            gevent.sleep(0.001)
            gaps.append(time.monotonic() - start)

    ticker = gevent.spawn(tick)
    gevent.sleep(0.05)
    gaps.clear()
    start = time.monotonic()
    pool.run(hasher.hash, "a password")
    took = time.monotonic() - start
    is_over = True
    ticker.join()
    return {"took": took, "longest_gap": max(gaps), "ticks": len(gaps)}


def fill_queue() -> dict[str, int]:
    """Ask for forty hashes at once, and for ten of known devices."""
    pool, hasher = HashingPool(), PasswordHasher()
    counts = {"stranger hashed": 0, "stranger refused": 0, "device hashed": 0, "device refused": 0}

    def ask(who: str) -> None:
        run = pool.run if who == "stranger" else pool.run_for_known_device
        try:
            run(hasher.hash, "a password")
        except Unavailable:
            counts[f"{who} refused"] += 1
        else:
            counts[f"{who} hashed"] += 1

    gevent.joinall([gevent.spawn(ask, who) for who in ["stranger"] * 40 + ["device"] * 10])
    pool.run(hasher.hash, "a password")  # there is room again
    return counts


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"measure_waits": measure_waits, "fill_queue": fill_queue}[sys.argv[1]]()))
