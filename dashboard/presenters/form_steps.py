"""Steps that change the structure of a form: items of lists and optional groups, added and removed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from dashboard.presenters.shapes import ABSENT, MAX_ITEMS, PREFIX, Shape, blank, key_of
from workers.domain.masking import MASK


def add_item(shape: Shape, payload: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the payload with one more item in the list, or with the group, of this key; as it is for another key."""
    changed = copy.deepcopy(payload)
    found = _find(shape, changed, key)
    if found is None:
        return payload
    holder, name, part = found
    if part.kind == "group" and not isinstance(_value(holder, name), dict):
        holder[name] = blank(part)
    elif part.kind == "list" and part.item is not None:
        items = _value(holder, name)
        items = items if isinstance(items, list) else []
        holder[name] = [*items, blank(part.item)] if len(items) < MAX_ITEMS else items
    return changed


def remove_item(shape: Shape, payload: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the payload without the item or the group of this key; as it is for another key."""
    changed = copy.deepcopy(payload)
    found = _find(shape, changed, key)
    if found is None:
        return payload
    holder, name, part = found
    if isinstance(holder, list) or part.kind == "group":
        del holder[name]
    return changed


def without_secrets(shape: Shape, value: Any) -> Any:
    """Return a copy of a payload without the secrets that were typed; masks stay."""
    if shape.kind == "password":
        return value if value == MASK else ABSENT
    if shape.kind == "group" and isinstance(value, Mapping):
        shapes = {one.name: one.shape for one in shape.fields}
        stripped = {name: without_secrets(shapes[name], one) for name, one in value.items()}
        return {name: one for name, one in stripped.items() if one is not ABSENT}
    if shape.kind == "list" and isinstance(value, list) and shape.item is not None:
        items = [without_secrets(shape.item, one) for one in value]
        return ["" if one is ABSENT else one for one in items]
    return value


def _find(shape: Shape, payload: Any, wanted: str) -> tuple[Any, Any, Shape] | None:
    """Return the container, the name or index in it, and the shape of the part with this key; None when there is none."""
    holder, key = payload, PREFIX
    while True:
        step = _step(shape, holder, key, wanted)
        if step is None:
            return None
        name, part, key = step
        if key == wanted:
            return holder, name, part
        holder, shape = _value(holder, name), part


def _step(shape: Shape, holder: Any, key: str, wanted: str) -> tuple[Any, Shape, str] | None:
    if shape.kind == "group" and isinstance(holder, dict):
        names = [(one.name, one.shape) for one in shape.fields]
    elif shape.kind == "list" and isinstance(holder, list) and shape.item is not None:
        names = [(index, shape.item) for index in range(len(holder))]  # type: ignore[misc]
    else:
        return None
    for name, part in names:
        inner = key_of(key, name)
        if wanted == inner or wanted.startswith(f"{inner}."):
            return name, part, inner
    return None


def _value(holder: Any, name: Any) -> Any:
    return holder.get(name) if isinstance(holder, dict) else holder[name]
