"""What can be done with a job, or with several that are ticked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, make_response, request
from flask.typing import ResponseReturnValue

from dashboard import payload_forms
from dashboard.actions import came_from, done
from dashboard.body_limits import PAYLOAD_FORM_BYTES, accepts_body
from dashboard.confirmation import confirm
from dashboard.context import actor, conn, declared, yard
from dashboard.pages.undo import undo_of
from dashboard.security import requires
from dashboard.slices import render_template
from workers.domain import payloads
from workers.domain.errors import BadInput, Conflict, NotFound
from workers.domain.masked_edits import restore
from workers.domain.masking import mask
from workers.domain.plurals import counted
from workers.services import jobs

bp = Blueprint("job_actions", __name__)
MOST_TICKED = 200
VERBS = {"retry": "Retry", "run_now": "Run", "cancel": "Cancel", "delete": "Delete"}
WORDS = {"retry": "retried", "run_now": "run now", "cancel": "canceled", "delete": "deleted"}


@bp.post("/jobs/<id:job_id>/retries")
@requires("operator")
def retry(job_id: str) -> ResponseReturnValue:
    """Retry."""
    row = jobs.get(conn(), job_id)
    confirm(
        f"Retry {row['task']}?",
        f"Attempt {row['attempt'] + 1} starts as soon as a worker takes it from {row['queue']}.",
        "Retry job",
        is_danger=False,
        always=False,
    )
    row = jobs.retry(yard(), job_id, actor())
    return done(f"{row['task']} is waiting in {row['queue']}, attempt {row['attempt']}.", f"/jobs/{job_id}", stay=True)


@bp.post("/jobs/<id:job_id>/runs")
@requires("operator")
def run(job_id: str) -> ResponseReturnValue:
    """Run now, or a completed one again as a new job."""
    row = jobs.get(conn(), job_id)
    confirm(
        f"Run {row['task']} now?", f"The job moves to {row['queue']} now.", "Run job", is_danger=False, always=False
    )
    if row["status"] == "completed":
        made = jobs.run_again(yard(), job_id, actor())
        return done("A new job with the same task and payload is enqueued.", f"/jobs/{made.job_id}")
    row = jobs.run_now(yard(), job_id, actor())
    return done(f"{row['task']} is waiting in {row['queue']}.", f"/jobs/{job_id}", stay=True)


@bp.post("/jobs/<id:job_id>/cancellations")
@requires("operator")
def cancel(job_id: str) -> ResponseReturnValue:
    """Cancel: after a question while it runs, since what it has done cannot be taken back."""
    row = jobs.get(conn(), job_id)
    jobs.refuse_system_job(row)
    is_running = row["status"] == "processing"
    detail = "The job is running. It is stopped and not retried." if is_running else "The job has not started."
    confirm(f"Cancel {row['task']}?", detail, "Cancel job", always=is_running)
    row = jobs.cancel(yard(), job_id, actor())
    words = f"{row['task']} is canceled." if row["status"] == "canceled" else f"{row['task']} has been asked to stop."
    return done(words, f"/jobs/{job_id}", stay=True, undo=undo_of("job", job_id))


@bp.route("/jobs/<id:job_id>/deletions", methods=["GET", "POST"])
@requires("operator")
def delete(job_id: str) -> ResponseReturnValue:
    """Delete, after a page that asks."""
    row = jobs.get(conn(), job_id)
    jobs.refuse_system_job(row)
    if request.method != "POST":
        return render_template("job/delete.html", active_page="jobs", job=row)
    jobs.delete(yard(), job_id, actor())
    return done(f"{row['task']} {job_id} is deleted.", "/jobs")


@bp.route("/jobs/<id:job_id>/edit", methods=["GET", "POST"])
@requires("operator")
@accepts_body(PAYLOAD_FORM_BYTES)
def edit(job_id: str) -> ResponseReturnValue:
    """Retry, or run again, with another payload."""
    row = jobs.get(conn(), job_id)
    jobs.refuse_system_queue(row)
    if row["status"] not in {"failed", "canceled", "completed"}:
        raise Conflict("Only a job that has ended can be edited and retried.", state=row["status"])
    stored = mask(payloads.load(row["payload"]), declared()[row["task"]])
    subject = payload_forms.subject_of(row["task"], stored)
    if request.method != "POST":
        return _edit(row, payload_forms.open_view(subject))
    sent = payload_forms.read_sent(subject, request.form)
    if step := request.form.get("step"):
        return _edit(row, payload_forms.take_step(subject, sent, step))
    try:
        # A mask that was left alone stands for the stored value, which is what the schema is about.
        whole = restore(sent.payload, payloads.load(row["payload"]), subject.secret, subject.secret)
        payload_forms.errors_in(subject, sent, whole).raise_all()
        if row["status"] == "completed":
            location = jobs.run_again(yard(), job_id, actor(), sent.payload).job_id
        else:
            location = jobs.retry(yard(), job_id, actor(), sent.payload)["id"]
    except (BadInput, Conflict) as error:
        return _refused(row, subject, sent, error)
    return done("The job is back in its queue with the new payload.", f"/jobs/{location}")


@bp.post("/jobs/selection")
@requires("operator")
def selection() -> ResponseReturnValue:
    """Do one thing with every ticked job; those whose state forbids it are counted and left as they are."""
    action, ids = request.form.get("action", ""), request.form.getlist("id")
    if action not in WORDS:
        raise BadInput("Choose an action: retry, run_now, cancel or delete.", field="action")
    ids = list(dict.fromkeys(ids))
    if not 1 <= len(ids) <= MOST_TICKED:
        raise BadInput(f"Select 1 to {MOST_TICKED} jobs.", field="id")
    _confirm_selection(action, ids)
    calls: dict[str, Callable[..., Any]] = {
        "retry": jobs.retry,
        "run_now": jobs.run_now,
        "cancel": jobs.cancel,
        "delete": jobs.delete,
    }
    worked, refused, reason = 0, 0, ""
    for job_id in ids:
        try:
            calls[action](yard(), job_id, actor())
            worked += 1
        except (Conflict, NotFound) as error:
            refused += 1
            reason = reason or str(error)
    words = f"{worked} job{'' if worked == 1 else 's'} {WORDS[action]}."
    if refused:
        words += f" {refused} refused: {reason}" if refused == 1 else f" {refused} refused. First reason: {reason}"
    return done(words, came_from("/jobs"), kind="success" if worked else "error", stay=True)


def _confirm_selection(action: str, ids: list[str]) -> None:
    counted_jobs = counted(len(ids), "job")
    details = {
        "retry": "Each job runs again as its next attempt.",
        "run_now": "Each job moves to its queue now.",
        "cancel": "Waiting jobs do not run. Running jobs are stopped.",
        "delete": "Their payloads, results, attempts, events and logs are deleted too. This cannot be undone.",
    }
    verb = VERBS[action]
    title = f"{verb} {counted_jobs}{' now' if action == 'run_now' else ''}?"
    is_danger = action in {"cancel", "delete"}
    confirm(title, details[action], f"{verb} {counted_jobs}", is_danger=is_danger, always=is_danger)


def _refused(
    row: Any, subject: payload_forms.Subject, sent: payload_forms.Sent, error: BadInput | Conflict
) -> ResponseReturnValue:
    if isinstance(error, Conflict):
        return make_response(_edit(row, payload_forms.refused_view(subject, sent, {}), error.message), 409)
    errors = payload_forms.errors_of(error)
    other = "" if errors else error.message
    return make_response(_edit(row, payload_forms.refused_view(subject, sent, errors), other), 422)


def _edit(row: Any, view: payload_forms.View, error: str = "") -> str:
    return render_template("job/edit.html", active_page="jobs", job=row, view=view, errors={"": error} if error else {})
