"""Values of payloads as the texts of form fields, and back."""

from __future__ import annotations

import json
import re
from datetime import UTC
from typing import Any

from dashboard.presenters.shapes import ABSENT, Shape
from dashboard.zones import from_form, local
from workers.domain.clock import parse_instant
from workers.domain.errors import BadInput
from workers.domain.numbers import parse_number, parse_whole
from workers.domain.strict_json import parse_text

PATH = "$."  # a text that begins so is a path in the event that a trigger hears
_TEXTS = {"text", "password", "textarea", "file", "date", "datetime"}
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_LOCAL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?")


class Unread(str):
    """A text that was typed where JSON is due, and is none: it is shown again as it is."""

    __slots__ = ()


def plain(value: Any) -> Any:
    """Return a copy of a payload in which what could not be read is ordinary text, as validators take it."""
    if isinstance(value, Unread):
        return str(value)
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list) else value


def text_of(shape: Shape, value: Any, zone: str) -> str:
    """Return the text that a field shows for a value; empty for none."""
    if value is ABSENT or (value is None and shape.kind != "json"):
        return ""
    if shape.kind == "json":
        return (
            str(value) if value == "" or isinstance(value, Unread) else json.dumps(value, ensure_ascii=False, indent=2)
        )
    if shape.kind == "datetime":
        return _local_text(value, zone)
    if isinstance(value, str):
        return value.replace("\r\n", "\n")
    return json.dumps(value)


def value_of(shape: Shape, text: str, zone: str, *, accepts_paths: bool = False) -> Any:
    """Read the text of a field. Raises ValueError with what the value must be."""
    if accepts_paths and text.startswith(PATH):
        return text
    text = text.replace("\r\n", "\n")
    if shape.kind == "integer":
        return parse_whole(text)
    if shape.kind == "number":
        return _shortest(parse_number(text))
    if shape.kind == "choice":
        return _chosen(shape, text)
    if shape.kind == "datetime":
        return _instant_text(text, zone)
    if shape.kind == "json":
        return _json(text)
    return text


def fits(shape: Shape, value: Any) -> bool:
    """Return whether the fields of a shape can show a value without a loss."""
    if value is None or value is ABSENT or shape.kind == "json":
        return True
    if shape.kind == "group":
        names = {one.name: one.shape for one in shape.fields}
        return isinstance(value, dict) and all(name in names and fits(names[name], one) for name, one in value.items())
    if shape.kind == "list":
        inner = shape.item or Shape("json")
        return isinstance(value, list) and all(one is not None and fits(inner, one) for one in value)
    if shape.kind == "checkbox":
        return isinstance(value, bool)
    if shape.kind == "choice":
        return any(_is_same(choice.value, value) for choice in shape.choices) or value == ""
    if shape.kind in _TEXTS:
        return isinstance(value, str)
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def input_type(shape: Shape, text: str, *, accepts_paths: bool = False) -> str:
    """Return the type of the HTML input of a field; a picker only for what it can hold."""
    if shape.kind == "password":
        return "password"
    if accepts_paths:
        return "text"
    if shape.kind == "date" and (not text or _DATE.fullmatch(text)):
        return "date"
    if shape.kind == "datetime" and (not text or _LOCAL.fullmatch(text)):
        return "datetime-local"
    return "text"


def choice_text(shape: Shape, value: Any) -> str:
    """Return the text of the choice that a value is; empty for none."""
    return next((choice.text for choice in shape.choices if _is_same(choice.value, value)), "")


def _is_same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _chosen(shape: Shape, text: str) -> Any:
    for choice in shape.choices:
        if choice.text == text:
            return choice.value
    raise ValueError("must be one of the choices")


def _shortest(number: float) -> float:
    """Return a whole number as an integer: 2 and not 2.0 is what was typed."""
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _local_text(value: Any, zone: str) -> str:
    try:
        moment = local(parse_instant(str(value)), zone)
    except ValueError:
        return str(value)  # shown as it is, in a field of text
    text = moment.strftime("%Y-%m-%dT%H:%M")
    if moment.second or moment.microsecond:
        text = moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds")[:23]
    return text.removesuffix(moment.strftime("%z"))


def _instant_text(text: str, zone: str) -> str:
    try:
        moment = from_form(text, zone).astimezone(UTC)
    except ValueError as error:
        raise ValueError("must be a date and a time, such as 2026-01-31T08:00") from error
    return moment.isoformat().replace("+00:00", "Z")


def _json(text: str) -> Any:
    try:
        return parse_text(text, "value")
    except BadInput as error:
        raise ValueError(f"must be JSON: {error.message.removeprefix('The value is not valid JSON: ')}") from error
