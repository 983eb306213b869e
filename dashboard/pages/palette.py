"""What the command palette finds: pages, queues, tasks, schedules, jobs, and what may be done."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from dashboard.context import actor, conn
from dashboard.security import requires
from dashboard.slices import render_template
from workers.domain.ids import is_id
from workers.domain.names import SYSTEM_TASKS
from workers.domain.untrusted import visible_line
from workers.services import catalogue
from workers.store import jobs, queues, schedules

bp = Blueprint("palette", __name__)
PAGES = (
    ("Overview", "/", "gauge"),
    ("Jobs", "/jobs", "jobs"),
    ("Failed jobs", "/jobs?status=failed", "cross"),
    ("Queues", "/queues", "queues"),
    ("Schedules", "/schedules", "calendar"),
    ("Workers", "/workers", "workers"),
    ("Stuck jobs", "/stuck", "warning"),
    ("Alerts", "/alerts", "bell"),
    ("Health", "/health", "metrics"),
    ("Tasks", "/tasks", "task"),
    ("Triggers", "/triggers", "zap"),
    ("Settings", "/settings", "settings"),
    ("API", "/api/docs", "terminal"),
)
MOST = 6


@bp.get("/palette")
@requires("viewer")
def find() -> ResponseReturnValue:
    """Find what these words may mean."""
    q = request.args.get("q", "").strip().lower()[:200]
    go = [_item(label, "page", icon, url) for label, url, icon in PAGES if q in label.lower()][:MOST]
    go += [
        _item(row["name"], "queue", "queues", f"/queues/{row['name']}")
        for row in queues.all_queues(conn())
        if q and q in row["name"].lower()
    ][:MOST]
    tasks = [row["name"] for row in catalogue.list_tasks(conn()) if q and q in row["name"].lower()][:MOST]
    go += [_item(name, "task", "task", f"/jobs?task={name}") for name in tasks]
    if q:
        found = schedules.page(conn(), q, limit=MOST)
        go += [_item(row["name"], f"schedule, {row['task']}", "calendar", f"/schedules/{row['id']}") for row in found]
    job = jobs.get(conn(), q) if is_id(q) else None
    if job is not None:
        go.insert(0, _item(job["task"], f"job, {job['status']}", "jobs", f"/jobs/{q}"))
    if q and not is_id(q):
        go.append(_item(f"Jobs with “{q}”", "search", "search", f"/jobs?words={q}"))
    do = (
        [
            _item(f"Run {name}…", "opens its form", "play", f"/tasks/{name}/run")
            for name in tasks
            if name not in SYSTEM_TASKS
        ]
        if actor().may("operator")
        else []
    )
    groups = [{"title": title, "items": items} for title, items in (("Go to", go), ("Actions", do)) if items]
    return jsonify(groups=groups)


@bp.get("/more")
@requires("viewer")
def more() -> ResponseReturnValue:
    """Show what has no room on a phone's tab bar."""
    return render_template("more.html", active_page="more")


def _item(label: str, note: str, icon: str, url: str) -> dict[str, Any]:
    return {"label": visible_line(label), "note": visible_line(note), "icon": icon, "url": url}
