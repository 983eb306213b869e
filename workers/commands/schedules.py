"""Commands about schedules."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing

from sqlalchemy import Connection

from workers.commands.opening import ACTOR, opened
from workers.domain.cron import describe
from workers.domain.errors import NotFound
from workers.domain.untrusted import visible_json, visible_line
from workers.services import firing, schedules, secret_fields
from workers.settings import Settings
from workers.store import schedules as rows
from workers.store.types import Row


def show(arguments: argparse.Namespace, settings: Settings) -> int:
    """List schedules, or do one thing with one of them."""
    with closing(opened(settings)) as yard:
        for wish in ("run", "pause", "resume"):
            if name := getattr(arguments, wish):
                with yard.database.read() as connection:
                    row = _named(connection, name)
                if wish == "run":
                    _print(firing.run_now(yard, row["id"], ACTOR).job_id)
                else:
                    schedules.change(yard, row["id"], {"enabled": wish == "resume"}, ACTOR)
                    _print(f"{visible_line(row['name'])} is {'paused' if wish == 'pause' else 'enabled'}")
                return 0
        after: str | None = None
        while True:
            with yard.database.read() as connection:
                declared = secret_fields.declared(connection)
                found = rows.page(connection, after=after, limit=200)
            for row in found:
                _print(visible_json(schedules.as_json(row, declared[row["task"]])) if arguments.json else _as_line(row))
            if len(found) < 200:
                return 0
            after = found[-1]["name"]


def _named(connection: Connection, name: str) -> Row:
    row = rows.named(connection, name)
    if row is None:
        raise NotFound(f"There is no schedule {name}.")
    return row


def _as_line(row: Row) -> str:
    due = (
        row["next_due_at"].strftime("%Y-%m-%d %H:%M:%S")
        if row["next_due_at"]
        else ("over" if row["enabled"] else "paused")
    )
    words = f"{describe(schedules.rhythm_of(row))} {row['timezone']}"
    return visible_line(f"{due:<19}  {row['name']}  {row['task']}  {words}")


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
