"""The fields that tasks have declared as secret, as the catalogue holds them."""

from __future__ import annotations

import json
from typing import cast

from sqlalchemy import Connection, Table, select

from workers.store.models import Task

_TASKS = cast(Table, Task.__table__)


def secret_names(connection: Connection) -> dict[str, tuple[str, ...]]:
    """Return the declared fields by the name of the task; tasks without any are left out."""
    declared = select(_TASKS.c.name, _TASKS.c.secret_fields).where(_TASKS.c.secret_fields.is_not(None))
    return {name: tuple(json.loads(fields)) for name, fields in connection.execute(declared)}
