"""JSON from outside: UTF-8, no key twice in an object, bounded in depth, size of numbers and count of values.

Large JSON is read where the process computes, in steps that do not hold the interpreter's lock for long.
"""

from __future__ import annotations

import json
import json.scanner
import math
from collections import Counter
from typing import Any

from workers.domain.computing import compute
from workers.domain.errors import BadInput, Malformed, TooLarge
from workers.domain.texts import check_text, quoted, text_fault

MAX_DEPTH = 48  # a payload of 32 levels within a request
MAX_VALUES = 500_000
MAX_NUMBER_CHARACTERS = 400
LARGE_BYTES = 64_000  # beyond it the parser in C would hold the interpreter's lock for up to half a second
_SLICE_BYTES = 32_768
_SEPARATORS = (b",", b":", b"[", b"{")


def parse(raw: bytes, field: str = "body") -> Any:
    """Read JSON. Raises Malformed for what is none, BadInput and TooLarge for JSON that cannot be used."""
    return compute(_parse, raw, field) if len(raw) > LARGE_BYTES else _parse(raw, field)


def _parse(raw: bytes, field: str) -> Any:
    text = _decode(raw, field)
    _check_count(raw, field)
    reader = _Reader(field)
    try:
        value = _decoder(reader, is_large=len(raw) > LARGE_BYTES).decode(text)
    except RecursionError:
        raise BadInput(f"The {field} is nested deeper than {MAX_DEPTH} levels.", field) from None
    except ValueError as error:
        raise Malformed(f"The {field} is not valid JSON: {error}.", field) from error
    if isinstance(value, (dict, list)):
        _check_depth(value, field)
    if "\\u" in text and isinstance(value, (str, dict, list)):
        _check_texts(
            value, "" if field == "body" else field
        )  # only an escape can bring in NUL or half of a surrogate pair
    return value


def parse_text(text: str, field: str) -> Any:
    """Read JSON from a text, such as a field of a form. Raises as `parse` does, but BadInput for what is no JSON."""
    check_text(text, field)
    try:
        return parse(text.encode(), field)
    except Malformed as error:
        raise BadInput(error.message, field) from error


def parse_object(text: str, field: str) -> dict[str, Any]:
    """Read a JSON object from a text; an empty text is an empty object. Raises as `parse_text` does."""
    value = parse_text(text.strip() or "{}", field)
    if not isinstance(value, dict):
        raise BadInput(f"The {field} must be a JSON object, such as {{}}.", field)
    return value


class _Reader:
    """What the parser calls for each object and number."""

    def __init__(self, field: str) -> None:
        self._field = field

    def read_object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            twice = next(key for key, count in counts.items() if count > 1)
            shown = quoted(twice)
            raise BadInput(f"The {self._field} has the key {shown} twice in one object.", shown[1:-1])
        return value

    def read_int(self, digits: str) -> int:
        self._check_length(digits)
        return int(digits)

    def read_float(self, digits: str) -> float:
        self._check_length(digits)
        value = float(digits)
        if not math.isfinite(value):
            raise BadInput(f"The {self._field} has the number {digits[:40]}, which is out of range.", self._field)
        return value

    def refuse_constant(self, name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    def _check_length(self, digits: str) -> None:
        if len(digits) > MAX_NUMBER_CHARACTERS:
            raise BadInput(f"The {self._field} has a number of {len(digits):,} characters.", self._field)


def _decode(raw: bytes, field: str) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"The {field} is not UTF-8.", field) from error
    if text.startswith("\ufeff"):
        raise Malformed(f"The {field} begins with a byte order mark. Send plain UTF-8.", field)
    return text


def _decoder(reader: _Reader, *, is_large: bool) -> json.JSONDecoder:
    decoder = json.JSONDecoder(
        object_pairs_hook=reader.read_object,
        parse_int=reader.read_int,
        parse_float=reader.read_float,
        parse_constant=reader.refuse_constant,
    )
    if is_large:
        # The same parser in Python, between whose steps other threads run.
        decoder.parse_object = json.decoder.JSONObject  # type: ignore[attr-defined]
        decoder.scan_once = json.scanner.py_make_scanner(decoder)  # type: ignore[attr-defined]
    return decoder


def _check_count(raw: bytes, field: str) -> None:
    # Before anything is parsed: 16 MB of `[],` would become 400 MB of lists.
    if sum(map(raw.count, _SEPARATORS)) > MAX_VALUES and _is_count_above(MAX_VALUES, raw):
        raise TooLarge(f"The {field} has more than {MAX_VALUES:,} keys and values.", field)


def _is_count_above(most: int, raw: bytes) -> bool:
    """Return whether JSON has more separators outside of its strings, a slice at a time.

    What is no JSON is counted rightly as far as the parser would come.
    """
    count, is_in_string, rest = 0, False, b""
    for start in range(0, len(raw), _SLICE_BYTES):
        piece = (rest + raw[start : start + _SLICE_BYTES]).replace(b"\\\\", b"")
        rest = b"\\" if piece.endswith(b"\\") else b""  # it belongs to the first byte of the next slice
        parts = piece.removesuffix(rest).replace(b'\\"', b"").split(b'"')
        outside = b"".join(parts[1 if is_in_string else 0 :: 2])
        count += sum(map(outside.count, _SEPARATORS))
        if count > most:
            return True
        is_in_string ^= len(parts) % 2 == 0
    return False


def _check_depth(value: Any, field: str, depth: int = 0) -> None:
    if depth >= MAX_DEPTH:
        raise BadInput(f"The {field} is nested deeper than {MAX_DEPTH} levels.", field)
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, (dict, list)):
            _check_depth(item, field, depth + 1)


def _check_texts(value: Any, path: str) -> None:
    if isinstance(value, str):
        check_text(value, path or "body")
        return
    for name, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(name, str) and text_fault(name) is not None:
            raise BadInput(f"A key in {path or 'the body'} {text_fault(name)}. Remove it.", path or "body")
        if isinstance(item, (str, dict, list)):
            _check_texts(item, f"{path}.{name}" if path else str(name))
