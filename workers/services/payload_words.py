"""Why a payload does not fit a task's schema, in words; never with a value, which may be a secret."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

MASK = "the value"  # what the validator writes in place of values
_LONGEST = 300
_MOST_CHOICES = 12
_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_FORMATS = {
    "date": "a date, such as 2026-01-31",
    "date-time": "a date and time with its offset, such as 2026-01-31T08:00:00Z",
    "time": "a time with its offset, such as 08:00:00Z",
    "duration": "a duration, such as PT15M",
    "email": "an email address",
    "uuid": "a UUID",
    "uri": "a URL",
    "ipv4": "an IPv4 address",
    "ipv6": "an IPv6 address",
}


def describe(error: Any) -> Iterator[tuple[list[str], str]]:
    """Return the paths of the parts that an error is about, each with what is wrong: "must be a whole number"."""
    kind, path = error.kind, [str(part) for part in error.instance_path]
    branch = _branch_beside_null(kind)
    if branch:
        for inner in branch:
            yield from describe(inner)
    elif kind.name == "required":
        yield [*path, str(kind.property)], "is required"
    elif kind.name == "additionalProperties":
        yield from (([*path, str(name)], "is not a field of this task") for name in kind.unexpected)
    else:
        yield path, _shortened(_words(error))


def _branch_beside_null(kind: Any) -> list[Any]:
    """Return what is wrong with the one part that null is an alternative to."""
    if kind.name not in {"anyOf", "oneOf"}:
        return []
    branches = [branch for branch in getattr(kind, "context", ()) if not _wants_null(branch)]
    return branches[0] if len(branches) == 1 else []


def _words(error: Any) -> str:
    write = _WORDS.get(error.kind.name)
    return write(error.kind) if write else str(error.message).removeprefix(MASK).strip()


def _shortened(words: str) -> str:
    return words if len(words) <= _LONGEST else words[:_LONGEST] + "…"


def _wants_null(branch: list[Any]) -> bool:
    return len(branch) == 1 and branch[0].kind.name == "type" and _names(branch[0].kind) == ["null"]


def _names(kind: Any) -> list[str]:
    found = kind.types if hasattr(kind, "types") else kind.value
    return [found] if isinstance(found, str) else [str(one) for one in found]


def _type(kind: Any) -> str:
    words = [_TYPES.get(name, name) for name in _names(kind) if name != "null"]
    return "must be " + (" or ".join(words) or "null")


def _enum(kind: Any) -> str:
    options = [one if isinstance(one, str) else json.dumps(one) for one in kind.options]
    shown = ", ".join(option[:60] for option in options[:_MOST_CHOICES])
    return f"must be one of: {shown}{', …' if len(options) > _MOST_CHOICES else ''}"


def _count(limit: int, noun: str) -> str:
    return f"{limit:,} {noun}{'' if limit == 1 else 's'}"


_WORDS: Mapping[str, Callable[[Any], str]] = {
    "type": _type,
    "enum": _enum,
    "const": lambda kind: f"must be {json.dumps(kind.expected_value)}",
    "minimum": lambda kind: f"must be {kind.limit:,} or more",
    "maximum": lambda kind: f"must be {kind.limit:,} or less",
    "exclusiveMinimum": lambda kind: f"must be above {kind.limit:,}",
    "exclusiveMaximum": lambda kind: f"must be below {kind.limit:,}",
    "multipleOf": lambda kind: f"must be a multiple of {kind.multiple_of:,}",
    "minLength": lambda kind: f"must have at least {_count(kind.limit, 'character')}",
    "maxLength": lambda kind: f"must have at most {_count(kind.limit, 'character')}",
    "minItems": lambda kind: f"must have at least {_count(kind.limit, 'item')}",
    "maxItems": lambda kind: f"must have at most {_count(kind.limit, 'item')}",
    "uniqueItems": lambda _kind: "must not hold the same item twice",
    "pattern": lambda kind: f"must match the pattern {kind.pattern}",
    "format": lambda kind: f"must be {_FORMATS.get(kind.format, f'a valid {kind.format}')}",
    "anyOf": lambda _kind: "does not fit any of the forms that the task accepts",
    "oneOf": lambda _kind: "does not fit exactly one of the forms that the task accepts",
}
