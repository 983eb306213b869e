"""Triggers: what they listen for, what made them fire, and the form that makes one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from dashboard import payload_forms
from dashboard.actions import done
from dashboard.body_limits import PAYLOAD_FORM_BYTES, accepts_body
from dashboard.context import actor, conn, declared, yard
from dashboard.pages.undo import undo_of
from dashboard.presenters import triggers as presenter
from dashboard.rendering import render
from dashboard.revisions import expected_by_form
from dashboard.security import requires
from dashboard.slices import render_template
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput, Conflict, Edited
from workers.domain.ids import is_id
from workers.domain.names import is_reserved_queue
from workers.domain.numbers import parse_number
from workers.domain.strict_json import parse_object
from workers.domain.untrusted import visible_json
from workers.services import catalogue, events, triggers
from workers.store import queues, trigger_rows

bp = Blueprint("triggers", __name__)
PAGE = 50
LAST = 3
FIRINGS = 30


@bp.get("/triggers")
@requires("viewer")
def page() -> Response:
    """List triggers with their last firings."""
    connection, now = conn(), utcnow()
    found = trigger_rows.page(connection, request.args.get("after"), PAGE + 1)
    shown = found[:PAGE]
    recent = trigger_rows.recent(connection, [row["id"] for row in shown], LAST)
    hour = trigger_rows.hour_counts(connection, now - timedelta(hours=1))
    return render(
        "triggers/page.html",
        {"triggers": "triggers/_list.html"},
        active_page="triggers",
        triggers=presenter.rows(shown, recent, hour, now, declared()),
        following=shown[-1]["name"] if len(found) > PAGE else None,
        now=now,
    )


@bp.get("/triggers/<id:trigger_id>")
@requires("viewer")
def one(trigger_id: str) -> Response:
    """Show a trigger with its firings and the facts that caused them."""
    connection, now, before = conn(), utcnow(), request.args.get("before")
    if before is not None and not is_id(before):
        raise BadInput("The cursor is invalid. Open the first page.", field="before")
    row = triggers.get(connection, trigger_id)
    found = trigger_rows.firings(connection, trigger_id, before, FIRINGS + 1)
    hour = trigger_rows.hour_counts(connection, now - timedelta(hours=1))
    (shown,) = presenter.rows([row], {trigger_id: []}, hour, now, declared())
    return render(
        "triggers/one.html",
        {"title": "triggers/_title.html", "trigger": "triggers/_one.html"},
        active_page="triggers",
        trigger=shown,
        told=triggers.as_json(row, declared()[row["task"]]),
        firings=[presenter.firing(one, declared()) for one in found[:FIRINGS]],
        older=found[FIRINGS - 1]["id"] if len(found) > FIRINGS else None,
        now=now,
    )


@bp.route("/triggers/new", methods=["GET", "POST"])
@requires("operator")
@accepts_body(PAYLOAD_FORM_BYTES)
def new() -> ResponseReturnValue:
    """Make a trigger."""
    if request.method == "POST":
        return _kept(None)
    given = {"kind": request.args.get("kind", "event"), "task": request.args.get("task", ""), "enabled": "on"}
    return _form(None, given, payload_forms.open_view(_subject(given["task"])))


@bp.route("/triggers/<id:trigger_id>/edit", methods=["GET", "POST"])
@requires("operator")
@accepts_body(PAYLOAD_FORM_BYTES)
def edit(trigger_id: str) -> ResponseReturnValue:
    """Change a trigger."""
    if request.method == "POST":
        return _kept(trigger_id)
    row = triggers.get(conn(), trigger_id)
    told = triggers.as_json(row, declared()[row["task"]])
    view = payload_forms.open_view(_subject(row["task"], told["payload"]))
    return _form(trigger_id, {**row, "conditions": _pretty(told["conditions"])}, view)


@bp.post("/triggers/<id:trigger_id>/pauses")
@requires("operator")
def pause(trigger_id: str) -> ResponseReturnValue:
    """Let it fire no more."""
    triggers.change(yard(), trigger_id, {"enabled": False}, actor())
    return done("Trigger paused.", "/triggers", stay=True, undo=undo_of("trigger", trigger_id))


@bp.post("/triggers/<id:trigger_id>/resumes")
@requires("operator")
def resume(trigger_id: str) -> ResponseReturnValue:
    """Let it fire again."""
    triggers.change(yard(), trigger_id, {"enabled": True}, actor())
    return done("Trigger resumed.", "/triggers", stay=True, undo=undo_of("trigger", trigger_id))


@bp.route("/triggers/<id:trigger_id>/deletions", methods=["GET", "POST"])
@requires("operator")
def remove(trigger_id: str) -> ResponseReturnValue:
    """Ask, then delete the trigger that was shown: one that was edited meanwhile is shown again."""
    if request.method != "POST":
        return _deletion_page(trigger_id)
    try:
        triggers.remove(yard(), trigger_id, actor(), expected_by_form())
    except Edited:
        return _deletion_page(trigger_id, is_changed=True), 409
    return done("Trigger deleted. Its jobs are kept.", "/triggers")


def _deletion_page(trigger_id: str, *, is_changed: bool = False) -> str:
    row = triggers.get(conn(), trigger_id)
    return render_template("triggers/delete.html", active_page="triggers", trigger=row, is_changed=is_changed)


@bp.post("/events")
@requires("operator")
@accepts_body(PAYLOAD_FORM_BYTES)
def emit() -> ResponseReturnValue:
    """Send an event from the page."""
    payload = parse_object(request.form.get("payload", ""), "payload")
    n = events.emit(yard(), request.form.get("name", "").strip(), payload, actor())
    words = "Event sent. No trigger matches it." if not n else f"{n} trigger{' matches' if n == 1 else 's match'} it."
    return done(words, "/triggers")


def _subject(task: str, stored: Mapping[str, Any] | None = None) -> payload_forms.Subject:
    # A text that begins with $. is a path in the event, in place of a value of any type.
    return payload_forms.subject_of(task, stored, accepts_paths=True)


def _kept(trigger_id: str | None) -> ResponseReturnValue:
    given = request.form.to_dict()
    stored = triggers.get(conn(), trigger_id) if trigger_id is not None else None
    shown = triggers.as_json(stored, declared()[stored["task"]])["payload"] if stored is not None else None
    subject = _subject(given.get("task", ""), shown)
    sent = payload_forms.read_sent(subject, given)
    if step := given.get("step"):
        return _form(trigger_id, given, payload_forms.take_step(subject, sent, step))
    try:
        values = _values(given, sent)
        if trigger_id is None:
            row = triggers.create(yard(), values, actor())
        else:
            row = triggers.change(yard(), trigger_id, values, actor(), expected_by_form())
    except Edited as error:
        # What was typed stays; saving it again is an edit of what is stored now.
        view = payload_forms.refused_view(subject, sent, {})
        return _form(trigger_id, {**given, "revision": error.revision}, view, error), 409
    except (BadInput, Conflict) as error:
        found = payload_forms.errors_of(error) if isinstance(error, BadInput) else {}
        view = payload_forms.refused_view(subject, sent, found)
        return _form(trigger_id, given, view, error), 422 if isinstance(error, BadInput) else 409
    return done("Trigger saved.", f"/triggers/{row['id']}")


def _form(
    trigger_id: str | None,
    given: Mapping[str, Any],
    view: payload_forms.View,
    error: BadInput | Conflict | None = None,
) -> str:
    connection = conn()
    return render_template(
        "triggers/form.html",
        active_page="triggers",
        trigger=triggers.get(connection, trigger_id) if trigger_id else None,
        given={"conditions": "{}", "cooldown_seconds": 60, "cap_per_hour": 60, **given},
        view=view,
        tasks=[row["name"] for row in catalogue.list_tasks(connection) if not is_reserved_queue(row["queue"])],
        queues=[row["name"] for row in queues.all_queues(connection)],
        engine_events=events.ENGINE,
        differences=error.differences if isinstance(error, Edited) else [],
        errors=_errors(error),
    )


def _errors(error: BadInput | Conflict | None) -> dict[str, str]:
    if error is None:
        return {}
    if not isinstance(error, BadInput) or not error.errors:
        return {"": error.message}
    named = {str(one.get("field", "")).split(".")[0]: str(one["message"]) for one in error.errors}
    return {name: words for name, words in named.items() if name != "payload"}


def _values(given: Mapping[str, str], sent: payload_forms.Sent) -> dict[str, Any]:
    """Read the whole form. Raises BadInput with every error of it."""
    errors = payload_forms.unread(sent)
    kind = given.get("kind", "event")
    values: dict[str, Any] = {"kind": kind, "name": given.get("name", ""), "task": given.get("task", "")}
    for name in ("name", "task"):
        if not values[name].strip():
            errors.found.setdefault(name, "Is required.")
    values["listens"] = given.get("queue" if kind == "queue" else "listens", "").strip()
    values["measure"] = given.get("measure") if kind == "queue" else None
    values["above"] = errors.read("above", _number, given, "above") if kind == "queue" else None
    values["conditions"] = errors.read("conditions", parse_object, given.get("conditions", ""), "conditions")
    values["payload"] = sent.payload
    for name in ("cooldown_seconds", "cap_per_hour"):
        values[name] = errors.read(name, _number, given, name)
    if kind != "queue":
        errors.read("listens", events.check_pattern, values["listens"])
    errors.raise_all()
    return values | {"enabled": "enabled" in given}


def _number(given: Mapping[str, str], name: str) -> float:
    try:
        return parse_number(given.get(name, ""))
    except ValueError as error:
        raise BadInput(f"{name.replace('_', ' ')} {error}.", field=name) from error


def _pretty(value: Any) -> str:
    return visible_json(value, indent=2)
