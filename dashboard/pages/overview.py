"""The first screen."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from flask import Blueprint, Response, current_app
from sqlalchemy import select

from dashboard.context import conn, nav_counts, yard
from dashboard.presenters import overview
from dashboard.presenters.needs import FIRST, MOST, Ended, Signs, find_needs, write_sentence
from dashboard.presenters.queues import queue_rows
from dashboard.presenters.schedules import day
from dashboard.rendering import later, render
from dashboard.security import requires
from dashboard.shared_regions import shares_regions
from dashboard.zones import viewer_zone
from workers.domain import cron
from workers.domain.clock import utcnow
from workers.domain.names import SYSTEM_QUEUES
from workers.domain.states import Status
from workers.services import statistics
from workers.store import alerts, schedules, workers
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
    hour = cache(lambda: statistics.minutes(connection, now - timedelta(minutes=59), now, without=SYSTEM_QUEUES))
    rows = cache(lambda: queue_rows(snapshot(), statistics.minutes_by_queue(connection, now), now))
    running = cache(_running)
    alarms = cache(lambda: alerts.open_alerts(connection))
    ended = cache(lambda: Ended.of(hour()))
    found = cache(lambda: find_needs(rows(), _signs(snapshot()["workers"]["lost"], now), alarms(), ended()))
    words = cache(lambda: write_sentence(found(), ended(), Counter(row["status"] for row in alarms())))
    return render(
        "overview/page.html",
        {name: f"overview/_{name}.html" for name in ("health", "numbers", "queues", "running", "day")},
        active_page="overview",
        needs=later(lambda: found()[:FIRST]),
        more_needs=later(lambda: found()[FIRST:MOST]),
        need_count=later(lambda: len(found())),
        sentence=later(lambda: words()[0]),
        rest=later(lambda: words()[1]),
        tiles=later(lambda: overview.tiles(snapshot(), statistics.health(connection, now), hour(), rows())),
        queues=later(lambda: rows()[:10]),
        queue_count=later(lambda: len(rows())),
        running=later(running),
        workers_free=later(lambda: overview.write_free_workers(snapshot()["workers"])),
        running_count=later(lambda: snapshot()["statuses"]["processing"]),
        usual=later(lambda: statistics.usual_of(connection, [row["task"] for row in running()])),
        job_count=later(lambda: overview.count_jobs(snapshot()["queues"])),
        day=later(lambda: day(schedules.coming(connection, DAY), now, viewer_zone())),
        schedule_count=later(lambda: schedules.counts(connection)[1]),
        local=cron.zone(viewer_zone()),
        now=now,
    )


def _signs(lost: int, now: datetime) -> Signs:
    """Read what else shows that something is wrong; when since only if it is."""
    stuck = nav_counts().get("stuck", 0)
    silent = current_app.extensions["watchman"].silent_seconds
    return Signs(
        stuck=stuck,
        stuck_since=statistics.silent_since(conn()) if stuck else None,
        lost=lost,
        lost_since=workers.oldest_heartbeat(conn()) if lost else None,
        monitor_silent_since=now - timedelta(seconds=silent) if silent else None,
        redis_trouble=current_app.extensions["redis_watch"].trouble,
    )


def _running() -> list[dict[str, Any]]:
    """List the jobs that have run the longest; Taskyard's own are not in the count beside them either."""
    columns = [JOBS.c[name] for name in _COLUMNS]
    wanted = (JOBS.c.status == str(Status.PROCESSING), JOBS.c.queue.not_in(SYSTEM_QUEUES))
    chosen = select(*columns).where(*wanted).order_by(JOBS.c.started_at).limit(RUNNING)
    return [dict(row) for row in conn().execute(chosen).mappings()]
