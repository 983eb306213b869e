"""Databases that have the tables already, copied for each test: a copy takes a tenth of the time of the migrations."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import psycopg

from workers.store.database import Database
from workers.store.migrate import migrate


def copy_sqlite(path: Path) -> None:
    """Put a database with the tables and no rows at this path."""
    shutil.copy(_sqlite_template(), path)


@contextlib.contextmanager
def postgresql_copy(server: str) -> Iterator[str]:
    """Lend a database with the tables and no rows on this server until the block ends."""
    with postgresql_database(server, _postgresql_template(server)) as url:
        yield url


@contextlib.contextmanager
def postgresql_database(server: str, template: str = "template1") -> Iterator[str]:
    """Lend a copy of a database on this server until the block ends; by default an empty one."""
    name = f"ty_{os.urandom(6).hex()}"
    _execute(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield server + name
    _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@cache
def _sqlite_template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="ty-template-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "taskyard.db"
    _make_tables(f"sqlite:///{path}")
    return path


@cache
def _postgresql_template(server: str) -> str:
    name = "ty_template"
    _execute(server, f"CREATE DATABASE {name}")
    _make_tables(server + name)
    return name


def _make_tables(url: str) -> None:
    database = Database.open(url)
    migrate(database)
    database.close()


def _execute(server: str, statement: str) -> None:
    with psycopg.connect(server.replace("+psycopg", "") + "postgres", autocommit=True) as connection:
        connection.execute(statement)
