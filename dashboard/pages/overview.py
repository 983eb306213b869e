"""The first screen."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any

from flask import Blueprint, Response
from sqlalchemy import select

from dashboard.context import conn, nav_counts, yard
from dashboard.presenters import overview
from dashboard.presenters.queues import queue_rows
from dashboard.presenters.schedules import day
from dashboard.rendering import later, render
from dashboard.security import requires
from dashboard.shared_regions import shares_regions
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
@shares_regions
def page() -> Response:
    """Show how everything is."""
    now, connection = utcnow(), conn()
    snapshot = cache(lambda: statistics.snapshot(connection, now, yard().settings.heartbeat_seconds))
    hour = cache(lambda: statistics.minutes(connection, now - timedelta(minutes=59), now))
    rows = cache(lambda: queue_rows(snapshot(), statistics.minutes_by_queue(connection, now), now))
    running = cache(_running)

    def needs() -> list[overview.Need]:
        stuck = nav_counts().get("stuck", 0)
        return overview.needs(rows(), snapshot()["workers"], alerts.open_alerts(connection), stuck)

    found = cache(needs)
    return render(
        "overview/page.html",
        {name: f"overview/_{name}.html" for name in ("health", "numbers", "queues", "running", "day")},
        active_page="overview",
        needs=later(found),
        sentence=later(lambda: overview.sentence(found(), hour())[0]),
        rest=later(lambda: overview.sentence(found(), hour())[1]),
        tiles=later(lambda: overview.tiles(snapshot(), statistics.health(connection, now), hour(), rows())),
        queues=later(lambda: rows()[:10]),
        queue_count=later(lambda: len(rows())),
        running=later(running),
        running_count=later(lambda: nav_counts().get(Status.PROCESSING, 0)),
        usual=later(lambda: statistics.usual_of(connection, [row["task"] for row in running()])),
        job_count=later(lambda: sum(snapshot()["statuses"].values())),
        day=later(lambda: day(schedules.coming(connection, DAY), now, viewer_zone())),
        schedule_count=later(lambda: schedules.counts(connection)[1]),
        local=cron.zone(viewer_zone()),
        now=now,
    )


def _running() -> list[dict[str, Any]]:
    columns = [JOBS.c[name] for name in _COLUMNS]
    chosen = select(*columns).where(JOBS.c.status == str(Status.PROCESSING)).order_by(JOBS.c.id).limit(RUNNING)
    return [dict(row) for row in conn().execute(chosen).mappings()]
