"""What goes wrong, at random but by a seed: processes killed and stopped, Redis emptied, databases locked and restarted."""

from __future__ import annotations

import contextlib
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import psutil
from redis.exceptions import RedisError

from tests.integration.running import Running
from tests.postgres import PostgresServer
from workers.yard import Yard


class Mayhem:
    """Does something bad every so often until it is told to stop; `did` counts what."""

    def __init__(
        self,
        running: Running,
        yard: Yard,
        seed: int,
        postgres: PostgresServer | None = None,
        every_seconds: float = 1.2,
    ) -> None:
        self._running, self._yard, self._postgres = running, yard, postgres
        self._random, self._every = random.Random(seed), every_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mayhem")
        self.did: Counter[str] = Counter()
        self._ways: list[tuple[str, int, Callable[[], None]]] = [
            ("child killed", 5, self._kill_child),
            ("worker killed", 4, self._kill_worker),
            ("worker stopped past its staleness", 1, self._freeze_worker),
            ("scheduler or pool killed", 1, self._kill_pool),
            ("web killed", 1, lambda: self._kill("web")),
            ("Redis emptied", 2, self._flush),
            ("Redis killed", 1, lambda: self._kill("valkey-server")),
            ("Redis killed and its files gone", 1, self._lose_redis),
            ("database away", 1, self._lose_database),
        ]

    def __enter__(self) -> Mayhem:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        names, weights, ways = zip(*self._ways, strict=True)
        for first in range(len(ways)):  # each once, whatever the dice say
            self._do(names[first], ways[first])
        while not self._over.is_set():
            (chosen,) = self._random.choices(range(len(ways)), weights)
            self._do(names[chosen], ways[chosen])

    def _do(self, name: str, way: Callable[[], None]) -> None:
        if self._over.wait(self._random.uniform(0.3, 2.0) * self._every):
            return
        with contextlib.suppress(psutil.Error, StopIteration, RedisError, IndexError):
            way()
            self.did[name] += 1

    def _kill(self, word: str) -> None:
        self._running.part(word).kill()

    def _kill_pool(self) -> None:
        pool = self._running.part("pool")
        self._random.choice([pool, pool.children()[0]]).kill()

    def _workers(self) -> list[psutil.Process]:
        # Those of the pool that have a child of their own: the pool's first is the scheduler, which has none.
        return [one for one in self._running.part("pool").children() if one.children()]

    def _kill_worker(self) -> None:
        self._random.choice(self._workers()).kill()

    def _kill_child(self) -> None:
        worker = self._random.choice(self._workers())
        self._random.choice(worker.children()).kill()

    def _freeze_worker(self) -> None:
        # The worker and its child: when they wake up, others have long done their job.
        worker = self._random.choice(self._workers())
        frozen = [worker, *worker.children(recursive=True)]
        for one in frozen:
            with contextlib.suppress(psutil.Error):
                one.send_signal(signal.SIGSTOP)
        self._over.wait(14)
        for one in frozen:
            with contextlib.suppress(psutil.Error):
                one.send_signal(signal.SIGCONT)

    def _flush(self) -> None:
        self._yard.redis.flushall()

    def _lose_redis(self) -> None:
        self._kill("valkey-server")
        for path in (self._running.data_dir / "valkey").rglob("*"):
            if path.is_file():
                path.unlink()

    def _lose_database(self) -> None:
        with away(self._yard, self._postgres):
            time.sleep(4 if self._postgres is None else 1.5)


@contextlib.contextmanager
def away(yard: Yard, postgres: PostgresServer | None) -> Iterator[None]:
    """Lock SQLite's file, or stop PostgreSQL as a crash would, until the block ends."""
    if postgres is not None:
        postgres.stop()
        yield
        postgres.start()
        return
    path = str(yard.database.engine.url.database)
    with contextlib.closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as locker:
        locker.execute("BEGIN EXCLUSIVE")
        yield
        locker.execute("ROLLBACK")
