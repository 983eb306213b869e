"""The catalogue of tasks as the workers published it: what may be enqueued, and with what payload."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from sqlalchemy import Connection, Table, select

from workers.domain import payloads
from workers.domain.computing import compute
from workers.domain.errors import BadInput
from workers.domain.names import check_task
from workers.domain.payload_bytes import place_bytes
from workers.services import payload_formats
from workers.services.results import to_json_types
from workers.services.schema_checks import compile_schema, describe_faults
from workers.store import task_modules
from workers.store.database import Database
from workers.store.models import Task
from workers.store.types import Row
from workers.yard import Yard

_TASKS = cast(Table, Task.__table__)
_OWN_MODULES = "workers.tasks."
_FRESH_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class CataloguedTask:
    """A task that can be enqueued."""

    row: Row
    validator: Any
    formats: tuple[tuple[str, str], ...] = ()
    allows_private: bool = False
    unavailable: str | None = None  # why no worker can run it now, as a sentence

    @property
    def schema(self) -> str:
        """The JSON Schema of its payload."""
        return str(self.row["payload_schema"])

    def write(self, payload: Mapping[str, Any]) -> str:
        """Return a payload as it is stored. Raises BadInput for what JSON or the task's schema does not allow, TooLarge."""
        if not isinstance(payload, Mapping):
            raise BadInput("The payload must be a JSON object.", field="payload")
        text = compute(payloads.dump, payload)
        compute(self.check, cast(dict[str, Any], payload))
        return text

    def place_bytes(self, payload: Any) -> Any:
        """Return a payload of `to_json_types` with its bytes as the task takes them. Raises BadInput."""
        return compute(place_bytes, payload, self.schema)

    def check(self, payload: dict[str, Any]) -> None:
        """Check a payload against the task's schema and the addresses in it; BadInput names every wrong field."""
        if self.validator.is_valid(payload):
            payload_formats.check(self.formats, payload, allow_private=self.allows_private)
            return
        errors = describe_faults(self.validator, self.schema, payload)
        raise BadInput(f"The payload does not fit {self.row['name']}: {errors[0]['message']}", errors=errors)


class _Cache:
    """What one process knows of one database's catalogue; at most two seconds old."""

    def __init__(self) -> None:
        self.tasks: dict[str, CataloguedTask] = {}
        self.read_at = float("-inf")

    def refresh(self, connection: Connection) -> None:
        found: dict[str, CataloguedTask] = {}
        reasons = unavailable_tasks(connection)
        for row in list_tasks(connection):
            known = self.tasks.get(row["name"])
            same = known is not None and known.row["payload_schema"] == row["payload_schema"]
            validator = known.validator if known and same else compile_schema(row["payload_schema"])
            formats = known.formats if known and same else payload_formats.fields_of(row["payload_schema"])
            found[row["name"]] = CataloguedTask(row, validator, formats, unavailable=reasons.get(row["name"]))
        self.tasks, self.read_at = found, time.monotonic()


_caches: dict[int, tuple[Database, _Cache]] = {}


def get_task(yard: Yard, name: str, newer_than: float = math.inf) -> CataloguedTask:
    """Find a task by name, or by its default name of earlier versions; BadInput when no worker can run it.

    A name that is not found is looked for in the database again, unless that was read after `newer_than` (monotonic): of
    many names that nobody knows it need be read only once.
    """
    check_task(name)
    database, cache = _caches.setdefault(id(yard.database), (yard.database, _Cache()))
    is_old = time.monotonic() - cache.read_at > _FRESH_SECONDS
    if is_old or (name not in cache.tasks and cache.read_at <= newer_than):
        with database.read() as connection:
            cache.refresh(connection)
    task = _find(cache.tasks, name)
    if task is None:
        raise BadInput(
            f"There is no task {name}. Workers publish their tasks when they start; see the Tasks page.", field="task"
        )
    if task.unavailable is not None:
        raise BadInput(task.unavailable, field="task")
    if task.allows_private != yard.settings.allow_private_http:
        task = cache.tasks[task.row["name"]] = replace(task, allows_private=yard.settings.allow_private_http)
    return task


def json_payload(yard: Yard, name: str, payload: Any) -> Any:
    """Return a payload of Python values as JSON values that reach the task as equal ones. Raises BadInput, Unavailable."""
    written, has_bytes = to_json_types(payload)
    return get_task(yard, name).place_bytes(written) if has_bytes else written


def _find(tasks: Mapping[str, CataloguedTask], name: str) -> CataloguedTask | None:
    known = tasks.get(name)
    if known is not None and known.unavailable is None:
        return known
    renamed = [one for one in tasks.values() if one.row["previous_name"] == name and one.unavailable is None]
    return renamed[0] if len(renamed) == 1 else known


def unavailable_tasks(connection: Connection) -> dict[str, str]:
    """Return the tasks that no worker can run now, each with the reason as a sentence.

    A task is available while a host has imported a module that defines it; the ready-made ones always are.
    """
    modules = task_modules.list_modules(connection)
    available = task_modules.available_tasks(modules)
    errors = {row["name"]: row for row in modules if row["error"] is not None}
    reasons = {}
    for row in connection.execute(select(_TASKS.c.name, _TASKS.c.module)).mappings():
        if row["name"] not in available and not row["module"].startswith(_OWN_MODULES):
            reasons[row["name"]] = _reason(row, errors)
    return reasons


def _reason(task: Row, errors: Mapping[str, Row]) -> str:
    module = task["module"]
    failed = errors.get(module)
    if failed is not None:
        return (
            f"The task {task['name']} is unavailable: its module {module} cannot be imported on {failed['host']} "
            f"({failed['error']}). Correct the module and restart the workers."
        )
    return (
        f"The task {task['name']} is unavailable: no worker has its module {module} any longer. "
        "Add the module to TASK_MODULES, or remove the schedules and triggers of the task."
    )


def is_published(connection: Connection, name: str) -> bool:
    """Return whether some worker has published a task and can still run it."""
    is_known = connection.execute(select(_TASKS.c.name).where(_TASKS.c.name == name)).first() is not None
    return is_known and name not in unavailable_tasks(connection)


def forget(yard: Yard) -> None:
    """Have this process read the catalogue anew when it next needs it."""
    _caches.pop(id(yard.database), None)


def list_tasks(connection: Connection) -> Sequence[Row]:
    """List the catalogue by name."""
    return connection.execute(select(_TASKS).order_by(_TASKS.c.name)).mappings().all()


def find_row(connection: Connection, name: str) -> Row | None:
    """Return the row of a task as its workers published it; None for a name that is not in the catalogue."""
    return connection.execute(select(_TASKS).where(_TASKS.c.name == name)).mappings().first()
