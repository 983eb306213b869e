"""Values of settings as the environment gives them, each read as its type; a wrong one is refused by its name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from workers.domain.errors import SettingsError


class Environment:
    """Variables by name; `<NAME>_FILE` names a file that holds the value."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def has(self, name: str) -> bool:
        """Return whether there is a value."""
        return bool(self._values.get(name) or self._values.get(f"{name}_FILE"))

    def text(self, name: str) -> str:
        """Return the value as text. Raises SettingsError when its file cannot be read."""
        value = self._values.get(name)
        if value:
            return value.strip()
        path = self._values[f"{name}_FILE"]
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SettingsError(f"{name}_FILE names {path}, which cannot be read: {error.strerror}.") from error


def read_text(env: Environment, name: str) -> str:
    """Return the text."""
    return env.text(name)


def read_whole(env: Environment, name: str) -> int:
    """Return a whole number. Raises SettingsError."""
    try:
        return int(env.text(name))
    except ValueError:
        raise SettingsError(f"{name} is {env.text(name)!r}. It must be a whole number.") from None


def read_seconds(env: Environment, name: str) -> float:
    """Return a number. Raises SettingsError."""
    try:
        return float(env.text(name))
    except ValueError:
        raise SettingsError(f"{name} is {env.text(name)!r}. It must be a number.") from None


def read_switch(env: Environment, name: str) -> bool:
    """Return whether it is on. Raises SettingsError."""
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    try:
        return words[env.text(name).lower()]
    except KeyError:
        raise SettingsError(f"{name} is {env.text(name)!r}. It must be 1 or 0.") from None


def read_names(env: Environment, name: str) -> tuple[str, ...]:
    """Return the parts between commas, without empty ones."""
    return tuple(part.strip() for part in env.text(name).split(",") if part.strip())


def read_path(env: Environment, name: str) -> Path:
    """Return a path as it is given."""
    return Path(env.text(name))


def read_absolute_path(env: Environment, name: str) -> Path:
    """Return a path from the root, with `~` resolved."""
    return Path(os.path.abspath(read_path(env, name).expanduser()))
