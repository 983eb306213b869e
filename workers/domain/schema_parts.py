"""Which part of a JSON Schema describes a value: references followed, the one fitting choice taken."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

DEEPEST = 64
_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "object": (dict,),
    "array": (list, tuple),
    "boolean": (bool,),
    "null": (type(None),),
}


class SchemaParts:
    """The parts of one schema with its definitions."""

    def __init__(self, definitions: Any) -> None:
        self._definitions = definitions if isinstance(definitions, Mapping) else {}

    def part_of(self, value: Any, schema: Any) -> Mapping[str, Any]:
        """Return the part that describes this value; empty when there is none, or more than one."""
        fitting = self.fitting(value, schema)
        return fitting[0] if len(fitting) == 1 else {}

    def fitting(self, value: Any, schema: Any) -> list[Mapping[str, Any]]:
        """Return all parts that may describe this value."""
        for _ in range(DEEPEST):
            if not isinstance(schema, Mapping):
                return []
            if "$ref" in schema:
                schema = self._referred(schema)
                continue
            choices = schema.get("anyOf") or schema.get("oneOf")
            if not choices:
                return [schema]
            fitting = [one for one in choices if self.fits(value, one)]
            if len(fitting) != 1:
                return [(self.fitting(value, one) or [{}])[0] for one in fitting]
            schema = fitting[0]
        return []

    def fits(self, value: Any, choice: Any) -> bool:
        """Return whether a value looks like what a choice describes, without looking into what it holds."""
        for _ in range(DEEPEST):
            if not isinstance(choice, Mapping) or "$ref" not in choice:
                break
            choice = self._referred(choice)
        if not isinstance(choice, Mapping):
            return True
        if "const" in choice and not _is_same(value, choice["const"]):
            return False
        if "enum" in choice and not any(_is_same(value, one) for one in choice["enum"]):
            return False
        if "anyOf" in choice or "oneOf" in choice:
            return any(self.fits(value, one) for one in choice.get("anyOf") or choice["oneOf"])
        return has_kind(value, choice.get("type")) and _has_fields(value, choice)

    def _referred(self, schema: Mapping[str, Any]) -> Any:
        return self._definitions.get(str(schema["$ref"]).rpartition("/")[2])


def field_parts(part: Mapping[str, Any]) -> tuple[Mapping[str, Any], Any]:
    """Return the schemas of an object's fields by name, and that of all other names."""
    fields = part.get("properties")
    return (fields if isinstance(fields, Mapping) else {}), part.get("additionalProperties")


def item_parts(part: Mapping[str, Any], count: int) -> list[Any]:
    """Return the schema of each item of an array of this length."""
    firsts = part.get("prefixItems")
    firsts = firsts if isinstance(firsts, list) else []
    return [*firsts, *[part.get("items")] * max(0, count - len(firsts))][:count]


def has_kind(value: Any, kind: Any) -> bool:
    """Return whether a value has a JSON type, or one of several."""
    if isinstance(kind, list):
        return any(has_kind(value, one) for one in kind)
    if kind in {"number", "integer"}:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and (kind == "number" or value == whole_number(value))
    return kind not in _KINDS or isinstance(value, _KINDS[kind])


def whole_number(value: Any, is_float: bool = False) -> Any:
    """Write a number by its value: whole ones without a fraction, whichever type they came in."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if is_float and isinstance(value, int):
        try:
            value = float(value)  # what the task gets
        except OverflowError:
            return value
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    return value


def _has_fields(value: Any, choice: Mapping[str, Any]) -> bool:
    if not isinstance(value, Mapping):
        return True
    fields = choice.get("properties", {})
    if not set(choice.get("required", ())) <= set(value):
        return False
    if choice.get("additionalProperties") is False and not set(value) <= set(fields):
        return False
    marks = {name: one for name, one in fields.items() if isinstance(one, Mapping) and "const" in one}
    return all(name not in value or _is_same(value[name], one["const"]) for name, one in marks.items())


def _is_same(value: Any, other: Any) -> bool:
    # Python takes True for 1, JSON does not.
    return isinstance(value, bool) is isinstance(other, bool) and bool(value == other)
