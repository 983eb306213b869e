"""The first screen."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Blueprint, Response
from sqlalchemy import select

from dashboard.context import conn, nav_counts, yard
from dashboard.presenters import overview
from dashboard.presenters.queues import queue_rows
from dashboard.presenters.schedules import day
from dashboard.rendering import render
from dashboard.security import requires
from dashboard.zones import viewer_zone
from workers.domain import cron
from workers.domain.clock import utcnow
from workers.domain.states import Status
from workers.services import statistics
from workers.store import alerts, schedules
from workers.store.jobs import JOBS

bp = Blueprint("overview", __name__)
RUNNING = 8
DAY = 20  # schedules whose fires of the next 24 hours are looked at, the next to fire first
_COLUMNS = (
    "id",
    "task",
    "message",
    "step",
    "done",
    "total",
    "progress",
    "started_at",
    "version",
    "worker",
    "attempt",
    "status",
)


@bp.get("/")
@requires("viewer")
def page() -> Response:
    """Show how everything is."""
    now, connection = utcnow(), conn()
    snapshot = statistics.snapshot(connection, now, yard().settings.heartbeat_seconds)
    hour = statistics.minutes(connection, now - timedelta(minutes=59), now)
    rows = queue_rows(snapshot, statistics.minutes_by_queue(connection, now), now)
    running = _running()
    found = overview.needs(rows, snapshot["workers"], alerts.open_alerts(connection), nav_counts().get("stuck", 0))
    sentence, rest = overview.sentence(found, hour)
    return render(
        "overview/page.html",
        {name: f"overview/_{name}.html" for name in ("health", "numbers", "queues", "running", "day")},
        active_page="overview",
        needs=found,
        sentence=sentence,
        rest=rest,
        tiles=overview.tiles(snapshot, statistics.health(connection, now), hour, rows),
        queues=rows[:10],
        queue_count=len(rows),
        running=running,
        running_count=snapshot["statuses"]["processing"],
        usual=statistics.usual_of(connection, [row["task"] for row in running]),
        job_count=sum(snapshot["statuses"].values()),
        day=day(schedules.coming(connection, DAY), now, viewer_zone()),
        schedule_count=schedules.counts(connection)[1],
        local=cron.zone(viewer_zone()),
        now=now,
    )


def _running() -> list[dict[str, Any]]:
    columns = [JOBS.c[name] for name in _COLUMNS]
    chosen = select(*columns).where(JOBS.c.status == str(Status.PROCESSING)).order_by(JOBS.c.id).limit(RUNNING)
    return [dict(row) for row in conn().execute(chosen).mappings()]
