"""Whether the fields that a task declares as secret exist: a misspelled one would leave a secret in sight."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, get_type_hints

from pydantic import TypeAdapter

from workers.domain.errors import SettingsError


def check_secret(task: str, function: Callable[..., Any], secret: Sequence[str], schema: Mapping[str, Any]) -> None:
    """Raise SettingsError for a secret field that neither the payload nor the declared result can have.

    Fields of models in them count. A payload or result that takes any names, such as a dict, may have every field.
    """
    parts = [*_parts(schema), *_parts(_result_schema(function))]
    if any(_is_open(part) for part in parts):
        return
    names = {name for part in parts for name in part.get("properties", {})}
    missing = [name for name in secret if name not in names]
    if missing:
        fields = ", ".join(sorted(schema.get("properties", {}))) or "none"
        raise SettingsError(
            f"Task {task}: secret names {', '.join(missing)}, which is not a field of its payload or result. "
            f"Parameters: {fields}."
        )


def _result_schema(function: Callable[..., Any]) -> Any:
    """Return the JSON Schema of the declared result; None when there is none, {} when it cannot be known."""
    inner = inspect.unwrap(function)
    if "return" not in getattr(inner, "__annotations__", {}):
        return None
    try:
        return TypeAdapter(get_type_hints(inner, include_extras=True)["return"]).json_schema(mode="serialization")
    except Exception:  # it may name what only a type checker imports
        return {}


def _parts(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Walk a schema and the schemas in it."""
    if not isinstance(schema, Mapping):
        return
    yield schema
    inner = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    inner += [one for name in ("anyOf", "oneOf", "prefixItems") for one in schema.get(name, ())]
    inner += [schema[name] for name in ("items", "additionalProperties") if name in schema]
    for one in inner:
        yield from _parts(one)


def _is_open(part: Mapping[str, Any]) -> bool:
    if part.get("type") == "object":
        return "properties" not in part and part.get("additionalProperties", True) is not False
    return not {"type", "$ref", "anyOf", "oneOf", "enum", "const"} & set(part)
