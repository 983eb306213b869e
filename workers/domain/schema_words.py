"""What a part of a JSON Schema takes, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

URL_SCHEMES = "x-taskyard-url-schemes"  # in published schemas: the schemes that a URL may have
_DEEPEST = 8
_MOST_VALUES = 20
_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
}
_FORMATS = {
    "date-time": "a date and time, such as 2026-01-31T08:30:00Z",
    "date": "a date, such as 2026-01-31",
    "time": "a time of day, such as 08:30:00",
    "duration": "a duration, such as PT1H30M",
    "uuid": "a UUID",
    "byte": "bytes in base64",
    "uri": "a URL",
    "email": "a mail address",
    "ipv4": "an IPv4 address",
    "ipv6": "an IPv6 address",
    "ipvanyaddress": "an IP address",
    "fraction": "a fraction, such as 1/3",
    "regex": "a regular expression",
    "taskyard-decimal": "a decimal number",
    "taskyard-whole-number": "a whole number",
    "taskyard-number": "a number",
}


def resolve(root: Mapping[str, Any], path: Sequence[str]) -> Mapping[str, Any]:
    """Return the part of a schema at a path; empty when there is none."""
    part: Any = root
    for step in path:
        if isinstance(part, list) and step.isdecimal() and int(step) < len(part):
            part = part[int(step)]
        elif isinstance(part, Mapping) and step in part:
            part = part[step]
        else:
            return {}
    return part if isinstance(part, Mapping) else {}


def describe_part(part: Any, root: Mapping[str, Any], depth: int = 0) -> str:
    """Return what values of a part are, such as "a whole number or null"."""
    if not isinstance(part, Mapping) or depth > _DEEPEST:
        return "another value"
    if "$ref" in part:
        return describe_part(resolve(root, str(part["$ref"]).removeprefix("#/").split("/")), root, depth + 1)
    choices = part.get("anyOf") or part.get("oneOf")
    if choices:
        return _joined([describe_part(one, root, depth + 1) for one in choices])
    if "enum" in part:
        return describe_values(part["enum"])
    if "const" in part:
        return json.dumps(part["const"], ensure_ascii=False)
    if URL_SCHEMES in part:
        return f"a URL that begins with {_joined([f'{scheme}:' for scheme in part[URL_SCHEMES]])}"
    if part.get("format") in _FORMATS:
        return _FORMATS[part["format"]]
    kinds = part.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    return _joined([_TYPES.get(kind, "another value") for kind in kinds])


def describe_values(values: Sequence[Any]) -> str:
    """Return a choice of values, such as one of "a", "b"."""
    shown = [json.dumps(value, ensure_ascii=False) for value in values[:_MOST_VALUES]]
    return f"one of {', '.join(shown)}" + (", …" if len(values) > _MOST_VALUES else "")


def _joined(words: Sequence[str]) -> str:
    # A decimal is a number or text; both are "a number" to people.
    each = list(dict.fromkeys(words))
    if "a number" in each and "a decimal number" in each:
        each.remove("a decimal number")
    return " or ".join([", ".join(each[:-1]), each[-1]]) if len(each) > 1 else each[0]
