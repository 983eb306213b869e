"""Changes of mapped rows: what a flush did to each, read back from the database, and what a transaction comes to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Connection, LargeBinary, select, tuple_
from sqlalchemy.orm import InstanceState, Mapper

from workers.services.own_changes import plain

MOST_READ = 200  # rows of one statement


@dataclass
class Change:
    """What a flush did to one row."""

    mapper: Mapper[Any]
    identity: tuple[Any, ...]
    operation: str
    changed: set[str]
    row: dict[str, Any]

    @property
    def table(self) -> str:
        """The name of its table."""
        return table_of(self.mapper)


def table_of(mapper: Mapper[Any]) -> str:
    """Return the name of the table of a mapped class; empty when it has none."""
    return str(getattr(mapper.local_table, "name", ""))


def columns_of(mapper: Mapper[Any]) -> dict[str, Column[Any]]:
    """Return the columns of a mapped row by the names of its attributes, without large binary ones."""
    found = {one.key: one.columns[0] for one in mapper.column_attrs}
    return {
        key: column
        for key, column in found.items()
        if isinstance(column, Column) and not isinstance(column.type, LargeBinary)
    }


def change_of(state: InstanceState[Any], operation: str, changed: set[str]) -> Change:
    """Return what a flush did to a row, with the values that the session holds of it."""
    mapper = state.mapper
    row = {one.key: plain(state.dict.get(one.key)) for one in mapper.column_attrs}
    identity = tuple(state.key[1]) if state.key else ()
    return Change(mapper, identity, operation, changed, row)


def read_back(connection: Connection, mapper: Mapper[Any], changes: list[Change]) -> None:
    """Fill in the rows of these changes as the database has them within the transaction."""
    columns = columns_of(mapper)
    labeled = [column.label(f"c{index}") for index, column in enumerate(columns.values())]
    keys = list(mapper.primary_key)
    labeled += [column.label(f"k{index}") for index, column in enumerate(keys)]
    wanted = [one for one in changes if one.operation != "deleted"]
    for start in range(0, len(wanted), MOST_READ):
        part = wanted[start : start + MOST_READ]
        chosen = select(*labeled).select_from(mapper.persist_selectable)
        chosen = chosen.where(tuple_(*keys).in_([one.identity for one in part]))
        found = connection.execute(chosen).all()
        rows = {tuple(row[len(columns) :]): dict(zip(columns, map(plain, row), strict=False)) for row in found}
        for one in part:
            one.row = rows.get(one.identity, one.row)


def net_changes(changes: Iterable[Change]) -> list[Change]:
    """Return one change for each row of a transaction: what it came to, whatever happened to the row in between."""
    net: dict[tuple[str, tuple[Any, ...]], Change | None] = {}
    for one in changes:
        key = one.table, one.identity
        before = net.get(key)
        net[key] = one if before is None else _joined(before, one)
    return [one for one in net.values() if one is not None]


def _joined(before: Change, after: Change) -> Change | None:
    if before.operation == "inserted" and after.operation == "deleted":
        return None
    operation, changed = after.operation, before.changed | after.changed
    if before.operation == "inserted":
        operation = "inserted"
    elif before.operation == "deleted":
        operation = "updated"
        changed = {name for name, value in after.row.items() if before.row.get(name) != value}
    return Change(after.mapper, after.identity, operation, changed, after.row)
