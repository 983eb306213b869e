"""What alert rules accept: a rule that can never raise an alert is refused with the reason."""

from __future__ import annotations

from typing import Any

import pytest

from workers.domain.actors import Actor
from workers.domain.errors import BadInput
from workers.services import rules
from workers.yard import Yard


@pytest.fixture
def admin() -> Actor:
    return Actor("user", "ada", "admin")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("channels", 5),
        ("channels", "abc"),
        ("channels", None),
        ("channels", [5]),
        ("channels", [None]),
        ("channels", {"a": 1}),
        ("channels", ["x"] * 101),
        ("threshold", "5"),
        ("threshold", None),
        ("window_seconds", []),
        ("cooldown_seconds", True),
        ("severity", ["critical"]),
        ("name", 5),
        ("scope", 5),
        ("is_enabled", "yes"),
    ],
    ids=lambda one: str(one)[:12],
)
def test_a_value_of_another_type_is_bad_input_and_changes_nothing(
    yard: Yard, admin: Actor, name: str, value: Any
) -> None:
    with pytest.raises(BadInput) as refused:
        rules.create(yard, "failed", {name: value}, admin)
    assert refused.value.field == name
    with pytest.raises(BadInput):
        rules.change(yard, "rule-failed", {name: value}, admin)


@pytest.mark.parametrize("kind", [None, 5, [], "nothing"], ids=str)
def test_an_unknown_kind_is_bad_input(yard: Yard, admin: Actor, kind: Any) -> None:
    with pytest.raises(BadInput) as refused:
        rules.create(yard, kind, {}, admin)
    assert refused.value.field == "kind"
