"""The canonical form of a payload: equal payloads have equal text, whatever wrote them.

Keys are sorted, numbers are compared by value (4 and 4.0, 0 and -0.0), fields that were left out have the default of the task's
schema, and what a schema gives a format (date-time, duration, UUID, …) is written in one way. Nothing here refuses a
payload: a value that does not fit its schema keeps its own form.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from workers.domain.canonical_text import canonical_decimal, canonical_text, is_decimal

_DEEPEST = 64
_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "object": (dict,),
    "array": (list, tuple),
    "boolean": (bool,),
    "null": (type(None),),
}


def canonical_payload(payload: Any, schema: str) -> str:
    """Return the canonical JSON text of a payload for the JSON Schema of its task."""
    root = _read_schema(schema)
    value = _Canonical(root.get("$defs", {})).write(payload, root, 0)
    return _encode(value)


def fingerprint(task: str, canonical: str) -> str:
    """Return the hash of a task's name and a canonical payload, 64 hexadecimal digits."""
    return hashlib.sha256(f"{task}\n{canonical}".encode()).hexdigest()


@lru_cache(maxsize=512)
def _read_schema(schema: str) -> dict[str, Any]:
    root = json.loads(schema)
    return root if isinstance(root, dict) else {}


def _encode(value: Any) -> str:
    # ASCII, so that any text can be hashed.
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))


class _Canonical:
    """Writes values by the parts of one schema."""

    def __init__(self, definitions: Any) -> None:
        self._definitions = definitions if isinstance(definitions, Mapping) else {}

    def write(self, value: Any, schema: Any, depth: int) -> Any:
        if depth > _DEEPEST:
            return value
        part = self._part(value, schema)
        if isinstance(value, Mapping):
            return self._object(value, part, depth)
        if isinstance(value, list | tuple):
            return self._array(value, part, depth)
        if is_decimal(part):
            return canonical_decimal(value)
        if isinstance(value, str):
            return canonical_text(value, part.get("format"))
        return _number(value, part.get("type") == "number")

    def _object(self, value: Mapping[str, Any], part: Mapping[str, Any], depth: int) -> dict[str, Any]:
        fields = part.get("properties")
        fields = fields if isinstance(fields, Mapping) else {}
        others = part.get("additionalProperties")
        defaults = {
            name: field["default"]
            for name, field in fields.items()
            if isinstance(field, Mapping) and "default" in field and name not in value
        }
        filled = {**value, **defaults}
        return {str(name): self.write(item, fields.get(name, others), depth + 1) for name, item in filled.items()}

    def _array(self, value: list[Any] | tuple[Any, ...], part: Mapping[str, Any], depth: int) -> list[Any]:
        firsts = part.get("prefixItems")
        firsts = firsts if isinstance(firsts, list) else []
        parts = [*firsts, *[part.get("items")] * max(0, len(value) - len(firsts))]
        items = [self.write(item, one, depth + 1) for item, one in zip(value, parts, strict=False)]
        # The schema of a set: the order of its items says nothing.
        return sorted(items, key=_encode) if part.get("uniqueItems") is True else items

    def _part(self, value: Any, schema: Any) -> Mapping[str, Any]:
        """Return the schema that says what this value is: references followed, the one fitting choice taken."""
        for _ in range(_DEEPEST):
            if not isinstance(schema, Mapping):
                return {}
            if "$ref" in schema:
                schema = self._definitions.get(str(schema["$ref"]).rpartition("/")[2])
                continue
            choices = schema.get("anyOf") or schema.get("oneOf")
            if not choices:
                return schema
            fitting = [one for one in choices if self._fits(value, one)]
            if len(fitting) != 1:
                return {}
            schema = fitting[0]
        return {}

    def _fits(self, value: Any, choice: Any) -> bool:
        """Return whether a value looks like what a choice describes, without looking into what it holds."""
        for _ in range(_DEEPEST):
            if not isinstance(choice, Mapping) or "$ref" not in choice:
                break
            choice = self._definitions.get(str(choice["$ref"]).rpartition("/")[2])
        if not isinstance(choice, Mapping):
            return True
        if "const" in choice and not _is_same(value, choice["const"]):
            return False
        if "enum" in choice and not any(_is_same(value, one) for one in choice["enum"]):
            return False
        if "anyOf" in choice or "oneOf" in choice:
            return any(self._fits(value, one) for one in choice.get("anyOf") or choice["oneOf"])
        return _has_kind(value, choice.get("type")) and self._has_fields(value, choice)

    def _has_fields(self, value: Any, choice: Mapping[str, Any]) -> bool:
        if not isinstance(value, Mapping):
            return True
        fields = choice.get("properties", {})
        if not set(choice.get("required", ())) <= set(value):
            return False
        if choice.get("additionalProperties") is False and not set(value) <= set(fields):
            return False
        marks = {name: one for name, one in fields.items() if isinstance(one, Mapping) and "const" in one}
        return all(name not in value or _is_same(value[name], one["const"]) for name, one in marks.items())


def _has_kind(value: Any, kind: Any) -> bool:
    if isinstance(kind, list):
        return any(_has_kind(value, one) for one in kind)
    if kind in {"number", "integer"}:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and (kind == "number" or value == _number(value))
    return kind not in _KINDS or isinstance(value, _KINDS[kind])


def _is_same(value: Any, other: Any) -> bool:
    # Python takes True for 1, JSON does not.
    return isinstance(value, bool) is isinstance(other, bool) and bool(value == other)


def _number(value: Any, is_float: bool = False) -> Any:
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
