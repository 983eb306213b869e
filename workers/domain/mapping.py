"""From an event to a payload: a small mapping without code, and conditions that are as small."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from workers.domain.errors import BadInput
from workers.domain.numbers import is_number
from workers.domain.texts import check_text

MARK = "$."
ESCAPE = "$$"
DEEPEST = 10
LONGEST_PATH = 200
_ABSENT = object()


def hears(pattern: str, name: str) -> bool:
    """Tell whether somebody who listens for this pattern (`*` allowed) hears an event of this name."""
    return fnmatchcase(name, pattern)


def fill(mapping: Any, facts: Mapping[str, Any], depth: int = 0) -> Any:
    """Fill a mapping: texts that begin with `$.` are paths into the facts, everything else stays as it is.

    A text that begins with `$$` stands for itself without its first `$`.

    Raises BadInput for a path that leads nowhere and for a mapping deeper than ten.
    """
    if depth > DEEPEST:
        raise BadInput("The mapping is nested too deeply.", field="payload")
    if isinstance(mapping, Mapping):
        return {str(name): fill(value, facts, depth + 1) for name, value in mapping.items()}
    if isinstance(mapping, list):
        return [fill(value, facts, depth + 1) for value in mapping]
    if not isinstance(mapping, str):
        return mapping
    if mapping.startswith(ESCAPE):
        return mapping[1:]
    if not mapping.startswith(MARK):
        return mapping
    found = at(mapping.removeprefix(MARK), facts)
    if found is _ABSENT:
        raise BadInput(f"The event has no {mapping.removeprefix(MARK)}.", field="payload")
    return found


def at(path: str, facts: Any) -> Any:
    """Follow a path of names with dots between; a marker of absence when it leads nowhere."""
    for name in path.split("."):
        if isinstance(facts, Mapping) and name in facts:
            facts = facts[name]
        elif (
            isinstance(facts, list) and name.isascii() and name.isdecimal() and len(name) < 6 and int(name) < len(facts)
        ):
            facts = facts[int(name)]
        else:
            return _ABSENT
    return facts


def holds(conditions: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    """Tell whether every condition holds: the value at a path is this one, or lies above or below a number."""
    return all(_holds(wanted, at(path.removeprefix(MARK), facts)) for path, wanted in conditions.items())


def check_conditions(conditions: Any) -> dict[str, Any]:
    """Return conditions that can be used; BadInput says what is wrong with them."""
    if not isinstance(conditions, Mapping) or len(conditions) > 20:
        raise BadInput("Conditions must be a JSON object with at most 20 paths.", field="conditions")
    for path, wanted in conditions.items():
        check_text(path, "conditions", LONGEST_PATH)
        numbers = isinstance(wanted, Mapping) and set(wanted) <= {"above", "below"} and wanted
        if isinstance(wanted, list) or (isinstance(wanted, Mapping) and not numbers):
            raise BadInput(
                f'The condition on {path} must be a plain value, {{"above": n}} or {{"below": n}}.', field="conditions"
            )
        if numbers and not all(is_number(one) for one in wanted.values()):
            raise BadInput(f"The condition on {path} needs a number.", field="conditions")
    return dict(conditions)


def _holds(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, Mapping):
        if not is_number(found):
            return False
        return bool(found > wanted.get("above", float("-inf")) and found < wanted.get("below", float("inf")))
    # In Python True equals 1; in JSON they are different values.
    return isinstance(found, bool) == isinstance(wanted, bool) and bool(found == wanted)
