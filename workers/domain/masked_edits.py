"""What comes back from people who saw masks: a mask that was left alone stands for the value that is stored.

A mask is taken for the stored value only where it was shown. Where nothing is stored, where a list was changed so that
several values could be meant, or where the value would no longer be hidden, the edit is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from workers.domain.errors import BadInput
from workers.domain.masking import MASK, mask

_PROBE = "x9Qz7Kx9Qz7K"
_ESCAPED = "\\u2022" * len(MASK)  # the mask within JSON that stands in a text
_ABSENT = object()
Path = tuple[str, ...]


def restore(given: Any, stored: Any, before: Collection[str], after: Collection[str], field: str = "payload") -> Any:
    """Return what was given, with the stored value wherever its mask was left alone.

    `before` and `after` are the names that the task declares as secret, as the value was shown and as it is to be stored.
    Raises BadInput for a mask that stands for nothing or for several values.
    """
    if not _holds_mask(given):
        return given
    edit = _Edit(field)
    value = edit.value(given, stored, mask(stored, before), ())
    shown = mask(value, after)
    for path in edit.restored:
        if _at(shown, path) != _at(given, path):
            raise _refusal(field, path, "is no longer hidden there")
    return value


def refuse_masks(value: Any, declared: Collection[str] = (), field: str = "payload") -> None:
    """Raise BadInput when a new value holds a mask in place of a secret."""
    if _holds_mask(value):
        probed = _replaced(value)
        _refuse(value, mask(probed, declared), (), field)


def mask_change(
    before: Mapping[str, Any], after: Mapping[str, Any], declared: Collection[str] = ()
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return both masked; a secret that differs is marked as changed, since its mask would not tell."""
    shown = mask(dict(before), declared), mask(dict(after), declared)
    return shown[0], _marked(before, after, *shown)


class _Edit:
    """One value that was sent back."""

    def __init__(self, field: str) -> None:
        self._field = field
        self.restored: list[Path] = []

    def value(self, given: Any, stored: Any, shown: Any, path: Path) -> Any:
        if not _holds_mask(given):
            return given
        if stored is not _ABSENT and given == shown:
            self.restored.append(path)
            return stored
        if isinstance(given, dict):
            known = stored if isinstance(stored, dict) and isinstance(shown, dict) else {}
            return {
                name: self.value(item, known.get(name, _ABSENT), shown[name] if name in known else None, (*path, name))
                for name, item in given.items()
            }
        if isinstance(given, list) and isinstance(stored, list | tuple) and isinstance(shown, list):
            return self._list(given, list(stored), shown, path)
        raise _refusal(self._field, path, "is not stored there")

    def _list(self, given: list[Any], stored: list[Any], shown: list[Any], path: Path) -> list[Any]:
        places = [self._place(index, given, stored, shown, path) for index in range(len(given))]
        moved = {place for index, place in enumerate(places) if place is not None and place != index}
        values = []
        for index, item in enumerate(given):
            place = places[index]
            inner = (*path, str(index))
            if place is not None:
                self.restored.append(inner)
                values.append(stored[place])
            elif not _holds_mask(item):
                values.append(item)
            elif len(given) == len(shown) and index not in moved and _is_nearest(item, shown, index):
                values.append(self.value(item, stored[index], shown[index], inner))
            else:
                raise _refusal(self._field, inner, "could stand for several values, since the list was changed")
        return values

    def _place(self, index: int, given: list[Any], stored: list[Any], shown: list[Any], path: Path) -> int | None:
        """Find which stored item this one is; None for an edited one and for one without a mask."""
        item = given[index]
        if not _holds_mask(item):
            return None
        if len(given) == len(shown) and item == shown[index]:
            return index
        places = [place for place, one in enumerate(shown) if one == item]
        if any(stored[place] != stored[places[0]] for place in places):
            raise _refusal(
                self._field, (*path, str(index)), "could stand for several values, since the list was changed"
            )
        return places[0] if places else None


def _is_nearest(item: Any, shown: list[Any], index: int) -> bool:
    def likeness(other: Any) -> int:
        if not isinstance(item, dict) or not isinstance(other, dict):
            return 0
        return sum(other.get(name, _ABSENT) == value for name, value in item.items())

    return all(likeness(other) <= likeness(shown[index]) for other in shown)


def _holds_mask(value: Any) -> bool:
    if isinstance(value, str):
        return MASK in value or _ESCAPED in value
    if isinstance(value, dict):
        return any(map(_holds_mask, value.values()))
    return isinstance(value, list | tuple) and any(map(_holds_mask, value))


def _at(value: Any, path: Path) -> Any:
    for name in path:
        value = value[int(name)] if isinstance(value, list | tuple) else value[name]
    return value


def _replaced(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace(MASK, _PROBE).replace(_ESCAPED, _PROBE)
    if isinstance(value, dict):
        return {name: _replaced(item) for name, item in value.items()}
    return [_replaced(item) for item in value] if isinstance(value, list | tuple) else value


def _refuse(value: Any, shown: Any, path: Path, field: str) -> None:
    if isinstance(value, str) and _holds_mask(value):
        # Six dots in prose are prose; where a credential would be hidden they stand for one.
        is_credential = value.strip() == MASK or not isinstance(shown, str) or _PROBE not in shown
        if is_credential:
            raise _refusal(field, path, "is not stored there")
    elif isinstance(value, dict):
        for name, item in value.items():
            _refuse(item, shown.get(name) if isinstance(shown, dict) else MASK, (*path, str(name)), field)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _refuse(item, shown[index] if isinstance(shown, list) else MASK, (*path, str(index)), field)


def _marked(before: Any, after: Any, shown_before: Any, shown_after: Any) -> Any:
    if isinstance(shown_after, dict) and isinstance(after, Mapping) and isinstance(before, Mapping):
        known = shown_before if isinstance(shown_before, dict) else {}
        return {
            name: _marked(before[name], after[name], known.get(name), item) if name in before else item
            for name, item in shown_after.items()
        }
    if isinstance(shown_after, list) and isinstance(before, list) and len(before) == len(shown_after):
        pairs = zip(before, after, shown_before, shown_after, strict=True)
        return [_marked(*pair) for pair in pairs]
    if isinstance(shown_after, str) and MASK in shown_after and shown_after == shown_before and before != after:
        return f"{shown_after} (changed)"
    return shown_after


def _refusal(field: str, path: Path, why: str) -> BadInput:
    place = ".".join((field, *path))
    words = f"{place} holds the mask {MASK}, and the value it stands for {why}. Write the value itself."
    return BadInput(words, errors=[{"field": place, "message": words}])
