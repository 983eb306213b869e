"""The first screen."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, Response, current_app
from sqlalchemy import select

from dashboard.context import conn, nav_counts, yard
from dashboard.presenters import overview
from dashboard.presenters.needs import FIRST, MOST, Ended, Signs, find_needs, write_sentence
from dashboard.presenters.queues import queue_rows
from dashboard.presenters.schedules import day
from dashboard.rendering import render
from dashboard.security import requires
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
def page() -> Response:
    """Show how everything is."""
    now, connection = utcnow(), conn()
    snapshot = statistics.snapshot(connection, now, yard().settings.heartbeat_seconds)
    hour = statistics.minutes(connection, now - timedelta(minutes=59), now, without=SYSTEM_QUEUES)
    rows = queue_rows(snapshot, statistics.minutes_by_queue(connection, now), now)
    running = _running()
    alarms, ended = alerts.open_alerts(connection), Ended.of(hour)
    found = find_needs(rows, _signs(snapshot["workers"]["lost"], now), alarms, ended)
    sentence, rest = write_sentence(found, ended, Counter(row["status"] for row in alarms))
    return render(
        "overview/page.html",
        {name: f"overview/_{name}.html" for name in ("health", "numbers", "queues", "running", "day")},
        active_page="overview",
        needs=found[:FIRST],
        more_needs=found[FIRST:MOST],
        need_count=len(found),
        sentence=sentence,
        rest=rest,
        tiles=overview.tiles(snapshot, statistics.health(connection, now), hour, rows),
        queues=rows[:10],
        queue_count=len(rows),
        running=running,
        workers_free=overview.write_free_workers(snapshot["workers"]),
        running_count=snapshot["statuses"]["processing"],
        usual=statistics.usual_of(connection, [row["task"] for row in running]),
        job_count=overview.count_jobs(snapshot["queues"]),
        day=day(schedules.coming(connection, DAY), now, viewer_zone()),
        schedule_count=schedules.counts(connection)[1],
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
    columns = [JOBS.c[name] for name in _COLUMNS]
    chosen = select(*columns).where(JOBS.c.status == str(Status.PROCESSING)).order_by(JOBS.c.started_at).limit(RUNNING)
    return [dict(row) for row in conn().execute(chosen).mappings()]
