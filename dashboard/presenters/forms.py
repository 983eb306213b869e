"""A form from the shape of a payload, and the payload from what was filled in.

A form carries, in `base`, the payload that it was drawn from: what was left alone keeps exactly the value that it had, and
the lists have the length that was on the screen. What cannot be read stays in the payload as the text that was typed, beside
an error, so that drawing the form again loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dashboard.presenters.field_texts import Unread, choice_text, input_type, text_of, value_of
from dashboard.presenters.shapes import ABSENT, MAX_ITEMS, PREFIX, Named, Shape, key_of
from workers.domain.masking import MASK
from workers.domain.payload_bytes import BYTES_FORMAT

_NOTES = {
    "integer": "whole number",
    "number": "number",
    "decimal": "decimal number",
    "json": "JSON",
    "file": "file, URL or path",
    "date": "date",
}
_LONGEST_HELP = 500


@dataclass(frozen=True, slots=True)
class Drawing:
    """How a form is drawn: its zone, what is wrong with it by path, and whether typed secrets are shown again."""

    zone: str
    errors: Mapping[str, str] = field(default_factory=dict)
    shows_secrets: bool = False
    accepts_paths: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form, a group of fields, or a list of them."""

    key: str
    path: str
    kind: str
    label: str
    note: str
    help: str
    is_required: bool
    text: str = ""
    input_type: str = "text"
    choices: tuple[str, ...] = ()
    empty_choice: str | None = None
    placeholder: str = ""
    error: str = ""
    must_retype: bool = False
    children: tuple[Field, ...] = ()
    is_present: bool = True
    can_remove: bool = False
    can_add: bool = False
    item_label: str = ""


@dataclass(slots=True)
class Reading:
    """What was read out of a form: the payload, and what is wrong with it by path."""

    payload: dict[str, Any]
    errors: dict[str, str] = field(default_factory=dict)


def fields(shape: Shape, payload: Mapping[str, Any], drawing: Drawing) -> tuple[Field, ...]:
    """Draw the fields of a payload that fits its shape."""
    return tuple(_field(one, payload.get(one.name, ABSENT), PREFIX, "", drawing) for one in shape.fields)


def errors_shown(drawn: tuple[Field, ...]) -> list[Field]:
    """Return the fields that show an error, in the order of the page."""
    found = []
    for one in drawn:
        found += [one] if one.error else []
        found += errors_shown(one.children)
    return found


def paths_of(drawn: tuple[Field, ...]) -> set[str]:
    """Return the paths of all fields that are on the page."""
    return {one.path for one in drawn} | {path for one in drawn for path in paths_of(one.children)}


def read(
    shape: Shape, form: Mapping[str, str], base: Mapping[str, Any], zone: str, *, accepts_paths: bool = False
) -> Reading:
    """Read the payload out of a sent form that was drawn from `base`."""
    reader = _Reader(form, zone, accepts_paths)
    reading = Reading(reader.group(shape, base, PREFIX, ""))
    reading.errors = reader.errors
    return reading


def path_of(parent: str, name: str | int) -> str:
    """Return the path by which errors name a part of the payload."""
    return f"{parent}.{name}" if parent else str(name)


class _Reader:
    """Reads one form."""

    def __init__(self, form: Mapping[str, str], zone: str, accepts_paths: bool) -> None:
        self._form = form
        self._zone = zone
        self._accepts_paths = accepts_paths
        self.errors: dict[str, str] = {}

    def group(self, shape: Shape, base: Mapping[str, Any], key: str, path: str) -> dict[str, Any]:
        payload = {}
        for one in shape.fields:
            value = self._named(one, base.get(one.name, ABSENT), key_of(key, one.name), path_of(path, one.name))
            if value is not ABSENT:
                payload[one.name] = value
        return payload

    def _named(self, one: Named, base: Any, key: str, path: str) -> Any:
        kind = one.shape.kind
        if kind == "group":
            return self._inner_group(one, base, key, path)
        if kind == "list":
            values = self._list(one.shape, base if isinstance(base, list) else [], key, path)
            return values if values or one.is_required or base not in (ABSENT, None) else base
        if kind == "checkbox":
            return self._checked(one, base, key)
        return self._scalar(one.shape, base, key, path, is_required=one.is_required)

    def _inner_group(self, one: Named, base: Any, key: str, path: str) -> Any:
        is_drawn = (
            one.is_required or isinstance(base, Mapping) or any(name.startswith(f"{key}.") for name in self._form)
        )
        if not is_drawn:
            return base
        value = self.group(one.shape, base if isinstance(base, Mapping) else {}, key, path)
        return value if value or one.is_required or isinstance(base, Mapping) else base

    def _checked(self, one: Named, base: Any, key: str) -> Any:
        is_on = key in self._form
        # A box that was left as the default shows it is not a value of its own.
        return ABSENT if base is ABSENT and not one.is_required and is_on is one.default else is_on

    def _list(self, shape: Shape, base: list[Any], key: str, path: str) -> list[Any]:
        inner = shape.item or Shape("json")
        count = max(len(base), self._count(key))
        values: list[Any] = []
        for index in range(count):
            known = base[index] if index < len(base) else ABSENT
            item, item_path = key_of(key, index), path_of(path, index)
            if inner.kind == "group":
                values.append(self.group(inner, known if isinstance(known, Mapping) else {}, item, item_path))
            elif inner.kind == "list":
                values.append(self._list(inner, known if isinstance(known, list) else [], item, item_path))
            elif inner.kind == "checkbox":
                values.append(item in self._form)
            else:
                value = self._scalar(inner, known, item, item_path, is_required=True)
                values.append("" if value is ABSENT else value)
        return values

    def _count(self, key: str) -> int:
        """Return how many items of a list a form holds that somebody wrote by hand, without its base."""
        rests = [name[len(key) + 1 :].partition(".")[0] for name in self._form if name.startswith(f"{key}.")]
        numbers = [int(rest) for rest in rests if rest.isdecimal() and len(rest) <= 3]
        return min(max(numbers, default=-1) + 1, MAX_ITEMS)

    def _scalar(self, shape: Shape, base: Any, key: str, path: str, *, is_required: bool) -> Any:
        text = self._form.get(key)
        if text is None or text.replace("\r\n", "\n") == text_shown(shape, base, self._zone):
            return base
        if text == "" and not (is_required and shape.kind in {"text", "password", "textarea"}):
            return None if is_required and shape.is_nullable else ABSENT
        try:
            return value_of(shape, text, self._zone, accepts_paths=self._accepts_paths)
        except ValueError as error:
            self.errors[path] = str(error)
            return Unread(text) if shape.kind == "json" else text


def text_shown(shape: Shape, value: Any, zone: str) -> str:
    """Return what a field shows for a value, be it a choice or a text."""
    if shape.kind == "choice" and value is not ABSENT and value != "":
        return choice_text(shape, value)
    return text_of(shape, value, zone)


def _field(one: Named, value: Any, key: str, path: str, drawing: Drawing) -> Field:
    is_group = one.shape.kind == "group"
    value = {} if is_group and one.is_required and not isinstance(value, Mapping) else value
    drawn = _drawn(one.shape, value, key_of(key, one.name), path_of(path, one.name), drawing)
    words = [drawn.note, "required" if one.is_required else "optional"]
    label = one.name.replace("_", " ").strip() or "(no name)"
    default = one.default if one.default is not ABSENT else None
    drawn = replace(drawn, label=label, note=", ".join(filter(None, words)), is_required=one.is_required)
    if one.shape.kind == "checkbox":
        is_on = value if isinstance(value, bool) else bool(default)
        return replace(drawn, text="1" if is_on else "", note="")
    if one.shape.kind == "choice":
        name = choice_text(one.shape, default)
        empty = "Choose one" if one.is_required else f"Default: {name}" if name else "Not set"
        return replace(drawn, empty_choice=empty)
    if one.shape.kind in {"group", "list"}:
        can_remove = drawn.is_present and is_group and not one.is_required
        return replace(drawn, can_remove=can_remove)
    shown = text_of(one.shape, default, drawing.zone) if one.shape.kind not in {"json", "password"} else ""
    return replace(drawn, placeholder=f"Default: {shown[:60]}" if shown else "")


def _drawn(shape: Shape, value: Any, key: str, path: str, drawing: Drawing) -> Field:
    part = shape.part
    text = text_shown(shape, value, drawing.zone)
    is_typed_secret = shape.kind == "password" and text not in {"", MASK} and not drawing.shows_secrets
    text = "" if is_typed_secret else text
    return Field(
        key=key,
        path=path,
        kind=shape.kind,
        label="",
        note=_note(shape, drawing),
        help=str(part.get("description", ""))[:_LONGEST_HELP],
        is_required=False,
        text=text,
        input_type=input_type(shape, text, accepts_paths=drawing.accepts_paths),
        choices=tuple(choice.text for choice in shape.choices),
        empty_choice="Choose one" if shape.kind == "choice" else None,
        error=drawing.errors.get(path, ""),
        must_retype=is_typed_secret,
        children=_children(shape, value, key, path, drawing),
        is_present=shape.kind != "group" or isinstance(value, Mapping),
        can_add=shape.kind == "list" and (not isinstance(value, list) or len(value) < _most(part)),
    )


def _children(shape: Shape, value: Any, key: str, path: str, drawing: Drawing) -> tuple[Field, ...]:
    if shape.kind == "group" and isinstance(value, Mapping):
        return tuple(_field(one, value.get(one.name, ABSENT), key, path, drawing) for one in shape.fields)
    if shape.kind != "list" or not isinstance(value, list) or shape.item is None:
        return ()
    drawn = [
        _drawn(shape.item, one, key_of(key, index), path_of(path, index), drawing) for index, one in enumerate(value)
    ]
    return tuple(
        replace(one, label=f"Item {index}", can_remove=True, text=_box(shape.item, one, value[index - 1]))
        for index, one in enumerate(drawn, 1)
    )


def _box(shape: Shape, drawn: Field, value: Any) -> str:
    return ("1" if value is True else "") if shape.kind == "checkbox" else drawn.text


def _most(part: Mapping[str, Any]) -> int:
    most = part.get("maxItems")
    return min(most, MAX_ITEMS) if isinstance(most, int) else MAX_ITEMS


def _note(shape: Shape, drawing: Drawing) -> str:
    if shape.kind == "datetime":
        return "date and time with offset" if drawing.accepts_paths else drawing.zone
    low, high = shape.part.get("minimum"), shape.part.get("maximum")
    if isinstance(low, int | float) and isinstance(high, int | float):
        return f"{low:,} to {high:,}"
    if shape.part.get("format") == BYTES_FORMAT:
        return "bytes in base64"
    return _NOTES.get(shape.kind, "")
