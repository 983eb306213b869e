"""Errors of a form's fields, gathered so that all of them are shown at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from workers.domain.errors import BadInput

T = TypeVar("T")


class FieldErrors:
    """What is wrong with the fields of one form, by the name of the field."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def read(self, name: str, parse: Callable[..., T], *values: Any) -> T | None:
        """Return what `parse` makes of the values of a field; None when it refuses them, which is noted.

        Without a name the error says which fields it is about.
        """
        try:
            return parse(*values)
        except BadInput as error:
            self.note(BadInput(error.message) if name else error, name)
        except ValueError as error:
            self.found.setdefault(name, f"{_capitalized(str(error))}.")
        return None

    def note(self, error: BadInput, name: str = "") -> None:
        """Note what an error says about its fields, or about the field `name`."""
        for one in error.errors or [{"field": name, "message": error.message}]:
            field = str(one.get("field", "")) or name
            self.found.setdefault(field, str(one["message"]))

    def raise_all(self) -> None:
        """Raise BadInput with everything that was found; nothing when that is nothing."""
        if self.found:
            errors = [{"field": name, "message": words} for name, words in self.found.items()]
            raise BadInput(next(iter(self.found.values())), errors=errors)


def _capitalized(words: str) -> str:
    return words[:1].upper() + words[1:]
