"""What the monitor finds, and the numbers that it keeps, over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field

from dashboard.api.contract import Instant, Strict, operation, read_body, read_query
from dashboard.context import actor, conn, declared, yard
from dashboard.presenters.jobs import as_json
from dashboard.presenters.plain import plain
from dashboard.security import requires
from dashboard.slices import json_answer
from workers.domain.clock import rfc3339, utcnow
from workers.domain.errors import BadInput
from workers.services import clocks, history, monitoring, stuck
from workers.services.history import Span
from workers.store import sweeps

bp = Blueprint("monitor_api", __name__, url_prefix="/api/v1")
LONGEST = timedelta(days=90)
MOST_BUCKETS = 1500


class Leave(Strict):
    """For how long the monitor lets a running job be."""

    seconds: float = Field(ge=1, le=stuck.LONGEST_LEAVE_SECONDS)


class Since(Strict):
    """From when on, in buckets of how many seconds (a multiple of 60)."""

    since: Instant | None = None
    step: int = Field(60, ge=60, le=86400, multiple_of=60)
    queue: str = Field("", max_length=64)
    task: str = Field("", max_length=200)


@bp.get("/stuck-jobs")
@requires("viewer")
@operation("List stuck jobs with their evidence and the next action of the monitor", tag="monitor", answer="StuckJobs")
def stuck_jobs() -> ResponseReturnValue:
    """Answer what is stuck now."""
    found = stuck.look(conn(), yard().settings, clocks.read(conn()))[:200]
    told = [
        {
            "job": as_json(one.row, declared()),
            "verdict": one.verdict.kind,
            "why": one.verdict.sentence,
            "evidence": one.evidence.as_json(),
            "will": one.will,
        }
        for one in found
    ]
    return json_answer(stuck_jobs=told, next_cursor=None)


@bp.post("/jobs/<id:job_id>/resets")
@requires("operator")
@operation("Reset a stuck job now", tag="monitor", answer="Job", status=202)
def reset(job_id: str) -> ResponseReturnValue:
    """Reset."""
    return jsonify(as_json(stuck.reset(yard(), job_id, actor()), declared())), 202


@bp.post("/jobs/<id:job_id>/failures")
@requires("operator")
@operation("Fail a stuck job now", tag="monitor", answer="Job", status=202)
def fail(job_id: str) -> ResponseReturnValue:
    """Fail."""
    return jsonify(as_json(stuck.fail(yard(), job_id, actor()), declared())), 202


@bp.put("/jobs/<id:job_id>/leave")
@requires("operator")
@operation("Exclude a running job from the monitor for some time", tag="monitor", body=Leave, answer="Leave")
def leave(job_id: str) -> ResponseReturnValue:
    """Leave it alone."""
    stuck.leave(yard(), job_id, read_body(Leave).seconds, actor())
    return jsonify(status="left alone")


@bp.get("/sweeps")
@requires("viewer")
@operation("List the sweeps of the last hour with their results", tag="monitor", answer="Sweeps")
def sweep_page() -> ResponseReturnValue:
    """Answer the newest sweeps."""
    since = utcnow() - timedelta(hours=1)
    found = sweeps.recent(conn(), since, 200)
    return json_answer(sweeps=[plain(row) for row in reversed(found)], next_cursor=None)


@bp.post("/sweeps")
@requires("operator")
@operation("Run a sweep now", tag="monitor", answer="Sweep", status=202)
def sweep() -> ResponseReturnValue:
    """Enqueue a sweep."""
    return jsonify(job_id=monitoring.sweep_soon(yard(), actor())), 202


@bp.get("/metrics/health")
@requires("viewer")
@operation("Get measurements as the mean of each bucket", tag="metrics", query=Since, answer="Health")
def health() -> ResponseReturnValue:
    """Answer the health numbers of a time."""
    asked = read_query(Since)
    span = _span(asked)
    found = history.numbers(conn(), span)
    return json_answer(health=_dated(span, found), step=asked.step)


@bp.get("/metrics/tasks")
@requires("viewer")
@operation(
    "Get ended jobs, with percentiles of run and wait in seconds", tag="metrics", query=Since, answer="TaskMetrics"
)
def tasks() -> ResponseReturnValue:
    """Answer throughput and durations of a time, and how each task did."""
    asked = read_query(Since)
    span = _span(asked)
    measured = history.percentiles(conn(), span, asked.queue, asked.task)
    # Durations are kept by five minutes: shorter buckets share them.
    at = {minute: index for index, minute in enumerate(span.measured.starts)}
    shared = [at[minute - minute % span.measured.step] for minute in span.starts]
    buckets = [
        {**ended, "run": _named(measured["run"][index]), "wait": _named(measured["wait"][index])}
        for ended, index in zip(history.throughput(conn(), span, asked.queue, asked.task), shared, strict=True)
    ]
    rows = [
        {
            "task": row.task,
            "completed": row.completed,
            "failed": row.failed,
            "run": _named(row.run),
            "wait_p95": row.wait_p95,
        }
        for row in history.by_task(conn(), span, asked.queue)
        if not asked.task or row.task == asked.task
    ]
    return json_answer(buckets=_dated(span, buckets), tasks=rows, step=asked.step)


def _span(asked: Since) -> Span:
    now = utcnow()
    since = asked.since or now - timedelta(hours=1)
    if not timedelta(0) < now - since <= LONGEST:
        raise BadInput("since must be in the past, at most 90 days ago.", field="since")
    minutes = max(int((now - since).total_seconds() // 60), 1)
    if minutes * 60 / asked.step > MOST_BUCKETS:
        raise BadInput(f"The range has more than {MOST_BUCKETS} buckets. Choose a larger step.", field="step")
    return Span.until(now, minutes, asked.step // 60)


def _dated(span: Span, rows: list[Any]) -> list[dict[str, Any]]:
    return [{"at": rfc3339(span.moment(minute)), **row} for minute, row in zip(span.starts, rows, strict=True)]


def _named(values: tuple[float | None, ...]) -> dict[str, float | None]:
    return dict(zip(("p50", "p95", "p99"), values, strict=True))
