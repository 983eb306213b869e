"""Evidence of whether a running job is alive: its heartbeat, its worker and the worker's process."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import psutil

from workers.domain.evenness import Clocks
from workers.domain.staleness import Evidence, heartbeat_limit
from workers.settings import Settings
from workers.store import workers as worker_rows
from workers.store.types import Row


def gather_evidence(row: Row, workers: Mapping[str, Row], settings: Settings, clocks: Clocks) -> Evidence:
    """Gather what is known of a running job. Ages count only the time in which the clock ran evenly."""
    worker = workers.get(row["worker"] or "")
    beat = row["heartbeat_at"] or row["started_at"] or row["created_at"]
    process = find_process_state(worker)
    limit = heartbeat_limit(settings.heartbeat_seconds)
    if process == "gone":
        # There is nobody left who could be slow: one missed beat is enough.
        limit = min(limit, max(1.5 * settings.heartbeat_seconds, 1.0))
    return Evidence(
        heartbeat_age=clocks.age_seconds(beat),
        heartbeat_limit=limit,
        worker=row["worker"] or "",
        worker_state=_worker_state(worker, row, settings, clocks),
        worker_silent=clocks.age_seconds(worker["heartbeat_at"]) if worker is not None else None,
        process=process,
        running=clocks.age_seconds(row["started_at"]) if row["started_at"] is not None else 0.0,
        time_limit=row["timeout_seconds"],
        progress=row["progress"],
        done=row["done"],
        total=row["total"],
        message=row["message"],
    )


def _worker_state(worker: Row | None, row: Row, settings: Settings, clocks: Clocks) -> str:
    if worker is None:
        return "unknown"
    if worker["stopped_at"] is not None:
        return "stopped"
    if worker_rows.is_lost(worker, clocks, settings.heartbeat_seconds):
        return "silent"
    if worker["job_id"] not in (None, row["id"]) or worker["state"] == "idle":
        return "elsewhere"
    return "alive"


def find_process_state(worker: Row | None) -> str:
    """Return whether a worker's process is alive or gone, as far as this host can know: else unknown."""
    if worker is None or worker["host"] != socket.gethostname():
        return "unknown"
    return "alive" if psutil.pid_exists(worker["pid"]) else "gone"
