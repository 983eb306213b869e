"""From an event to a payload: paths are followed, everything else stays, nothing is run."""

from __future__ import annotations

from typing import Any

import pytest

from workers.domain.errors import BadInput
from workers.domain.mapping import check_conditions, fill, hears, holds

FACTS = {"name": "orders.created", "payload": {"id": 7, "lines": [{"sku": "a"}, {"sku": "b"}], "note": None}}


@pytest.mark.parametrize(
    ("mapping", "filled"),
    [
        ({"id": "$.payload.id"}, {"id": 7}),
        ({"second": "$.payload.lines.1.sku"}, {"second": "b"}),
        ({"whole": "$.payload.lines"}, {"whole": [{"sku": "a"}, {"sku": "b"}]}),
        ({"none": "$.payload.note"}, {"none": None}),
        (
            {"plain": "$5", "n": 1, "deep": [{"x": "$.name"}]},
            {"plain": "$5", "n": 1, "deep": [{"x": "orders.created"}]},
        ),
        ({"escaped": "$$.payload.id", "twice": "$$$5"}, {"escaped": "$.payload.id", "twice": "$$5"}),
        ({"template": "{{ 7*7 }} ${payload.id} %(id)s"}, {"template": "{{ 7*7 }} ${payload.id} %(id)s"}),
    ],
)
def test_a_mapping_is_filled(mapping: Any, filled: Any) -> None:
    assert fill(mapping, FACTS) == filled


@pytest.mark.parametrize(
    "path", ["$.payload.nothing", "$.payload.lines.9", "$.payload.lines.-1", "$.__class__", "$.payload.id.real", "$."]
)
def test_a_path_that_leads_nowhere_is_refused(path: str) -> None:
    with pytest.raises(BadInput):
        fill({"x": path}, FACTS)


def test_a_mapping_that_is_too_deep_is_refused() -> None:
    deep: Any = "x"
    for _ in range(50):
        deep = [deep]
    with pytest.raises(BadInput):
        fill(deep, FACTS)


def test_conditions_hold_or_do_not() -> None:
    assert holds({}, FACTS)
    assert holds({"payload.id": {"above": 6, "below": 8}, "$.name": "orders.created"}, FACTS)
    assert not holds({"payload.id": {"above": 7}}, FACTS)
    assert not holds({"payload.note": {"below": 7}}, FACTS)
    assert not holds({"payload.nothing": None}, FACTS)
    with pytest.raises(BadInput):
        check_conditions({str(n): n for n in range(21)})


@pytest.mark.parametrize(
    ("wanted", "found", "holds_so"),
    [
        (1, True, False),
        (0, False, False),
        (True, 1, False),
        (True, True, True),
        (1, 1.0, True),
        ("1", 1, False),
        (None, False, False),
        (None, None, True),
    ],
)
def test_a_condition_compares_json_values(wanted: Any, found: Any, holds_so: bool) -> None:
    assert holds({"payload.n": wanted}, {"payload": {"n": found}}) is holds_so


def test_patterns_hear_names() -> None:
    assert hears("orders.*", "orders.created")
    assert not hears("orders.*", "order.created")
