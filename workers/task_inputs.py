"""Checks of what a task's own code passes to the task API: refused with a sentence, whatever its type."""

from __future__ import annotations

from workers.domain.errors import BadInput
from workers.domain.numbers import check_number
from workers.domain.texts import check_text, is_of, safe_repr, safe_text

LEVELS = ("debug", "info", "warning", "error")
LONGEST_KEY, LONGEST_NAME, LONGEST_CACHE_KEY = 255, 200, 1_000
MAX_TTL_SECONDS = 10 * 366 * 86400


def check_level(level: object) -> str:
    """Return the level of a log line; what is no level that Taskyard has is info. Raises BadInput for what is no text."""
    if not is_of(level, str):
        raise BadInput(f"level must be one of {', '.join(LEVELS)}; this is {safe_repr(level, 60)}.", "level")
    lower = str(level).lower()
    return lower if lower in LEVELS else "info"


def check_mark(key: object, scope: object | None) -> tuple[str, str | None]:
    """Return the key and the scope of a mark of `once`. Raises BadInput."""
    text = check_text(str(key) if is_of(key, (str, int)) else safe_text(key, LONGEST_KEY + 1), "key", LONGEST_KEY)
    return text, None if scope is None else check_name(scope, "scope")


def check_name(name: object, field: str = "key") -> str:
    """Return the name of a setting, a channel, an event or a scope. Raises BadInput."""
    return _checked(name, field, LONGEST_NAME)


def check_cache_key(key: object) -> str:
    """Return the key of a cached value. Raises BadInput."""
    return _checked(key, "key", LONGEST_CACHE_KEY)


def check_ttl(seconds: object) -> int:
    """Return how long a cached value lasts, in milliseconds. Raises BadInput."""
    return max(1, int(check_number("ttl", seconds, 0, MAX_TTL_SECONDS) * 1000))


def _checked(name: object, field: str, longest: int) -> str:
    if not is_of(name, (str, int)):
        raise BadInput(f"{field} must be text; this is {safe_repr(name, 60)}.", field)
    return check_text(str(name), field, longest)
