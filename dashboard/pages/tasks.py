"""The catalogue of tasks, and the form that runs one."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC
from typing import Any

from flask import Blueprint, Response, make_response, request
from flask.typing import ResponseReturnValue

from dashboard import uploads
from dashboard.actions import done
from dashboard.body_limits import PAYLOAD_FORM_BYTES, accepts_body
from dashboard.context import actor, conn, yard
from dashboard.multipart import accepts_files
from dashboard.presenters import forms
from dashboard.rendering import render
from dashboard.security import requires
from dashboard.slices import render_template
from workers.domain.clock import parse_local_time, utcnow
from workers.domain.errors import BadInput, NotFound, TaskyardError
from workers.domain.names import SYSTEM_TASKS, check_open_task, is_reserved_queue
from workers.domain.numbers import parse_number, parse_whole
from workers.services import catalogue, secret_fields, statistics
from workers.services.enqueueing import NewJob, enqueue
from workers.store import queues, task_modules

bp = Blueprint("tasks", __name__)
_OPTIONS = ("queue", "priority", "delay_seconds", "scheduled_for", "max_retries", "timeout_seconds", "idempotency_key")
_NUMBERS: tuple[tuple[str, Callable[[str], float]], ...] = (
    ("delay_seconds", parse_number),
    ("timeout_seconds", parse_number),
    ("max_retries", parse_whole),
)


@bp.get("/tasks")
@requires("viewer")
def page() -> Response:
    """List the tasks, by family."""
    tasks = [dict(row) for row in catalogue.list_tasks(conn())]
    q = request.args.get("q", "").strip().lower()[:200]
    shown = [task for task in tasks if q in task["name"].lower() or q in task["doc"].lower()]
    for task in shown:
        task["summary"] = task["doc"].strip().split("\n\n")[0].replace("\n", " ")
    families: dict[str, list[dict[str, Any]]] = {}
    for task in shown:
        families.setdefault("yours" if not task["module"].startswith("workers.tasks") else "ready-made", []).append(
            task
        )
    totals = statistics.task_totals(conn(), utcnow())
    return render(
        "tasks/page.html",
        {"tasks": "tasks/_table.html"},
        active_page="tasks",
        families=families,
        count=len(tasks),
        totals=totals,
        unavailable=catalogue.unavailable_tasks(conn()),
        failed_modules=task_modules.list_failed(conn()),
        system_tasks=SYSTEM_TASKS,
        q=q,
        now=utcnow(),
    )


@bp.get("/tasks/<task:name>/run")
@requires("operator")
def form(name: str) -> ResponseReturnValue:
    """Show the form made from the task's schema."""
    return _form(name, {}, {}, 200)


@bp.post("/tasks/<task:name>/run")
@requires("operator")
@accepts_body(uploads.MAX_BYTES + PAYLOAD_FORM_BYTES)
@accepts_files
def run(name: str) -> ResponseReturnValue:
    """Enqueue a job from the form; what is wrong is shown at its field and nothing is enqueued."""
    task = _task(name)
    given = {key: value for key, value in request.form.items() if key != "csrf_token"}
    saved: list[str] = []
    try:
        for one in forms.fields(json.loads(task["payload_schema"])):
            file = request.files.get(f"{one.key}.file")
            if one.kind == "file" and file is not None and file.filename:
                saved.append(uploads.save(yard().settings, file.stream, file.filename))
                given[one.key] = saved[-1]
        payload = forms.payload_of(json.loads(task["payload_schema"]), given)
        made = enqueue(yard(), NewJob(name, payload, created_by=str(actor()), **_how(given)))
    except TaskyardError as error:
        uploads.remove(yard().settings, saved)
        if not isinstance(error, BadInput):
            raise
        shown = {key: value for key, value in given.items() if value not in saved}
        return _form(name, shown, forms.errors_of(error), 422)
    if made.deduplicated:
        uploads.remove(yard().settings, saved)  # the earlier job has its own
    words = (
        "An earlier request with this key had already made this job." if made.deduplicated else f"{name} is enqueued."
    )
    return done(words, f"/jobs/{made.job_id}")


def _form(name: str, given: dict[str, str], errors: dict[str, str], status: int) -> Response:
    task = _task(name)
    schema = json.loads(task["payload_schema"])
    values = {key.removeprefix(forms.PREFIX): value for key, value in given.items() if key.startswith(forms.PREFIX)}
    page = render_template(
        "tasks/run.html",
        active_page="tasks",
        task=task,
        fields=forms.fields(schema, values, errors, secret_fields.fields_of(task["secret_fields"])),
        given=given,
        errors=errors,
        queues=[row["name"] for row in queues.all_queues(conn()) if not is_reserved_queue(row["name"])],
        usual=statistics.usual(conn(), name),
        max_retries=task["max_retries"],
    )
    return make_response(page, status)


def _task(name: str) -> dict[str, Any]:
    check_open_task(name)
    for row in catalogue.list_tasks(conn()):
        if row["name"] == name:
            return dict(row)
    raise NotFound(f"There is no task {name}. Workers publish their tasks when they start.")


def _how(given: dict[str, str]) -> dict[str, Any]:
    texts = {name: given.get(name, "").strip() for name in _OPTIONS}
    how: dict[str, Any] = {name: text for name, text in texts.items() if text}
    for name, parse in _NUMBERS:
        if name in how:
            try:
                how[name] = parse(how[name])
            except ValueError as error:
                raise BadInput(str(error), field=name) from error
    if "scheduled_for" in how:
        try:
            how["scheduled_for"] = parse_local_time(how["scheduled_for"], UTC)
        except ValueError as error:
            raise BadInput(f"This is no time: {error}", field="scheduled_for") from error
    return how
