"""Two payloads side by side: what differs, with the stored and the new value of each part."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dashboard.presenters.shapes import ABSENT
from workers.domain.masking import MASK

MAX_CHANGES = 50
MAX_CHARACTERS = 300
_MAX_DEPTH = 12


@dataclass(frozen=True, slots=True)
class Change:
    """A part that differs; `None` where it is missing on one side."""

    path: str
    old: str | None
    new: str | None


def compare(stored: Mapping[str, Any], payload: Mapping[str, Any], shown: Mapping[str, Any]) -> list[Change]:
    """Return what differs between the stored payload, masked, and the new one; `shown` is the new one masked.

    A secret that was replaced shows as changed. At most `MAX_CHANGES` are returned, in the order of the payload.
    """
    found = []
    for change in _changes("", stored, payload, shown, 0):
        found.append(change)
        if len(found) == MAX_CHANGES:
            break
    return found


def _changes(path: str, old: Any, new: Any, shown: Any, depth: int) -> Iterator[Change]:
    if _is_equal(old, new):
        return
    inner = _pairs(old, new, shown) if depth < _MAX_DEPTH else None
    if inner is None:
        yield Change(path or "payload", _text(old), _new_text(old, new, shown))
        return
    for name, before, after, after_shown in inner:
        yield from _changes(f"{path}.{name}" if path else name, before, after, after_shown, depth + 1)


def _pairs(old: Any, new: Any, shown: Any) -> list[tuple[str, Any, Any, Any]] | None:
    if isinstance(old, Mapping) and isinstance(new, Mapping) and isinstance(shown, Mapping):
        names = [*old, *(name for name in new if name not in old)]
        return [(name, old.get(name, ABSENT), new.get(name, ABSENT), shown.get(name, ABSENT)) for name in names]
    if isinstance(old, list) and isinstance(new, list) and isinstance(shown, list):
        count = max(len(old), len(new))
        return [(str(index), _at(old, index), _at(new, index), _at(shown, index)) for index in range(count)]
    return None


def _at(values: list[Any], index: int) -> Any:
    return values[index] if index < len(values) else ABSENT


def _is_equal(old: Any, new: Any) -> bool:
    if old is ABSENT or new is ABSENT:
        return old is new
    return bool(old == new) and isinstance(old, bool) == isinstance(new, bool)


def _new_text(old: Any, new: Any, shown: Any) -> str | None:
    text = _text(shown)
    return f"{text} (changed)" if text is not None and MASK in text and new != shown and old is not ABSENT else text


def _text(value: Any) -> str | None:
    if value is ABSENT:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = text or '""'
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"
