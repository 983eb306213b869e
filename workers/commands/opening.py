"""How commands find the Taskyard that the settings name."""

from __future__ import annotations

import getpass
from contextlib import suppress

from workers.domain.actors import Actor
from workers.domain.errors import SettingsError, Unavailable
from workers.services import clocks, own_changes
from workers.settings import Settings
from workers.store.database import sqlite_file
from workers.yard import Yard


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


ACTOR = Actor("system", f"cli {_account()}", "admin")


def opened(settings: Settings) -> Yard:
    """Open it. Raises SettingsError when there is none."""
    file = sqlite_file(settings.database_url)
    if file is not None and not file.exists():
        raise SettingsError(
            f"There is no Taskyard in {settings.data_dir}. Start it first (`make run`), "
            "or set DATA_DIR or DATABASE_URL to its place."
        )
    yard = Yard.open(settings)
    own_changes.watch(yard.database)
    with suppress(Unavailable):  # the command itself says what is wrong
        clocks.synchronize(yard)
    return yard
