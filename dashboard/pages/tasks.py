"""The catalogue of tasks, and the form that runs one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, make_response, request
from flask.typing import ResponseReturnValue

from dashboard import payload_forms, uploads
from dashboard.actions import done
from dashboard.body_limits import PAYLOAD_FORM_BYTES, accepts_body
from dashboard.context import actor, conn, yard
from dashboard.field_errors import FieldErrors
from dashboard.multipart import accepts_files
from dashboard.payload_forms import Subject
from dashboard.presenters.shapes import PREFIX, key_of
from dashboard.rendering import render
from dashboard.security import requires
from dashboard.slices import render_template
from dashboard.zones import from_form, viewer_zone
from workers.domain import cron
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput, NotFound, TaskyardError
from workers.domain.names import SYSTEM_TASKS, check_open_task, is_reserved_queue
from workers.domain.numbers import parse_number, parse_whole
from workers.services import catalogue, last_values, statistics
from workers.services.enqueueing import NewJob, enqueue
from workers.store import queues, task_modules

bp = Blueprint("tasks", __name__)
_OPTIONS = ("queue", "priority", "delay_seconds", "scheduled_for", "max_retries", "timeout_seconds", "idempotency_key")
_NUMBERS: tuple[tuple[str, Callable[[str], float]], ...] = (
    ("delay_seconds", parse_number),
    ("timeout_seconds", parse_number),
    ("max_retries", parse_whole),
)
_LABELS = {
    "scheduled_for": "Start at",
    "max_retries": "Retries",
    "timeout_seconds": "Timeout",
    "delay_seconds": "Delay",
}


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
    """Show the form made from the task's schema; `values=last` fills in those of the user's last job of this task."""
    task = _task(name)
    subject = payload_forms.subject_of(name)
    last = last_values.find(conn(), name, str(actor()))
    view = payload_forms.open_view(subject)
    if request.args.get("values") == "last" and last is not None:
        shown = last_values.payload_of(conn(), last, subject.secret)
        view = payload_forms.open_view(subject, {**payload_forms.defaults_of(subject), **shown})
    return _form(task, {}, {}, view, 200, last)


@bp.post("/tasks/<task:name>/run")
@requires("operator")
@accepts_body(uploads.MAX_BYTES + PAYLOAD_FORM_BYTES)
@accepts_files
def run(name: str) -> ResponseReturnValue:
    """Enqueue a job from the form; what is wrong is shown at its field and nothing is enqueued."""
    task = _task(name)
    subject = payload_forms.subject_of(name)
    given = {key: value for key, value in request.form.items() if key != "csrf_token"}
    sent = payload_forms.read_sent(subject, given)
    if step := request.form.get("step"):
        return _form(task, given, {}, payload_forms.take_step(subject, sent, step), 200)
    saved: list[str] = []
    try:
        payload = {**sent.payload, **_uploaded(subject, saved)}
        how = _how(given, payload_forms.errors_in(subject, sent, payload))
        made = enqueue(yard(), NewJob(name, payload, created_by=str(actor()), **how))
    except TaskyardError as error:
        uploads.remove(yard().settings, saved)
        if not isinstance(error, BadInput):
            raise
        return _refused(task, subject, sent, given, error)
    if made.deduplicated:
        uploads.remove(yard().settings, saved)  # the earlier job has its own
    words = (
        "An earlier request with this key had already created this job."
        if made.deduplicated
        else f"{name} is enqueued."
    )
    return done(words, f"/jobs/{made.job_id}")


def _uploaded(subject: Subject, saved: list[str]) -> dict[str, str]:
    """Store the files of the form and return their places by field; `saved` holds them as soon as they are stored."""
    found = {}
    for one in subject.shape.fields if subject.shape else ():
        file = request.files.get(f"{key_of(PREFIX, one.name)}.file")
        if one.shape.kind == "file" and file is not None and file.filename:
            saved.append(uploads.save(yard().settings, file.stream, file.filename))
            found[one.name] = saved[-1]
    return found


def _refused(
    task: dict[str, Any], subject: Subject, sent: payload_forms.Sent, given: dict[str, str], error: BadInput
) -> Response:
    view = payload_forms.refused_view(subject, sent, payload_forms.errors_of(error))
    errors = {str(one.get("field", "")): str(one["message"]) for one in error.errors}
    named = {name: words for name, words in errors.items() if name in _OPTIONS}
    unplaced = [words for name, words in errors.items() if name not in _OPTIONS and name.split(".")[0] != PREFIX]
    other = {"": " ".join(unplaced) or error.message} if unplaced or not errors else {}
    return _form(task, given, {**other, **named}, view, 422)


def _form(
    task: dict[str, Any],
    given: dict[str, str],
    errors: dict[str, str],
    view: payload_forms.View,
    status: int,
    last: last_values.LastJob | None = None,
) -> Response:
    page = render_template(
        "tasks/run.html",
        active_page="tasks",
        task=task,
        view=view,
        given=given,
        errors=errors,
        last=last,
        zone=_zone_of(given),
        labels=_LABELS,
        has_files=any(one.kind == "file" for one in view.fields),
        queues=[row["name"] for row in queues.all_queues(conn()) if not is_reserved_queue(row["name"])],
        usual=statistics.usual(conn(), task["name"]),
        max_retries=task["max_retries"],
        now=utcnow(),
    )
    return make_response(page, status)


def _task(name: str) -> dict[str, Any]:
    check_open_task(name)
    row = catalogue.find_row(conn(), name)
    if row is None:
        raise NotFound(f"There is no task {name}. Workers publish their tasks when they start.")
    return dict(row)


def _zone_of(given: dict[str, str]) -> str:
    zone = given.get("payload_zone", "")
    return zone if zone in cron.zone_names() else viewer_zone()


def _how(given: dict[str, str], errors: FieldErrors) -> dict[str, Any]:
    """Read the options beside the payload. Raises BadInput with every error of the form."""
    texts = {name: given.get(name, "").strip() for name in _OPTIONS}
    how: dict[str, Any] = {name: text for name, text in texts.items() if text}
    for name, parse in _NUMBERS:
        if name in how:
            how[name] = errors.read(name, parse, how[name])
    if "scheduled_for" in how:
        how["scheduled_for"] = errors.read("scheduled_for", from_form, how["scheduled_for"], _zone_of(given))
    errors.raise_all()
    return how
