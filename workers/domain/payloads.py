"""Bounds on JSON that comes from outside or goes into a row."""

from __future__ import annotations

import json
import math
from typing import Any

from workers.domain.errors import BadInput, TooLarge
from workers.domain.texts import text_fault

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
_COMPACT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def dump(value: Any, field: str = "payload") -> str:
    """Write a value as compact JSON; BadInput for NaN, depth or other types, TooLarge above 1 MB."""
    _check(value, field, 0)
    text = encode(value)
    if len(text) > MAX_BYTES or (len(text) * 4 > MAX_BYTES and len(text.encode()) > MAX_BYTES):
        raise TooLarge(
            f"The {field} is larger than 1 MB. Keep the data in a file or table and pass its address.", field
        )
    return text


def encode(value: Any) -> str:
    """Write a value of JSON types as compact JSON, without bounds."""
    return _COMPACT.encode(value)


def _check(value: Any, field: str, depth: int) -> None:
    if value is None or value is True or value is False:
        return
    kind = type(value)
    if kind is str:
        _check_text(value, field)
    elif kind is int:
        if value.bit_length() > 1024:
            raise BadInput(f"The {field} holds a whole number of more than 300 digits.", field)
    elif kind is float:
        if not math.isfinite(value):
            raise BadInput(f"The {field} holds NaN or infinity, which JSON does not have.", field)
    elif kind is dict or kind is list or kind is tuple:
        _check_inside(value, field, depth)
    else:
        raise BadInput(f"The {field} holds a {kind.__name__}, which JSON does not have.", field)


def _check_inside(value: Any, field: str, depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise BadInput(f"The {field} is nested deeper than {MAX_DEPTH} levels.", field)
    if type(value) is not dict:
        for item in value:
            _check(item, field, depth + 1)
        return
    for key, item in value.items():
        if type(key) is not str:
            raise BadInput(f"The {field} has a key that is not text.", field)
        _check_text(key, field)
        _check(item, field, depth + 1)


def _check_text(text: str, field: str) -> None:
    fault = text_fault(text)
    if fault is not None:
        raise BadInput(f"The {field} {fault}.", field)


def load(text: str | None) -> Any:
    """Read what `dump` wrote; None stays None."""
    return None if text is None else json.loads(text)
