"""One job: its path, progress, payload, result, error, logs, attempts and events."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

from flask import Blueprint, Response, request

from dashboard.context import conn, declared, stuck_jobs, yard
from dashboard.pages.job_log import log_values, show_zone_of
from dashboard.presenters import timeline, tracebacks
from dashboard.presenters.jobs import LARGE, says
from dashboard.presenters.long_text import cut_end, cut_start
from dashboard.presenters.stuck import Card, card
from dashboard.presenters.words import attempts_begun
from dashboard.rendering import render
from dashboard.security import requires
from dashboard.slices import in_slices
from dashboard.threads import run_in_thread
from dashboard.watchman import redis_trouble
from workers.domain import payloads
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput
from workers.domain.masking import mask, mask_result, mask_text
from workers.domain.names import BULK_TASK, SYSTEM_TASKS, is_reserved_queue
from workers.domain.states import WAITING, Status
from workers.domain.texts import quoted
from workers.domain.untrusted import visible_json
from workers.services import explanations, files, jobs, statistics
from workers.store import attempts, logs
from workers.store import bulk_actions as bulk_action_rows
from workers.store import jobs as rows
from workers.store.types import Row

bp = Blueprint("job", __name__)
TABS = ("payload", "result", "error", "logs", "attempts", "events")
OPENS = {"failed": "error", "retry_scheduled": "error", "processing": "logs", "completed": "result"}
PARTS = ("payload", "result", "traceback")
# What a page shows at most: it is small whatever a job holds.
FRAMES, ATTEMPTS = 8, 50
ERROR_BYTES, EVENTS_BYTES, EVENT_BYTES = 4_000, 14_000, 350
LONGEST_CURL = 1_000  # characters of the payload in it


@bp.get("/jobs/<id:job_id>")
@requires("viewer")
def page(job_id: str) -> Response:
    """Show a job."""
    now = utcnow()
    job = jobs.get(conn(), job_id)
    show_zone_of(job)
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
        action=_bulk_action(job),
        now=now,
        **_of_tab(opened, job, events),
    )


def _stuck_card(job_id: str, now: datetime) -> Card | None:
    """Return why a job is stuck, with the evidence; None when it is not."""
    one = stuck_jobs().get(job_id)
    return card(one, yard().settings, now) if one is not None else None


def _bulk_action(job: Row) -> Row | None:
    """Return the bulk action that a job works, or None; a job of an action may have been replaced by a later one."""
    if job["task"] != BULK_TASK:
        return None
    action_id = (payloads.load(job["payload"]) or {}).get("bulk_action_id")
    return bulk_action_rows.get(conn(), action_id) if isinstance(action_id, str) else None


def _explanation(job: Row, now: datetime) -> dict[str, Any]:
    return explanations.explain(conn(), job, now, yard().settings.heartbeat_seconds, redis_trouble())


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
        return {"shown": cut_start(_json(job, "payload"))}
    if tab == "result":
        return {
            "shown": cut_start(_json(job, "result")) if job["result"] else None,
            "files": files.list_files(yard().settings.files_dir / job["id"]),
        }
    if tab == "error":
        frames = tracebacks.frames(job["traceback"])
        own = next((one for one in reversed(frames) if one.is_own), None)
        shown = [one for one in frames if one.is_own][-FRAMES:]
        traceback, error = cut_end(job["traceback"] or ""), cut_start(job["error"] or "", ERROR_BYTES)
        return {"frames": shown, "own": own, "traceback": traceback, "error": error}
    if tab == "logs":
        return log_values(job)
    if tab == "attempts":
        return {"attempts": attempts.of_job(conn(), job["id"], tracebacks=False)[-ATTEMPTS:]}
    return _of_events(job, events)


def _of_events(job: Any, events: Any) -> dict[str, Any]:
    """Show the newest events, within a number of bytes."""
    secret = declared()[job["task"]]
    shown: list[dict[str, Any]] = []
    size = 0
    for one in in_slices(reversed(events)):
        told = mask(payloads.load(one["detail"]), secret)
        text = cut_start(visible_json(told, indent=2), 1_000).shown if told else ""
        size += EVENT_BYTES + len(text)
        if size > EVENTS_BYTES:
            break
        shown.append({**one, "told": told, "shown": text})
    return {"events": shown, "events_left": len(events) - len(shown)}


@bp.get("/jobs/<id:job_id>/text")
@requires("viewer")
def text(job_id: str) -> Response:
    """Answer all of a payload, result or traceback as text, masked as on the page."""
    job = jobs.get(conn(), job_id)
    part = request.args.get("part", "payload")
    if part not in PARTS:
        raise BadInput(f"Unknown part {quoted(part)}. Use one of: {', '.join(PARTS)}.", field="part")
    if part == "traceback":
        return Response(job["traceback"] or "", mimetype="text/plain")
    return Response(_json(job, part) if job[part] is not None else "", mimetype="text/plain")


def _json(job: Any, name: str) -> str:
    text, secret = job[name], declared()[job["task"]]
    hide = mask_result if name == "result" else mask
    return run_in_thread(_indented, text, hide, secret) if len(text) > LARGE else _indented(text, hide, secret)


def _indented(text: str, hide: Callable[[Any, Collection[str]], Any], secret: Collection[str]) -> str:
    return visible_json(hide(payloads.load(text), secret), indent=2)


def _curl(job: Any) -> str:
    if len(job["payload"]) > LONGEST_CURL:
        return f'curl -X POST {request.host_url}api/v1/jobs -H "Authorization: Bearer $TASKYARD_TOKEN" --json @job.json'
    payload = mask(payloads.load(job["payload"]), declared()[job["task"]])
    body = json.dumps({"task": job["task"], "queue": job["queue"], "payload": payload})
    quoted = body.replace("'", "'\\''")
    return f"curl -X POST {request.host_url}api/v1/jobs -H \"Authorization: Bearer $TASKYARD_TOKEN\" --json '{quoted}'"
