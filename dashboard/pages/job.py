"""One job: its path, progress, payload, result, error, logs, attempts and events."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from dashboard.context import conn, declared, stuck_jobs, yard
from dashboard.presenters import timeline, tracebacks
from dashboard.presenters.jobs import LARGE, says
from dashboard.presenters.stuck import Card, card
from dashboard.presenters.words import attempts_begun
from dashboard.rendering import render
from dashboard.security import requires
from dashboard.slices import in_slices
from dashboard.streaming import stream
from dashboard.threads import run_in_thread
from dashboard.watchman import redis_trouble
from dashboard.zones import SCHEDULES, show_schedule_zone, zone_choice
from workers.domain import payloads
from workers.domain.clock import utcnow
from workers.domain.masking import mask, mask_result, mask_text
from workers.domain.names import SYSTEM_TASKS, is_reserved_queue
from workers.domain.states import WAITING, Status
from workers.domain.untrusted import visible_json, visible_line
from workers.services import explanations, files, jobs, statistics
from workers.store import attempts, logs, schedules
from workers.store import jobs as rows
from workers.store.types import Row

bp = Blueprint("job", __name__)
TABS = ("payload", "result", "error", "logs", "attempts", "events")
OPENS = {"failed": "error", "retry_scheduled": "error", "processing": "logs", "completed": "result"}
LINES = 500
EVENTS = 200


@bp.get("/jobs/<id:job_id>")
@requires("viewer")
def page(job_id: str) -> Response:
    """Show a job."""
    now = utcnow()
    job = jobs.get(conn(), job_id)
    _show_zone_of(job)
    events = rows.events(conn(), job)
    tab = request.args.get("tab", "")
    opened = tab if tab in TABS else OPENS.get(job["status"], "payload")
    waiting = Status(job["status"]) in WAITING
    return render(
        "job/page.html",
        {"job": "job/_job.html", "title": "job/_title.html"},
        active_page="jobs",
        job=job,
        says=says(job, declared()),
        stuck_card=_stuck_card(job_id, now),
        tab=opened,
        tabs=_tabs(job, events),
        path=timeline.stops(job, events, now),
        usual=statistics.usual(conn(), job["task"]),
        runs=statistics.recent_runs(conn(), job["task"], 30),
        explanation=_explanation(job, now) if waiting else None,
        is_system_job=job["task"] in SYSTEM_TASKS,
        is_system_queue=is_reserved_queue(job["queue"]),
        children=rows.children(conn(), job_id, 20),
        curl=_curl(job),
        key=mask_text(job["idempotency_key"] or ""),
        now=now,
        **_of_tab(opened, job, events),
    )


def _show_zone_of(job: Row) -> None:
    """Show the times of a job that a schedule made in that schedule's zone, to viewers who want this."""
    schedule = schedules.get(conn(), job["schedule"]) if job["schedule"] and zone_choice() == SCHEDULES else None
    if schedule is not None:
        show_schedule_zone(schedule["timezone"])


def _stuck_card(job_id: str, now: datetime) -> Card | None:
    """Return why a job is stuck, with the evidence; None when it is not."""
    one = stuck_jobs().get(job_id)
    return card(one, yard().settings, now) if one is not None else None


def _explanation(job: Row, now: datetime) -> dict[str, Any]:
    return explanations.explain(conn(), job, now, yard().settings.heartbeat_seconds, redis_trouble())


@bp.get("/jobs/<id:job_id>/logs.txt")
@requires("viewer")
def log_file(job_id: str) -> ResponseReturnValue:
    """Stream the whole log as text."""
    jobs.get(conn(), job_id)
    return stream(_lines(yard().database, job_id), "text/plain", f"{job_id}.log")


def _lines(database: Any, job_id: str) -> Iterator[str]:
    after = 0
    while True:
        with database.read() as connection:
            found = list(in_slices(logs.page(connection, job_id, after=after, limit=1000)))
        if not found:
            return
        yield run_in_thread(_text_of, found)
        after = found[-1]["id"]


def _text_of(lines: Sequence[Row]) -> str:
    return "".join(f"{row['at'].isoformat()} {row['level']:<7} {visible_line(row['line'])}\n" for row in lines)


def _tabs(job: Any, events: Any) -> list[tuple[str, str]]:
    marks = {
        "payload": "",
        "result": "" if job["result"] is not None else "–",
        "error": "" if job["error"] else "–",
        "logs": f"{logs.count(conn(), job['id']):,}",
        "attempts": f"{attempts_begun(job):,}",
        "events": str(len(events)),
    }
    return [(name, marks[name]) for name in TABS]


def _of_tab(tab: str, job: Any, events: Any) -> dict[str, Any]:
    if tab == "payload":
        return {"shown": _json(job, "payload")}
    if tab == "result":
        return {
            "shown": _json(job, "result") if job["result"] else None,
            "files": files.list_files(yard().settings.files_dir / job["id"]),
        }
    if tab == "error":
        frames = tracebacks.frames(job["traceback"])
        return {"frames": frames, "own": next((one for one in reversed(frames) if one.is_own), None)}
    if tab == "logs":
        return {"lines": list(in_slices(logs.newest(conn(), job["id"], LINES)))}
    if tab == "attempts":
        return {"attempts": attempts.of_job(conn(), job["id"], tracebacks=False)}
    secret = declared()[job["task"]]
    newest = in_slices(reversed(events[-EVENTS:]))
    return {"events": [{**one, "told": mask(payloads.load(one["detail"]), secret)} for one in newest]}


def _json(job: Any, name: str) -> str:
    text, secret = job[name], declared()[job["task"]]
    hide = mask_result if name == "result" else mask
    return run_in_thread(_indented, text, hide, secret) if len(text) > LARGE else _indented(text, hide, secret)


def _indented(text: str, hide: Callable[[Any, Collection[str]], Any], secret: Collection[str]) -> str:
    return visible_json(hide(payloads.load(text), secret), indent=2)


def _curl(job: Any) -> str:
    if len(job["payload"]) > LARGE:
        return f'curl -X POST {request.host_url}api/v1/jobs -H "Authorization: Bearer $TASKYARD_TOKEN" --json @job.json'
    payload = mask(payloads.load(job["payload"]), declared()[job["task"]])
    body = json.dumps({"task": job["task"], "queue": job["queue"], "payload": payload})
    quoted = body.replace("'", "'\\''")
    return f"curl -X POST {request.host_url}api/v1/jobs -H \"Authorization: Bearer $TASKYARD_TOKEN\" --json '{quoted}'"
