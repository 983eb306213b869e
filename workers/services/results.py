"""JSON for what a task returns: finished work is never failed because its result has a type that JSON does not know.

Pydantic's serializer converts dates, decimals, UUIDs, enumerations, dataclasses, models, sets, bytes (base64), paths and
named tuples; NumPy values become plain ones and NaN becomes null. What still cannot be written is stored as its `repr`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workers.domain import payloads
from workers.domain.errors import BadInput, TooLarge
from workers.domain.texts import MAX_SHOWN, describe_error, is_of, safe_repr, safe_text
from workers.services.json_values import Conversion


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A result as JSON, with a note when it is not exactly what the task returned."""

    text: str
    note: str = ""
    whole: str = ""  # the JSON of a result of more than 1 MB, of which `text` has the beginning


def serialize_result(value: Any, raised: tuple[type[BaseException], ...] = ()) -> StoredResult:
    """Serialize what a task returned. What cannot be converted is stored as text, and the note says why.

    Raises only exceptions of the types `raised`, which a generator that the task returned may raise to end the job.
    """
    try:
        return StoredResult(payloads.dump(value, "result"))
    except Exception:  # BadInput, or whatever the methods of an object raise
        pass
    conversion = Conversion()
    try:
        converted = conversion.convert(value)
    except raised:
        raise
    except BaseException as error:  # an iterator of the task may raise SystemExit
        return _as_text(value, error)
    try:
        return StoredResult(payloads.dump(converted, "result"), conversion.note())
    except TooLarge:
        return _beginning_of(payloads.encode(converted))
    except Exception as error:
        return _as_text(value, error)


def _as_text(value: Any, error: BaseException) -> StoredResult:
    return StoredResult(payloads.dump(safe_repr(value)), f"The result is stored as text: {_reason(error)}")


def to_json_types(value: Any) -> tuple[Any, bool]:
    """Convert a payload's values to JSON types; whether there were bytes, which are BytesText until they are placed.

    Raises BadInput for what has no JSON form.
    """
    conversion = Conversion(is_strict=True)
    try:
        converted = conversion.convert(value)
    except BadInput:
        raise
    except Exception as error:  # methods of the values are code of users
        raise BadInput(f"The payload cannot be written as JSON: {describe_error(error)}", "payload") from error
    if reason := conversion.refusal():
        raise BadInput(f"The payload cannot be written as JSON. {reason}", "payload")
    return converted, conversion.has_bytes


def _beginning_of(text: str) -> StoredResult:
    size = len(text.encode())
    note = f"The result has {size / 1_000_000:.1f} MB, more than the 1 MB that is stored with a job; this is its beginning."
    return StoredResult(payloads.dump(text[:MAX_SHOWN] + "…"), note, text)


def _reason(error: BaseException) -> str:
    text = safe_text(error, 200) if is_of(error, BadInput) else describe_error(error, 200)
    return text if text.endswith(".") else f"{text}."
