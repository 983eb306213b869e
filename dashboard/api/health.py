"""Is it alive, is it ready, what are its numbers; and what the API looks like."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, current_app, jsonify
from flask.typing import ResponseReturnValue
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily

from dashboard.api.openapi import document
from dashboard.context import conn, yard
from dashboard.security import requires
from dashboard.slices import render_template
from dashboard.threads import run_in_thread
from workers.domain.clock import utcnow
from workers.services import health, statistics
from workers.store import alerts, sweeps

bp = Blueprint("health", __name__)


@bp.get("/healthz")
@requires("public")
def healthz() -> ResponseReturnValue:
    """Say that this process answers."""
    return jsonify(status="ok")


@bp.get("/readyz")
@requires("public")
def readyz() -> ResponseReturnValue:
    """Say whether what requests need can be reached."""
    parts = health.is_ready(yard())
    ready = not any(parts.values())
    told = {name: "ok" if trouble is None else "unreachable" for name, trouble in parts.items()}
    silent = current_app.extensions["watchman"].silent_seconds
    # Requests can be served without the monitor: it is told, but does not make the process unready.
    told["monitor"] = "ok" if silent is None else f"silent for {silent:.0f} s"
    return jsonify(status="ready" if ready else "not ready", parts=told), 200 if ready else 503


@bp.get("/metrics")
@requires("viewer")
def metrics() -> Response:
    """Tell the numbers to Prometheus."""
    registry, now, settings = CollectorRegistry(), utcnow(), yard().settings
    last = sweeps.last(conn())
    numbers = _Numbers(
        statistics.snapshot(conn(), now, settings.heartbeat_seconds),
        alerts.counts(conn()),
        (now - last["at"]).total_seconds() if last is not None else None,
        statistics.silent_jobs(conn(), now, settings),
    )
    registry.register(numbers)  # type: ignore[arg-type]
    return Response(run_in_thread(generate_latest, registry), mimetype="text/plain; version=0.0.4")


@bp.get("/api/openapi.json")
@requires("public")
def openapi() -> ResponseReturnValue:
    """Describe the API in OpenAPI 3.1."""
    return jsonify(document(current_app))


@bp.get("/api/docs")
@requires("viewer")
def docs() -> ResponseReturnValue:
    """Describe the API to people."""
    return render_template("api/docs.html", active_page="docs", api=document(current_app))


class _Numbers:
    def __init__(
        self, snapshot: dict[str, Any], alarms: dict[str, int], sweep_age: float | None, silent_jobs: int
    ) -> None:
        self._snapshot, self._alarms, self._sweep_age, self._silent = snapshot, alarms, sweep_age, silent_jobs

    def collect(self) -> list[GaugeMetricFamily]:
        jobs = GaugeMetricFamily("taskyard_jobs", "Stored jobs, by queue and status.", labels=["queue", "status"])
        paused = GaugeMetricFamily("taskyard_queue_paused", "Whether a queue is paused.", labels=["queue"])
        workers = GaugeMetricFamily("taskyard_workers", "Workers, by state.", labels=["state"])
        for name, queue in self._snapshot["queues"].items():
            paused.add_metric([name], 1 if queue["paused_at"] else 0)
            for status in self._snapshot["statuses"]:
                jobs.add_metric([name, status], queue[status])
        for state in ("busy", "idle", "lost"):
            workers.add_metric([state], self._snapshot["workers"][state])
        return [jobs, paused, workers, *self._of_the_monitor()]

    def _of_the_monitor(self) -> list[GaugeMetricFamily]:
        alarms = GaugeMetricFamily("taskyard_alerts", "Open alerts, by status.", labels=["status"])
        for status in ("firing", "acknowledged", "silenced"):
            alarms.add_metric([status], self._alarms.get(status, 0))
        silent = GaugeMetricFamily("taskyard_silent_jobs", "Running jobs without a heartbeat.", value=self._silent)
        if self._sweep_age is None:
            return [alarms, silent]
        age = GaugeMetricFamily(
            "taskyard_sweep_age_seconds", "Seconds since the last sweep of the monitor.", value=self._sweep_age
        )
        return [alarms, silent, age]
