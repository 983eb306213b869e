"""What is enqueued reaches the task as an equal value, or is refused with words about the field."""

# ruff: noqa: DTZ001, DTZ005 - payloads may hold local time
from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Base64Bytes, BaseModel, Field, HttpUrl, SecretStr

from workers import registry
from workers.domain import payloads
from workers.domain.canonical import canonical_payload
from workers.domain.errors import BadInput
from workers.domain.payload_bytes import place_bytes
from workers.services.results import to_json_types
from workers.services.schema_checks import compile_schema, describe_faults


class Colour(Enum):
    RED = "red"


class Rank(IntEnum):
    FIRST = 1


class Inner(BaseModel):
    n: int


class Document(BaseModel):
    data: bytes
    password: SecretStr = SecretStr("open")


@dataclass
class Point:
    at: datetime
    data: bytes = b""


class Cat(BaseModel):
    kind: Literal["cat"]
    n: int


class Dog(BaseModel):
    kind: Literal["dog"]
    m: int


_defined: dict[str, tuple[registry.TaskDefinition, str, Any]] = {}


def _task_of(hint: Any) -> tuple[registry.TaskDefinition, str, Any]:
    """Define a task that takes one parameter of a type and returns it."""
    name = repr(hint)
    if name not in _defined:

        def take(x: Any) -> Any:
            return x

        take.__annotations__ = {"x": hint}
        definition = registry.define(take, name=f"payload_values.t{len(_defined)}")
        registry.REGISTRY.pop(definition.name)
        schema = json.dumps(definition.schema())
        _defined[name] = (definition, schema, compile_schema(schema))
    return _defined[name]


def enqueued(hint: Any, value: Any) -> str:
    """Return the text of the payload that `enqueue` would store. Raises BadInput."""
    _, schema, validator = _task_of(hint)
    written, _ = to_json_types({"x": value})
    text = payloads.dump(place_bytes(written, schema))
    stored = payloads.load(text)
    if not validator.is_valid(stored):
        faults = describe_faults(validator, schema, stored)
        raise BadInput("; ".join(fault["message"] for fault in faults), errors=faults)
    return text


def received(hint: Any, value: Any) -> Any:
    """Return what the task gets."""
    return _task_of(hint)[0].run(payloads.load(enqueued(hint, value)))


_zones = st.sampled_from([None, UTC, timezone(timedelta(hours=5, minutes=30)), ZoneInfo("Europe/Berlin")])


def _is_unambiguous(value: datetime) -> bool:
    # Python never takes a time that the clock shows twice for equal to one of another zone.
    return value.replace(fold=0).utcoffset() == value.replace(fold=1).utcoffset()


_instants = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=_zones).filter(_is_unambiguous)
_scalars: dict[Any, st.SearchStrategy[Any]] = {
    bytes: st.binary(),
    datetime: _instants,
    date: st.dates(),
    time: st.times(),
    timedelta: st.timedeltas(),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    uuid.UUID: st.uuids(),
    int: st.integers(-(10**30), 10**30),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    bool: st.booleans(),
    Fraction: st.fractions(),
    PurePosixPath: st.sampled_from([PurePosixPath("a/b"), PurePosixPath("/")]),
    Path: st.sampled_from([Path("/srv/x"), Path("y")]),
    Colour: st.sampled_from(Colour),
    Rank: st.sampled_from(Rank),
}
_keys = [bytes, date, int, float, uuid.UUID, str, bool, Rank]


def _around(kind: Any) -> st.SearchStrategy[tuple[Any, Any]]:
    values = _scalars[kind]
    ways: list[tuple[Any, st.SearchStrategy[Any]]] = [
        (kind, values),
        (kind | None, values | st.none()),
        (list[kind], st.lists(values, max_size=3)),
        (dict[str, kind], st.dictionaries(_scalars[str], values, max_size=3)),
        (list[dict[str, kind | None]] | None, st.lists(st.dictionaries(_scalars[str], values, max_size=2), max_size=2)),
        (tuple[int, kind], st.tuples(st.integers(0, 9), values)),
    ]
    if kind in _keys:
        ways.append((dict[kind, int], st.dictionaries(values, st.integers(0, 9), max_size=3)))
    return st.one_of([st.tuples(st.just(hint), made) for hint, made in ways])


@pytest.mark.parametrize("kind", _scalars, ids=lambda kind: kind.__name__)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_value_reaches_the_task_unchanged(kind: Any, data: st.DataObject) -> None:
    hint, value = data.draw(_around(kind))
    assert received(hint, value) == value


NAMED = [
    (bytes, b"\xff\x00\xfb"),
    (Document, Document(data=b"\xff\xfe", password=SecretStr("x"))),
    (list[Document] | None, [Document(data=b"ab")]),
    (Point, Point(datetime(2020, 1, 1), b"\xfb")),
    (set[bytes], {b"\xff", b"a"}),
    (SecretStr, SecretStr("pw")),
    (datetime, datetime.now()),
    (time, time(1, 2)),
    (timedelta, timedelta(days=366)),
    (timedelta, timedelta(seconds=1.5)),
    (timedelta, timedelta(microseconds=1)),
    (timedelta, timedelta(seconds=-5)),
    (Decimal, Decimal("1E+5")),
    (HttpUrl, HttpUrl("http://example.com/ü")),
    (datetime, datetime(1880, 1, 1, tzinfo=ZoneInfo("Europe/Berlin"))),
]


@pytest.mark.parametrize(
    ("hint", "value"), NAMED, ids=[f"{number}-{type(value).__name__}" for number, (_, value) in enumerate(NAMED)]
)
def test_named_values_reach_the_task_unchanged(hint: Any, value: Any) -> None:
    assert received(hint, value) == value


@pytest.mark.parametrize("fold", [0, 1])
def test_a_time_that_the_clock_shows_twice_is_the_same_instant(fold: int) -> None:
    value = datetime(1999, 10, 31, 2, tzinfo=ZoneInfo("Europe/Berlin"), fold=fold)
    assert received(datetime, value).timestamp() == value.timestamp()


def test_bytes_that_a_model_holds_need_no_configuration() -> None:
    assert received(Document, {"data": b"ab"}) == Document(data=b"ab")


def test_a_type_that_decodes_by_itself_gets_its_own_text() -> None:
    assert received(Base64Bytes, b"YWI=") == b"ab"


def test_equal_bytes_have_one_canonical_form() -> None:
    schema = _task_of(bytes)[1]
    assert canonical_payload({"x": "_w=="}, schema) == canonical_payload({"x": "/w"}, schema)


@pytest.mark.parametrize(
    ("hint", "value", "field", "words"),
    [
        (Decimal, Decimal("NaN"), "payload.x", "x must be a decimal number"),
        (dict[int, str], {"x": "a"}, "payload.x", "x has a key that is not a whole number"),
        (dict[Rank, str], {2: "a"}, "payload.x", 'x has a key that is not one of "1"'),
        (dict[date, str], {"x": "a"}, "payload.x", "x has a key that is not a date, such as 2026-01-31"),
        (int | None, "x", "payload.x", "x must be a whole number or null"),
        (int | str, 1.5, "payload.x", "x must be a whole number or text"),
        (Literal["a", "b"] | None, "c", "payload.x", 'x must be one of "a", "b" or null'),
        (list[Inner], [{"n": 1}, {"n": "q"}], "payload.x.1.n", "x.1.n must be a whole number"),
        (list[Inner] | None, [{"n": 1}, {"n": "q"}], "payload.x.1.n", "x.1.n must be a whole number"),
        (Inner | None, {"n": "q"}, "payload.x.n", "x.n must be a whole number"),
        (Inner | None, {}, "payload.x.n", "x.n is required"),
        (Inner | None, 5, "payload.x", "x must be an object or null"),
        (dict[str, Inner | None] | None, {"k": {"n": []}}, "payload.x.k.n", "x.k.n must be a whole number"),
        (Cat | Dog, {"kind": "cow"}, "payload.x.kind", 'x.kind must be one of "cat", "dog"'),
        (Cat | Dog | None, {"kind": "dog", "m": "x"}, "payload.x.m", "x.m must be a whole number"),
        (datetime | None, "tomorrow", "payload.x", "x must be a date and time, such as 2026-01-31T08:30:00Z"),
        (date, "2020-13-45", "payload.x", "x must be a date, such as 2026-01-31"),
        (Decimal | None, "x", "payload.x", "x must be a decimal number"),
        (bytes, "!!", "payload.x", "x must be bytes in base64"),
        (Annotated[bytes, Field(max_length=4)], b"abcde", "payload.x", "x must have at most 4 bytes"),
        (Annotated[int, Field(ge=1)] | None, 0, "payload.x", "x must be at least 1"),
        (HttpUrl, "ftp://a", "payload.x", "x must be a URL that begins with http: or https:"),
        (bool | None, 3, "payload.x", "x must be true or false or null"),
    ],
    ids=str,
)
def test_a_refusal_names_the_field_and_what_it_may_be(hint: Any, value: Any, field: str, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        enqueued(hint, value)
    assert caught.value.errors == [{"field": field, "message": words}]


def test_bytes_where_text_is_as_good_are_refused() -> None:
    with pytest.raises(BadInput, match=r"payload\.x may be text or bytes"):
        enqueued(bytes | str, b"ab")


@pytest.mark.parametrize(
    "make", [lambda: io.StringIO("a"), lambda: iter(int, 1), object], ids=["file", "endless", "object"]
)
def test_what_no_payload_can_hold_is_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(BadInput, match="payload"):
        enqueued(Any, make())
