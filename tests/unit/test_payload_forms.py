"""Forms of payloads: what is drawn from a schema, and that nothing is lost between fields, JSON and the payload."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.presenters import forms
from dashboard.presenters.comparison import compare
from dashboard.presenters.field_texts import fits
from dashboard.presenters.form_steps import add_item, remove_item, without_secrets
from dashboard.presenters.shapes import Shape, default_payload, key_of, shape_of
from tests.form_definitions import DEFINITIONS
from workers.domain.masking import MASK
from workers.services.schema_checks import compile_schema, describe_faults

SHIP = DEFINITIONS["forms.ship"].schema()
HOSTILE = DEFINITIONS["forms.hostile"].schema()
ZONE = "Europe/Berlin"
FULL: dict[str, Any] = {
    "address": {"street": "Ring 1", "city": "", "zip": 10115},
    "lines": [{"sku": "a", "quantity": 2, "tags": ["x", ""]}, {"sku": "b", "quantity": 1, "tags": []}],
    "speed": "fast",
    "copies": 3,
    "ship_at": "2027-01-02T03:04:05.678+07:00",
    "birthday": "2001-02-03",
    "billing": None,
    "weight": 2.0,
    "price": "1.10",
    "is_gift": True,
    "access": MASK,
    "note": "one\r\ntwo",
    "extra": {"a": [1, None, {"b": "ü"}]},
}


def ship() -> Shape:
    shape = shape_of(SHIP, {"access"})
    assert shape is not None
    return shape


def filled(shape: Shape, payload: dict[str, Any], **drawing: Any) -> dict[str, str]:
    """Return what a browser sends of a form that was drawn and left alone."""
    sent: dict[str, str] = {}

    def visit(drawn: tuple[forms.Field, ...]) -> None:
        for one in drawn:
            if one.kind in {"group", "list"}:
                visit(one.children)
            elif one.kind != "checkbox" or one.text:
                sent[one.key] = one.text

    visit(forms.fields(shape, payload, forms.Drawing(ZONE, shows_secrets=True, **drawing)))
    return sent


def test_each_part_of_a_payload_has_a_field_of_its_kind() -> None:
    kinds = {one.name: one.shape.kind for one in ship().fields}
    assert kinds == {
        "address": "group",
        "lines": "list",
        "speed": "choice",
        "copies": "choice",
        "ship_at": "datetime",
        "birthday": "date",
        "billing": "group",
        "weight": "number",
        "price": "decimal",
        "is_gift": "checkbox",
        "access": "password",
        "note": "textarea",
        "extra": "json",
    }


@pytest.mark.parametrize("payload", [FULL, {}, {"lines": []}, {"billing": {"street": "x", "zip": 1}}], ids=str)
def test_a_form_that_was_left_alone_changes_nothing(payload: dict[str, Any]) -> None:
    reading = forms.read(ship(), filled(ship(), payload), payload, ZONE)
    assert reading.errors == {}
    assert reading.payload == payload | ({} if "address" in payload else {"address": {}}) | (
        {} if "lines" in payload else {"lines": []}
    )
    assert json.dumps({name: reading.payload[name] for name in payload}) == json.dumps(payload)


def test_what_was_typed_is_read_by_its_type_and_what_cannot_be_read_stays_with_an_error() -> None:
    sent = filled(ship(), FULL) | {
        "payload.copies": "2",
        "payload.weight": "heavy",
        "payload.lines.1.quantity": "1.5",
        "payload.ship_at": "2027-07-01T12:00",
        "payload.price": "2.50",
        "payload.extra": "{",
        "payload.birthday": "",
    }
    reading = forms.read(ship(), sent, FULL, ZONE)
    assert reading.payload["copies"] == 2
    assert reading.payload["ship_at"] == "2027-07-01T10:00:00Z"
    assert reading.payload["price"] == "2.50"
    assert "birthday" not in reading.payload
    assert reading.payload["lines"][1]["quantity"] == "1.5"
    assert reading.errors["weight"] == "must be a number"
    assert reading.errors["lines.1.quantity"] == "must be a whole number"
    assert reading.errors["extra"].startswith("must be JSON")
    drawn = forms.fields(ship(), reading.payload, forms.Drawing(ZONE, reading.errors))
    assert {one.path: one.text for one in forms.errors_shown(drawn)} == {
        "lines.1.quantity": "1.5",
        "weight": "heavy",
        "extra": "{",
    }


def test_items_and_optional_groups_come_and_go_where_they_stand() -> None:
    shape = ship()
    payload = add_item(shape, add_item(shape, FULL, "payload.lines"), "payload.lines.0.tags")
    assert payload["lines"][2] == {"quantity": 1, "tags": []}
    assert payload["lines"][0]["tags"] == ["x", "", ""]
    payload = remove_item(shape, payload, "payload.lines.0")
    assert [line.get("sku") for line in payload["lines"]] == ["b", None]
    payload = add_item(shape, payload, "payload.billing")
    assert payload["billing"] == {"city": "Berlin"}
    assert "billing" not in remove_item(shape, payload, "payload.billing")
    for odd in ("payload.lines.99", "payload.nothing", "payload", "", "payload.speed", "payload.lines.x.tags"):
        assert remove_item(shape, FULL, odd) == add_item(shape, FULL, odd) == FULL


def test_typed_secrets_are_not_carried_and_masks_are() -> None:
    assert without_secrets(ship(), {**FULL, "access": "hunter2"}).get("access") is None
    assert without_secrets(ship(), FULL)["access"] == MASK
    shown = forms.fields(ship(), {"access": "hunter2"}, forms.Drawing(ZONE))
    assert [(one.text, one.must_retype) for one in shown if one.key == "payload.access"] == [("", True)]


def test_a_trigger_takes_paths_in_place_of_values_of_any_type() -> None:
    payload = {"weight": "$.payload.weight", "ship_at": "$.at", "copies": 1}
    sent = filled(ship(), payload, accepts_paths=True) | {
        "payload.lines.0.quantity": "$.n",
        "payload.birthday": "$.day",
    }
    reading = forms.read(ship(), sent, payload, ZONE, accepts_paths=True)
    assert reading.errors == {}
    assert reading.payload["weight"] == "$.payload.weight"
    assert reading.payload["birthday"] == "$.day"
    assert reading.payload["lines"] == [{"quantity": "$.n"}]


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"in": schema}}
    return schema


def one_field(part: Any, **defined: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"x": part}, "$defs": defined}


LOOP = {"$ref": "#/$defs/A"}


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        (one_field(LOOP, A=LOOP), "json"),
        (one_field(LOOP, A={"$ref": "#/$defs/B"}, B=LOOP), "json"),
        (one_field({"anyOf": [LOOP, {"type": "null"}]}, A={"anyOf": [LOOP, {"type": "null"}]}), "json"),
        (one_field({"$ref": "https://elsewhere.example/x"}), "json"),
        (one_field({"anyOf": [{"type": "integer"}, {"type": "string"}]}), "json"),
        (one_field({"type": ["integer", "null"]}), "json"),
        (one_field({"type": "array", "prefixItems": [{"type": "string"}]}), "json"),
        (one_field({"type": "object", "additionalProperties": {"type": "integer"}}), "json"),
        (one_field({"enum": [f"v{n}" for n in range(5000)]}), "json"),
        (one_field({"enum": ["1", 1]}), "json"),
        (one_field(True), "json"),
        (one_field(["nonsense"]), "json"),
        (one_field({"type": "object", "properties": "nonsense"}), "json"),
        (one_field({"const": "only"}), "choice"),
    ],
    ids=str,
)
def test_what_has_no_field_is_edited_as_json(schema: Any, kind: str) -> None:
    shape = shape_of(schema)
    assert shape is not None
    assert shape.fields[0].shape.kind == kind


def test_schemas_beyond_the_bounds_are_edited_as_json() -> None:
    many = {f"f{n}": {"type": "string"} for n in range(500)}
    assert shape_of({"type": "object", "properties": many}) is None
    assert shape_of({"type": "object", "properties": {"n" * 400: {"type": "string"}}}) is None
    assert shape_of({"type": "object", "properties": []}) is None
    assert shape_of([]) is None
    deep = shape_of(nested(40))
    assert deep is not None
    for _ in range(4):
        deep = deep.fields[0].shape
    assert deep.fields[0].shape.kind == "json"
    recursive = shape_of(HOSTILE)
    assert recursive is not None
    tree = recursive.fields[0].shape
    assert (tree.kind, [one.shape.kind for one in tree.fields]) == ("group", ["text", "json"])


@given(names=st.lists(st.text(max_size=20), unique=True, max_size=8), data=st.data())
def test_fields_of_any_name_keep_apart(names: list[str], data: st.DataObject) -> None:
    shape = shape_of({"type": "object", "properties": {name: {"type": "string"} for name in names}})
    assert shape is not None
    values = {name: data.draw(st.text(string.printable, min_size=1, max_size=10)) for name in names}
    keys = [key_of("payload", name) for name in names]
    assert len(set(keys)) == len(names)
    assert not any(set(key) & set(" \t\n\"'<>#&") for key in keys)
    assert forms.read(shape, filled(shape, values), values, ZONE).payload == values
    typed = dict(zip(keys, values.values(), strict=True))
    normal = {name: value.replace("\r\n", "\n") for name, value in values.items()}
    if not any(one.shape.kind == "password" for one in shape.fields):
        assert forms.read(shape, typed, {}, ZONE).payload == normal


@pytest.mark.parametrize(
    "payload",
    [{"weight": [1]}, {"odd": 1}, {"address": "x"}, {"lines": {}}, {"is_gift": "yes"}, {"note": 5}, {"lines": [None]}],
    ids=str,
)
def test_values_that_no_field_can_show_are_found(payload: dict[str, Any]) -> None:
    assert not fits(ship(), payload)
    assert fits(ship(), FULL)


def test_defaults_fill_a_new_form() -> None:
    assert default_payload(ship()) == {
        "address": {"city": "Berlin"},
        "speed": "slow",
        "copies": 1,
        "is_gift": False,
        "access": "",
        "note": "",
        "extra": {},
    }


def test_a_comparison_shows_each_part_that_differs_and_no_secret() -> None:
    new = {**FULL, "access": "hunter2", "copies": 2, "lines": FULL["lines"][:1], "more": 1}
    changes = compare(FULL, new, {**new, "access": MASK})
    assert [(one.path, one.old, one.new) for one in changes] == [
        ("lines.1", '{"sku": "b", "quantity": 1, "tags": []}', None),
        ("copies", "3", "2"),
        ("access", MASK, f"{MASK} (changed)"),
        ("more", None, "1"),
    ]
    assert len(compare({}, {str(n): n for n in range(500)}, {str(n): n for n in range(500)})) == 50


def test_every_error_of_a_payload_is_in_words_and_none_holds_a_value() -> None:
    payload = {
        "address": {"zip": 5},
        "lines": [{"sku": 1}],
        "copies": 9,
        "weight": "secret-x",
        "odd": 1,
        "ship_at": "q",
    }
    found = describe_faults(compile_schema(json.dumps(SHIP)), json.dumps(SHIP), payload)
    words = {fault["field"].removeprefix("payload."): fault["message"].partition(" ")[2] for fault in found}
    assert words["address.street"] == "is required"
    assert words["address.zip"] == "must be at least 1,000"
    assert words["lines.0.sku"] == "must be text"
    assert words["copies"] == "must be one of 1, 2, 3"
    assert words["weight"] == "must be a number or null"
    assert words["odd"] == "is not a field of this task"
    assert words["ship_at"].startswith("must be a date and time")
    assert "secret-x" not in repr(found)
