"""Bytes in payloads: JSON carries them as base64, at the places where the task's schema has bytes.

The published schema marks these places by their format, so that the writer and the task agree wherever the bytes are:
in a field, in a list, in a model inside of it.
"""

from __future__ import annotations

import binascii
import json
from abc import ABC, abstractmethod
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from workers.domain.errors import BadInput
from workers.domain.schema_parts import DEEPEST, SchemaParts, field_parts, item_parts

BYTES_FORMAT = "byte"  # OpenAPI's name of base64
BYTES_LENGTH = "x-taskyard-bytes"  # the bounds of their number: min_length, max_length
# Text that the task's own type decodes or keeps: it gets what the bytes say as UTF-8.
_TEXT_FORMATS = frozenset({"base64", "base64url", "password"})
_ALPHABET = str.maketrans("-_", "+/")


class BytesText(str):
    """The base64 of bytes that were passed as such, until it is known what their place in the payload takes."""

    data: bytes

    def __new__(cls, data: bytes) -> BytesText:
        """Encode bytes."""
        text = super().__new__(cls, urlsafe_b64encode(data).decode())
        text.data = data
        return text


def decode(text: str) -> bytes:
    """Return the bytes of a base64 text, in the standard or the URL-safe alphabet. Raises ValueError."""
    padded = text.translate(_ALPHABET).rstrip("=")
    return b64decode(padded + "=" * (-len(padded) % 4), validate=True)


def place_bytes(payload: Any, schema: str) -> Any:
    """Return a payload with its bytes written as their places take them. Raises BadInput for a place that may be text too."""
    root = _read(schema)
    return _Placing(root).walk(payload, root, ("payload",))


def decode_bytes(payload: Any, schema: Mapping[str, Any]) -> Any:
    """Return a payload with bytes where its schema has bytes; what is no base64 there is left as it is."""
    return _Decoding(schema).walk(payload, schema, ("payload",))


def holds_bytes(schema: Mapping[str, Any]) -> bool:
    """Return whether any value that fits this schema may be bytes."""
    if schema.get("format") == BYTES_FORMAT:
        return True
    parts = [one for value in schema.values() for one in (value if isinstance(value, list) else [value])]
    inner = [one for one in parts if isinstance(one, Mapping)]
    return any(holds_bytes(one) for one in inner)


@lru_cache(maxsize=512)
def _read(schema: str) -> dict[str, Any]:
    root = json.loads(schema)
    return root if isinstance(root, dict) else {}


class _Walk(ABC):
    """A way through a payload along its schema."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._parts = SchemaParts(root.get("$defs", {}))

    def walk(self, value: Any, schema: Any, path: tuple[str, ...]) -> Any:
        if len(path) > DEEPEST:
            return value
        if isinstance(value, str):
            return self.text(value, self._parts.fitting(value, schema), path)
        if isinstance(value, Mapping):
            part = self._parts.part_of(value, schema)
            fields, others = field_parts(part)
            names = part.get("propertyNames")
            return {
                self._name(name, names, path): self.walk(item, fields.get(name, others), (*path, str(name)))
                for name, item in value.items()
            }
        if isinstance(value, list | tuple):
            parts = item_parts(self._parts.part_of(value, schema), len(value))
            pairs = enumerate(zip(value, parts, strict=True))
            return [self.walk(item, part, (*path, str(index))) for index, (item, part) in pairs]
        return value

    def _name(self, name: Any, schema: Any, path: tuple[str, ...]) -> Any:
        return self.text(name, self._parts.fitting(name, schema), path) if isinstance(name, str) else name

    @abstractmethod
    def text(self, value: str, fitting: list[Mapping[str, Any]], path: tuple[str, ...]) -> Any:
        """Return what stands in place of a text; `fitting` are the parts of the schema that it fits."""


class _Placing(_Walk):
    def text(self, value: str, fitting: list[Mapping[str, Any]], path: tuple[str, ...]) -> str:
        if not isinstance(value, BytesText):
            return value
        formats = [part.get("format") for part in fitting]
        field = ".".join(path)
        if BYTES_FORMAT in formats and len(formats) > 1:
            raise BadInput(
                f"{field} may be text or bytes, and JSON has text only: the task would get text. Pass text, or let the "
                "task take bytes alone.",
                field,
            )
        if len(formats) == 1 and formats[0] in _TEXT_FORMATS:
            return _utf8(value.data, field)
        return str(value)


class _Decoding(_Walk):
    def text(self, value: str, fitting: list[Mapping[str, Any]], path: tuple[str, ...]) -> Any:
        if len(fitting) != 1 or fitting[0].get("format") != BYTES_FORMAT:
            return value
        try:
            return decode(value)
        except (binascii.Error, ValueError):
            return value  # text of a job that was enqueued before bytes were base64


def _utf8(data: bytes, field: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"{field} holds bytes that are not UTF-8, which its type needs.", field) from error
