"""Statements of the hot paths: compiled once, then run by the driver itself inside the connection's own transaction.

What SQLAlchemy does around each execution costs several times what SQLite needs to carry it out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Dialect
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.types import TypeDecorator, TypeEngine

from workers.store.database import QuickConnection
from workers.store.types import UtcDateTime

Convert = Callable[[Any], Any]


class Prepared:
    """An INSERT or UPDATE whose every value is a bound parameter, for one connection's dialect after another."""

    def __init__(self, statement: UpdateBase) -> None:
        self._statement = statement
        self._forms: dict[str, _Form] = {}

    def run(self, connection: Connection | QuickConnection, values: Mapping[str, Any]) -> int:
        """Carry it out; tells how many rows it met."""
        form = self._form(connection)
        return form.execute(connection, form.bound(values))[0]

    def run_many(self, connection: Connection | QuickConnection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Carry it out for each of these rows."""
        form = self._form(connection)
        form.execute_many(connection, [form.bound(row) for row in rows])

    def one(self, connection: Connection | QuickConnection, values: Mapping[str, Any]) -> dict[str, Any] | None:
        """Carry it out; the row that it returns, None when it met no row."""
        form = self._form(connection)
        return form.returned(form.execute(connection, form.bound(values))[1])

    def _form(self, connection: Connection | QuickConnection) -> _Form:
        form = self._forms.get(connection.dialect.name)
        if form is None:
            form = self._forms[connection.dialect.name] = _Form(self._statement, connection.dialect)
        return form


class _Form:
    """The statement as one database wants it."""

    def __init__(self, statement: UpdateBase, dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)
        self._text = str(compiled)
        self._fixed = {name: value for name, value in compiled.params.items() if value is not None}
        self._positions: Sequence[str] | None = compiled.positiontup
        # The type's own conversion of a value on its way in; most have none.
        self._binds = {
            name: _binder(bind.type, dialect)
            for bind, name in compiled.bind_names.items()
            if bind.type.dialect_impl(dialect).bind_processor(dialect) is not None
        }
        columns: list[Any] = list(statement.exported_columns)
        # psycopg hands out Python's own types; only what we made ourselves is still to be read.
        read = [one for one in columns if dialect.name == "sqlite" or isinstance(one.type, TypeDecorator)]
        self._names = tuple(column.key for column in columns)
        self._results = [
            (column.key, convert)
            for column in read
            if (convert := column.type.dialect_impl(dialect).result_processor(dialect, None)) is not None
        ]

    def bound(self, values: Mapping[str, Any]) -> Any:
        bound = {**self._fixed, **values}
        for name, convert in self._binds.items():
            value = bound[name]
            if value is not None:
                bound[name] = convert(value)
        return bound if self._positions is None else [bound[name] for name in self._positions]

    def returned(self, found: Any) -> dict[str, Any] | None:
        if found is None:
            return None
        row = dict(zip(self._names, found, strict=True))
        for name, convert in self._results:
            if row[name] is not None:
                row[name] = convert(row[name])
        return row

    def execute(self, connection: Connection | QuickConnection, bound: Any) -> tuple[int, Any]:
        with _cursor(connection) as cursor:
            try:
                cursor.execute(self._text, bound)
                found = cursor.fetchone() if self._names else None
                return cursor.rowcount, found
            except Exception as error:
                _give_up_if_gone(connection, cursor, error)
                raise

    def execute_many(self, connection: Connection | QuickConnection, rows: Sequence[Any]) -> None:
        with _cursor(connection) as cursor:
            try:
                cursor.executemany(self._text, rows)
            except Exception as error:
                _give_up_if_gone(connection, cursor, error)
                raise


def _cursor(connection: Connection | QuickConnection) -> Any:
    driver: Any = connection.connection.dbapi_connection
    return closing(driver.cursor())


def _give_up_if_gone(connection: Connection | QuickConnection, cursor: Any, error: Exception) -> None:
    # SQLAlchemy cannot see what goes wrong here: a connection that is gone must not go back to its pool.
    dialect = connection.dialect
    if isinstance(error, dialect.loaded_dbapi.Error) and dialect.is_disconnect(error, cursor.connection, cursor):
        connection.invalidate(error)


def _binder(kind: TypeEngine[Any], dialect: Dialect) -> Convert:
    convert: Any = kind.dialect_impl(dialect).bind_processor(dialect)
    # One operation writes the same instant into many columns.
    return lru_cache(maxsize=64)(convert) if isinstance(kind, UtcDateTime) else convert
