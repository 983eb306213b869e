"""How each part of a payload is edited: a tree of shapes from a task's JSON Schema, bounded whatever the schema holds.

What has no field of its own, such as a union, a mapping or a model that contains itself, has the kind `json`. A schema
that is too large or too deep, or whose names are too long, has no shape at all: its payload is edited as JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from workers.domain.canonical_text import DECIMAL_MARK
from workers.domain.masking import is_secret

MAX_PARTS = 150
MAX_DEPTH = 5
MAX_CHOICES = 200
MAX_ITEMS = 50
MAX_KEY_CHARACTERS = 300
PREFIX = "payload"
ABSENT: Any = type("Absent", (), {"__repr__": lambda _self: "ABSENT"})()
_SIMPLE = {"string": "text", "integer": "integer", "number": "number", "boolean": "checkbox"}
_FORMATS = {"date": "date", "date-time": "datetime", "password": "password"}
_BESIDE = {"title", "description", "default", "examples"}
_LONG_TEXT = 500


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of an enumeration, with the text by which a form names it."""

    text: str
    value: Any


@dataclass(frozen=True, slots=True)
class Shape:
    """How one part is edited.

    `kind` is one of text, password, textarea, integer, number, decimal, checkbox, choice, date, datetime, file, json, group
    and list.
    """

    kind: str
    part: Mapping[str, Any] = field(default_factory=dict)
    fields: tuple[Named, ...] = ()
    item: Shape | None = None
    choices: tuple[Choice, ...] = ()
    is_nullable: bool = False


@dataclass(frozen=True, slots=True)
class Named:
    """A field of a group."""

    name: str
    shape: Shape
    is_required: bool
    default: Any = ABSENT


class _TooLarge(Exception):
    """The schema has more parts than a form can show."""


def shape_of(schema: Any, secret: Collection[str] = ()) -> Shape | None:
    """Return the shape of a task's payload, or None when it can only be edited as JSON.

    `secret` are the names that the task declares: their values are typed unseen.
    """
    if not isinstance(schema, Mapping) or not isinstance(schema.get("properties", {}), Mapping):
        return None
    try:
        return _Reader(schema, secret).group(schema, (), PREFIX, is_hidden=False)
    except _TooLarge:
        return None


def key_of(parent: str, name: str | int) -> str:
    """Return the name that a part has in the form: its path, with every character that separates or needs quotes escaped."""
    escaped = re.sub(r"[^\w-]", lambda found: f"~{ord(found[0]):x}~", str(name)) or "~~"
    return f"{parent}.{escaped}"


def default_payload(shape: Shape) -> dict[str, Any]:
    """Return the defaults of a group's fields, as a new form shows them; groups that are required are there from the start."""
    found = {}
    for one in shape.fields:
        if one.default is not ABSENT and one.default is not None:
            found[one.name] = one.default
        elif one.is_required and one.shape.kind == "group":
            found[one.name] = default_payload(one.shape)
    return found


def blank(shape: Shape) -> Any:
    """Return what a new item holds before anybody has filled it in."""
    if shape.kind == "group":
        return default_payload(shape)
    default = shape.part.get("default")
    return {"list": [], "checkbox": False}.get(shape.kind, "" if default is None else default)


class _Reader:
    """Reads one schema; counts what it has read."""

    def __init__(self, schema: Mapping[str, Any], secret: Collection[str]) -> None:
        defined = schema.get("$defs", {})
        self._defined: Mapping[str, Any] = defined if isinstance(defined, Mapping) else {}
        self._secret = secret
        self._parts = 0

    def group(self, part: Mapping[str, Any], refs: tuple[str, ...], key: str, *, is_hidden: bool) -> Shape:
        named = part.get("required", ())
        required = set(map(str, named)) if isinstance(named, list | tuple) else set()
        fields = []
        for name, inner in part["properties"].items() if "properties" in part else ():
            hidden = is_hidden or is_secret(name, self._secret)
            shape = self.shape(inner, refs, key_of(key, name), is_hidden=hidden)
            default = shape.part.get("default", ABSENT)
            fields.append(Named(name, shape, name in required, default))
        return Shape("group", part, fields=tuple(fields))

    def shape(self, part: Any, refs: tuple[str, ...], key: str, *, is_hidden: bool) -> Shape:
        self._parts += 1
        if self._parts > MAX_PARTS or len(key) > MAX_KEY_CHARACTERS:
            raise _TooLarge
        part, refs, is_nullable = self._resolved(part, refs)
        kind = _kind(part, key)
        if kind in {"text", "textarea"} and is_hidden:
            kind = "password"
        depth = key.count(".")
        if kind == "group" and depth < MAX_DEPTH:
            group = self.group(part, refs, key, is_hidden=is_hidden)
            return Shape("group", part, fields=group.fields, is_nullable=is_nullable)
        if kind == "list" and depth < MAX_DEPTH:
            item = self.shape(part["items"], refs, key_of(key, 0), is_hidden=is_hidden)
            return Shape("list" if item.kind != "json" else "json", part, item=item, is_nullable=is_nullable)
        kind = "json" if kind in {"group", "list"} else kind
        return Shape(kind, part, choices=_choices(part) if kind == "choice" else (), is_nullable=is_nullable)

    def _resolved(
        self, part: Any, refs: tuple[str, ...], *, is_nullable: bool = False
    ) -> tuple[Mapping[str, Any], tuple[str, ...], bool]:
        """Follow references and the one choice beside null, as far as that leads to a plain part."""
        beside: dict[str, Any] = {}
        while isinstance(part, Mapping):
            beside = {**{name: value for name, value in part.items() if name in _BESIDE}, **beside}
            inner, ref = self._step(part)
            if inner is None or ref in refs:
                # A reference that leads back has no end: it is edited as JSON.
                return ({**part, **beside} if inner is None else beside), refs, is_nullable
            is_nullable = is_nullable or "anyOf" in part
            refs = (*refs, ref) if ref else refs
            part = inner
        return beside, refs, is_nullable

    def _step(self, part: Mapping[str, Any]) -> tuple[Any, str]:
        ref = part.get("$ref")
        if isinstance(ref, str):
            return self._defined.get(ref.removeprefix("#/$defs/"), {}), ref
        options = part.get("anyOf") or part.get("allOf")
        if not isinstance(options, list):
            return None, ""
        plain = [one for one in options if one != {"type": "null"}]
        return (plain[0], "") if len(plain) == 1 else (None, "")


def _kind(part: Mapping[str, Any], key: str) -> str:
    if _choices(part):
        return "choice"
    if part.get("type") == "object" and _is_group(part):
        return "group"
    if part.get("type") == "array" and isinstance(part.get("items"), Mapping) and "prefixItems" not in part:
        return "list"
    if _is_decimal(part):
        return "decimal"
    wanted = part.get("type")
    kind = _SIMPLE.get(wanted, "json") if isinstance(wanted, str) else "json"
    return _kind_of_text(part, key) if kind == "text" else kind


def _kind_of_text(part: Mapping[str, Any], key: str) -> str:
    form = part.get("format")
    if form == "taskyard-source" and key.count(".") == 1:
        return "file"
    if isinstance(form, str) and form in _FORMATS:
        return _FORMATS[form]
    longest = part.get("maxLength")
    is_long = isinstance(longest, int) and longest > _LONG_TEXT
    return "textarea" if is_long and key.rpartition(".")[2] not in {"url", "message"} else "text"


def _is_group(part: Mapping[str, Any]) -> bool:
    names = part.get("properties")
    return isinstance(names, Mapping) and bool(names) and isinstance(part.get("additionalProperties", False), bool)


def _is_decimal(part: Mapping[str, Any]) -> bool:
    options = part.get("anyOf")
    return isinstance(options, list) and any(isinstance(one, Mapping) and DECIMAL_MARK in one for one in options)


def _choices(part: Mapping[str, Any]) -> tuple[Choice, ...]:
    """Return the values of an enumeration; none where a list of them would not be usable."""
    values = [part["const"]] if "const" in part else part.get("enum")
    if not isinstance(values, list) or not 0 < len(values) <= MAX_CHOICES:
        return ()
    plain = [value for value in values if isinstance(value, str | int | float | bool)]
    choices = [Choice(value if isinstance(value, str) else json.dumps(value), value) for value in plain]
    is_clear = len({choice.text for choice in choices}) == len(choices) and all(choice.text for choice in choices)
    return tuple(choices) if is_clear and len(plain) == len([one for one in values if one is not None]) else ()
