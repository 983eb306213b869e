"""The JSON form of Python values, of payloads and results alike: Pydantic's rules, applied within bounds.

Containers and iterators are walked here, since Pydantic would read an endless one for ever. A value of another type gets
the form that Pydantic's serializer gives it, be it known by its value or only as a declared type.
"""

from __future__ import annotations

import collections
import io
import math
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, MappingView, Sequence, Set
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import lru_cache
from typing import Any

from pydantic import Secret, SecretBytes, SecretStr, TypeAdapter
from pydantic_core import PydanticSerializationError, to_jsonable_python

from workers.domain.errors import BadInput, TooLarge
from workers.domain.payload_bytes import BytesText
from workers.domain.payloads import MAX_DEPTH
from workers.domain.texts import is_of, safe_repr, storable, type_name

MAX_VALUES = 2_000_000
MAX_CHARACTERS = 100_000_000
MAX_ITERATED = 100_000  # values that are taken from iterators, which may be endless
MAX_ITERATED_SECONDS = 10.0
_MAX_NAMED = 5


class Conversion:
    """One conversion and what it had to change.

    `is_strict` is that of payloads: text and numbers that JSON does not have are left to be refused, bytes become
    BytesText, secrets are passed on.
    """

    def __init__(self, *, is_strict: bool = False) -> None:
        self.unknown: dict[str, None] = {}  # the names of types, each once
        self.has_bytes = False
        self._nan_count = self._lost_keys = 0
        self._endless: dict[str, None] = {}
        self._is_strict, self._field = is_strict, "payload" if is_strict else "result"
        self._values, self._characters, self._iterated = 0, 0, 0

    def convert(self, value: Any, depth: int = 0) -> Any:
        """Return the JSON form of a value. Raises BadInput, TooLarge, and what methods of the value raise."""
        kind = type(value)
        if value is None or kind is bool or kind is int:
            return value
        if kind is str:
            return self._text(value)
        if is_of(value, str) and not is_of(value, Enum):
            return self._text(str.__str__(value))
        if is_of(value, float) and not is_of(value, Enum):
            return self._finite(float.__float__(value))
        return self._converted(value, kind, depth)

    def _converted(self, value: Any, kind: type, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise BadInput(f"The {self._field} is nested deeper than {MAX_DEPTH} levels.", self._field)
        if kind is dict:
            return self._object(value, depth)
        if kind is list or kind is tuple:
            return self._list(value, depth)
        for kinds, convert in _CONVERTERS:
            if is_of(value, kinds):
                return convert(self, value, depth)
        if is_dataclass(kind) or hasattr(kind, "__pydantic_serializer__"):
            return self._model(value, depth)
        return self._other(value, depth)

    def note(self) -> str:
        """Return what was changed, as sentences."""
        notes = []
        if self.unknown:
            notes.append(f"Values of these types have no JSON form and are stored as text: {_listed(self.unknown)}.")
        if self._endless:
            limit = f"{MAX_ITERATED:,} values or {MAX_ITERATED_SECONDS:g} s"
            notes.append(f"Iterators that did not end within {limit} are stored as text: {_listed(self._endless)}.")
        if self._nan_count:
            noun = "number" if self._nan_count == 1 else "numbers"
            notes.append(f"JSON has neither NaN nor infinity: {self._nan_count:,} {noun} became null.")
        if self._lost_keys:
            noun = "entry was" if self._lost_keys == 1 else "entries were"
            notes.append(f"Keys of JSON are text: {self._lost_keys:,} {noun} lost to another key with the same text.")
        return " ".join(notes)

    def refusal(self) -> str:
        """Return why what was converted is not the same, as sentences; empty when nothing was lost."""
        reasons = []
        if self.unknown:
            reasons.append(f"Values of these types have no JSON form: {_listed(self.unknown)}.")
        if self._endless:
            reasons.append(f"These iterators have more than {MAX_ITERATED:,} values: {_listed(self._endless)}.")
        if self._lost_keys:
            reasons.append("Keys of JSON are text, and two keys of an object have the same text.")
        return " ".join(reasons)

    def _text(self, text: str) -> str:
        self._characters += len(text)
        if self._characters > MAX_CHARACTERS:
            raise TooLarge(f"The {self._field} holds more than {MAX_CHARACTERS:,} characters.", self._field)
        return text if self._is_strict else storable(text)

    def _finite(self, value: float) -> float | None:
        if self._is_strict or math.isfinite(value):
            return value
        self._nan_count += 1
        return None

    def _count(self, number: int) -> None:
        self._values += number
        if self._values > MAX_VALUES:
            raise TooLarge(f"The {self._field} holds more than {MAX_VALUES:,} values.", self._field)

    def _whole(self, value: int, _depth: int) -> int:
        return int.__int__(value)

    def _member(self, value: Enum, depth: int) -> Any:
        return self.convert(value.value, depth + 1)

    def _bytes(self, value: bytes | bytearray | memoryview, _depth: int) -> str:
        data = bytes(value)
        self._text("")
        self._characters += len(data) * 4 // 3
        if not self._is_strict:
            return urlsafe_b64encode(data).decode()
        self.has_bytes = True
        return BytesText(data)

    def _secret(self, value: Any, depth: int) -> Any:
        return self.convert(value.get_secret_value() if self._is_strict else str(value), depth + 1)

    def _instant(self, value: datetime, depth: int) -> Any:
        offset = value.utcoffset()
        if offset is not None and offset % timedelta(minutes=1):
            value = value.astimezone(UTC)  # offsets of JSON have no seconds
        return self._other(value, depth)

    def _object(self, value: Any, depth: int) -> dict[str, Any]:
        items = dict.items(value) if is_of(value, dict) else value.items()
        written: dict[str, Any] = {}
        for key, item in items:
            self._count(1)
            name = self._key(key)
            self._lost_keys += name in written
            written[name] = self.convert(item, depth + 1)
        return written

    def _key(self, key: Any) -> str:
        if type(key) is str:
            return self._text(key)
        if is_of(key, str) and not is_of(key, Enum):
            return self._text(str.__str__(key))
        if is_of(key, _BYTES):
            return self._bytes(key, 0)
        try:
            names = list(to_jsonable_python({key: None}, bytes_mode="base64"))
        except (PydanticSerializationError, ValueError):
            adapted = self._adapted(key)
            if adapted is None:
                self.unknown[type_name(type(key))] = None
            return self._text(safe_repr(key) if adapted is None else str(adapted))
        return self._text(str(names[0]))

    def _list(self, values: Iterable[Any], depth: int) -> list[Any]:
        written = []
        for item in values:
            self._count(1)
            written.append(self.convert(item, depth + 1))
        return written

    def _array(self, value: Any, depth: int) -> list[Any]:
        # The iterator of the type itself: that of a derived type may be endless.
        kind = next(one for one in _PLAIN_ARRAYS if is_of(value, one))
        return self._list(kind.__iter__(value), depth)

    def _iterable(self, value: Iterable[Any], depth: int) -> Any:
        until = time.monotonic() + MAX_ITERATED_SECONDS
        written = []
        for item in value:
            self._count(1)
            self._iterated += 1
            if self._iterated > MAX_ITERATED or time.monotonic() > until:
                self._endless[type_name(type(value))] = None
                return self._text(safe_repr(value))
            written.append(self.convert(item, depth + 1))
        return written

    def _file(self, value: Any, _depth: int) -> str:
        self.unknown[type_name(type(value))] = None
        return self._text(safe_repr(value))

    def _model(self, value: Any, depth: int) -> Any:
        serializer = getattr(type(value), "__pydantic_serializer__", None)
        if serializer is None:
            own = [one for one in fields(value) if one.init or not self._is_strict]
            return self._object({one.name: getattr(value, one.name) for one in own}, depth)
        plain = serializer.to_python(value, mode="python", by_alias=True, round_trip=self._is_strict)
        if not _holds(plain, _BESIDE_JSON if self._is_strict else (Iterator,)):
            try:
                written = serializer.to_python(value, mode="json", by_alias=True, round_trip=self._is_strict)
                return self.convert(written, depth + 1)
            except (PydanticSerializationError, ValueError):
                pass
        return self.convert(plain, depth)

    def _other(self, value: Any, depth: int) -> Any:
        try:
            return self.convert(to_jsonable_python(value, bytes_mode="base64"), depth + 1)
        except PydanticSerializationError:
            pass
        if _module_of(type(value)) == "numpy" and hasattr(value, "tolist"):
            return self.convert(value.tolist(), depth + 1)
        written = self._adapted(value)
        if written is not None and is_of(written, (str, int, float, list, dict)):
            return self.convert(written, depth + 1)
        self.unknown[type_name(type(value))] = None
        return self._text(safe_repr(value))

    def _adapted(self, value: Any) -> Any:
        """Return what Pydantic writes for a value when its type is declared; None when it does not know the type."""
        kind: Any = type(value)
        adapter = _adapter_of(kind)
        try:
            return None if adapter is None else adapter.dump_python(value, mode="json")
        except (PydanticSerializationError, ValueError):
            return None


_BYTES = (bytes, bytearray, memoryview)
_SECRETS = (SecretStr, SecretBytes, Secret)
_BESIDE_JSON = (*_BYTES, *_SECRETS, Iterator)  # what a model's own JSON changes, or reads for ever
_PLAIN_ARRAYS: tuple[Any, ...] = (list, tuple, set, frozenset, collections.deque)
_CONVERTERS: tuple[tuple[Any, Callable[[Conversion, Any, int], Any]], ...] = (
    (Enum, Conversion._member),
    (int, Conversion._whole),
    (_BYTES, Conversion._bytes),
    (_SECRETS, Conversion._secret),
    (datetime, Conversion._instant),
    (Mapping, Conversion._object),
    (_PLAIN_ARRAYS, Conversion._array),
    (io.IOBase, Conversion._file),
    ((Iterator, Sequence, Set, MappingView), Conversion._iterable),
)


@lru_cache(maxsize=256)
def _adapter_of(kind: Any) -> TypeAdapter[Any] | None:
    try:
        return TypeAdapter(kind)
    except Exception:  # a type that Pydantic does not know, or whose own code raises
        return None


def _holds(value: Any, kinds: tuple[type, ...], depth: int = 0) -> bool:
    if is_of(value, kinds):
        return True
    if depth > MAX_DEPTH:
        return False
    if is_of(value, dict):
        return any(_holds(one, kinds, depth + 1) for pair in dict.items(value) for one in pair)
    if is_of(value, _PLAIN_ARRAYS):
        return any(_holds(one, kinds, depth + 1) for one in value)
    return False


def _module_of(kind: type) -> str:
    return str(getattr(kind, "__module__", "")).partition(".")[0]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(list(names)[:_MAX_NAMED])
