"""Every error that Taskyard raises on purpose.

TaskyardError
├── BadInput            what was given cannot be used; `errors` names each field or index
│   ├── Malformed       it cannot be read at all: broken syntax or encoding
│   └── TooLarge        it is bigger than the bound
├── NotFound            there is no such thing
├── Conflict            the thing is in a state that forbids it; `state` says which
│   ├── Edited          somebody else has edited it since it was read; `differences` names both values of each field
│   └── KeyConflict     another job holds the key; `job_id` says which, `errors` for each index of a batch
├── Forbidden           this person or token may not do it
├── Throttled           too many attempts; `wait_seconds` says for how long
│   └── TooManyAtOnce   as many of these are in progress as one caller may have
├── Unavailable         the database or Redis cannot be reached now
└── SettingsError       the environment holds a setting that cannot be used

The message is written for people: what happened, why, what to do. No HTTP here; `dashboard.problems` maps them.
"""

from __future__ import annotations

import math
from typing import Any


class TaskyardError(Exception):
    """Something was refused or could not be done; the message is safe to show."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (self.__doc__ or "").strip())

    @property
    def message(self) -> str:
        """The sentence for people."""
        return str(self)


class BadInput(TaskyardError):
    """What was given cannot be used."""

    def __init__(self, message: str = "", field: str | None = None, errors: list[dict[str, Any]] | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.errors = errors if errors is not None else ([{"field": field, "message": str(self)}] if field else [])


class Malformed(BadInput):
    """What was given cannot be read."""


class TooLarge(BadInput):
    """What was given is larger than the bound."""


class NotFound(TaskyardError):
    """There is no such thing."""


class Conflict(TaskyardError):
    """The state it is in forbids that."""

    def __init__(self, message: str = "", state: str | None = None) -> None:
        super().__init__(message)
        self.state = state


class Edited(Conflict):
    """Somebody else has edited it since it was read."""

    def __init__(self, what: str, revision: int, differences: list[dict[str, Any]]) -> None:
        super().__init__(
            f"Somebody else has changed {what} since you opened it, so nothing was saved. "
            "Compare both values, then save again.",
            state="edited",
        )
        self.revision, self.differences = revision, differences


class KeyConflict(Conflict):
    """Another job holds the key."""

    def __init__(self, message: str, job_id: str | None = None, errors: list[dict[str, Any]] | None = None) -> None:
        super().__init__(message)
        self.job_id = job_id
        self.errors = errors or []


class Forbidden(TaskyardError):
    """You may not do that."""


class Throttled(TaskyardError):
    """There were too many attempts."""

    def __init__(self, wait_seconds: float) -> None:
        self.wait_seconds = max(1, math.ceil(wait_seconds))
        minutes = math.ceil(self.wait_seconds / 60)
        wait = f"{self.wait_seconds} s" if self.wait_seconds <= 120 else f"{minutes} min"
        super().__init__(f"There were too many attempts. Wait {wait}, then try again.")


class TooManyAtOnce(Throttled):
    """The caller has as many of these in progress as one may have."""

    def __init__(self, message: str, wait_seconds: float) -> None:
        super().__init__(wait_seconds)
        self.args = (message,)


class Unavailable(TaskyardError):
    """A part that is needed cannot be reached now. Try again in a moment."""


class SettingsError(TaskyardError):
    """A setting cannot be used."""
