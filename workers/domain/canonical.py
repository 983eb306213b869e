"""The canonical form of a payload: equal payloads have equal text, whatever wrote them.

Keys are sorted, numbers are compared by value (4 and 4.0, 0 and -0.0), fields that were left out have the default of the task's
schema, and what a schema gives a format (date-time, duration, UUID, …) is written in one way. Nothing here refuses a
payload: a value that does not fit its schema keeps its own form.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from workers.domain.canonical_text import canonical_decimal, canonical_text, is_decimal
from workers.domain.schema_parts import DEEPEST, SchemaParts, field_parts, item_parts, whole_number


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
        self._parts = SchemaParts(definitions)

    def write(self, value: Any, schema: Any, depth: int) -> Any:
        if depth > DEEPEST:
            return value
        part = self._parts.part_of(value, schema)
        if isinstance(value, Mapping):
            return self._object(value, part, depth)
        if isinstance(value, list | tuple):
            return self._array(value, part, depth)
        if is_decimal(part):
            return canonical_decimal(value)
        if isinstance(value, str):
            return canonical_text(value, part.get("format"))
        return whole_number(value, part.get("type") == "number")

    def _object(self, value: Mapping[str, Any], part: Mapping[str, Any], depth: int) -> dict[str, Any]:
        fields, others = field_parts(part)
        defaults = {
            name: field["default"]
            for name, field in fields.items()
            if isinstance(field, Mapping) and "default" in field and name not in value
        }
        filled = {**value, **defaults}
        return {str(name): self.write(item, fields.get(name, others), depth + 1) for name, item in filled.items()}

    def _array(self, value: list[Any] | tuple[Any, ...], part: Mapping[str, Any], depth: int) -> list[Any]:
        items = [
            self.write(item, one, depth + 1) for item, one in zip(value, item_parts(part, len(value)), strict=True)
        ]
        # The schema of a set: the order of its items says nothing.
        return sorted(items, key=_encode) if part.get("uniqueItems") is True else items
