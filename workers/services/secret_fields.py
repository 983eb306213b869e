"""The fields that tasks declare as secret, as the catalogue holds them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, cast

from sqlalchemy import Connection, Table, select

from workers.domain.masking import JobMasker, mask, mask_text, may_hold_secrets
from workers.store.models import Task
from workers.store.types import Row

_TASKS = cast(Table, Task.__table__)
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


class Declared(dict[str, frozenset[str]]):
    """Task → the names of its secret fields; a task that declares none has the empty set."""

    def __missing__(self, task: str) -> frozenset[str]:
        return frozenset()

    @property
    def any_task(self) -> frozenset[str]:
        """The names that any task declares, for what belongs to no single task."""
        return frozenset().union(*self.values())


def declared(connection: Connection) -> Declared:
    """Return what every task declares."""
    chosen = select(_TASKS.c.name, _TASKS.c.secret_fields).where(_TASKS.c.secret_fields.is_not(None))
    return Declared({name: fields_of(text) for name, text in connection.execute(chosen)})


def of_task(connection: Connection, task: str) -> frozenset[str]:
    """Return what one task declares."""
    chosen = select(_TASKS.c.secret_fields).where(_TASKS.c.name == task)
    return fields_of(connection.execute(chosen).scalar_one_or_none())


def fields_of(text: str | None) -> frozenset[str]:
    """Read the column `secret_fields`."""
    return frozenset(json.loads(text)) if text else frozenset()


def masker_of(connection: Connection, job: Row) -> JobMasker:
    """Return what masks the words of this job."""
    return JobMasker.of_payload(job["payload"], of_task(connection, job["task"]))


def search_text(payload: str, value: Mapping[str, Any], key: str | None, names: Collection[str]) -> str | None:
    """Return what a search looks at in place of a job's payload and key; None when these hold no secret."""
    shown_key = mask_text(key) if key is not None else None
    if not names and shown_key == key and not may_hold_secrets(payload):
        return None
    shown = mask(value, names)
    if shown == value and shown_key == key:
        return None
    return f"{_COMPACT.encode(shown)}\n{shown_key or ''}"
