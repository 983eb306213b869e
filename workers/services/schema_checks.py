"""Checks of payloads against the JSON Schema of their task, and what is wrong with them in words.

Values of a format (dates, durations, UUIDs, addresses) are checked as the task's own types read them. The formats of JSON
Schema are narrower: they know no date without a zone and no duration of 1.5 s.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import jsonschema_rs
from pydantic import UUID1, UUID3, UUID4, UUID5, AnyUrl, TypeAdapter, ValidationError

from workers.domain import payload_bytes
from workers.domain.schema_words import URL_SCHEMES, describe_part, describe_values, resolve

MOST_FAULTS = 20
_LONGEST_MESSAGE = 300
_VALUE = "the value"  # what messages say in place of it: it may be a secret
_TYPES: dict[str, Any] = {
    "date-time": datetime,
    "date": date,
    "time": time,
    "duration": timedelta,
    "uuid": UUID,
    "uuid1": UUID1,
    "uuid3": UUID3,
    "uuid4": UUID4,
    "uuid5": UUID5,
    "ipv4": ipaddress.IPv4Address,
    "ipv6": ipaddress.IPv6Address,
    "ipv4network": ipaddress.IPv4Network,
    "ipv6network": ipaddress.IPv6Network,
    "ipv4interface": ipaddress.IPv4Interface,
    "ipv6interface": ipaddress.IPv6Interface,
    "uri": AnyUrl,
    "fraction": Fraction,
    "regex": re.Pattern,
    "taskyard-decimal": Decimal,
    "taskyard-whole-number": int,
    "taskyard-number": float,
}


def _check_of(kind: Any) -> Callable[[str], bool]:
    adapter: TypeAdapter[Any] = TypeAdapter(kind)

    def is_valid(text: str) -> bool:
        try:
            adapter.validate_python(text)
        except (ValidationError, ValueError, ArithmeticError):
            return False
        return True

    return is_valid


def _is_base64(text: str) -> bool:
    try:
        payload_bytes.decode(text)
    except ValueError:
        return False
    return True


_FORMATS = {name: _check_of(kind) for name, kind in _TYPES.items()} | {payload_bytes.BYTES_FORMAT: _is_base64}


class _BytesLength:
    """The bounds of the number of bytes that a base64 text stands for."""

    def __init__(self, _parent: object, bounds: Mapping[str, int], _path: object) -> None:
        self._shortest, self._longest = bounds.get("min_length", 0), bounds.get("max_length")

    def validate(self, instance: object) -> None:
        if not isinstance(instance, str) or not _is_base64(instance):
            return  # its type and format are checked apart
        length = len(payload_bytes.decode(instance))
        if length < self._shortest:
            raise ValueError(f"must have at least {self._shortest:,} bytes")
        if self._longest is not None and length > self._longest:
            raise ValueError(f"must have at most {self._longest:,} bytes")


class _UrlSchemes:
    """The schemes that a URL may have."""

    def __init__(self, _parent: object, schemes: Sequence[str], _path: object) -> None:
        self._beginnings = tuple(f"{scheme}:" for scheme in schemes)

    def validate(self, instance: object) -> None:
        if isinstance(instance, str) and not instance.strip().lower().startswith(self._beginnings):
            raise ValueError(f"must be {describe_part({URL_SCHEMES: [one[:-1] for one in self._beginnings]}, {})}")


_KEYWORDS = {payload_bytes.BYTES_LENGTH: _BytesLength, URL_SCHEMES: _UrlSchemes}


def compile_schema(schema: str) -> Any:
    """Make a validator of a JSON Schema text."""
    return jsonschema_rs.Draft202012Validator(
        json.loads(schema), validate_formats=True, mask=_VALUE, formats=dict(_FORMATS), keywords=dict(_KEYWORDS)
    )


def describe_faults(validator: Any, schema: str, payload: Any) -> list[dict[str, str]]:
    """Return what is wrong with a payload: `field`, such as payload.items.0.price, and `message`, 20 at most."""
    root = json.loads(schema)
    errors = [inner for error in validator.iter_errors(payload) for inner in _innermost(error)]
    faults = [fault for error in errors[:MOST_FAULTS] for fault in _faults(error, root)][:MOST_FAULTS]
    return list({(fault["field"], fault["message"]): fault for fault in faults}.values())


def _innermost(error: Any) -> Sequence[Any]:
    """Return the errors of the one choice that was meant, or the error itself when it is not known which one was."""
    choices = getattr(error.kind, "context", None)
    if not choices:
        return [error]
    meant = [one for one in choices if one and not any(_is_of_another_choice(inner, error) for inner in one)]
    if len(meant) != 1:
        return [error]
    return [inner for one in meant[0] for inner in _innermost(one)]


def _is_of_another_choice(inner: Any, error: Any) -> bool:
    """Return whether an error shows that a value was not meant to be this choice: its type, or its mark, is another."""
    depth = len(inner.instance_path) - len(error.instance_path)
    name = inner.kind.name
    if depth == 0:
        choices = getattr(inner.kind, "context", None) or []
        nested = (
            [all(any(_is_of_another_choice(one, error) for one in choice) for choice in choices)] if choices else []
        )
        return name in {"type", "enum", "const"} or any(nested)
    return depth == 1 and name == "const"


def _faults(error: Any, root: Mapping[str, Any]) -> list[dict[str, str]]:
    if error.kind.name in {"additionalProperties", "unevaluatedProperties"} and error.kind.unexpected:
        path = [str(part) for part in error.instance_path]
        return [_fault([*path, str(name)], "is not a field of this task") for name in error.kind.unexpected]
    return [_fault(*_words(error, root))]


def _fault(path: Sequence[str], message: str) -> dict[str, str]:
    field = ".".join(path)
    if len(message) > _LONGEST_MESSAGE:
        message = message[:_LONGEST_MESSAGE] + "…"
    return {
        "field": ".".join(["payload", *path]),
        "message": f"{field} {message}" if path else f"The payload {message}",
    }


def _words(error: Any, root: Mapping[str, Any]) -> tuple[list[str], str]:
    path = [str(part) for part in error.instance_path]
    kind = error.kind
    name = kind.name
    part = resolve(root, [str(one) for one in error.schema_path][:-1])
    if name == "required":
        return [*path, str(kind.property)], "is required"
    if name in {"anyOf", "oneOf"} and (mark := _mark_of(error)) is not None:
        return mark
    return path, _sentence(error, part, root)


def _sentence(error: Any, part: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    kind = error.kind
    name = kind.name
    if name in {"type", "format", "enum", "const", "anyOf", "oneOf"}:
        return f"must be {describe_part(part, root)}"
    if name in _LIMITS:
        words = _LIMITS[name].format(f"{kind.limit:,}")
        return words.removesuffix("s") if kind.limit == 1 and name.startswith(("min", "max")) else words
    if name == "propertyNames":
        return f"has a key that is not {_key_words(error, root)}"
    if name == "pattern":
        return f"must match the pattern {kind.pattern}"
    if name == "multipleOf":
        return f"must be a multiple of {kind.multiple_of}"
    if name == "uniqueItems":
        return "must not contain duplicate items"
    own = kind.message if hasattr(kind, "keyword") else error.message
    return str(own).removeprefix(_VALUE).strip()


def _key_words(error: Any, root: Mapping[str, Any]) -> str:
    steps = [str(one) for one in error.schema_path]
    end = len(steps) - steps[::-1].index("propertyNames") if "propertyNames" in steps else len(steps)
    return describe_part(resolve(root, steps[:end]), root)


def _mark_of(error: Any) -> tuple[list[str], str] | None:
    """Return what the field must be that tells the choices of an object apart; None when there is none."""
    depth = len(error.instance_path) + 1
    errors = [inner for choice in error.kind.context for inner in choice if inner.kind.name == "const"]
    marks = [inner for inner in errors if len(inner.instance_path) == depth]
    paths = {tuple(map(str, inner.instance_path)) for inner in marks}
    if len(marks) < 2 or len(paths) != 1:
        return None
    return list(paths.pop()), f"must be {describe_values([inner.kind.expected_value for inner in marks])}"


_LIMITS = {
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be greater than {}",
    "exclusiveMaximum": "must be less than {}",
    "minLength": "must have at least {} characters",
    "maxLength": "must have at most {} characters",
    "minItems": "must have at least {} items",
    "maxItems": "must have at most {} items",
    "minProperties": "must have at least {} fields",
    "maxProperties": "must have at most {} fields",
}
