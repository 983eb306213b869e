"""JSON for what a task returns: finished work is never failed because its result has a type that JSON does not know.

Pydantic's serializer converts dates, decimals, UUIDs, enumerations, dataclasses, models, sets, bytes (base64), paths and
named tuples; NumPy values become plain ones and NaN becomes null. What still cannot be written is stored as its `repr`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_jsonable_python

from workers.domain import payloads
from workers.domain.errors import BadInput, TooLarge
from workers.domain.texts import MAX_SHOWN, safe_repr, safe_text, storable

_MAX_NAMED = 5


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A result as JSON, with a note when it is not exactly what the task returned."""

    text: str
    note: str = ""
    whole: str = ""  # the JSON of a result of more than 1 MB, of which `text` has the beginning


def serialize_result(value: Any) -> StoredResult:
    """Serialize what a task returned. What cannot be converted is stored as text, and the note says why.

    Raises only what is no Exception, such as a SystemExit in a generator that the task returned.
    """
    try:
        return StoredResult(payloads.dump(value, "result"))
    except Exception:  # BadInput, or whatever the methods of an object raise
        pass
    conversion = _Conversion()
    try:
        converted = conversion.convert(value)
        return StoredResult(payloads.dump(converted, "result"), conversion.note())
    except TooLarge:
        return _beginning_of(payloads.encode(converted))
    except Exception as error:
        return StoredResult(payloads.dump(safe_repr(value)), f"The result is stored as text: {_reason(error)}")


def to_json_types(value: Any) -> Any:
    """Convert a payload's values to JSON types. Raises BadInput for what has none; text and numbers stay as they are."""
    conversion = _Conversion()
    try:
        converted = conversion.plain(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise BadInput(f"The payload cannot be written as JSON: {error}", "payload") from error
    if conversion.unknown:
        raise BadInput(f"The payload cannot be written as JSON. {conversion.note()}", "payload")
    return converted


class _Conversion:
    """One conversion and what it had to change."""

    def __init__(self) -> None:
        self.unknown: dict[str, None] = {}  # the names of types, each once
        self.nan_count = 0

    def plain(self, value: Any) -> Any:
        return to_jsonable_python(value, bytes_mode="base64", fallback=self._convert_unknown)

    def convert(self, value: Any) -> Any:
        return self._clean(self.plain(value))

    def note(self) -> str:
        notes = []
        if self.unknown:
            names = ", ".join(list(self.unknown)[:_MAX_NAMED])
            notes.append(f"Values of these types have no JSON form and are stored as text: {names}.")
        if self.nan_count:
            noun = "number" if self.nan_count == 1 else "numbers"
            notes.append(f"JSON has neither NaN nor infinity: {self.nan_count:,} {noun} became null.")
        return " ".join(notes)

    def _convert_unknown(self, value: Any) -> Any:
        kind = type(value)
        if kind.__module__.partition(".")[0] == "numpy" and hasattr(value, "tolist"):
            return value.tolist()
        self.unknown[kind.__qualname__] = None
        return safe_repr(value)

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            return storable(value)
        if isinstance(value, float):
            return self._finite(value)
        if isinstance(value, dict):
            return {storable(str(name)): self._clean(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._clean(item) for item in value]
        return value

    def _finite(self, value: float) -> float | None:
        if math.isfinite(value):
            return float(value)
        self.nan_count += 1
        return None


def _beginning_of(text: str) -> StoredResult:
    size = len(text.encode())
    note = f"The result has {size / 1_000_000:.1f} MB, more than the 1 MB that is stored with a job; this is its beginning."
    return StoredResult(payloads.dump(text[:MAX_SHOWN] + "…"), note, text)


def _reason(error: Exception) -> str:
    reason = safe_text(error, 200)
    return reason if reason.endswith(".") else f"{reason}."
