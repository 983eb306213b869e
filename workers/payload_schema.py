"""The JSON Schema of payloads as tasks publish it: Pydantic's, with what is needed to compare payloads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from workers.domain.canonical_text import DECIMAL_MARK

_EMPTY: dict[Any, Any] = {
    list: [],
    dict: {},
    set: [],
    frozenset: [],
    tuple: [],
    str: "",
    int: 0,
    float: 0.0,
    bool: False,
}


class PayloadSchema(GenerateJsonSchema):
    """Writes the default of a `default_factory` that always makes the same, and marks decimal numbers."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Write a field with a default."""
        written = super().default_schema(schema)
        default = _made_by(schema.get("default_factory"))
        if default is None or "default" in written:
            return written
        # Some drafts ignore what stands beside a reference; this one does not.
        return {**written, "default": default}

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        """Write a decimal number."""
        written = super().decimal_schema(schema)
        # At each choice: an optional decimal is one list of choices.
        return {**written, "anyOf": [{**choice, DECIMAL_MARK: True} for choice in written.get("anyOf", [])]}


def _made_by(factory: Callable[..., Any] | None) -> Any:
    if factory is None:
        return None
    if isinstance(factory, type) and issubclass(factory, BaseModel):
        return {}  # its own fields say the rest
    return _EMPTY.get(factory) if isinstance(factory, type) else None
