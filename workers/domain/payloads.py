"""Bounds on JSON that comes from outside or goes into a row."""

from __future__ import annotations

import json
import math
from typing import Any

from workers.domain.errors import BadInput, TooLarge
from workers.domain.texts import text_fault, type_name

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
_COMPACT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def dump(value: Any, field: str = "payload") -> str:
    """Write a value as compact JSON; BadInput for NaN, depth or other types, TooLarge above 1 MB."""
    _Check(field).check(value, 0)
    text = encode(value)
    if len(text) > MAX_BYTES or (len(text) * 4 > MAX_BYTES and len(text.encode()) > MAX_BYTES):
        raise _too_large(field)
    return text


def _too_large(field: str) -> TooLarge:
    return TooLarge(f"The {field} is larger than 1 MB. Keep the data in a file or table and pass its address.", field)


def encode(value: Any) -> str:
    """Write a value of JSON types as compact JSON, without bounds."""
    return _COMPACT.encode(value)


class _Check:
    """One check. It ends at 1 MB: a list that holds another one many times may stand for gigabytes."""

    __slots__ = ("_field", "_left")

    def __init__(self, field: str) -> None:
        self._field, self._left = field, MAX_BYTES

    def check(self, value: Any, depth: int) -> None:
        if value is None or value is True or value is False:
            return
        kind = type(value)
        if kind is str:
            self._check_text(value)
        elif kind is int:
            if value.bit_length() > 1024:
                raise BadInput(f"The {self._field} holds a whole number of more than 300 digits.", self._field)
        elif kind is float:
            if not math.isfinite(value):
                raise BadInput(f"The {self._field} holds NaN or infinity, which JSON does not have.", self._field)
        elif kind is dict or kind is list or kind is tuple:
            self._check_inside(value, depth)
        else:
            raise BadInput(f"The {self._field} holds a {type_name(kind)}, which JSON does not have.", self._field)

    def _check_inside(self, value: Any, depth: int) -> None:
        if depth >= MAX_DEPTH:
            raise BadInput(f"The {self._field} is nested deeper than {MAX_DEPTH} levels.", self._field)
        self._use(len(value))
        if type(value) is not dict:
            for item in value:
                self.check(item, depth + 1)
            return
        for key, item in value.items():
            if type(key) is not str:
                raise BadInput(f"The {self._field} has a key that is not text.", self._field)
            self._check_text(key)
            self.check(item, depth + 1)

    def _check_text(self, text: str) -> None:
        self._use(len(text))
        fault = text_fault(text)
        if fault is not None:
            raise BadInput(f"The {self._field} {fault}.", self._field)

    def _use(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise _too_large(self._field)


def load(text: str | None) -> Any:
    """Read what `dump` wrote; None stays None."""
    return None if text is None else json.loads(text)
