"""The JSON Schema of payloads as tasks publish it: Pydantic's, with what is needed to write, check and compare payloads."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from workers.domain.canonical_text import DECIMAL_MARK
from workers.domain.payload_bytes import BYTES_FORMAT, BYTES_LENGTH
from workers.domain.schema_words import URL_SCHEMES

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
# What the names of an object must look like when the keys are no text, by the type of the keys.
_KEY_FORMATS = {"int": "taskyard-whole-number", "float": "taskyard-number", "decimal": "taskyard-decimal"}
_TRUTHS = ("true", "false", "True", "False", "1", "0")


class PayloadSchema(GenerateJsonSchema):
    """Writes the default of a `default_factory` that always makes the same, marks decimals and bytes, checks keys."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Write a field with a default."""
        written = super().default_schema(schema)
        default = _made_by(schema.get("default_factory"))
        if default is None or "default" in written:
            return written
        # Some drafts ignore what stands beside a reference; this one does not.
        return {**written, "default": default}

    def encode_default(self, dft: Any) -> Any:
        """Write a default value."""
        return urlsafe_b64encode(dft).decode() if isinstance(dft, bytes) else super().encode_default(dft)

    def bytes_schema(self, schema: core_schema.BytesSchema) -> JsonSchemaValue:
        """Write bytes, which payloads carry as base64 whatever the configuration of the model that holds them."""
        written: JsonSchemaValue = {"type": "string", "format": BYTES_FORMAT}
        # `maxLength` would count the characters of the base64 text.
        bounds = {name: schema.get(name) for name in ("min_length", "max_length") if schema.get(name) is not None}
        return {**written, BYTES_LENGTH: bounds} if bounds else written

    def url_schema(self, schema: core_schema.UrlSchema) -> JsonSchemaValue:
        """Write a URL with the schemes that it may have."""
        return _with_schemes(super().url_schema(schema), schema.get("allowed_schemes"))

    def multi_host_url_schema(self, schema: core_schema.MultiHostUrlSchema) -> JsonSchemaValue:
        """Write a URL of several hosts with the schemes that it may have."""
        return _with_schemes(super().multi_host_url_schema(schema), schema.get("allowed_schemes"))

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        """Write a decimal number."""
        written = super().decimal_schema(schema)
        # At each choice: an optional decimal is one list of choices.
        choices = [{**choice, DECIMAL_MARK: True} for choice in written.get("anyOf", [])]
        if not schema.get("allow_inf_nan"):
            choices = [_with_format(choice, "taskyard-decimal") for choice in choices]
        return {**written, "anyOf": choices}

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """Write a mapping. JSON has only text as names, so keys of other types are checked as text."""
        written = super().dict_schema(schema)
        names = _names_of(schema.get("keys_schema"))
        return {**written, "propertyNames": names} if names is not None else written


def _with_schemes(written: JsonSchemaValue, schemes: Sequence[str] | None) -> JsonSchemaValue:
    return {**written, URL_SCHEMES: list(schemes)} if schemes else written


def _with_format(choice: Mapping[str, Any], form: str) -> dict[str, Any]:
    return {**choice, "format": form} if choice.get("type") == "string" else dict(choice)


def _names_of(keys: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the schema of an object's names for keys that are no text; None for all others."""
    if keys is None:
        return None
    kind = keys["type"]
    if kind in _KEY_FORMATS:
        return {"format": _KEY_FORMATS[kind]}
    if kind == "bool":
        return {"enum": list(_TRUTHS)}
    members = keys.get("members") if kind == "enum" else keys.get("expected") if kind == "literal" else None
    values = [getattr(member, "value", member) for member in members or ()]
    if any(not isinstance(value, str) for value in values):
        return {"enum": [str(value) for value in values]}
    return None


def _made_by(factory: Callable[..., Any] | None) -> Any:
    if factory is None:
        return None
    if isinstance(factory, type) and issubclass(factory, BaseModel):
        return {}  # its own fields say the rest
    return _EMPTY.get(factory) if isinstance(factory, type) else None
