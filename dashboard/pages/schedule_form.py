"""The form of a schedule, new or old, with what it will do shown before it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from dashboard import payload_forms
from dashboard.actions import done
from dashboard.body_limits import PAYLOAD_FORM_BYTES, accepts_body
from dashboard.context import actor, conn, declared, yard
from dashboard.field_errors import FieldErrors
from dashboard.pages.schedule_values import (
    LABELS,
    MOMENTS,
    UNITS,
    minutes_shown,
    moment_shown,
    read_rhythm,
    read_values,
)
from dashboard.presenters import schedules as presenter
from dashboard.revisions import expected_by_form
from dashboard.security import requires
from dashboard.slices import render_template
from dashboard.zones import browser_zone, viewer_zone
from workers.domain import cron, payloads
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput, Conflict, Edited
from workers.domain.masked_edits import restore
from workers.domain.masking import mask
from workers.domain.names import is_reserved_queue
from workers.services import catalogue, schedules
from workers.services.schedule_checks import DEFAULTS, RHYTHM
from workers.store import queues
from workers.store.types import Row

bp = Blueprint("schedule_form", __name__)


@bp.route("/schedules/new", methods=["GET", "POST"])
@requires("operator")
@accepts_body(PAYLOAD_FORM_BYTES)
def new() -> ResponseReturnValue:
    """Make a schedule; `from` names one to begin with, `task` the task."""
    if request.method == "POST":
        return _kept(None)
    given = {"task": request.args.get("task", ""), "timezone": browser_zone(), "cron": "0 6 * * *"}
    payload = None
    if copied := request.args.get("from"):
        row = schedules.get(conn(), copied)
        given = {**_shown(row), "name": f"{row['name'][:90]} (copy)", "copy_of": copied}
        payload = _stored_payload(row)
    subject = payload_forms.subject_of(str(given["task"]))
    return _form(None, given, payload_forms.open_view(subject, payload))


@bp.route("/schedules/<id:schedule_id>/edit", methods=["GET", "POST"])
@requires("operator")
@accepts_body(PAYLOAD_FORM_BYTES)
def edit(schedule_id: str) -> ResponseReturnValue:
    """Change a schedule."""
    if request.method == "POST":
        return _kept(schedule_id)
    row = schedules.get(conn(), schedule_id)
    subject = payload_forms.subject_of(row["task"], _stored_payload(row))
    return _form(schedule_id, _shown(row), payload_forms.open_view(subject))


@bp.get("/schedules/preview")
@requires("viewer")
def preview() -> str:
    """Draw the next fires of what the form holds now."""
    return render_template("schedules/_preview.html", **_preview(request.args.to_dict()))


def _kept(schedule_id: str | None) -> ResponseReturnValue:
    given = request.form.to_dict()
    stored = schedules.get(conn(), schedule_id) if schedule_id is not None else None
    subject = payload_forms.subject_of(given.get("task", ""), _stored_payload(stored) if stored else None)
    sent = payload_forms.read_sent(subject, given)
    if step := given.get("step"):
        return _form(schedule_id, given, payload_forms.take_step(subject, sent, step))
    try:
        values = read_values(given, sent.payload, stored, _payload_errors(subject, sent, stored or _copied(given)))
        if schedule_id is None:
            row = schedules.create(yard(), values, actor(), given.get("copy_of") or None)
        else:
            row = schedules.change(yard(), schedule_id, values, actor(), expected_by_form())
    except Edited as error:
        # What was typed stays; saving it again is an edit of what is stored now.
        view = payload_forms.refused_view(subject, sent, {})
        return _form(schedule_id, {**given, "revision": error.revision}, view, error), 409
    except (BadInput, Conflict) as error:
        found = payload_forms.errors_of(error) if isinstance(error, BadInput) else {}
        view = payload_forms.refused_view(subject, sent, found)
        return _form(schedule_id, given, view, error), 422 if isinstance(error, BadInput) else 409
    return done("Schedule saved.", f"/schedules/{row['id']}")


def _stored_payload(row: Row) -> dict[str, Any]:
    """Return the payload of a schedule, masked."""
    return dict(mask(payloads.load(row["payload"]), declared()[row["task"]]))


def _copied(given: Mapping[str, str]) -> Row | None:
    """Return the schedule that a new one is a copy of; its secrets are what masks stand for."""
    copied = given.get("copy_of")
    return schedules.get(conn(), copied) if copied else None


def _payload_errors(subject: payload_forms.Subject, sent: payload_forms.Sent, stored: Row | None) -> FieldErrors:
    """Return what is wrong with the payload. What was left alone is not judged again."""
    same_task = stored is not None and stored["task"] == subject.task
    if same_task and sent.payload == subject.stored and not sent.errors:
        return FieldErrors()
    errors = FieldErrors()
    before = payloads.load(stored["payload"]) if stored is not None and same_task else None
    whole = sent.payload
    if before is not None:
        try:
            whole = restore(sent.payload, before, subject.secret, subject.secret)
        except BadInput as error:
            errors.note(error)
    errors.found |= payload_forms.errors_in(subject, sent, whole).found
    return errors


def _form(
    schedule_id: str | None,
    given: Mapping[str, Any],
    view: payload_forms.View,
    error: BadInput | Conflict | None = None,
) -> str:
    connection = conn()
    tasks = [row for row in catalogue.list_tasks(connection) if not is_reserved_queue(row["queue"])]
    row = schedules.get(connection, schedule_id) if schedule_id else None
    shown = {**{name: value for name, value in DEFAULTS.items() if value is not None}, **given}
    shown.setdefault("tags_text", "")
    return render_template(
        "schedules/form.html",
        active_page="schedules",
        schedule=row,
        given=shown,
        view=view,
        tasks=tasks,
        queues=[one["name"] for one in queues.all_queues(connection) if not is_reserved_queue(one["name"])],
        zones=sorted(cron.zone_names()),
        units=UNITS,
        errors=_errors(error),
        labels=LABELS,
        differences=error.differences if isinstance(error, Edited) else [],
        **_preview(shown),
    )


def _preview(given: Mapping[str, Any]) -> dict[str, Any]:
    """Tell the next fires, or why there are none."""
    zone = viewer_zone()
    about: dict[str, Any] = {"viewer": zone, "words": "", "coming": [], "trouble": "", "there": "", "now": utcnow()}
    try:
        values = read_rhythm(given)
        told = schedules.preview(values)
    except BadInput as error:
        return {**about, "trouble": _with_labels(error.message)}
    coming = presenter.coming(told["fires"], zone)
    return {**about, "words": told["description"], "coming": coming, "there": values["timezone"]}


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """Tell what the form shows of a schedule."""
    told = schedules.as_json(row, declared()[row["task"]])
    kind = next((kind for name, kind in zip(RHYTHM, ("cron", "interval", "once"), strict=True) if row[name]), "cron")
    shown = {name: value for name, value in told.items() if value is not None}
    del shown["payload"]  # its own form shows it
    shown |= {"kind": kind}
    shown["tags_text"] = ", ".join(told["tags"])
    for name in MOMENTS:
        if row[name] is not None:
            shown[name] = moment_shown(row[name], row["timezone"])
    if row["interval_seconds"]:
        unit = next(name for name, size in reversed(UNITS.items()) if row["interval_seconds"] % size == 0)
        shown |= {"every": row["interval_seconds"] // UNITS[unit], "every_unit": unit}
    if row["finish_within_seconds"]:
        shown["finish_within_minutes"] = minutes_shown(row["finish_within_seconds"])
    return shown


def _errors(error: BadInput | Conflict | None) -> dict[str, str]:
    if error is None:
        return {}
    if not isinstance(error, BadInput) or not error.errors:
        return {"": error.message}
    fields = {str(one.get("field", "")): str(one["message"]) for one in error.errors}
    named = {name: words for name, words in fields.items() if name.split(".")[0] != "payload"}
    swapped = {"interval_seconds": "every", "finish_within_seconds": "finish_within_minutes", "tags": "tags_text"}
    return {swapped.get(name, name): _with_labels(words) for name, words in named.items()}


def _with_labels(words: str) -> str:
    """Return a message that names fields as the form does."""
    for name, label in LABELS.items():
        words = words.replace(name, label)
    return words
