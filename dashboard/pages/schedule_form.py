"""The form of a schedule, new or old, with what it will do shown before it is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from dashboard.actions import done
from dashboard.body_limits import PAYLOAD_FORM_BYTES, accepts_body
from dashboard.context import actor, conn, declared, yard
from dashboard.presenters import schedules as presenter
from dashboard.revisions import expected_by_form
from dashboard.security import requires
from dashboard.slices import render_template
from dashboard.zones import browser_zone, from_form, local, viewer_zone
from workers.domain import cron
from workers.domain.clock import utcnow
from workers.domain.cron import LONGEST_INTERVAL_SECONDS
from workers.domain.errors import BadInput, Conflict, Edited
from workers.domain.names import is_reserved_queue
from workers.domain.numbers import parse_number, parse_whole
from workers.domain.strict_json import parse_object
from workers.domain.untrusted import visible_json
from workers.services import catalogue, schedules
from workers.services.schedule_checks import DEFAULTS, LONGEST_FINISH_SECONDS, RHYTHM
from workers.store import queues
from workers.store.types import Row

bp = Blueprint("schedule_form", __name__)
UNITS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}
_MOMENTS = ("starts_at", "ends_at", "once_at")
# Fields by the names of their labels, for messages.
LABELS = {
    "starts_at": "Starts",
    "ends_at": "Ends",
    "once_at": "At",
    "every": "Every",
    "jitter_seconds": "Jitter",
    "catch_up_max": "Catch up at most",
    "finish_within_minutes": "Finished within",
    "max_retries": "Retries",
    "timeout_seconds": "Timeout",
}


@bp.route("/schedules/new", methods=["GET", "POST"])
@requires("operator")
@accepts_body(PAYLOAD_FORM_BYTES)
def new() -> ResponseReturnValue:
    """Make a schedule; `from` names one to begin with, `task` the task."""
    if request.method != "POST":
        given = {"task": request.args.get("task", ""), "timezone": browser_zone(), "cron": "0 6 * * *"}
        if copied := request.args.get("from"):
            row = schedules.get(conn(), copied)
            given = {**_shown(row), "name": f"{row['name'][:90]} (copy)", "copy_of": copied}
        return _form(None, given)
    return _kept(None)


@bp.route("/schedules/<id:schedule_id>/edit", methods=["GET", "POST"])
@requires("operator")
@accepts_body(PAYLOAD_FORM_BYTES)
def edit(schedule_id: str) -> ResponseReturnValue:
    """Change a schedule."""
    if request.method != "POST":
        return _form(schedule_id, _shown(schedules.get(conn(), schedule_id)))
    return _kept(schedule_id)


@bp.get("/schedules/preview")
@requires("viewer")
def preview() -> str:
    """Draw the next fires of what the form holds now."""
    return render_template("schedules/_preview.html", **_preview(request.args.to_dict()))


def _kept(schedule_id: str | None) -> ResponseReturnValue:
    given = request.form.to_dict()
    try:
        if schedule_id is None:
            row = schedules.create(yard(), _values(given), actor(), given.get("copy_of") or None)
        else:
            values = _values(given, schedules.get(conn(), schedule_id))
            row = schedules.change(yard(), schedule_id, values, actor(), expected_by_form())
    except Edited as error:
        # What was typed stays; saving it again is an edit of what is stored now.
        return _form(schedule_id, {**given, "revision": error.revision}, error), 409
    except (BadInput, Conflict) as error:
        return _form(schedule_id, given, error), 422 if isinstance(error, BadInput) else 409
    return done("The schedule is saved.", f"/schedules/{row['id']}")


def _form(schedule_id: str | None, given: Mapping[str, Any], error: BadInput | Conflict | None = None) -> str:
    connection = conn()
    tasks = [row for row in catalogue.list_tasks(connection) if not is_reserved_queue(row["queue"])]
    row = schedules.get(connection, schedule_id) if schedule_id else None
    shown = {**{name: value for name, value in DEFAULTS.items() if value is not None}, "payload": "{}", **given}
    shown.setdefault("tags_text", "")
    return render_template(
        "schedules/form.html",
        active_page="schedules",
        schedule=row,
        given=shown,
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
        values = _rhythm(given)
        told = schedules.preview(values)
    except BadInput as error:
        return {**about, "trouble": _with_labels(error.message)}
    coming = presenter.coming(told["fires"], zone)
    return {**about, "words": told["description"], "coming": coming, "there": values["timezone"]}


def _values(given: Mapping[str, str], stored: Row | None = None) -> dict[str, Any]:
    values = {**_rhythm(given, stored), "name": given.get("name", ""), "task": given.get("task", "")}
    values["payload"] = parse_object(given.get("payload", ""), "payload")
    for name in ("overlap", "missed"):
        values[name] = given.get(name, DEFAULTS[name])
    for name in ("jitter_seconds", "catch_up_max", "max_retries"):
        values[name] = _number(given, name, parse_whole)
    values["jitter_seconds"] = values["jitter_seconds"] or 0
    if values["catch_up_max"] is None:
        values["catch_up_max"] = DEFAULTS["catch_up_max"]
    values["timeout_seconds"] = _number(given, "timeout_seconds", parse_number)
    values["finish_within_seconds"] = _finish_within(given, stored)
    values["queue"], values["priority"] = given.get("queue") or None, given.get("priority") or None
    values["tags"] = [one.strip() for one in given.get("tags_text", "").split(",") if one.strip()]
    values["enabled"] = "enabled" in given
    return values


def _rhythm(given: Mapping[str, Any], stored: Row | None = None) -> dict[str, Any]:
    zone = cron.check_zone(given.get("timezone") or "UTC")
    kind = given.get("kind", "cron")
    values: dict[str, Any] = {**dict.fromkeys(RHYTHM), "timezone": zone, "starts_at": None, "ends_at": None}
    if kind == "cron":
        values["cron"] = given.get("cron") or ""
    elif kind == "interval":
        size = UNITS.get(str(given.get("every_unit")), 1)
        values["interval_seconds"] = _every(given, LONGEST_INTERVAL_SECONDS // size) * size
    for name in _MOMENTS:
        if given.get(name) and (name != "once_at" or kind == "once"):
            values[name] = _moment(str(given[name]), name, zone, stored)
    if kind == "once" and values["once_at"] is None:
        raise BadInput("Enter the date and time of the run.", field="once_at")
    return values


def _every(given: Mapping[str, Any], most: int) -> int:
    every = _number(given, "every", parse_whole) or 0
    if not 1 <= every <= most:
        unit = given.get("every_unit") or "seconds"
        raise BadInput(f"{LABELS['every']} must be a whole number from 1 to {most:,} ({unit}).", field="every")
    return int(every)


def _finish_within(given: Mapping[str, Any], stored: Row | None) -> float | None:
    """Read the minutes within which a run must finish, in seconds. Those that were left alone stay as they are stored."""
    kept: float | None = stored["finish_within_seconds"] if stored is not None else None
    if kept is not None and given.get("finish_within_minutes", "").strip() == _minutes_shown(kept):
        return kept
    minutes = _number(given, "finish_within_minutes", parse_number)
    if minutes is None:
        return None
    most = LONGEST_FINISH_SECONDS // 60
    if not 0 < minutes <= most:
        label = LABELS["finish_within_minutes"]
        raise BadInput(f"{label} must be a number above 0, up to {most:,} minutes.", field="finish_within_minutes")
    return float(minutes) * 60


def _minutes_shown(seconds: float) -> str:
    return f"{seconds / 60:g}"


def _moment(text: str, name: str, zone: str, stored: Row | None) -> datetime:
    """Read a field of date and time. One that was left alone is the stored moment: the field has no seconds."""
    kept: datetime | None = stored[name] if stored is not None and zone == stored["timezone"] else None
    if kept is not None and text == _moment_shown(kept, zone):
        return kept
    try:
        return from_form(text, zone)
    except ValueError as error:
        raise BadInput(f"{LABELS[name]} cannot be used: {error}.", field=name) from error


def _moment_shown(moment: datetime, zone: str) -> str:
    return local(moment, zone).strftime("%Y-%m-%dT%H:%M")


def _number(given: Mapping[str, Any], name: str, parse: Callable[[str], Any]) -> Any:
    text = str(given.get(name) or "").strip()
    try:
        return parse(text) if text else None
    except ValueError as error:
        raise BadInput(f"{LABELS[name]} {error}.", field=name) from error


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """Tell what the form shows of a schedule."""
    told = schedules.as_json(row, declared()[row["task"]])
    kind = next((kind for name, kind in zip(RHYTHM, ("cron", "interval", "once"), strict=True) if row[name]), "cron")
    shown = {name: value for name, value in told.items() if value is not None}
    shown |= {"kind": kind, "payload": visible_json(told["payload"], indent=2)}
    shown["tags_text"] = ", ".join(told["tags"])
    for name in _MOMENTS:
        if row[name] is not None:
            shown[name] = _moment_shown(row[name], row["timezone"])
    if row["interval_seconds"]:
        unit = next(name for name, size in reversed(UNITS.items()) if row["interval_seconds"] % size == 0)
        shown |= {"every": row["interval_seconds"] // UNITS[unit], "every_unit": unit}
    if row["finish_within_seconds"]:
        shown["finish_within_minutes"] = _minutes_shown(row["finish_within_seconds"])
    return shown


def _errors(error: BadInput | Conflict | None) -> dict[str, str]:
    if error is None:
        return {}
    if not isinstance(error, BadInput) or not error.errors:
        return {"": error.message}
    named = {str(one.get("field", "")).split(".")[0]: str(one["message"]) for one in error.errors}
    swapped = {"interval_seconds": "every", "finish_within_seconds": "finish_within_minutes", "tags": "tags_text"}
    return {swapped.get(name, name): _with_labels(words) for name, words in named.items()}


def _with_labels(words: str) -> str:
    """Return a message that names fields as the form does."""
    for name, label in LABELS.items():
        words = words.replace(name, label)
    return words
