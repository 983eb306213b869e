"""Results of every kind of value: converted, or stored as text with the reason; never refused."""

from __future__ import annotations

import itertools
import json
import math
from collections import OrderedDict, UserList, deque, namedtuple
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from workers.domain import payloads
from workers.domain.errors import BadInput
from workers.domain.texts import safe_repr, safe_text
from workers.services.results import serialize_result, to_json_types


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    at: date


class Order(BaseModel):
    number: int
    price: Decimal


Pair = namedtuple("Pair", "left right")


class NumpyScalar:
    """What NumPy's scalars and arrays have in common."""

    __module__ = "numpy"

    def __init__(self, value: Any) -> None:
        self._value = value

    def tolist(self) -> Any:
        return self._value


class Silent:
    """An object that cannot even be shown."""

    def __repr__(self) -> str:
        raise SystemExit("no")

    __str__ = __repr__


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime(2026, 1, 31, 8, tzinfo=UTC), "2026-01-31T08:00:00Z"),
        (date(2026, 1, 31), "2026-01-31"),
        (time(8, 30), "08:30:00"),
        (timedelta(minutes=90), "PT1H30M"),
        (Decimal("1.50"), "1.50"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "red"),
        (Point(1, date(2026, 1, 31)), {"x": 1, "at": "2026-01-31"}),
        (Order(number=7, price=Decimal("9.90")), {"number": 7, "price": "9.90"}),
        ({1}, [1]),
        (frozenset({1}), [1]),
        (b"\x01\x02\x03", "AQID"),
        (Path("/srv/report.csv"), "/srv/report.csv"),
        (NumpyScalar(7), 7),
        (NumpyScalar([1.5, 2.5]), [1.5, 2.5]),
        (OrderedDict(a=1), {"a": 1}),
        (Pair(1, 2), [1, 2]),
        ({1: "one"}, {"1": "one"}),
    ],
)
@pytest.mark.parametrize("inside", [False, True], ids=["alone", "inside"])
def test_a_value_of_a_common_type_is_converted_without_a_note(value: Any, expected: Any, inside: bool) -> None:
    stored = serialize_result({"values": [value]} if inside else value)
    assert json.loads(stored.text) == ({"values": [expected]} if inside else expected)
    assert stored.note == ""


def liar() -> Any:
    """Return an object that does not even say what it is."""
    return type("Liar", (), {"__class__": property(lambda _self: 1 / 0)})()


def unnamed() -> Any:
    """Return an object whose type has a name that raises."""
    nameless = type("Nameless", (type,), {"__name__": property(lambda _self: 1 / 0)})
    return nameless("Unnamed", (), {})()


class EndlessList(list[int]):
    def __iter__(self) -> Any:
        return itertools.count()


def leaving() -> Iterator[int]:
    yield 1
    raise SystemExit(3)


def nested(levels: int) -> list[Any]:
    value: list[Any] = ["many"]
    for _ in range(levels):
        value = [value] * 10
    return value


class Document(BaseModel):
    data: bytes


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (PurePosixPath("a/b"), "a/b"),
        (Fraction(1, 3), "1/3"),
        (ZoneInfo("Europe/Berlin"), "Europe/Berlin"),
        ({1: 2}.values(), [2]),
        (range(3), [0, 1, 2]),
        (deque([1]), [1]),
        (MappingProxyType({"a": b"a"}), {"a": "YQ=="}),
        (UserList([1]), [1]),
        (memoryview(b"abc"), "YWJj"),
        (Document(data=b"\xff"), {"data": "_w=="}),
        (EndlessList([1]), [1]),
        ((number for number in (1, 2)), [1, 2]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_of_a_rarer_type_is_converted_too(value: Any, expected: Any) -> None:
    stored = serialize_result(value)
    assert (json.loads(stored.text), stored.note) == (expected, "")


@pytest.mark.parametrize(
    "value",
    [itertools.count(), {"a": itertools.repeat("x" * 100_000)}, [itertools.cycle([1])], range(10**12), nested(25)],
    ids=["count", "repeat", "cycle", "range", "nested"],
)
def test_what_has_no_end_is_stored_as_bounded_text(value: Any) -> None:
    stored = serialize_result(value)
    assert len(stored.text) < 5_000
    assert "stored as text" in stored.note


@pytest.mark.parametrize("make", [liar, unnamed, leaving])
@pytest.mark.parametrize("place", [lambda value: value, lambda value: [value], lambda value: {"a": {value: value}}])
def test_an_object_whose_own_code_raises_costs_no_result(make: Any, place: Any) -> None:
    stored = serialize_result(place(make()))
    json.loads(stored.text)
    assert "stored as text" in stored.note


def test_an_exception_that_ends_the_job_is_passed_on() -> None:
    with pytest.raises(SystemExit):
        serialize_result(leaving(), (SystemExit,))


def test_a_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("one\ntwo\n")
    with path.open() as file:
        stored = serialize_result(file)
    assert "lines.txt" in json.loads(stored.text)
    assert "TextIOWrapper" in stored.note


def test_an_entry_that_is_lost_to_another_one_is_noted() -> None:
    stored = serialize_result({1: "a", "1": "b"})
    assert json.loads(stored.text) == {"1": "b"}
    assert "1 entry was lost" in stored.note
    with pytest.raises(BadInput, match="same text"):
        to_json_types({"x": {1: "a", "1": "b"}})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, NumpyScalar(math.nan)])
def test_what_is_no_number_becomes_null_with_a_note(value: Any) -> None:
    stored = serialize_result([1.5, value])
    assert json.loads(stored.text) == [1.5, None]
    assert stored.note == "JSON has neither NaN nor infinity: 1 number became null."


def deep() -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(3_000):
        value = {"a": value}
    return value


def loop() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize("value", [object(), Silent(), [Silent()], deep(), loop(), 10**400, lambda: 1, type])
def test_what_has_no_json_form_is_stored_as_text_with_a_note(value: Any) -> None:
    stored = serialize_result(value)
    assert len(stored.text) < 20_000
    json.loads(stored.text)
    assert "text" in stored.note


def test_a_result_of_more_than_1_mb_keeps_its_beginning_and_its_whole() -> None:
    stored = serialize_result(["ü" * 600_000])
    assert json.loads(stored.text).startswith('["üüü')
    assert json.loads(stored.whole) == ["ü" * 600_000]
    assert "1.2 MB" in stored.note


def test_text_that_no_database_stores_is_replaced() -> None:
    assert json.loads(serialize_result({"a\x00": "\ud800b"}).text) == {"a␀": "?b"}


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes() | st.decimals(),
    lambda inner: st.lists(inner) | st.dictionaries(st.integers() | st.text() | st.none(), inner) | st.tuples(inner),
    max_leaves=20,
)


@given(anything)
def test_any_result_is_stored_within_the_bounds_of_a_row(value: Any) -> None:
    stored = serialize_result(value)
    assert payloads.dump(payloads.load(stored.text)) == stored.text


def test_a_payload_takes_the_same_types_and_refuses_what_has_no_json_form() -> None:
    assert to_json_types({"on": date(2026, 1, 31), "ids": {1}}) == ({"on": "2026-01-31", "ids": [1]}, False)
    for value in (object(), Silent(), loop()):
        with pytest.raises(BadInput, match="payload"):
            to_json_types({"x": value})


@pytest.mark.parametrize("value", ["a\x00b", "\ud800", math.nan])
def test_what_a_payload_must_not_hold_is_not_replaced_but_left_to_be_refused(value: Any) -> None:
    with pytest.raises(BadInput):
        payloads.dump(to_json_types({"x": value})[0])


def test_an_object_that_cannot_be_shown_has_a_placeholder() -> None:
    assert safe_text(Silent()) == safe_repr(Silent()) == "<Silent that cannot be shown>"
