"""Health: throughput, success, waits and run times, the machine, from roll-ups."""

from __future__ import annotations

from flask import Blueprint, Response, request

from dashboard.context import conn, yard
from dashboard.presenters import health as presenter
from dashboard.presenters.limits import machine_limits, success_limits
from dashboard.rendering import render
from dashboard.security import requires
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput
from workers.services import clocks, history
from workers.services.history import PERIODS, Span
from workers.store import alerts, task_modules

bp = Blueprint("health_page", __name__)


@bp.get("/health")
@requires("viewer")
def page() -> Response:
    """Show the charts of a period, of all or one task or queue."""
    period = request.args.get("period", "24h")
    if period not in PERIODS:
        raise BadInput(f"Unknown period {period[:20]}. Use one of: {', '.join(PERIODS)}.", field="period")
    queue, task = request.args.get("queue", "")[:64], request.args.get("task", "")[:200]
    connection, now = conn(), utcnow()
    span = Span.until(now, *PERIODS[period])
    ended = history.throughput(connection, span, queue, task)
    numbers, newest = history.numbers(connection, span), history.newest_numbers(connection, span)
    queues, tasks = history.names(connection, span)
    rules = alerts.rules(connection)
    return render(
        "health/page.html",
        {"health": "health/_health.html"},
        active_page="health",
        period=period,
        periods=list(PERIODS),
        queue=queue,
        task=task,
        queues=queues,
        tasks=tasks,
        summary=presenter.summary(ended),
        jobs=presenter.jobs(
            span, ended, history.percentiles(connection, span, queue, task), success_limits(rules, task)
        ),
        machine=presenter.machine(span, numbers, newest, machine_limits(rules, yard().settings)),
        measured_at=span.moment(newest["minute"]) if newest else None,
        rows=[row for row in history.by_task(connection, span, queue) if not task or row.task == task],
        clock_notes=clocks.notes(connection, now),
        bucket=presenter.bucket_words(span),
        failed_modules=task_modules.list_failed(connection),
        now=now,
    )
