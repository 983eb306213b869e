"""The options of `@task`: their types and ranges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from workers.domain.errors import SettingsError
from workers.domain.names import MAX_RETRIES, MAX_TIMEOUT_SECONDS


def check_options(task: str, options: Mapping[str, Any]) -> None:
    """Raise SettingsError for an option that is unknown, or whose value has the wrong type or range."""
    for option, value in options.items():
        rule = _RULES.get(option)
        if rule is None:
            raise SettingsError(f"Task {task}: unknown option {option}. Options: {', '.join(sorted(_RULES))}.")
        is_valid, expected = rule
        if not is_valid(value):
            raise SettingsError(f"Task {task}: {option} must be {expected}.")


def _is_number(value: object, lowest: float, highest: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and lowest <= value <= highest


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_timeout(value: object) -> bool:
    return value is None or (_is_number(value, 0, MAX_TIMEOUT_SECONDS) and bool(value))


def _is_retry_count(value: object) -> bool:
    return value is None or (isinstance(value, int) and _is_number(value, 0, MAX_RETRIES))


def _are_delays(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, list | tuple) and all(_is_number(delay, 0, MAX_TIMEOUT_SECONDS) for delay in value)


def _are_names(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, list | tuple | set | frozenset) and all(isinstance(name, str) for name in value)


def _is_schedule(value: object) -> bool:
    return value is None or isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


_RULES: dict[str, tuple[Callable[[object], bool], str]] = {
    "queue": (_is_text, "text"),
    "priority": (_is_text, "text"),
    "timezone": (_is_text, "text, such as Europe/Berlin"),
    "timeout_seconds": (_is_timeout, f"a number of seconds above 0 and at most {MAX_TIMEOUT_SECONDS:,}"),
    "max_retries": (_is_retry_count, f"a whole number from 0 to {MAX_RETRIES:,}"),
    "retry_delays": (_are_delays, "a list of seconds, each 0 or more"),
    "unique": (_is_flag, "True or False"),
    "secret": (_are_names, "a list of field names"),
    "schedule": (_is_schedule, "a cron expression, or whole seconds between runs"),
}
