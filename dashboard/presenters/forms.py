"""A form from a task's payload schema, and the payload from what was filled in."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from workers.domain.errors import BadInput
from workers.domain.masking import is_secret
from workers.domain.numbers import parse_number, parse_whole
from workers.domain.payload_bytes import BYTES_FORMAT
from workers.domain.strict_json import parse_object, parse_text

PREFIX = "payload."
_SIMPLE = {"string": "text", "integer": "integer", "number": "number", "boolean": "checkbox"}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form."""

    name: str
    kind: str  # text, password, textarea, integer, number, checkbox, select, file, json
    label: str
    note: str
    help: str
    is_required: bool
    value: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    error: str = ""

    @property
    def key(self) -> str:
        """The name that it has in the form."""
        return PREFIX + self.name


def fields(
    schema: Mapping[str, Any],
    given: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
    secret: Collection[str] = (),
) -> list[Field]:
    """Make the fields; `given` are values to show again, `errors` what is wrong with them, both by field name.

    `secret` are the names that the task declares: their values are typed unseen and never shown again.
    """
    required = set(schema.get("required", ()))
    return [
        _field(name, _resolved(part, schema), name in required, given or {}, errors or {}, is_secret(name, secret))
        for name, part in schema.get("properties", {}).items()
    ]


def payload_of(schema: Mapping[str, Any], form: Mapping[str, str]) -> dict[str, Any]:
    """Read the payload out of a sent form; empty optional fields are left out. BadInput names every wrong field."""
    if form.get("as_json"):
        return parse_object(form.get("json", ""), "json")
    payload: dict[str, Any] = {}
    errors: list[dict[str, str]] = []
    for one in fields(schema):
        text = form.get(one.key)
        if one.kind == "checkbox":
            payload[one.name] = text is not None
        elif text is not None and (text != "" or (one.kind in {"text", "password", "textarea"} and one.is_required)):
            try:
                payload[one.name] = _value(one.kind, text)
            except (ValueError, BadInput) as error:
                errors.append({"field": f"payload.{one.name}", "message": str(error)})
    if errors:
        raise BadInput("Some fields cannot be used.", errors=errors)
    return payload


def errors_of(error: BadInput) -> dict[str, str]:
    """Sort what is wrong by the field it is about; `""` holds what is about none."""
    found: dict[str, str] = {}
    for one in error.errors or [{"message": error.message}]:
        name = str(one.get("field", "")).removeprefix("payload").lstrip(".").split(".")[0]
        found.setdefault(name, str(one["message"]))
    return found


def _field(
    name: str,
    part: Mapping[str, Any],
    is_required: bool,
    given: Mapping[str, str],
    errors: Mapping[str, str],
    is_hidden: bool,
) -> Field:
    kind = _kind(name, part)
    kind = "password" if is_hidden and kind in {"text", "textarea"} else kind
    default = part.get("default")
    shown = given.get(name, "" if default is None else (default if isinstance(default, str) else json.dumps(default)))
    return Field(
        name=name,
        kind=kind,
        label=name.replace("_", " "),
        note=_note(part, kind, is_required),
        help=str(part.get("description", "")),
        is_required=is_required,
        value="" if is_hidden else shown,
        choices=tuple(map(str, part.get("enum", ()))),
        minimum=part.get("minimum", part.get("exclusiveMinimum")),
        maximum=part.get("maximum", part.get("exclusiveMaximum")),
        error=errors.get(name, ""),
    )


def _kind(name: str, part: Mapping[str, Any]) -> str:
    if part.get("enum") and all(isinstance(one, str) for one in part["enum"]):
        return "select"
    if part.get("format") == "taskyard-source":
        return "file"
    kind = _SIMPLE.get(part.get("type", ""), "json")
    return (
        "textarea" if kind == "text" and (part.get("maxLength") or 0) > 500 and name not in {"url", "message"} else kind
    )


def _resolved(part: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in part:
        inner = schema.get("$defs", {}).get(part["$ref"].rpartition("/")[2], {})
        return {**inner, **{name: value for name, value in part.items() if name != "$ref"}}
    options = [one for one in part.get("anyOf", ()) if one.get("type") != "null"]
    if len(options) == 1:
        return {**_resolved(options[0], schema), **{name: value for name, value in part.items() if name != "anyOf"}}
    return part


def _note(part: Mapping[str, Any], kind: str, is_required: bool) -> str:
    words = [{"integer": "whole number", "number": "number", "json": "JSON", "file": "file, URL or path"}.get(kind, "")]
    if part.get("format") == BYTES_FORMAT:
        words = ["bytes in base64"]
    low, high = part.get("minimum"), part.get("maximum")
    if low is not None and high is not None:
        words[0] = f"{low:,} to {high:,}"
    words.append("required" if is_required else "optional")
    return ", ".join(word for word in words if word)


def _value(kind: str, text: str) -> Any:
    if kind == "integer":
        return parse_whole(text)
    if kind == "number":
        return parse_number(text)
    if kind == "json":
        return parse_text(text, "text")
    return text.replace("\r\n", "\n")
