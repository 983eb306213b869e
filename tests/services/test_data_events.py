"""Changes of data as events: what was committed, once, as the database has it; on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import enum
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, ForeignKey, String, create_engine, event, func, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, scoped_session, sessionmaker

from tests.conftest import database_of
from workers import changes
from workers.domain.actors import Actor
from workers.services import own_changes, rules, schedules, triggers
from workers.store import alerts, trigger_rows
from workers.yard import Yard

pytestmark = pytest.mark.usefixtures("no_running_loop")
ADA = Actor("user", "ada", "admin")


class State(enum.Enum):
    OPEN = "open"
    SHIPPED = "shipped"


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders_of_tests"
    id: Mapped[int] = mapped_column(primary_key=True)
    count: Mapped[int]
    state: Mapped[State] = mapped_column(default=State.OPEN)
    note: Mapped[str] = mapped_column(String(50), server_default="from the server")
    touched: Mapped[int] = mapped_column(default=0, onupdate=text("touched + 1"))
    lines: Mapped[list[Line]] = relationship(cascade="all, delete-orphan", back_populates="order")


class Line(Base):
    __tablename__ = "lines_of_tests"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders_of_tests.id"))
    sku: Mapped[str]
    order: Mapped[Order] = relationship(back_populates="lines")


@pytest.fixture
def engine(yard: Yard, tmp_path: Path) -> Iterator[Engine]:
    """Open a user's database of the kind that Taskyard has."""
    is_sqlite = yard.settings.database_url.startswith("sqlite")
    opened = create_engine(f"sqlite:///{tmp_path / 'orders.db'}" if is_sqlite else yard.settings.database_url)
    if is_sqlite:
        _begin_as_told(opened)
    Base.metadata.create_all(opened)
    yield opened
    opened.dispose()


def _begin_as_told(engine: Engine) -> None:
    """Let SQLAlchemy begin transactions: by itself, Python's driver commits a savepoint that begins one."""

    @event.listens_for(engine, "connect")
    def leave(connection: Any, _record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")


def listen(yard: Yard, pattern: str = "data.*") -> None:
    triggers.create(yard, {"name": "t", "kind": "data", "listens": pattern, "task": "samples.noop"}, ADA)


def heard(yard: Yard) -> list[tuple[str, dict[str, Any]]]:
    """Return the operation and the payload of each event, the oldest first."""
    with yard.database.read() as connection:
        rows = trigger_rows.events(connection, 500)
    found = [(row["name"], json.loads(row["payload"])) for row in rows]
    return [(payload["operation"], payload) for name, payload in found if name.startswith("data.")]


def operations(yard: Yard) -> list[tuple[str, int]]:
    return [(operation, payload["row"]["id"]) for operation, payload in heard(yard)]


@pytest.fixture
def maker(yard: Yard, engine: Engine) -> sessionmaker[Session]:
    """Make watched sessions, with a trigger that listens for all data."""
    listen(yard)
    made = sessionmaker(engine)
    changes.watch(made, yard)
    return made


def released_then_rolled_back(session: Session) -> None:
    with session.begin_nested():
        session.add(Order(id=1, count=1))
    session.rollback()


def released_twice_then_rolled_back(session: Session) -> None:
    with session.begin_nested():
        session.add(Order(id=1, count=1))
        with session.begin_nested():
            session.add(Order(id=2, count=1))
    session.rollback()


def outer_savepoint_rolled_back(session: Session) -> None:
    session.add(Order(id=9, count=1))
    outer = session.begin_nested()
    with session.begin_nested():
        session.add(Order(id=1, count=1))
    outer.rollback()
    session.commit()


def inner_savepoint_rolled_back(session: Session) -> None:
    session.add(Order(id=9, count=1))
    with session.begin_nested():
        session.add(Order(id=8, count=1))
        inner = session.begin_nested()
        session.add(Order(id=1, count=1))
        session.flush()
        inner.rollback()
    session.commit()


def closed_without_a_commit(session: Session) -> None:
    session.add(Order(id=1, count=1))
    session.flush()
    session.close()
    session.add(Order(id=9, count=1))
    session.commit()


def failed_flush_in_a_savepoint(session: Session) -> None:
    session.add(Order(id=9, count=1))
    session.flush()
    savepoint = session.begin_nested()
    session.add(Order(id=1, count=None))
    with pytest.raises(IntegrityError):
        session.flush()
    savepoint.rollback()
    session.commit()


def inserted_and_deleted_at_once(session: Session) -> None:
    order = Order(id=1, count=1)
    session.add(order)
    session.flush()
    session.delete(order)
    session.commit()


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (released_then_rolled_back, []),
        (released_twice_then_rolled_back, []),
        (outer_savepoint_rolled_back, [("inserted", 9)]),
        (inner_savepoint_rolled_back, [("inserted", 9), ("inserted", 8)]),
        (closed_without_a_commit, [("inserted", 9)]),
        (failed_flush_in_a_savepoint, [("inserted", 9)]),
        (inserted_and_deleted_at_once, []),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_only_what_is_committed_is_published(
    yard: Yard, maker: sessionmaker[Session], act: Callable[[Session], None], expected: list[tuple[str, int]]
) -> None:
    with maker() as session:
        act(session)
    assert operations(yard) == expected
    with maker() as session:
        stored = {f"{order.id}" for order in session.query(Order)}
    assert stored == {f"{key}" for _, key in expected}


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_a_session_within_an_outer_transaction_publishes_when_that_commits(
    yard: Yard, maker: sessionmaker[Session], engine: Engine, ends: str
) -> None:
    with engine.connect() as connection:
        outer = connection.begin()
        with maker(bind=connection) as session:
            session.add(Order(id=1, count=1))
            session.commit()
        assert operations(yard) == []
        getattr(outer, ends)()
    assert operations(yard) == ([("inserted", 1)] if ends == "commit" else [])


def test_what_the_database_computes_is_read_back(yard: Yard, maker: sessionmaker[Session]) -> None:
    with maker() as session:
        order = Order(id=1, count=func.abs(-5))
        session.add(order)
        session.commit()
        order.count = Order.count + 1
        order.state = State.SHIPPED
        session.commit()
    (_, inserted), (_, updated) = heard(yard)
    assert inserted["row"] == {"id": 1, "count": 5, "state": "open", "note": "from the server", "touched": 0}
    assert updated["row"] == {"id": 1, "count": 6, "state": "shipped", "note": "from the server", "touched": 1}
    assert updated["changed"] == ["count", "state", "touched"]


def test_several_changes_of_a_row_in_a_transaction_are_one_event(yard: Yard, maker: sessionmaker[Session]) -> None:
    with maker() as session:
        order = Order(id=1, count=1)
        session.add(order)
        session.flush()
        for count in (2, 3):
            order.count = count
            session.flush()
        session.commit()
        order.count, order.note = 4, "x"
        session.flush()
        order.count = 5
        session.commit()
    assert [(name, one["row"]["count"], one["changed"]) for name, one in heard(yard)[1:]] == [
        ("updated", 5, ["count", "note", "touched"])
    ]
    assert heard(yard)[0][1]["row"]["count"] == 3


def test_rows_that_cascades_delete_are_published_with_their_values(yard: Yard, maker: sessionmaker[Session]) -> None:
    with maker() as session:
        session.add(Order(id=1, count=1, lines=[Line(id=1, sku="a"), Line(id=2, sku="b")]))
        session.commit()
        order = session.get_one(Order, 1)
        order.lines.pop(0)
        session.commit()
        session.delete(order)
        session.commit()
    deleted = [one for name, one in heard(yard) if name == "deleted"]
    assert [one["table"] for one in deleted].count("lines_of_tests") == 2
    assert sorted(one["row"].get("sku", "") for one in deleted) == ["", "a", "b"]


def test_an_expired_row_that_is_deleted_is_published_with_its_values(yard: Yard, maker: sessionmaker[Session]) -> None:
    with maker() as session:
        order = Order(id=1, count=7)
        session.add(order)
        session.commit()
        session.delete(order)
        session.commit()
    assert heard(yard)[-1][1]["row"]["count"] == 7


@pytest.mark.parametrize("times", [1, 2, 3])
def test_watching_again_publishes_once(yard: Yard, engine: Engine, times: int) -> None:
    listen(yard)
    made = sessionmaker(engine)
    for _ in range(times):
        changes.watch(made, yard)
        changes.watch(scoped_session(made), yard)
    with made() as session:
        changes.watch(session, yard)
        session.add(Order(id=1, count=1))
        session.commit()
    assert operations(yard) == [("inserted", 1)]


def test_many_rows_of_one_flush_are_all_read_back(yard: Yard, maker: sessionmaker[Session]) -> None:
    with maker() as session:
        session.add_all([Order(id=key, count=key) for key in range(1, 451)])
        session.commit()
    assert [one["row"]["count"] for _, one in heard(yard)] == list(range(1, 451))


@pytest.mark.parametrize("way", ["maker", "class", "session"])
def test_asynchronous_sessions_are_watched(
    light_yard: Yard, request: pytest.FixtureRequest, tmp_path: Path, way: str
) -> None:
    listen(light_yard)

    async def run(url: str) -> None:
        engine = create_async_engine(url)
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)

        class OwnSession(AsyncSession):
            pass

        made = async_sessionmaker(engine, class_=OwnSession)
        if way != "session":
            for _ in range(2):
                changes.watch(made if way == "maker" else OwnSession, light_yard)
        async with made() as session:
            if way == "session":
                changes.watch(session, light_yard)
            order = Order(id=1, count=1)
            session.add(order)
            await session.commit()
            await session.refresh(order)
            order.count = Order.count + 1
            await session.commit()
            async with session.begin_nested():
                session.add(Order(id=2, count=2))
                await session.flush()
            await session.rollback()
        await engine.dispose()

    with database_of(request, "postgresql", tmp_path) as url:
        asyncio.run(run(url))
    assert [(name, one["row"]["count"]) for name, one in heard(light_yard)] == [("inserted", 1), ("updated", 2)]


# Taskyard's own tables.


def own(yard: Yard) -> list[tuple[str, str, Any]]:
    found = heard(yard)
    return [(one["table"], name, one["row"].get("name", one["row"].get("id"))) for name, one in found]


@pytest.fixture
def watched(yard: Yard) -> Yard:
    """Watch Taskyard's own tables, with a trigger that listens for all data."""
    listen(yard)
    own_changes.watch(yard.database)
    return yard


def test_an_insert_that_is_ignored_publishes_nothing(watched: Yard) -> None:
    rules.ensure(watched)
    with watched.database.write() as connection:
        rule = dict(alerts.rules(connection)[0])
        alerts.add_rule(connection, rule)
    assert own(watched) == []


def test_an_update_that_matches_no_row_or_changes_nothing_publishes_nothing(watched: Yard) -> None:
    with watched.database.write() as connection:
        alerts.change_rule(connection, "rule-none", {"name": "x"})
        rule = alerts.rules(connection)[0]
        alerts.change_rule(connection, rule["id"], {"name": rule["name"]})
        trigger_rows.change(connection, "none", {"name": "x"})
    assert own(watched) == []


def test_each_row_of_several_is_published(watched: Yard) -> None:
    with watched.database.write() as connection:
        now = alerts.rules(connection)[0]["created_at"]
        base = dict(alerts.rules(connection)[0])
        connection.execute(alerts.RULES.insert(), [{**base, "id": f"r{n}", "created_at": now} for n in range(3)])
    assert [row for table, name, row in own(watched) if (table, name) == ("alert_rules", "inserted")] == [
        base["name"]
    ] * 3


def test_an_update_of_several_rows_publishes_each_with_what_changed(watched: Yard) -> None:
    with watched.database.write() as connection:
        count = len(alerts.rules(connection))
        connection.execute(alerts.RULES.update().values(cooldown_seconds=alerts.RULES.c.cooldown_seconds + 1))
    found = heard(watched)
    assert len(found) == count
    assert all(one["changed"] == ["cooldown_seconds"] and one["row"]["cooldown_seconds"] == 301 for _, one in found)


def test_a_deletion_publishes_the_row(watched: Yard) -> None:
    schedule = schedules.create(watched, {"name": "s", "task": "samples.noop", "cron": "@daily"}, ADA)
    schedules.change(watched, schedule["id"], {"name": "s2"}, ADA)
    schedules.remove(watched, schedule["id"], ADA)
    assert own(watched) == [
        ("schedules", "inserted", "s"),
        ("schedules", "updated", "s2"),
        ("schedules", "deleted", "s2"),
    ]
    assert heard(watched)[1][1]["changed"] == ["name"]


def test_what_is_rolled_back_is_not_published(watched: Yard) -> None:
    with suppress(RuntimeError), watched.database.write() as connection:
        alerts.change_rule(connection, "rule-cpu", {"name": "x"})
        raise RuntimeError
    assert own(watched) == []
