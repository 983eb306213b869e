"""The command on the id of the installation."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing

from workers.commands.opening import ACTOR, opened
from workers.domain.clock import utcnow
from workers.services import audit
from workers.settings import Settings
from workers.store import installation


def show(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print the id, a new one when it is to be renewed."""
    with closing(opened(settings)) as yard:
        shown = yard.redis.names.installation
        if arguments.renew:
            now = utcnow()
            with yard.database.write() as connection:
                before, shown = shown, installation.renew_id(connection, now)
                change = {"id": before}, {"id": shown}
                audit.record(connection, ACTOR, "installation.renewed", "setting", installation.KEY, now, *change)
    sys.stdout.write(f"{shown}\n")
    return 0
