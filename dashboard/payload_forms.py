"""The form of a task's payload, as the pages that have one use it: fields, or JSON where fields cannot show it.

Buttons named `step` change what the form shows and save nothing: add and remove items, switch between fields and JSON, draw
the fields of another task, compare. The page is drawn again by the server, so they work without JavaScript.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dashboard.context import conn, yard
from dashboard.field_errors import FieldErrors
from dashboard.presenters import comparison, forms
from dashboard.presenters.field_texts import fits, plain
from dashboard.presenters.form_steps import add_item, remove_item, without_secrets
from dashboard.presenters.shapes import PREFIX, Shape, default_payload, shape_of
from dashboard.zones import viewer_zone
from workers.domain import cron
from workers.domain.errors import BadInput
from workers.domain.masking import is_secret, mask
from workers.domain.strict_json import parse_object
from workers.domain.untrusted import visible_json
from workers.services import catalogue, secret_fields

_NOT_SHOWN = "Some values of this payload have no form fields. Edit the payload as JSON."
_NO_FIELDS = "The schema of this task has no form fields. Edit the payload as JSON."


@dataclass(frozen=True, slots=True)
class Subject:
    """The task that a payload is for; `stored` is the payload that is edited, masked, None for a new one."""

    task: str
    shape: Shape | None
    secret: frozenset[str] = frozenset()
    stored: Mapping[str, Any] | None = None
    accepts_paths: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent: the payload, what is wrong with it by path, and the text of the JSON view."""

    payload: dict[str, Any]
    errors: Mapping[str, str] = field(default_factory=dict)
    text: str | None = None
    is_broken: bool = False
    left: Mapping[str, Any] = field(default_factory=dict)
    zone: str = "UTC"
    is_moved: bool = False  # it was drawn for another task


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, for the summary: the field's key in the page, its label, and the words."""

    key: str
    label: str
    words: str


@dataclass(frozen=True, slots=True)
class View:
    """What templates draw."""

    task: str
    zone: str
    fields: tuple[forms.Field, ...] = ()
    text: str = ""
    is_json: bool = False
    has_fields: bool = True
    reason: str = ""
    base: str = "{}"
    left: str = "{}"
    problems: tuple[Problem, ...] = ()
    changes: tuple[comparison.Change, ...] = ()
    is_edit: bool = False


def subject_of(task: str, stored: Mapping[str, Any] | None = None, *, accepts_paths: bool = False) -> Subject:
    """Return the subject for a task; one that is not in the catalogue has no fields."""
    row = catalogue.find_row(conn(), task) if task else None
    if row is None:
        return Subject(task, None, frozenset(), stored, accepts_paths)
    secret = secret_fields.fields_of(row["secret_fields"])
    return Subject(task, shape_of(json.loads(row["payload_schema"]), secret), secret, stored, accepts_paths)


def open_view(subject: Subject, payload: Mapping[str, Any] | None = None) -> View:
    """Draw the form as a page opens it: with the stored payload, a given one, or the task's defaults."""
    if payload is None:
        payload = subject.stored
    if payload is None:
        payload = defaults_of(subject)
    return _draw(subject, Sent(dict(payload), zone=viewer_zone()))


def read_sent(subject: Subject, form: Mapping[str, str]) -> Sent:
    """Read the payload that a form holds, in either view. What cannot be read is in `errors`."""
    text = form.get("json", "") if form.get("as_json") else form.get(PREFIX)
    zone = form.get("payload_zone", "")
    zone = zone if zone in cron.zone_names() else viewer_zone()
    left = _carried(form.get("payload_left", ""))
    drawn_for = form.get("payload_task", subject.task)
    if text is not None:
        return replace(_read_json(text, left, zone), is_moved=drawn_for != subject.task)
    shape = subject.shape if drawn_for == subject.task else subject_of(drawn_for).shape
    base = _carried(form.get("payload_base", ""))
    if shape is None:
        return Sent(base, left=left, zone=zone)
    reading = forms.read(shape, form, base, zone, accepts_paths=subject.accepts_paths)
    if drawn_for == subject.task:
        return Sent(reading.payload, reading.errors, left=left, zone=zone)
    return _moved(subject, {**left, **reading.payload}, zone)


def check(subject: Subject, payload: Mapping[str, Any]) -> dict[str, str]:
    """Check a payload against the task's schema; what is wrong, by path. A task that cannot be had is not judged here."""
    try:
        task = catalogue.get_task(yard(), subject.task)
    except BadInput:
        return {}
    try:
        task.check(plain(dict(payload)))
    except BadInput as error:
        return errors_of(error)
    return {}


def unread(sent: Sent) -> FieldErrors:
    """Return what of a form could not be read as a payload."""
    errors = FieldErrors()
    for path, words in sent.errors.items():
        errors.found[f"{PREFIX}.{path}" if path else PREFIX] = words
    return errors


def errors_in(subject: Subject, sent: Sent, payload: Mapping[str, Any]) -> FieldErrors:
    """Return what is wrong with a new payload: what could not be read, and what does not fit the schema."""
    errors = unread(sent)
    if not sent.is_broken:
        for path, words in check(subject, payload).items():
            errors.found.setdefault(f"{PREFIX}.{path}" if path else PREFIX, words)
    return errors


def defaults_of(subject: Subject) -> dict[str, Any]:
    """Return the defaults of the task's fields."""
    return default_payload(subject.shape) if subject.shape else {}


def errors_of(error: BadInput) -> dict[str, str]:
    """Return what is wrong with the payload, by path; `""` holds what is about the whole of it."""
    found: dict[str, str] = {}
    for one in error.errors:
        name = str(one.get("field", ""))
        if name == PREFIX or name.startswith(f"{PREFIX}."):
            path = name[len(PREFIX) + 1 :]
            found.setdefault(path, str(one["message"]).removeprefix(f"{path} "))
    return found


def take_step(subject: Subject, sent: Sent, step: str) -> View:
    """Return the form after one of its buttons; nothing is saved, and what is wrong is not judged yet."""
    name, _, key = step.partition(":")
    if sent.is_broken:
        return _draw(subject, sent)
    sent = replace(sent, errors={})
    change: Callable[[Shape, dict[str, Any], str], dict[str, Any]] | None = {
        "add": add_item,
        "remove": remove_item,
    }.get(name)
    if change is not None and subject.shape is not None and sent.text is None:
        return _draw(subject, replace(sent, payload=change(subject.shape, sent.payload, key)), shows_secrets=True)
    if name == "json":
        return _draw(subject, replace(sent, text=_pretty(sent.payload)), shows_secrets=True)
    if name == "show" and sent.is_moved and sent.text is not None:
        return _draw(subject, _moved(subject, {**sent.left, **sent.payload}, sent.zone), shows_secrets=True)
    if name == "fields":
        return _draw(subject, replace(sent, text=None), shows_secrets=True)
    return _draw(subject, sent, shows_secrets=True)


def refused_view(subject: Subject, sent: Sent, errors: Mapping[str, str]) -> View:
    """Return the form with what is wrong at its fields. Secrets that were typed are not shown again."""
    return _draw(subject, replace(sent, errors={**errors, **sent.errors}))


def _draw(subject: Subject, sent: Sent, *, shows_secrets: bool = False) -> View:
    shape = subject.shape
    shows_fields = shape is not None and sent.text is None and fits(shape, sent.payload)
    view = View(
        subject.task,
        sent.zone,
        has_fields=shape is not None,
        left=_dump(sent.left),
        is_edit=subject.stored is not None,
        changes=_changes(subject, sent),
    )
    if not shows_fields or shape is None:
        text = sent.text if sent.text is not None else _pretty(sent.payload)
        problems = tuple(Problem(PREFIX, path, words) for path, words in sent.errors.items())
        return replace(view, is_json=True, text=text, problems=problems, reason=_reason(subject, sent))
    drawn_paths = forms.paths_of(forms.fields(shape, sent.payload, forms.Drawing(sent.zone)))
    placed, general = _placed(sent.errors, drawn_paths)
    drawing = forms.Drawing(sent.zone, placed, shows_secrets, subject.accepts_paths)
    drawn = forms.fields(shape, sent.payload, drawing)
    shown = tuple(Problem(one.key, _label(one), one.error) for one in forms.errors_shown(drawn))
    base = sent.payload if shows_secrets else without_secrets(shape, sent.payload)
    return replace(view, fields=drawn, base=_dump(base), problems=(*general, *shown))


def _placed(errors: Mapping[str, str], paths: set[str]) -> tuple[dict[str, str], tuple[Problem, ...]]:
    """Sort errors to the fields that show them: the field itself, or the nearest one around it."""
    placed: dict[str, str] = {}
    general = []
    for path, words in errors.items():
        at, rest = path, ""
        while at and at not in paths:
            at, _, last = at.rpartition(".")
            rest = f"{last}.{rest}" if rest else last
        words = f"{rest} {words}" if rest else words
        if at:
            placed.setdefault(at, words)
        else:
            general.append(Problem(PREFIX, "", words))
    return placed, tuple(general)


def _label(one: forms.Field) -> str:
    parts = [f"item {int(part) + 1}" if part.isdecimal() else part for part in one.path.split(".")]
    return ", ".join(parts).replace("_", " ")


def _reason(subject: Subject, sent: Sent) -> str:
    if sent.text is not None and subject.shape is not None:
        return ""
    if subject.shape is not None:
        return _NOT_SHOWN
    return _NO_FIELDS if subject.task else "Choose a task to see its fields."


def _changes(subject: Subject, sent: Sent) -> tuple[comparison.Change, ...]:
    if subject.stored is None or sent.is_broken:
        return ()
    return tuple(comparison.compare(subject.stored, sent.payload, mask(sent.payload, subject.secret)))


def _moved(subject: Subject, values: dict[str, Any], zone: str) -> Sent:
    """Carry the values over to the fields of another task; those that it has no field for wait until it is chosen again."""
    if subject.shape is None:
        return Sent(values, zone=zone)
    shapes = {one.name: one.shape for one in subject.shape.fields}
    kept = {name: value for name, value in values.items() if name in shapes and fits(shapes[name], value)}
    left = {name: value for name, value in values.items() if name not in kept and not is_secret(name, subject.secret)}
    return Sent({**default_payload(subject.shape), **kept}, left=left, zone=zone)


def _read_json(text: str, left: Mapping[str, Any], zone: str) -> Sent:
    try:
        return Sent(parse_object(text, PREFIX), text=text, left=left, zone=zone)
    except BadInput as error:
        return Sent({}, {"": error.message}, text=text, is_broken=True, left=left, zone=zone)


def _carried(text: str) -> dict[str, Any]:
    """Read a hidden field of ours; one that was changed by hand is read as empty."""
    try:
        return parse_object(text, PREFIX)
    except BadInput:
        return {}


def _dump(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def _pretty(value: Mapping[str, Any]) -> str:
    return visible_json(value, indent=2)
