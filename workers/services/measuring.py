"""How things stand: one row of numbers each minute, from counters, the machine and a probe."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import httpx
import psutil
from sqlalchemy import Connection, text

from workers.broker import outgoing
from workers.domain.clock import parse_instant
from workers.domain.masking import mask_text
from workers.domain.states import Status
from workers.domain.untrusted import visible_line
from workers.services import statistics
from workers.settings import Settings
from workers.store.database import Database, sqlite_file
from workers.store.dialects import insert_or_ignore
from workers.yard import Yard

PROBE_TIMEOUT_SECONDS = 10.0
_cpu_is_known = False


def measure(yard: Yard, now: datetime, stuck: int = 0) -> dict[str, Any]:
    """Keep how things stand in this minute, and tell it; the second sweep of a minute keeps nothing. Raises Unavailable."""
    with yard.database.read() as connection:
        standing = statistics.snapshot(connection, now, yard.settings.heartbeat_seconds)
        hour = statistics.minutes(connection, now - timedelta(hours=1), now)
        size = database_bytes(connection, yard.database)
    queues = {name: _of_queue(told, now) for name, told in standing["queues"].items()}
    row = {
        "minute": statistics.minute_of(now),
        "queue_length": standing["statuses"][Status.PENDING],
        "processing_count": standing["statuses"][Status.PROCESSING],
        "failed_last_hour": sum(minute.failed for minute in hour),
        "oldest_wait_seconds": max((one["oldest_seconds"] or 0.0 for one in queues.values()), default=0.0),
        "workers_busy": standing["workers"]["busy"],
        "workers_total": standing["workers"]["total"],
        "stuck_count": stuck,
        "queues": json.dumps(queues),
        "database_bytes": size,
        **_machine(yard.settings),
        **probe(yard.settings),
    }
    with yard.database.write() as connection:
        connection.execute(insert_or_ignore(connection, statistics.HEALTH), row)
    return {**row, "queues": queues, "workers": standing["workers"]}


def probe(settings: Settings) -> dict[str, Any]:
    """Call PROBE_URL: `probe_ms` is how long the answer took, `probe_error` why there was none; both None without a URL."""
    if not settings.probe_url:
        return {"probe_ms": None, "probe_error": None}
    began = time.perf_counter()
    error = None
    try:
        # The URL is the operator's own setting, so it may lead inside.
        with outgoing.stream(
            "GET", settings.probe_url, allow_private=True, timeout_seconds=PROBE_TIMEOUT_SECONDS
        ) as answer:
            outgoing.read_bounded(answer, 100_000)
        if answer.status_code >= 400:
            error = f"it answered {answer.status_code}"
    except (httpx.HTTPError, outgoing.Refused, OSError) as fault:
        error = str(fault) or type(fault).__name__
    return {"probe_ms": (time.perf_counter() - began) * 1000, "probe_error": error and visible_line(mask_text(error))}


def database_bytes(connection: Connection, database: Database) -> int | None:
    """Tell how large the database is, with what is still in its log."""
    if not database.is_sqlite:
        return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())
    path = sqlite_file(str(database.engine.url))
    if path is None:
        return None
    parts = (path, path.with_name(path.name + "-wal"))
    return sum(part.stat().st_size for part in parts if part.exists())


def _of_queue(told: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    oldest = told["oldest_pending_at"]
    return {
        "waiting": told["pending"],
        "processing": told["processing"],
        "oldest_seconds": round((now - parse_instant(oldest)).total_seconds(), 1) if oldest else None,
        "workers": told["workers"],
        "is_paused": told["paused_at"] is not None,
    }


def _machine(settings: Settings) -> dict[str, float | None]:
    global _cpu_is_known
    busy = psutil.cpu_percent(interval=None)  # since the last call, which is the last sweep in this process
    known, _cpu_is_known = _cpu_is_known, True
    return {
        "cpu_percent": busy if known else None,
        "memory_percent": psutil.virtual_memory().percent,
        "disk_percent": psutil.disk_usage(str(settings.data_dir)).percent,
    }
